//! GraphQL subscriptions over `graphql-transport-ws`.

use std::time::Duration;

use domain::video::Visibility;
use serde_json::{Value, json};

use crate::{
    life::{Life, reach},
    platform::{Api, person, test},
    socket::Socket,
};

const PROTOCOL: Option<&str> = Some("graphql-transport-ws");

async fn open(api: &Api) -> Socket {
    Socket::open(api, "/graphql", PROTOCOL).await
}

pub async fn initialised(api: &Api, payload: Value) -> Socket {
    let mut socket = open(api).await;
    socket
        .say(json!({"type": "connection_init", "payload": payload}))
        .await;
    assert_eq!(socket.hear().await, json!({"type": "connection_ack"}));
    socket
}

pub async fn subscribe(socket: &mut Socket, id: &str, query: &str, variables: Value) {
    let payload = json!({"query": query, "variables": variables});
    socket
        .say(json!({"type": "subscribe", "id": id, "payload": payload}))
        .await;
}

#[test]
fn a_video_is_watched_through_its_life() {
    test(async |platform| {
        let owner = "gqlws-watch";
        let mut life = Life::begin(platform, owner, "watched", Visibility::Private).await;
        let commit = life.complete().await;
        let at = platform.log.epoch().await.unwrap().at(commit).to_string();
        let mut socket = initialised(&platform.api, json!({"token": person(owner)})).await;
        let query = "subscription($id: ID!, $at: String) { videoChanged(id: $id, minPosition: $at) { status playable views } }";
        subscribe(
            &mut socket,
            "one",
            query,
            json!({"id": life.id.to_string(), "at": at}),
        )
        .await;
        let mut seen = vec![];
        let first = socket.hear().await;
        assert_eq!(
            (&first["type"], &first["id"]),
            (&json!("next"), &json!("one"))
        );
        assert_eq!(
            first["payload"]["data"]["videoChanged"]["status"],
            "PROCESSING"
        );
        life.plan().await;
        life.publish_all().await;
        life.become_playable().await;
        life.become_ready().await;
        // Each change is told at least as its outcome; steps between may be seen or not.
        while seen.last() != Some(&json!("READY")) {
            let frame = socket.hear().await;
            seen.push(frame["payload"]["data"]["videoChanged"]["status"].clone());
        }
        let by = domain::video::By::Platform;
        life.video(domain::video::Command::Delete { by, at_ms: 1 })
            .await;
        assert_eq!(
            socket.hear().await,
            json!({"type": "complete", "id": "one"})
        );
    });
}

#[test]
fn a_document_that_explodes_is_refused_here_too() {
    test(async |platform| {
        let mut socket = initialised(&platform.api, json!({})).await;
        for (name, bomb) in crate::requests::bombs() {
            subscribe(&mut socket, name, &bomb, json!({})).await;
            let error = socket.hear().await;
            assert_eq!(
                (&error["type"], &error["id"]),
                (&json!("error"), &json!(name))
            );
            assert_eq!(error["payload"][0]["extensions"]["code"], "LIMIT_EXCEEDED");
        }
    });
}

#[test]
fn announcements_go_on_where_one_left() {
    test(async |platform| {
        let owner = "gqlws-announced";
        let (hidden, begin) =
            Life::ready(platform, "gqlws-hidden", "hidden", Visibility::Private).await;
        reach(platform, begin).await;
        let after = platform.log.epoch().await.unwrap().at(begin).to_string();
        let (also_hidden, _) =
            Life::ready(platform, "gqlws-hidden", "hidden", Visibility::Private).await;
        let (life, _) = Life::ready(platform, owner, "announced", Visibility::Private).await;
        let query = "subscription($after: String) { announcements(after: $after, mine: true) {
            type videoId title position video { id status playback { hls } } } }";
        let mut socket = initialised(
            &platform.api,
            json!({"authorization": format!("Bearer {}", person(owner))}),
        )
        .await;
        subscribe(&mut socket, "a", query, json!({"after": after})).await;
        let playable = socket.hear().await["payload"]["data"]["announcements"].clone();
        assert_eq!(playable["type"], "PLAYABLE");
        assert_eq!(playable["videoId"], life.id.to_string());
        let ready = socket.hear().await["payload"]["data"]["announcements"].clone();
        assert_eq!(ready["type"], "READY");
        assert_eq!(ready["video"]["status"], "READY");
        subscribe(
            &mut socket,
            "b",
            query,
            json!({"after": playable["position"]}),
        )
        .await;
        let again = socket.hear().await;
        assert_eq!(again["id"], "b");
        assert_eq!(again["payload"]["data"]["announcements"], ready);
        assert_ne!(hidden.id, also_hidden.id);
    });
}

