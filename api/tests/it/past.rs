//! The past of videos: their history, what they were at a moment, and who may ask.

use api::token::Scope;
use domain::video::{By, Changes, Command, Visibility};
use serde_json::{Value, json};

use crate::{
    life::{Life, reach},
    platform::{Platform, code, person, test, token},
};

const HISTORY: &str = "query($id: ID!, $first: Int, $after: String) {
    history(id: $id, first: $first, after: $after) {
        edges { cursor node { id type at actor causationId correlationId position stream data } }
        pageInfo { hasNextPage endCursor } } }";

const PAST: &str = "query($id: ID!, $asOf: AsOf) { video(id: $id, asOf: $asOf) {
    title status playable progress views playback { hls } renditions { id sizeBytes } } }";

const LIST: &str =
    "query($asOf: AsOf, $mine: Boolean!) { videos(asOf: $asOf, mine: $mine, first: 100) {
    edges { node { id title status visibility progress renditions { id sizeBytes } } } } }";

/// Every video of the list that is asked for, by its id.
async fn listed(platform: &Platform, token: &str, variables: Value) -> Vec<Value> {
    let data = platform.data(Some(token), LIST, variables).await;
    let edges = data["videos"]["edges"].as_array().unwrap();
    edges.iter().map(|edge| edge["node"].clone()).collect()
}

async fn position(platform: &Platform, commit: u64) -> String {
    platform.log.epoch().await.unwrap().at(commit).to_string()
}

async fn change(life: &mut Life<'_>, changes: Changes) -> u64 {
    life.at_ms += 1;
    let by = By::Owner(life.owner.clone());
    let at_ms = life.at_ms;
    let changed = life.video(Command::ChangeDetails { by, changes, at_ms });
    changed.await.position
}

fn titled(title: &str) -> Changes {
    Changes {
        title: Some(title.to_owned()),
        ..Changes::default()
    }
}

fn hidden() -> Changes {
    Changes {
        visibility: Some(Visibility::Private),
        ..Changes::default()
    }
}

async fn delete(life: &Life<'_>) -> u64 {
    let by = By::Owner(life.owner.clone());
    let at_ms = life.at_ms;
    life.video(Command::Delete { by, at_ms }).await.position
}

#[test]
fn a_history_has_every_event_of_a_video_and_its_jobs_page_by_page() {
    test(async |platform| {
        let owner = "past-history";
        let (life, commit) = Life::ready(platform, owner, "told", Visibility::Private).await;
        reach(platform, commit).await;
        let own = person(owner);
        let mut expected = vec![];
        for stream in [format!("video-{}", life.id), format!("job-{}", life.job)] {
            let events = platform.log.read_stream(&stream, None, 1000).await.unwrap();
            expected.extend(events.into_iter().map(|it| (it.commit, it.type_name)));
        }
        expected.sort();
        let types: Vec<&str> = expected.iter().map(|(_, name)| name.as_str()).collect();
        assert!(types.len() > 10, "{types:?}");

        for first in [1, 3, 100] {
            let mut after = Value::Null;
            let mut seen = vec![];
            loop {
                let variables = json!({"id": life.id.to_string(), "first": first, "after": after});
                let data = platform.data(Some(&own), HISTORY, variables).await;
                let page = &data["history"];
                let edges = page["edges"].as_array().unwrap();
                assert!(edges.len() <= first, "{first}");
                seen.extend(edges.iter().map(|edge| edge["node"].clone()));
                after = page["pageInfo"]["endCursor"].clone();
                if page["pageInfo"]["hasNextPage"] == false {
                    break;
                }
            }
            let found: Vec<&str> = seen.iter().map(|it| it["type"].as_str().unwrap()).collect();
            assert_eq!(found, types);
            assert_eq!(seen[0]["data"]["title"], "told");
            assert_eq!(seen[0]["actor"], "test");
            assert_eq!(seen[0]["causationId"], seen[0]["correlationId"]);
            assert!(seen.iter().all(|it| it["at"].is_string()));
        }
        let bad = json!({"id": life.id.to_string(), "after": "nowhere"});
        let answer = platform.ask(Some(&own), HISTORY, bad).await;
        assert_eq!(code(&answer), "INVALID");
    });
}

