//! One instance writes, the others stand by.

use domain::{decider::Decider, id::VideoId, video::Changes};
use projections::reader::Model;
use serde::{Deserialize, Serialize};
use sqlx::{Connection, PgConnection};

use crate::platform::{PATIENCE, Platform, story};

async fn holders(platform: &Platform) -> Vec<uuid::Uuid> {
    let mut connection = PgConnection::connect(&platform.config.postgres_url)
        .await
        .unwrap();
    sqlx::query_scalar("select holder from catalogue_g1.checkpoint")
        .fetch_all(&mut connection)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_standby_takes_over_from_one_that_is_not_heard_of_any_more() {
    let platform = Platform::new().await;
    let first = platform.project();
    let (story, other) = (story(1, "before"), story(2, "after"));
    let last = platform.request(&story).await;
    platform.reach(last).await;
    let before = holders(&platform).await;
    let standby = platform.project();
    let changes = Changes {
        title: Some("still the first".to_owned()),
        ..Changes::default()
    };
    let last = platform.change(&story, changes).await;
    platform.reach(last).await;
    assert_eq!(holders(&platform).await, before, "it only stands by");

    // Without a word: it gives nothing back.
    first.abort().await;
    let last = platform.request(&other).await;
    platform.reach(last).await;
    assert_ne!(holders(&platform).await, before);
    standby.stop().await;
    platform.stop().await;
}

/// Somebody else's events in the same log.
#[derive(Clone, Default)]
struct Foreign;

#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Event {
    #[serde(rename = "weather.rained.v1")]
    Rained {},
}

impl Decider for Foreign {
    const CATEGORY: &'static str = "weather";

    type Id = VideoId;
    type Command = ();
    type Event = Event;
    type Rejection = std::convert::Infallible;

    fn decide(&self, (): ()) -> Result<Vec<Event>, Self::Rejection> {
        Ok(vec![Event::Rained {}])
    }

    fn evolve(self, _: &Event) -> Self {
        self
    }
}

#[tokio::test]
async fn an_idle_checkpoint_keeps_up_with_a_log_of_others() {
    let platform = Platform::new().await;
    let story = story(1, "ours");
    let last = platform.request(&story).await;
    let projecting = platform.project();
    platform.reach(last).await;
    let by = eventlog::Envelope::new(domain::id::CommandId::default(), "test");
    let at = eventlog::Revision::NoStream;
    let rain = vec![Event::Rained {}; 1_000];
    let appended = platform.log.append::<Foreign>(story.id, at, &by, &rain);
    let middle = appended.await.unwrap().position.midpoint(last);
    for model in Model::ALL {
        let reached = platform.reader.wait_for(model, middle, PATIENCE).await;
        assert!(reached.unwrap(), "{model:?} stayed at {last}");
    }
    projecting.stop().await;
    platform.stop().await;
}
