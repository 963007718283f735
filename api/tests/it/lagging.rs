//! An api whose read models are behind the log, or are being rebuilt while it runs.

use domain::video::Visibility;
use projections::reader::{Model, Reader};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    life::Life,
    notifications::{news, open, position, subscribed},
    platform::{PATIENCE, Platform, database, person, ready, test},
};

/// A database of its own, whose projections a test starts and stops.
struct Apart<'p> {
    platform: &'p Platform,
    postgres_url: String,
    reader: Reader,
}

impl<'p> Apart<'p> {
    async fn new(platform: &'p Platform) -> Self {
        let postgres_url = database().await;
        let reader = Reader::new(&postgres_url, &platform.config.redis_url).unwrap();
        Self {
            platform,
            postgres_url,
            reader,
        }
    }

    fn project(&self) -> (CancellationToken, JoinHandle<anyhow::Result<()>>) {
        let config = projections::Config {
            postgres_url: self.postgres_url.clone(),
            // The counters are the platform's own.
            redis_url: "redis://127.0.0.1:1".to_owned(),
        };
        let stop = CancellationToken::new();
        let running = projections::run(config, self.platform.log.clone(), stop.clone());
        (stop, tokio::spawn(running))
    }

    async fn reach(&self, commit: u64) {
        for model in [Model::Catalogue, Model::Announcements] {
            let reached = self.reader.wait_for(model, commit, PATIENCE).await;
            assert!(reached.unwrap(), "{model:?} did not reach {commit}");
        }
    }
}

#[test]
fn a_video_that_was_just_made_can_be_subscribed_to() {
    test(async |platform| {
        let owner = "lagging-new";
        let apart = Apart::new(platform).await;
        let (stop, projecting) = apart.project();
        let (_, commit) = Life::ready(platform, owner, "old", Visibility::Private).await;
        apart.reach(commit).await;
        let url = apart.postgres_url.clone();
        let api = platform.another(|config| config.postgres_url = url).await;
        ready(&api).await;
        stop.cancel();
        projecting.await.unwrap().unwrap();

        let life = Life::begin(platform, owner, "new", Visibility::Private).await;
        let mut socket = open(&api).await;
        let auth = json!({"type": "auth", "token": person(owner)});
        socket.say(auth).await;
        let videos = json!({"type": "subscribe", "videos": [life.id.to_string()]});
        socket.say(videos).await;
        let (stop, projecting) = apart.project();
        let answer = socket.hear().await;
        assert_eq!(answer["type"], "subscribed", "{answer}");
        stop.cancel();
        projecting.await.unwrap().unwrap();
        api.stop.cancel();
    });
}

#[test]
fn nothing_is_jumped_over_while_the_announcements_are_rebuilt() {
    test(async |platform| {
        let owner = "lagging-rebuilt";
        let own = person(owner);
        let apart = Apart::new(platform).await;
        let (stop, projecting) = apart.project();
        let first = Life::begin(platform, owner, "first", Visibility::Private).await;
        let begin = first.complete().await;
        let (second, commit) = Life::ready(platform, owner, "second", Visibility::Private).await;
        apart.reach(commit).await;
        let url = apart.postgres_url.clone();
        let api = platform.another(|config| config.postgres_url = url).await;
        ready(&api).await;
        // What comes now is in the ring.
        let mine = json!({"type": "subscribe", "mine": true});
        let mut live = subscribed(&api, Some(&own), mine).await;
        let (third, commit) = Life::ready(platform, owner, "third", Visibility::Private).await;
        for _ in 0..2 {
            assert_eq!(news(&live.hear().await).1, third.id.to_string());
        }
        apart.reach(commit).await;
        stop.cancel();
        projecting.await.unwrap().unwrap();

        let mut database = PgConnection::connect(&apart.postgres_url).await.unwrap();
        for emptied in [
            "truncate announcements_g1.announcements, announcements_g1.subjects",
            "update announcements_g1.horizon set newest_ms = 0, pruned_to = null",
            "update announcements_g1.checkpoint set commit = null, last_event = null, caught_up = false",
        ] {
            sqlx::query(emptied).execute(&mut database).await.unwrap();
        }
        let after = position(platform, begin).await;
        let subscribe = json!({"type": "subscribe", "mine": true, "after": after});
        let mut back = subscribed(&api, Some(&own), subscribe).await;
        let (stop, projecting) = apart.project();
        for expected in [&second, &third] {
            for kind in ["playable", "ready"] {
                let expected = (kind.to_owned(), expected.id.to_string());
                assert_eq!(news(&back.hear().await), expected);
            }
        }
        stop.cancel();
        projecting.await.unwrap().unwrap();
        api.stop.cancel();
    });
}

#[test]
fn who_waits_for_less_does_not_wait_for_who_waits_for_more() {
    test(async |platform| {
        let life = Life::begin(platform, "lagging-waits", "waited for", Visibility::Private).await;
        let never = u64::MAX >> 2;
        let patient = platform.reader.wait_for(Model::Catalogue, never, PATIENCE);
        let commit = life.complete().await;
        let waits = (0..200).map(|_| platform.reader.wait_for(Model::Catalogue, commit, PATIENCE));
        tokio::select! {
            _ = patient => panic!("a position that never comes"),
            all = futures::future::join_all(waits) => {
                assert!(all.into_iter().all(|reached| reached.unwrap()));
            }
        }
    });
}
