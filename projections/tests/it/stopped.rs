//! An event that cannot be read or applied stops its video, and nothing else.

use domain::{
    decider::Decider,
    id::VideoId,
    video::{Changes, Status},
};
use projections::{
    announcements, catalogue,
    search::{Filter, Index, Ranking, Search},
};
use serde::{Deserialize, Serialize};

use crate::platform::{PATIENCE, Platform, running, story};

/// The video of a newer program.
#[derive(Clone, Default)]
struct Newer;

#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Event {
    #[serde(rename = "video.became-three-dimensional.v1")]
    BecameThreeDimensional {},
}

impl Decider for Newer {
    const CATEGORY: &'static str = "video";

    type Id = VideoId;
    type Command = ();
    type Event = Event;
    type Rejection = std::convert::Infallible;

    fn decide(&self, (): ()) -> Result<Vec<Event>, Self::Rejection> {
        Ok(vec![Event::BecameThreeDimensional {}])
    }

    fn evolve(self, _: &Event) -> Self {
        self
    }
}

async fn stopped(platform: &Platform) -> Vec<(uuid::Uuid, String)> {
    let mut connection = platform.catalogue().await;
    sqlx::query_as("select video, type_name from stopped_videos")
        .fetch_all(&mut connection)
        .await
        .unwrap()
}

#[tokio::test]
async fn an_event_of_a_newer_program_stops_its_video_only() {
    let platform = Platform::new().await;
    let (newer, other) = (story(1, "newer"), story(2, "other"));
    platform.request(&newer).await;
    platform.request(&other).await;
    let by = eventlog::Envelope::new(domain::id::CommandId::default(), "test");
    let at = eventlog::Revision::Exact(0);
    let event = Event::BecameThreeDimensional {};
    platform
        .log
        .append::<Newer>(newer.id, at, &by, &[event])
        .await
        .unwrap();
    // What comes later for the stopped one is not applied, for the other it is.
    let job = domain::id::JobId::default();
    let last = platform.late_report(&newer, job).await;
    platform.project_up_to(last).await;
    let (_, last) = platform.make_requested_ready(&other).await;
    platform.project_up_to(last).await;

    let reader = &platform.reader;
    let video = catalogue::video(reader, newer.id).await.unwrap().unwrap();
    assert_eq!(video.status, Status::Uploading);
    let video = catalogue::video(reader, other.id).await.unwrap().unwrap();
    assert_eq!(video.status, Status::Ready);
    assert_eq!(
        stopped(&platform).await,
        [(newer.id.0, "video.became-three-dimensional.v1".to_owned())]
    );
    let told = announcements::after(reader, None, 10).await.unwrap();
    assert!(told.iter().all(|told| told.video == other.id) && !told.is_empty());
    platform.stop().await;
}

#[tokio::test]
async fn an_event_that_a_table_refuses_stops_its_video_only() {
    let platform = Platform::new().await;
    let (refused, other) = (story(1, "with a \0 in it"), story(2, "other"));
    platform.request(&other).await;
    platform.request_unruled(&refused).await;
    let changes = Changes {
        title: Some("still here".to_owned()),
        ..Changes::default()
    };
    let last = platform.change(&other, changes).await;
    platform.project_up_to(last).await;

    let reader = &platform.reader;
    assert_eq!(catalogue::video(reader, refused.id).await.unwrap(), None);
    let video = catalogue::video(reader, other.id).await.unwrap().unwrap();
    assert_eq!(video.details.title, "still here");
    assert_eq!(
        stopped(&platform).await,
        [(refused.id.0, "video.upload-requested.v1".to_owned())]
    );
    platform.stop().await;
}

#[tokio::test]
async fn search_stops_a_video_too_and_remembers_that() {
    let platform = Platform::without_stores().await;
    let newer = story(1, "newer");
    platform.request(&newer).await;
    let by = eventlog::Envelope::new(domain::id::CommandId::default(), "test");
    let at = eventlog::Revision::Exact(0);
    let event = Event::BecameThreeDimensional {};
    let stopped = platform
        .log
        .append::<Newer>(newer.id, at, &by, &[event])
        .await
        .unwrap();
    let dir = platform.dir.path().join("search");
    let index = Index::open(&dir, Ranking::default()).unwrap();
    let following = running({
        let (index, log) = (index.clone(), platform.log.clone());
        |stop| async move { index.follow(log, stop).await }
    });
    assert!(index.wait_for(stopped.position, PATIENCE).await);
    let other = platform.request(&story(2, "newer still")).await;
    assert!(index.wait_for(other, PATIENCE).await);
    following.stop().await;
    drop(index);

    // The later event of the stopped video is met by another process.
    let late = platform
        .late_report(&newer, domain::id::JobId::default())
        .await;
    let index = Index::open(&dir, Ranking::default()).unwrap();
    let following = running({
        let (index, log) = (index.clone(), platform.log.clone());
        |stop| async move { index.follow(log, stop).await }
    });
    assert!(index.wait_for(late, PATIENCE).await);
    let found = |duration_ms| {
        let search = Search {
            text: "newer".to_owned(),
            viewer: Some(newer.owner.clone()),
            filter: Filter {
                duration_ms,
                ..Filter::default()
            },
            first: 10,
            ..Search::default()
        };
        index.search(&search).unwrap().videos.len()
    };
    assert_eq!(found(None), 2);
    assert_eq!(
        found(Some(0..u64::MAX)),
        0,
        "it stays as it was when it was stopped"
    );
    following.stop().await;
    platform.stop().await;
}