#[test]
fn nobody_watches_what_they_may_not_see() {
    test(async |platform| {
        let (life, commit) =
            Life::ready(platform, "gqlws-private", "private", Visibility::Private).await;
        reach(platform, commit).await;
        let mut socket = initialised(&platform.api, json!({"token": person("gqlws-other")})).await;
        let query = "subscription($id: ID!) { videoChanged(id: $id) { id } }";
        for id in [life.id.to_string(), uuid::Uuid::new_v4().to_string()] {
            subscribe(&mut socket, &id, query, json!({"id": id})).await;
            let answer = socket.hear().await;
            let text = answer.to_string();
            assert!(
                text.contains("NOT_FOUND") && !text.contains("private"),
                "{text}"
            );
            assert_eq!(socket.hear().await, json!({"type": "complete", "id": id}));
        }
        // Public ones and one's own: the private one of somebody else is passed over.
        let after = platform.log.epoch().await.unwrap().at(commit).to_string();
        Life::ready(platform, "gqlws-private", "private", Visibility::Private).await;
        let (public, _) =
            Life::ready(platform, "gqlws-private", "public", Visibility::Public).await;
        let query =
            "subscription($after: String) { announcements(after: $after) { videoId title } }";
        subscribe(&mut socket, "all", query, json!({"after": after})).await;
        loop {
            let told = socket.hear().await["payload"]["data"]["announcements"].clone();
            assert_ne!(told["title"], "private");
            if told["videoId"] == public.id.to_string() {
                break;
            }
        }
    });
}

#[test]
fn queries_and_errors_come_over_the_socket_too() {
    test(async |platform| {
        let mut socket = initialised(&platform.api, Value::Null).await;
        socket
            .say(json!({"type": "ping", "payload": {"n": 1}}))
            .await;
        assert_eq!(
            socket.hear().await,
            json!({"type": "pong", "payload": {"n": 1}})
        );
        subscribe(&mut socket, "q", "{ __typename }", json!({})).await;
        let next = json!({"type": "next", "id": "q", "payload": {"data": {"__typename": "Query"}}});
        assert_eq!(socket.hear().await, next);
        assert_eq!(socket.hear().await, json!({"type": "complete", "id": "q"}));
        subscribe(&mut socket, "bad", "{ nothing }", json!({})).await;
        let error = socket.hear().await;
        assert_eq!(
            (&error["type"], &error["id"]),
            (&json!("error"), &json!("bad"))
        );
        assert_eq!(error["payload"][0]["extensions"]["code"], "INVALID");
        // The id is free again, and a completed operation is silent.
        let forever = "subscription { announcements { title } }";
        subscribe(&mut socket, "bad", forever, json!({})).await;
        socket.say(json!({"type": "complete", "id": "bad"})).await;
        subscribe(&mut socket, "bad", "{ __typename }", json!({})).await;
        assert_eq!(socket.hear().await["type"], "next");
    });
}

#[test]
fn each_mistake_has_its_close_code() {
    test(async |platform| {
        let api = &platform.api;
        let init = json!({"type": "connection_init"});
        let forever = json!({"query": "subscription { announcements { title } }"});
        let operation = json!({"type": "subscribe", "id": "x", "payload": forever});

        let mut socket = open(api).await;
        socket.say_text("no json".to_owned()).await;
        assert_eq!(socket.hear_close().await, 4400);

        let mut socket = open(api).await;
        socket.say(operation.clone()).await;
        assert_eq!(socket.hear_close().await, 4401);

        for payload in [
            json!({"token": "garbage"}),
            json!({"authorization": "Basic x"}),
            json!({"token": 1}),
        ] {
            let mut socket = open(api).await;
            socket
                .say(json!({"type": "connection_init", "payload": payload}))
                .await;
            assert_eq!(socket.hear_close().await, 4403);
        }

        let mut socket = Socket::open(api, "/graphql", None).await;
        assert_eq!(socket.hear_close().await, 4406);

        let mut socket = open(api).await;
        socket.say(init.clone()).await;
        socket.hear().await;
        socket.say(operation.clone()).await;
        socket.say(operation).await;
        assert_eq!(socket.hear_close().await, 4409);

        let mut socket = open(api).await;
        socket.say(init.clone()).await;
        socket.hear().await;
        socket.say(init).await;
        assert_eq!(socket.hear_close().await, 4429);

        let hasty = platform
            .another(|config| config.tuning.socket_hello = Duration::from_millis(20))
            .await;
        let mut socket = open(&hasty).await;
        assert_eq!(socket.hear_close().await, 4408);
        hasty.stop.cancel();
    });
}
