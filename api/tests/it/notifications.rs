//! `/notifications`: told once, in order, and only what one may know.

use std::time::Duration;

use domain::video::Visibility;
use eventlog::{Epoch, Position};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::{
    life::{Life, reach},
    platform::{Api, Platform, person, test, token},
    socket::Socket,
};

pub async fn open(api: &Api) -> Socket {
    Socket::open(api, "/notifications", None).await
}

pub async fn subscribed(api: &Api, token: Option<&str>, subscribe: Value) -> Socket {
    let mut socket = open(api).await;
    if let Some(token) = token {
        socket.say(json!({"type": "auth", "token": token})).await;
    }
    socket.say(subscribe).await;
    let answer = socket.hear().await;
    assert_eq!(answer["type"], "subscribed", "{answer}");
    assert!(answer["position"].is_string());
    socket
}

pub async fn position(platform: &Platform, commit: u64) -> String {
    platform.log.epoch().await.unwrap().at(commit).to_string()
}

/// What a frame is about, and its kind.
pub fn news(frame: &Value) -> (String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&frame["type"]), text(&frame["video"]["id"]))
}

#[test]
fn who_subscribed_is_told_when_it_happens() {
    test(async |platform| {
        let owner = "notes-live";
        let mut life = Life::begin(platform, owner, "live", Visibility::Private).await;
        let other = Life::begin(platform, owner, "other", Visibility::Private).await;
        reach(platform, other.complete().await).await;
        let own = person(owner);
        let videos = json!({"type": "subscribe", "videos": [life.id.to_string()]});
        let mut one = subscribed(&platform.api, Some(&own), videos).await;
        let mine = json!({"type": "subscribe", "mine": true});
        let mut all = subscribed(&platform.api, Some(&own), mine).await;
        life.playable().await;
        let commit = life.become_ready().await;
        for socket in [&mut one, &mut all] {
            let id = life.id.to_string();
            assert_eq!(
                news(&socket.hear().await),
                ("playable".to_owned(), id.clone())
            );
            let ready = socket.hear().await;
            assert_eq!(news(&ready), ("ready".to_owned(), id));
            assert_eq!(ready["position"], position(platform, commit).await);
            assert_eq!(ready["video"]["title"], "live");
            assert_eq!(ready["video"]["status"], "READY");
            assert_eq!(ready["video"]["durationMs"], 4000);
        }
        let mut failing = Life::begin(platform, owner, "failing", Visibility::Private).await;
        failing.complete().await;
        failing.plan().await;
        failing.fail().await;
        // `one` is not told of it: the next it hears is about its own video, which is deleted silently.
        let failed = all.hear().await;
        assert_eq!(news(&failed), ("failed".to_owned(), failing.id.to_string()));
        assert_eq!(
            failed["video"]["failure"],
            json!({"code": "SOURCE_CORRUPT", "message": "the file is damaged"})
        );
    });
}

#[test]
fn who_comes_back_misses_nothing_and_sees_nothing_twice() {
    test(async |platform| {
        let owner = "notes-resume";
        let own = person(owner);
        let (first, begin) = Life::ready(platform, owner, "first", Visibility::Private).await;
        reach(platform, begin).await;
        let mut expected = vec![];
        let mut lives = vec![];
        for number in 0..5 {
            let life = Life::ready(platform, owner, &format!("{number}"), Visibility::Private)
                .await
                .0;
            expected.push(("playable".to_owned(), life.id.to_string()));
            expected.push(("ready".to_owned(), life.id.to_string()));
            lives.push(life);
        }
        // A second api began later, so that these are before its ring: they come from the table.
        let fresh = platform.another(|_| {}).await;
        crate::platform::ready(&fresh).await;
        for api in [&platform.api, &fresh] {
            let mut after = position(platform, begin).await;
            let mut told = vec![];
            // Each connection hears three, and goes away.
            while told.len() < expected.len() {
                let subscribe = json!({"type": "subscribe", "mine": true, "after": after});
                let mut socket = subscribed(api, Some(&own), subscribe).await;
                for _ in 0..3.min(expected.len() - told.len()) {
                    let frame = socket.hear().await;
                    told.push(news(&frame));
                    after = frame["position"].as_str().unwrap().to_owned();
                }
            }
            assert_eq!(told, expected);
        }
        // From the table into what happens now, without a seam.
        let subscribe =
            json!({"type": "subscribe", "mine": true, "after": position(platform, begin).await});
        let mut socket = subscribed(&fresh, Some(&own), subscribe).await;
        let last = Life::ready(platform, owner, "last", Visibility::Private)
            .await
            .0;
        expected.push(("playable".to_owned(), last.id.to_string()));
        expected.push(("ready".to_owned(), last.id.to_string()));
        for expected in &expected {
            assert_eq!(news(&socket.hear().await), *expected);
        }
        assert_ne!(first.id, last.id);
        fresh.stop.cancel();
        assert_eq!(socket.hear_close().await, 1001);
    });
}