#[test]
fn a_video_is_told_as_it_was_at_a_position_or_a_time() {
    test(async |platform| {
        let owner = "past-moments";
        let mut life = Life::begin(platform, owner, "first", Visibility::Private).await;
        let asked = life.complete().await;
        life.plan().await;
        life.publish_all().await;
        let playable = life.become_playable().await;
        life.at_ms += 2;
        let before_ms = life.at_ms - 1;
        let ready = life.become_ready().await;
        let renamed = change(&mut life, titled("second")).await;
        reach(platform, renamed).await;
        let own = person(owner);
        let at = async |as_of: Value| {
            let variables = json!({"id": life.id.to_string(), "asOf": as_of});
            platform.data(Some(&own), PAST, variables).await["video"].clone()
        };
        let then = at(json!({"position": position(platform, asked).await})).await;
        assert_eq!(
            (&then["title"], &then["status"]),
            (&json!("first"), &json!("PROCESSING"))
        );
        assert_eq!(then["renditions"], json!([]));

        let then = at(json!({"position": position(platform, playable).await})).await;
        assert_eq!(
            (&then["playable"], &then["status"]),
            (&json!(true), &json!("PROCESSING"))
        );
        assert_eq!(
            then["renditions"][0],
            json!({"id": "240p", "sizeBytes": 1004})
        );
        let progress = then["progress"].as_f64().unwrap();
        assert!(progress > 0.1 && progress < 0.99, "{progress}");
        let as_of = json!({"position": position(platform, playable).await});
        let list = listed(platform, &own, json!({"asOf": as_of, "mine": true})).await;
        assert_eq!(list.len(), 1);
        for field in ["title", "status", "progress", "renditions"] {
            assert_eq!(list[0][field], then[field], "{field}");
        }
        // Of the past it is not known.
        assert_eq!(
            (&then["playback"], &then["views"]),
            (&Value::Null, &Value::Null)
        );
        let moment =
            time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(before_ms) * 1_000_000);
        let text = moment
            .unwrap()
            .format(&time::format_description::well_known::Rfc3339);
        assert_eq!(at(json!({"time": text.unwrap()})).await, then);

        let then = at(json!({"position": position(platform, ready).await})).await;
        assert_eq!(
            (&then["title"], &then["status"]),
            (&json!("first"), &json!("READY"))
        );
        let now = at(json!({"position": position(platform, renamed).await})).await;
        assert_eq!(now["title"], "second");
        assert_eq!(
            at(json!({"time": "2001-01-01T00:00:00Z"})).await,
            Value::Null
        );
        for wrong in [
            json!({"time": "2999-01-01T00:00:00Z"}),
            json!({"position": "x"}),
            json!({}),
            json!({"position": "x", "time": "2001-01-01T00:00:00Z"}),
        ] {
            let variables = json!({"id": life.id.to_string(), "asOf": wrong});
            let answer = platform.ask(Some(&own), PAST, variables).await;
            assert_eq!(code(&answer), "INVALID", "{wrong}");
        }
    });
}

