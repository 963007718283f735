//! What is found, by whom, and what survives the process.

use domain::{
    id::{Owner, VideoId},
    video::{Changes, Visibility},
};
use projections::search::{Index, Ranking, Search};

use crate::platform::{DAWN_MS, PATIENCE, Platform, Running, Story, running, story};

/// An index that follows.
struct Searching {
    index: Index,
    following: Running,
}

impl Searching {
    fn new(platform: &Platform) -> Self {
        let index = opened(&platform.dir.path().join("search")).unwrap();
        let following = running({
            let (index, log) = (index.clone(), platform.log.clone());
            |stop| async move { index.follow(log, stop).await }
        });
        Self { index, following }
    }

    async fn reach(&self, commit: u64) {
        assert!(self.index.wait_for(commit, PATIENCE).await);
    }

    fn found(&self, query: &str, viewer: Option<&str>) -> Vec<VideoId> {
        let hits = self.index.search(&asked(query, viewer)).unwrap();
        assert_eq!(
            hits.total,
            Some(hits.videos.len()),
            "the total tells of nothing else"
        );
        hits.videos
    }
}

fn opened(dir: &std::path::Path) -> anyhow::Result<Index> {
    Index::open(dir, Ranking::default())
}

/// All that fits, with its total.
fn asked(text: &str, viewer: Option<&str>) -> Search {
    Search {
        text: text.to_owned(),
        viewer: viewer.map(|name| Owner(name.to_owned())),
        first: 100,
        total: true,
        now_ms: DAWN_MS,
        ..Search::default()
    }
}

fn titled(title: &str) -> Changes {
    Changes {
        title: Some(title.to_owned()),
        ..Changes::default()
    }
}

fn hidden(number: u64, title: &str, visibility: Visibility) -> Story {
    Story {
        visibility,
        ..story(number, title)
    }
}

#[tokio::test]
async fn nobody_finds_what_others_keep_to_themselves() {
    let platform = Platform::without_stores().await;
    let public = story(1, "holiday in public");
    let private = hidden(2, "holiday in private", Visibility::Private);
    let unlisted = hidden(3, "holiday unlisted", Visibility::Unlisted);
    for story in [&public, &private, &unlisted] {
        platform.make_playable(story).await;
    }
    let uploading = story(4, "holiday uploading");
    let last = platform.request(&uploading).await;
    let searching = Searching::new(&platform);
    searching.reach(last).await;

    let attempts = [
        "holiday",
        "holiday OR private",
        "visibility:private OR holiday",
        "owner:ada OR holiday",
        "holiday -nothing OR holiday",
        "\"holiday in\"",
        "holyday",
        "holiday) OR (private *",
        "\"holiday",
        "holiday AND",
    ];
    for query in attempts {
        assert_eq!(searching.found(query, None), [public.id], "{query}");
        assert_eq!(searching.found(query, Some("bob")), [public.id], "{query}");
    }
    let mut own = searching.found("holiday", Some("ada"));
    own.sort();
    let mut all = [public.id, private.id, unlisted.id, uploading.id];
    all.sort();
    assert_eq!(own, all);
    searching.following.stop().await;
    platform.stop().await;
}

#[tokio::test]
async fn changes_and_deletions_are_found_and_titles_come_first() {
    let platform = Platform::without_stores().await;
    let (first, second) = (story(1, "Über the Alps"), story(2, "valley"));
    platform.make_playable(&first).await;
    let (_, last) = platform.make_playable(&second).await;
    let searching = Searching::new(&platform);
    searching.reach(last).await;
    assert_eq!(
        searching.found("uber", None),
        [first.id],
        "accents do not matter"
    );
    assert_eq!(
        searching.found("shows", None),
        [second.id, first.id],
        "equals: newer first"
    );

    let changes = Changes {
        description: Some("near the alps".to_owned()),
        ..Changes::default()
    };
    searching
        .reach(platform.change(&second, changes).await)
        .await;
    assert_eq!(searching.found("alps", None), [first.id, second.id]);

    searching
        .reach(platform.change(&first, titled("sea")).await)
        .await;
    assert_eq!(searching.found("alps", None), [second.id]);
    assert_eq!(searching.found("sea", None), [first.id]);
    let changes = Changes {
        visibility: Some(Visibility::Private),
        ..Changes::default()
    };
    searching
        .reach(platform.change(&first, changes).await)
        .await;
    assert_eq!(searching.found("sea", None), []);
    searching.reach(platform.delete(&second).await).await;
    assert_eq!(searching.found("valley", Some("ada")), []);
    searching.following.stop().await;
    platform.stop().await;
}

#[tokio::test]
async fn hits_are_read_page_by_page() {
    let platform = Platform::without_stores().await;
    let mut last = 0;
    for number in 1..=5 {
        last = platform.make_playable(&story(number, "same words")).await.1;
    }
    let searching = Searching::new(&platform);
    searching.reach(last).await;
    let mut seen = vec![];
    for offset in [0, 2, 4, 6] {
        let page = Search {
            offset,
            first: 2,
            ..asked("words", None)
        };
        let hits = searching.index.search(&page).unwrap();
        assert_eq!(hits.total, Some(5));
        assert_eq!(hits.has_next, offset < 4);
        seen.extend(hits.videos);
    }
    let expected: Vec<VideoId> = (1..=5).rev().map(|number| story(number, "").id).collect();
    assert_eq!(seen, expected);
    let far = Search {
        offset: 1_000_000,
        ..asked("words", None)
    };
    assert!(searching.index.search(&far).unwrap().videos.is_empty());
    assert_eq!(searching.found("", None), []);
    let long = format!("{} words", "x ".repeat(200));
    assert_eq!(
        searching.found(&long, None),
        [],
        "only so much of a query is looked at"
    );
    searching.following.stop().await;
    platform.stop().await;
}

