//! Lists of videos: which ones, in which order, page by page.

use domain::{
    id::{Owner, VideoId},
    video::{Changes, Status, Visibility},
};
use projections::{
    catalogue::list::{self, By, Filter, List, Order, Place, Scope, Span},
    reader::Reader,
};

use crate::platform::{DAWN_MS, Platform, Story, story};

const NEWEST: Order = Order {
    by: By::Created,
    descending: true,
};

const LONGEST_LIST: usize = 100;

/// All there is, in pages of two.
pub async fn all(reader: &Reader, scope: Scope, filter: Filter, order: Order) -> Vec<VideoId> {
    let mut list = List {
        scope,
        filter,
        order,
        after: None,
    };
    let mut seen = vec![];
    while seen.len() < LONGEST_LIST {
        let page = list::page(reader, &list, 2).await.unwrap();
        let (places, videos): (Vec<Place>, Vec<_>) = page.videos.into_iter().unzip();
        seen.extend(videos.iter().map(|video| video.id));
        list.after = places.last().cloned();
        if !page.has_next {
            return seen;
        }
    }
    panic!("a list without an end");
}

/// Everybody's public videos, newest first.
pub async fn public(reader: &Reader) -> Vec<VideoId> {
    all(reader, Scope::Public, Filter::default(), NEWEST).await
}

/// All of one's own, newest first.
pub async fn owned(reader: &Reader, owner: &str) -> Vec<VideoId> {
    let scope = Scope::OwnedBy(Owner(owner.to_owned()));
    all(reader, scope, Filter::default(), NEWEST).await
}

fn ids<const N: usize>(stories: [&Story; N]) -> Vec<VideoId> {
    stories.map(|story| story.id).to_vec()
}

#[tokio::test]
async fn every_order_is_read_both_ways_page_by_page() {
    let platform = Platform::new().await;
    let [zebra, apple, other_apple, banana] =
        [(1, "zebra"), (2, "Apple"), (3, "apple"), (4, "Éclair")]
            .map(|(number, title)| story(number, title));
    // Ready in another order than they were created in.
    platform.make_playable(&zebra).await;
    for story in [&other_apple, &banana, &apple] {
        platform.make_ready(story).await;
    }
    let mut last = 0;
    for (story, views) in [(&zebra, 1), (&banana, 3), (&apple, 1)] {
        for session in 0..views {
            // The second time a day counts no more.
            for _ in 0..2 {
                last = platform
                    .view(story.id, &format!("{session}"), DAWN_MS)
                    .await;
            }
        }
    }
    platform.project_up_to(last).await;

    // The ids decide between equals.
    let (first, second) = match apple.id < other_apple.id {
        true => (&apple, &other_apple),
        false => (&other_apple, &apple),
    };
    let (less, more) = match zebra.id < apple.id {
        true => (&zebra, &apple),
        false => (&apple, &zebra),
    };
    let mut of_equals = ids([&zebra, &apple, &other_apple, &banana]);
    of_equals.sort();
    for (by, ascending) in [
        (By::Created, ids([&zebra, &apple, &other_apple, &banana])),
        (By::Ready, ids([&zebra, &apple, &other_apple, &banana])),
        (By::Title, ids([first, second, &banana, &zebra])),
        (By::Views, ids([&other_apple, less, more, &banana])),
        (By::Duration, of_equals),
    ] {
        for scope in [Scope::Public, Scope::OwnedBy(zebra.owner.clone())] {
            for descending in [false, true] {
                let order = Order { by, descending };
                let mut found =
                    all(&platform.reader, scope.clone(), Filter::default(), order).await;
                if descending {
                    found.reverse();
                }
                assert_eq!(found, ascending, "{order:?} of {scope:?}");
            }
        }
    }
    platform.stop().await;
}

#[tokio::test]
async fn filters_narrow_a_list_and_never_widen_it() {
    let platform = Platform::new().await;
    let [public, mut unlisted, uploading] = [(1, "public"), (2, "unlisted"), (3, "uploading")]
        .map(|(number, title)| story(number, title));
    unlisted.visibility = Visibility::Unlisted;
    platform.make_ready(&public).await;
    platform.make_ready(&unlisted).await;
    platform.request(&uploading).await;
    let changes = Changes {
        tags: Some(vec!["sea".to_owned(), "boats".to_owned()]),
        ..Changes::default()
    };
    platform.change(&unlisted, changes.clone()).await;
    let last = platform.change(&public, changes).await;
    platform.project_up_to(last).await;

    let reader = &platform.reader;
    let everything = Filter::default;
    let span = |from, before| Span { from, before };
    let of_owner = ids([&public, &unlisted]);
    for (filter, own, listed) in [
        (
            Filter {
                statuses: Some(vec![Status::Ready, Status::Failed]),
                ..everything()
            },
            of_owner.clone(),
            true,
        ),
        (
            Filter {
                statuses: Some(vec![]),
                ..everything()
            },
            vec![],
            false,
        ),
        (
            Filter {
                playable: Some(false),
                ..everything()
            },
            ids([&uploading]),
            false,
        ),
        (
            Filter {
                visibility: Some(Visibility::Unlisted),
                ..everything()
            },
            ids([&unlisted]),
            false,
        ),
        (
            Filter {
                owner: Some(public.owner.clone()),
                playable: Some(true),
                ..everything()
            },
            of_owner.clone(),
            true,
        ),
        (
            Filter {
                owner: Some(Owner("bob".to_owned())),
                ..everything()
            },
            vec![],
            false,
        ),
        (
            Filter {
                tag: Some("boats".to_owned()),
                ..everything()
            },
            of_owner.clone(),
            true,
        ),
        (
            Filter {
                tag: Some("boat".to_owned()),
                ..everything()
            },
            vec![],
            false,
        ),
        (
            Filter {
                created_ms: span(Some(unlisted.at_ms), Some(uploading.at_ms)),
                ..everything()
            },
            ids([&unlisted]),
            false,
        ),
        (
            Filter {
                created_ms: span(None, Some(unlisted.at_ms)),
                ..everything()
            },
            ids([&public]),
            true,
        ),
        (
            Filter {
                duration_ms: span(Some(4_000), Some(4_001)),
                ..everything()
            },
            of_owner.clone(),
            true,
        ),
        (
            Filter {
                duration_ms: span(None, Some(4_000)),
                ..everything()
            },
            vec![],
            false,
        ),
    ] {
        let ascending = Order {
            by: By::Created,
            descending: false,
        };
        let scope = Scope::OwnedBy(public.owner.clone());
        assert_eq!(
            all(reader, scope, filter.clone(), ascending).await,
            own,
            "{filter:?}"
        );
        let expected = if listed { ids([&public]) } else { vec![] };
        assert_eq!(
            all(reader, Scope::Public, filter.clone(), ascending).await,
            expected,
            "{filter:?}"
        );
    }
    platform.stop().await;
}