#[test]
fn lists_are_told_as_they_were_without_what_was_deleted_or_hidden_since() {
    test(async |platform| {
        let owner = "past-lists";
        let (mut renamed, _) = Life::ready(platform, owner, "old name", Visibility::Public).await;
        let (mut hidden_since, _) =
            Life::ready(platform, owner, "hidden", Visibility::Public).await;
        let (deleted, all) = Life::ready(platform, owner, "deleted", Visibility::Public).await;
        change(&mut renamed, titled("new name")).await;
        change(&mut hidden_since, hidden()).await;
        let later = Life::ready(platform, owner, "later", Visibility::Public).await;
        reach(platform, later.1).await;
        let as_of = json!({"position": position(platform, all).await});
        let (own, analyst) = (
            person(owner),
            token("past-analyst", &[Scope::AnalyticsRead]),
        );
        let titles = async |token: &str, mine: bool| {
            let variables = json!({"asOf": as_of, "mine": mine});
            let found = listed(platform, token, variables).await;
            let ours =
                [renamed.id, hidden_since.id, deleted.id, later.0.id].map(|id| id.to_string());
            let found = found
                .iter()
                .filter(|it| ours.iter().any(|id| it["id"] == *id));
            let titles = found.map(|it| it["title"].as_str().unwrap().to_owned());
            titles.collect::<Vec<_>>()
        };
        assert_eq!(titles(&own, true).await, ["deleted", "hidden", "old name"]);
        assert_eq!(titles(&analyst, false).await, ["deleted", "old name"]);

        let gone = delete(&deleted).await;
        reach(platform, gone).await;
        assert_eq!(titles(&own, true).await, ["hidden", "old name"]);
        assert_eq!(titles(&analyst, false).await, ["old name"]);
        let variables = json!({"id": deleted.id.to_string(), "asOf": as_of});
        assert_eq!(
            platform.data(Some(&own), PAST, variables).await["video"],
            Value::Null
        );
    });
}

#[test]
fn the_past_of_a_private_video_is_told_to_its_owner_and_operators_alone() {
    test(async |platform| {
        let owner = "past-owner";
        let (private, was_public) =
            Life::ready(platform, owner, "secret", Visibility::Public).await;
        let mut private = private;
        let hidden = change(&mut private, hidden()).await;
        let (public, commit) = Life::ready(platform, owner, "shown", Visibility::Public).await;
        reach(platform, hidden.max(commit)).await;
        let as_of = json!({"position": position(platform, was_public).await});
        let told = async |token: &str, life: &Life<'_>| {
            let id = life.id.to_string();
            let history = platform.data(Some(token), HISTORY, json!({"id": id})).await;
            let as_of = json!({"position": position(platform, commit).await});
            let past = platform
                .data(Some(token), PAST, json!({"id": id, "asOf": as_of}))
                .await;
            assert_eq!(history["history"].is_null(), past["video"].is_null());
            !past["video"].is_null()
        };
        let operator = token("past-operator", &[Scope::Operate]);
        let analyst = token("past-other", &[Scope::AnalyticsRead]);
        for (who, of_private, of_public) in [
            (person(owner), true, true),
            (operator, true, true),
            (analyst.clone(), false, true),
            (person("past-other"), false, false),
        ] {
            assert_eq!(told(&who, &private).await, of_private);
            assert_eq!(told(&who, &public).await, of_public);
        }
        // It was public then, and its owner has hidden it since.
        let variables = json!({"id": private.id.to_string(), "asOf": as_of});
        let past = platform.data(Some(&analyst), PAST, variables.clone()).await;
        assert_eq!(past["video"], Value::Null);
        for (who, expected) in [
            (None, "UNAUTHENTICATED"),
            (
                Some(token("past-other", &[Scope::VideosWrite])),
                "FORBIDDEN",
            ),
        ] {
            for query in [HISTORY, PAST] {
                let mut variables = variables.clone();
                if query == HISTORY {
                    variables.as_object_mut().unwrap().remove("asOf");
                }
                let answer = platform.ask(who.as_deref(), query, variables).await;
                assert_eq!(code(&answer), expected);
            }
            let list = platform
                .ask(who.as_deref(), LIST, json!({"asOf": as_of, "mine": false}))
                .await;
            assert_eq!(code(&list), expected);
        }
        let reader = platform
            .ask(
                Some(&person(owner)),
                LIST,
                json!({"asOf": as_of, "mine": false}),
            )
            .await;
        assert_eq!(code(&reader), "FORBIDDEN");
    });
}