#[test]
fn nobody_hears_of_what_they_may_not_see() {
    test(async |platform| {
        let owner = "notes-private";
        let (private, _) = Life::ready(platform, owner, "private", Visibility::Private).await;
        let mut public = Life::begin(platform, owner, "public", Visibility::Public).await;
        let mut secret = Life::begin(platform, owner, "turns secret", Visibility::Public).await;
        public.complete().await;
        public.plan().await;
        secret.complete().await;
        secret.plan().await;
        reach(platform, public.publish_all().await).await;
        let stranger = person("notes-stranger");
        for who in [None, Some(stranger.as_str())] {
            let mut socket = open(&platform.api).await;
            if let Some(who) = who {
                socket.say(json!({"type": "auth", "token": who})).await;
            }
            for id in [
                private.id.to_string(),
                uuid::Uuid::new_v4().to_string(),
                "no id".to_owned(),
            ] {
                socket
                    .say(json!({"type": "subscribe", "videos": [id]}))
                    .await;
                let answer = socket.hear().await;
                assert_eq!(
                    (&answer["type"], &answer["code"]),
                    (&json!("error"), &json!("NOT_FOUND"))
                );
            }
        }
        let videos =
            json!({"type": "subscribe", "videos": [public.id.to_string(), secret.id.to_string()]});
        let mut socket = subscribed(&platform.api, None, videos).await;
        let by = domain::video::By::Platform;
        let changes = domain::video::Changes {
            visibility: Some(Visibility::Private),
            ..Default::default()
        };
        secret
            .video(domain::video::Command::ChangeDetails {
                by,
                changes,
                at_ms: 1,
            })
            .await;
        secret.become_playable().await;
        public.become_playable().await;
        // The first it hears is of the other one, though the secret one was first.
        assert_eq!(
            news(&socket.hear().await),
            ("playable".to_owned(), public.id.to_string())
        );
        let mut socket = open(&platform.api).await;
        socket.say(json!({"type": "subscribe", "mine": true})).await;
        assert_eq!(socket.hear().await["code"], "UNAUTHENTICATED");
    });
}

#[test]
fn a_cursor_of_another_log_or_from_too_long_ago_has_expired() {
    test(async |platform| {
        let own = person("notes-cursor");
        let epoch = platform.log.epoch().await.unwrap();
        let foreign = Position {
            epoch: Epoch(epoch.0 ^ 1),
            commit: 1,
        };
        // As if everything up to the first position had grown too old.
        let mut database = PgConnection::connect(&platform.config.postgres_url)
            .await
            .unwrap();
        sqlx::query("update announcements_g1.horizon set pruned_to = 1")
            .execute(&mut database)
            .await
            .unwrap();
        for (after, expected) in [
            (epoch.at(0).to_string(), "CURSOR_EXPIRED"),
            (foreign.to_string(), "CURSOR_EXPIRED"),
            ("garbage".to_owned(), "INVALID"),
        ] {
            let mut socket = open(&platform.api).await;
            socket.say(json!({"type": "auth", "token": own})).await;
            socket
                .say(json!({"type": "subscribe", "mine": true, "after": after}))
                .await;
            let answer = socket.hear().await;
            assert_eq!(
                (&answer["type"], &answer["code"]),
                (&json!("error"), &json!(expected))
            );
        }
    });
}

#[test]
fn a_connection_that_does_not_keep_to_the_protocol_is_closed() {
    test(async |platform| {
        for message in [
            "no json".to_owned(),
            "{}".to_owned(),
            r#"{"type":"dance"}"#.to_owned(),
            r#"{"type":"subscribe","videos":"all"}"#.to_owned(),
        ] {
            let mut socket = open(&platform.api).await;
            socket.say_text(message).await;
            assert_eq!(socket.hear().await["code"], "INVALID");
            assert_eq!(socket.hear_close().await, 4400);
        }
        let mut socket = open(&platform.api).await;
        socket
            .say(json!({"type": "auth", "token": "garbage"}))
            .await;
        assert_eq!(socket.hear().await["code"], "UNAUTHENTICATED");
        assert_eq!(socket.hear_close().await, 4401);

        let mut socket = open(&platform.api).await;
        for (subscribe, expected) in [
            (json!({"type": "subscribe"}), "INVALID"),
            (json!({"type": "subscribe", "videos": []}), "LIMIT_EXCEEDED"),
            (
                json!({"type": "subscribe", "videos": vec!["x"; 1001]}),
                "LIMIT_EXCEEDED",
            ),
            (
                json!({"type": "subscribe", "videos": ["x"], "mine": true}),
                "INVALID",
            ),
        ] {
            socket.say(subscribe).await;
            assert_eq!(socket.hear().await["code"], expected);
        }
        let refused =
            Socket::try_open(&platform.api, "/notifications", None, Some("garbage")).await;
        assert_eq!(refused.err(), Some(401));
    });
}

#[test]
fn a_socket_that_says_nothing_and_one_too_many_are_turned_away() {
    test(async |platform| {
        let api = platform
            .another(|config| {
                config.tuning.socket_hello = Duration::from_millis(50);
                config.tuning.sockets_max = 1;
            })
            .await;
        let mut socket = open(&api).await;
        let refused = Socket::try_open(&api, "/notifications", None, None).await;
        assert_eq!(refused.err(), Some(429));
        assert_eq!(socket.hear().await["code"], "LIMIT_EXCEEDED");
        assert_eq!(socket.hear_close().await, 4408);
        api.stop.cancel();
    });
}

#[test]
fn a_socket_ends_with_its_token() {
    test(async |platform| {
        let short = api::token::mint(
            crate::platform::TOKEN_SECRET,
            "notes-short",
            &[api::token::Scope::VideosRead],
            Duration::from_secs(1),
        )
        .unwrap();
        let mine = json!({"type": "subscribe", "mine": true});
        let mut socket = subscribed(&platform.api, Some(&short), mine).await;
        assert_eq!(socket.hear().await["code"], "UNAUTHENTICATED");
        assert_eq!(socket.hear_close().await, 4401);
        let writer = token("notes-writer", &[api::token::Scope::VideosWrite]);
        let mut socket = open(&platform.api).await;
        socket.say(json!({"type": "auth", "token": writer})).await;
        socket.say(json!({"type": "subscribe", "mine": true})).await;
        assert_eq!(socket.hear().await["code"], "FORBIDDEN");
    });
}
