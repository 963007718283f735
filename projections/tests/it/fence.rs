//! Two that write the same read models, a log that is not theirs, stores that come late.

use std::time::Duration;

use domain::video::Changes;
use projections::{announcements, catalogue, popularity, reader::Model};

use crate::{
    platform::{DAWN_MS, PATIENCE, Platform, story},
    rebuild::{assert_same, dump},
    stores,
};

#[tokio::test]
async fn two_writers_at_once_count_everything_once() {
    let platform = Platform::new().await;
    let (one, other) = (platform.project(), platform.project());
    let mut last = 0;
    for number in 1..=10 {
        let story = story(number, "clip");
        last = platform.make_ready(&story).await.1;
        for session in ["a", "b"] {
            last = platform.view(story.id, session, DAWN_MS).await.max(last);
        }
    }
    platform.reach(last).await;
    one.stop().await;
    other.stop().await;
    let with_two = dump(&platform).await;

    platform.forget_everything().await;
    platform.project_up_to(last).await;
    assert_same(&dump(&platform).await, &with_two);
    platform.stop().await;
}

#[tokio::test]
async fn a_checkpoint_passes_what_is_not_its_own() {
    let platform = Platform::new().await;
    // The log's own first event is no read model's.
    platform.log.epoch().await.unwrap();
    let projecting = platform.project();
    let wait = async |model: Model| {
        tokio::time::timeout(PATIENCE, async {
            while !platform.reader.standing(model).await.unwrap().caught_up {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("{model:?} never caught up"));
        platform.reader.standing(model).await.unwrap()
    };
    for model in Model::ALL {
        assert!(wait(model).await.commit.is_some(), "{model:?}");
    }
    // Neither the catalogue nor the announcements care for views.
    let viewed = platform.view(story(1, "").id, "someone", DAWN_MS).await;
    platform.reach(viewed).await;
    projecting.stop().await;
    platform.stop().await;
}

#[tokio::test]
async fn a_read_model_of_another_log_is_left_alone() {
    let platform = Platform::new().await;
    let (_, last) = platform.make_playable(&story(1, "ours")).await;
    platform.project_up_to(last).await;
    let before = dump(&platform).await;

    let foreign = Platform::with(platform.config.clone()).await;
    foreign.request(&story(2, "theirs")).await;
    let refused = foreign.project().ended().await.unwrap_err();
    assert!(
        refused.to_string().contains("belongs to another log"),
        "{refused:#}"
    );
    assert_same(&dump(&platform).await, &before);
    foreign.stop().await;
    platform.stop().await;
}

#[tokio::test]
async fn a_read_model_ahead_of_its_log_is_left_alone() {
    let platform = Platform::new().await;
    let last = platform.request(&story(1, "known")).await;
    platform.project_up_to(last).await;
    let mut connection = platform.catalogue().await;
    sqlx::query("update checkpoint set last_event = last_event + 1000")
        .execute(&mut connection)
        .await
        .unwrap();

    let refused = platform.project().ended().await.unwrap_err();
    assert!(
        refused.to_string().contains("ahead of its log"),
        "{refused:#}"
    );
    platform.stop().await;
}

#[tokio::test]
async fn a_database_that_comes_late_is_waited_for() {
    let mut platform = Platform::new().await;
    let (url, name) = stores::new_database_url();
    platform.config.postgres_url = url;
    platform.reader =
        projections::reader::Reader::new(&platform.config.postgres_url, &platform.config.redis_url)
            .unwrap();
    let last = platform.make_playable(&story(1, "early")).await.1;
    let projecting = platform.project();
    // It had every chance to fail meanwhile.
    let early = Duration::from_secs(1);
    let is_there = platform.reader.wait_for(Model::Popularity, last, early);
    assert!(!is_there.await.unwrap(), "nobody writes without a lease");
    stores::create_database(&name).await;
    platform.reach(last).await;
    projecting.stop().await;
    platform.stop().await;
}

#[tokio::test]
async fn following_goes_on_where_it_stopped() {
    let platform = Platform::new().await;
    let story = story(1, "before");
    let last = platform.make_playable(&story).await.1;
    platform.project_up_to(last).await;
    let changes = Changes {
        title: Some("after".to_owned()),
        ..Changes::default()
    };
    let changed = platform.change(&story, changes).await;
    platform.project_up_to(changed).await;

    let video = catalogue::video(&platform.reader, story.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(video.details.title, "after");
    let told = announcements::after(&platform.reader, None, 10)
        .await
        .unwrap();
    assert_eq!(told.len(), 1, "nothing is announced again");
    assert_eq!(told[0].title, "before", "what was true then");
    assert_eq!(
        popularity::views(&platform.reader, &[]).await.unwrap(),
        [0; 0]
    );
    platform.stop().await;
}
