//! How videos are found: words and their forms, mistakes, filters, facets, and the order of it all.

use domain::{
    id::{Owner, VideoId},
    video::{Changes, Visibility},
};
use projections::search::{Filter, Hits, Index, Ranking, Search};

use crate::platform::{DAWN_MS, PATIENCE, Platform, Running, Story, running, story};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// A platform of a few videos, and an index of them.
struct Library {
    platform: Platform,
    index: Index,
    following: Running,
}

/// A public video by what is said about it.
struct Said<'a> {
    title: &'a str,
    description: &'a str,
    tags: &'a [&'a str],
}

impl<'a> Said<'a> {
    fn titled(title: &'a str) -> Self {
        Self {
            title,
            description: "",
            tags: &[],
        }
    }
}

impl Library {
    async fn of(all: &[Said<'_>]) -> Self {
        let platform = Platform::without_stores().await;
        let dir = platform.dir.path().join("search");
        let index = Index::open(&dir, Ranking::default()).unwrap();
        let following = running({
            let (index, log) = (index.clone(), platform.log.clone());
            |stop| async move { index.follow(log, stop).await }
        });
        let library = Self {
            platform,
            index,
            following,
        };
        for (number, said) in (0..).zip(all) {
            library.add(&story(number, said.title), said).await;
        }
        library
    }

    async fn add(&self, story: &Story, said: &Said<'_>) {
        self.platform.make_playable(story).await;
        let changes = Changes {
            description: Some(said.description.to_owned()),
            tags: Some(said.tags.iter().map(|tag| (*tag).to_owned()).collect()),
            ..Changes::default()
        };
        self.reach(self.platform.change(story, changes).await).await;
    }

    async fn reach(&self, commit: u64) {
        assert!(self.index.wait_for(commit, PATIENCE).await);
    }

    fn hits(&self, search: &Search) -> Hits {
        self.index.search(search).unwrap()
    }

    /// The numbers of the videos that were found, best first.
    fn numbers(&self, search: &Search) -> Vec<u64> {
        let number = |id: VideoId| {
            (0..1000)
                .find(|number| story(*number, "").id == id)
                .unwrap()
        };
        self.hits(search).videos.into_iter().map(number).collect()
    }

    fn found(&self, text: &str) -> Vec<u64> {
        self.numbers(&asked(text))
    }

    fn typed(&self, text: &str) -> Vec<u64> {
        self.numbers(&Search {
            as_you_type: true,
            ..asked(text)
        })
    }

    async fn stop(self) {
        self.following.stop().await;
        self.platform.stop().await;
    }
}

fn asked(text: &str) -> Search {
    Search {
        text: text.to_owned(),
        first: 100,
        now_ms: DAWN_MS,
        ..Search::default()
    }
}

#[tokio::test]
async fn words_are_found_in_other_forms_and_exact_ones_come_first() {
    let library = Library::of(&[
        Said::titled("Running in the hills with the dogs"),
        Said::titled("How to run with your dog"),
        Said::titled("Kochen mit den Kindern und der Oma"),
        Said::titled("Une journée dans les montagnes avec nous"),
        Said::titled("Как испечь хлеба дома"),
    ])
    .await;
    assert_eq!(library.found("running"), [0, 1]);
    assert_eq!(library.found("runs"), [1, 0]);
    assert_eq!(library.found("dogs")[0], 0);
    assert_eq!(library.found("kocht"), [2]);
    assert_eq!(library.found("montagne"), [3]);
    assert_eq!(library.found("хлеб"), [4]);
    assert_eq!(
        library.found("JOURNEE"),
        [3],
        "neither case nor accents matter"
    );
    library.stop().await;
}

#[tokio::test]
async fn a_mistake_in_a_longer_word_is_forgiven_if_nobody_wrote_it_so() {
    let library = Library::of(&[
        Said::titled("Photography for beginners"),
        Said::titled("Green aurora"),
        Said::titled("Sea"),
        Said::titled("Aurova"),
    ])
    .await;
    assert_eq!(
        library.found("fotografhy"),
        [] as [u64; 0],
        "three mistakes"
    );
    assert_eq!(library.found("photografy"), [0], "two of a long word");
    assert_eq!(library.found("greem"), [1]);
    assert_eq!(library.found("geren"), [1], "two letters changed places");
    assert_eq!(library.found("sae"), [] as [u64; 0], "it is too short");
    assert_eq!(
        library.found("aurora"),
        [1],
        "what somebody wrote is meant so"
    );
    assert_eq!(library.typed("fotogr"), [] as [u64; 0]);
    assert_eq!(library.typed("phtog"), [0]);
    library.stop().await;
}

#[tokio::test]
async fn what_is_typed_finds_titles_and_tags_from_the_first_letter() {
    let library = Library::of(&[
        Said {
            title: "Northern lights over Tromsø",
            description: "zebra",
            tags: &["Aurora borealis"],
        },
        Said::titled("Norwegian wood"),
        Said::titled("Lightning"),
    ])
    .await;
    assert_eq!(library.typed("n"), [1, 0]);
    assert_eq!(library.typed("nort"), [0]);
    assert_eq!(library.typed("lig nor"), [0], "all of them, in any order");
    assert_eq!(library.typed("borea"), [0]);
    assert_eq!(library.typed("tromso"), [0]);
    assert_eq!(library.typed("zebra"), [] as [u64; 0], "not descriptions");
    assert_eq!(library.typed(" -\"* "), [] as [u64; 0]);
    library.stop().await;
}

#[tokio::test]
async fn phrases_are_found_word_for_word_and_unwanted_words_are_not() {
    let library = Library::of(&[
        Said::titled("deep sea diving"),
        Said::titled("sea of deep thoughts"),
        Said {
            title: "Boats",
            description: "of the deep sea",
            tags: &["deep", "sea"],
        },
        Said {
            title: "Tags",
            description: "",
            tags: &["deep", "sea"],
        },
    ])
    .await;
    let mut found = library.found("\"deep sea\"");
    found.sort_unstable();
    assert_eq!(found, [0, 2], "tags are no phrase");
    assert_eq!(library.found("\"deep sea\" -diving"), [2]);
    assert_eq!(library.found("-\"deep sea\" sea thoughts")[0], 1);
    assert_eq!(library.found("\"sea diving\" boats"), [0]);
    assert_eq!(library.found("-sea"), [] as [u64; 0], "nothing is wanted");
    library.stop().await;
}

#[tokio::test]
async fn a_title_counts_more_than_tags_and_tags_more_than_a_description() {
    let filler = "about something else entirely and more";
    let library = Library::of(&[
        Said {
            title: "one two",
            description: &format!("a glacier {filler}"),
            tags: &["three four"],
        },
        Said {
            title: "one two",
            description: &format!("a thing {filler}"),
            tags: &["three glacier"],
        },
        Said {
            title: "one glacier",
            description: &format!("a thing {filler}"),
            tags: &["three four"],
        },
    ])
    .await;
    assert_eq!(library.found("glacier"), [2, 1, 0]);
    library.stop().await;
}

#[tokio::test]
async fn of_alike_videos_the_more_viewed_and_the_newer_come_first() {
    let library = Library::of(&[]).await;
    // Half a year, a day and no time old.
    for (number, age_days) in [(0, 180), (1, 180), (2, 1), (3, 0)] {
        let story = Story {
            at_ms: DAWN_MS - age_days * DAY_MS + number as i64,
            ..story(number, "volcano by night")
        };
        library.add(&story, &Said::titled("")).await;
    }
    let exact = story(4, "volcano");
    library.add(&exact, &Said::titled("")).await;
    let rank = |views: &[(u64, u64)]| {
        let views = views
            .iter()
            .map(|(number, views)| (story(*number, "").id, *views));
        library.index.rank_by_views(views);
        library.found("volcano by night")
    };
    assert_eq!(rank(&[]), [3, 2, 1, 0, 4], "newer first");
    assert_eq!(
        rank(&[(0, 10)]),
        [3, 2, 0, 1, 4],
        "viewed first of as old ones"
    );
    assert_eq!(
        rank(&[(0, 1_000_000)]),
        [0, 3, 2, 1, 4],
        "much viewed before newer"
    );
    let last = rank(&[(4, 4_000_000_000)]);
    assert_eq!(last[4], 4, "what fits less is not lifted above what fits");
    library.stop().await;
}

#[tokio::test]
async fn filters_narrow_and_facets_count_what_is_left() {
    let library = Library::of(&[
        Said {
            title: "hiking in the hills",
            description: "",
            tags: &["Nature", "walk"],
        },
        Said {
            title: "hiking boots",
            description: "",
            tags: &["nature"],
        },
        Said {
            title: "city hiking",
            description: "",
            tags: &["town"],
        },
    ])
    .await;
    let with = |filter: Filter| {
        let mut found = library.numbers(&Search {
            filter,
            ..asked("hiking")
        });
        found.sort_unstable();
        found
    };
    let tags = |tags: &[&str]| Filter {
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..Filter::default()
    };
    assert_eq!(with(tags(&["NATURE"])), [0, 1]);
    assert_eq!(with(tags(&["nature", "walk"])), [0]);
    let created = |range| Filter {
        created_ms: Some(range),
        ..Filter::default()
    };
    let at = |number: u64| story(number, "").at_ms;
    assert_eq!(with(created(at(1)..at(2))), [1]);
    assert_eq!(with(created(at(1)..i64::MAX)), [1, 2]);
    let duration = |range| Filter {
        duration_ms: Some(range),
        ..Filter::default()
    };
    assert_eq!(with(duration(4_000..4_001)), [0, 1, 2]);
    assert_eq!(with(duration(0..4_000)), [] as [u64; 0]);
    let height = |range| Filter {
        height: Some(range),
        ..Filter::default()
    };
    assert_eq!(with(height(240..480)), [0, 1, 2]);
    assert_eq!(with(height(480..u64::MAX)), [] as [u64; 0]);
    let owner = |name: &str| Filter {
        owner: Some(Owner(name.to_owned())),
        ..Filter::default()
    };
    assert_eq!(with(owner("ada")), [0, 1, 2]);
    assert_eq!(with(owner("bob")), [] as [u64; 0]);

    let all = Search {
        facets: true,
        filter: tags(&["nature"]),
        ..asked("")
    };
    let hits = library.hits(&all);
    assert_eq!(
        hits.videos.len(),
        2,
        "filters alone find all that fits them"
    );
    let facets = hits.facets.unwrap();
    let counted = [("nature", 2), ("walk", 1)].map(|(tag, n)| (tag.to_owned(), n));
    assert_eq!(facets.tags, counted);
    assert_eq!(facets.durations, [2, 0, 0, 0]);
    assert_eq!(facets.heights, [2, 0, 0, 0, 0, 0]);
    library.stop().await;
}

#[tokio::test]
async fn totals_facets_corrections_and_completions_tell_nothing_of_others_videos() {
    let library = Library::of(&[Said {
        title: "zebra crossing",
        description: "",
        tags: &["street"],
    }])
    .await;
    let questions = ["zebra", "zebrra", "zebr", "crossing secretive", "street"];
    let ask = |viewer: Option<&str>| {
        let mut answers = vec![];
        for text in questions {
            for as_you_type in [false, true] {
                let search = Search {
                    as_you_type,
                    viewer: viewer.map(|name| Owner(name.to_owned())),
                    total: true,
                    facets: true,
                    ..asked(text)
                };
                answers.push(library.hits(&search));
            }
        }
        answers
    };
    let before = ask(None);
    assert_eq!(before[2].total, Some(1), "the mistake is corrected");

    let mut last = 0;
    let kept = |number, title: &str, visibility| Story {
        visibility,
        ..story(number, title)
    };
    let private = kept(1, "zebrra secretive", Visibility::Private);
    let unlisted = kept(2, "zebrra street", Visibility::Unlisted);
    for story in [&private, &unlisted] {
        library.platform.make_playable(story).await;
        let changes = Changes {
            tags: Some(vec!["street".to_owned(), "zebrra".to_owned()]),
            ..Changes::default()
        };
        last = library.platform.change(story, changes).await;
    }
    let uploading = story(3, "zebrra crossing");
    last = last.max(library.platform.request(&uploading).await);
    library.reach(last).await;
    assert_eq!(ask(None), before);
    assert_eq!(ask(Some("bob")), before);
    let own = ask(Some("ada"));
    assert_eq!(
        own[0].total,
        Some(1),
        "what she wrote herself is no mistake"
    );
    assert_eq!(own[2].total, Some(3));
    assert_eq!(own[8].total, Some(3));
    library.stop().await;
}

#[tokio::test]
async fn a_page_from_the_middle_is_the_middle_of_all() {
    let library = Library::of(&[]).await;
    let mut last = 0;
    for number in 0..60 {
        let title = format!(
            "{} word {}",
            "filler ".repeat(number as usize % 7),
            "word ".repeat(number as usize % 5)
        );
        last = library
            .platform
            .make_playable(&story(number, &title))
            .await
            .1;
        // In many segments.
        if number % 9 == 0 {
            library.reach(last).await;
        }
    }
    library.reach(last).await;
    library
        .index
        .rank_by_views((0..60).map(|n| (story(n, "").id, n * n * n)));
    let all = library.found("word filler");
    assert_eq!(all.len(), 60);
    let pages = (0..60).step_by(7).flat_map(|offset| {
        library.numbers(&Search {
            offset,
            first: 7,
            ..asked("word filler")
        })
    });
    assert_eq!(pages.collect::<Vec<u64>>(), all);
    library.stop().await;
}