#[tokio::test]
async fn an_index_knows_after_a_restart_where_it_was() {
    let platform = Platform::without_stores().await;
    let (_, last) = platform.make_playable(&story(1, "kept")).await;
    let searching = Searching::new(&platform);
    searching.reach(last).await;
    searching.following.stop().await;
    drop(searching.index);

    let dir = platform.dir.path().join("search");
    let index = opened(&dir).unwrap();
    assert!(
        index.standing().commit >= Some(last),
        "without reading the log"
    );
    assert!(index.standing().caught_up);
    assert_eq!(index.search(&asked("kept", None)).unwrap().total, Some(1));
    let second = opened(&dir).err().expect("there is one writer");
    assert!(
        format!("{second:#}").contains("another process"),
        "{second:#}"
    );
    drop(index);

    let searching = Searching::new(&platform);
    let (_, last) = platform.make_playable(&story(2, "kept too")).await;
    searching.reach(last).await;
    assert_eq!(searching.found("kept", None).len(), 2);
    searching.following.stop().await;
    platform.stop().await;
}

#[tokio::test]
async fn an_index_that_cannot_be_used_is_built_anew() {
    let platform = Platform::without_stores().await;
    let kept = story(1, "kept");
    let (_, last) = platform.make_playable(&kept).await;
    let dir = platform.dir.path().join("search");
    let build = async || {
        let searching = Searching::new(&platform);
        searching.reach(last).await;
        assert_eq!(searching.found("kept", None), [kept.id]);
        searching.following.stop().await;
    };
    build().await;

    // One file is damaged.
    let files = std::fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let store = files
        .into_iter()
        .find(|path| path.extension().is_some_and(|e| e == "store"));
    let store = store.expect("a file with the stored documents");
    let mut bytes = std::fs::read(&store).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(&store, bytes).unwrap();
    build().await;

    // Words shall count otherwise.
    let weights = projections::search::Weights { title: 5, tags: 2 };
    let ranking = Ranking {
        weights,
        ..Ranking::default()
    };
    let index = Index::open(&dir, ranking).unwrap();
    assert_eq!(index.standing().commit, None, "it is built anew");
    drop(index);
    build().await;

    // The folder is full of something else.
    std::fs::remove_dir_all(&dir).unwrap();
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("meta.json"), "not an index").unwrap();
    build().await;

    // It belongs to another log.
    let foreign = Platform::with(platform.config.clone()).await;
    let theirs = story(2, "theirs");
    let (_, theirs_at) = foreign.make_playable(&theirs).await;
    let index = opened(&dir).unwrap();
    let following = running({
        let (index, log) = (index.clone(), foreign.log.clone());
        |stop| async move { index.follow(log, stop).await }
    });
    tokio::time::timeout(PATIENCE, async {
        while index.search(&asked("theirs", None)).unwrap().videos != [theirs.id] {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the other log's video is found");
    assert!(index.wait_for(theirs_at, PATIENCE).await);
    assert_eq!(index.search(&asked("kept", None)).unwrap().total, Some(0));
    following.stop().await;
    foreign.stop().await;
    platform.stop().await;
}

#[tokio::test]
async fn an_index_built_anew_ranks_as_the_one_it_replaces() {
    const WORDS: [&str; 6] = ["sea", "alps", "boat", "snow", "sun", "walk"];
    let platform = Platform::without_stores().await;
    let searching = Searching::new(&platform);
    let words = |n: usize| format!("{} {} {}", WORDS[n % 6], WORDS[n / 2 % 6], WORDS[n / 3 % 6]);
    for number in 0..12 {
        let story = story(number, &words(number as usize));
        platform.request(&story).await;
    }
    let mut last = 0;
    // Committed in between, so that old versions are left behind, of some more than of others.
    for (round, word) in WORDS.iter().enumerate().take(3) {
        for number in round as u64..7 {
            let title = format!("{} {word}", words(number as usize));
            last = platform.change(&story(number, ""), titled(&title)).await;
        }
        searching.reach(last).await;
    }
    let queries = [
        "sea boat",
        "alps snow walk",
        "sun OR sea shows sun",
        "boat -sea",
        "walk",
    ];
    let ranked = |searching: &Searching| queries.map(|query| searching.found(query, Some("ada")));
    let before = ranked(&searching);
    assert!(before.iter().all(|found| found.len() > 2), "{before:?}");
    searching.following.stop().await;
    drop(searching.index);

    std::fs::remove_dir_all(platform.dir.path().join("search")).unwrap();
    let searching = Searching::new(&platform);
    searching.reach(last).await;
    assert_eq!(ranked(&searching), before);
    searching.following.stop().await;
    platform.stop().await;
}
