//! Ready or not, and what goes on when a part is away.

use serde_json::{Value, json};

use crate::{
    life::{Life, reach},
    platform::{code, test},
};

async fn parts(platform: &crate::platform::Platform, url: &str) -> (u16, Value) {
    let answer = platform
        .http
        .get(format!("{url}/readyz"))
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[test]
fn ready_is_when_every_part_answers_and_has_caught_up() {
    test(async |platform| {
        assert_eq!(platform.get("/healthz").await.text().await.unwrap(), "ok\n");
        let (status, body) = parts(platform, &platform.api.url).await;
        assert_eq!(status, 200);
        let all = [
            "announcements",
            "catalogue",
            "log",
            "objects",
            "owners",
            "popularity",
            "postgres",
            "redis",
            "search",
        ];
        let names: Vec<&String> = body["parts"].as_object().unwrap().keys().collect();
        assert_eq!(names, all);
    });
}

#[test]
fn a_part_that_is_away_is_named() {
    test(async |platform| {
        let away = platform
            .another(|config| config.redis_url = "redis://127.0.0.1:1".to_owned())
            .await;
        let (status, body) = parts(platform, &away.url).await;
        assert_eq!(status, 503);
        assert_eq!(body["ready"], false);
        assert_eq!(body["parts"]["redis"]["ready"], false);
        assert_eq!(body["parts"]["postgres"]["ready"], true);
        away.stop.cancel();

        let away = platform
            .another(|config| {
                config.postgres_url = "postgres://nobody@127.0.0.1:1/nothing".to_owned();
            })
            .await;
        let (status, body) = parts(platform, &away.url).await;
        assert_eq!(status, 503);
        assert_eq!(body["parts"]["postgres"]["ready"], false);
        assert_eq!(body["parts"]["log"]["ready"], true);
        let health = platform
            .http
            .get(format!("{}/healthz", away.url))
            .send()
            .await;
        assert_eq!(health.unwrap().status(), 200);
        away.stop.cancel();
    });
}

#[test]
fn a_read_model_behind_the_log_is_not_ready() {
    test(async |platform| {
        // A database of its own, which nobody projects into.
        let (life, commit) = Life::ready(
            platform,
            "health",
            "behind",
            domain::video::Visibility::Public,
        )
        .await;
        reach(platform, commit).await;
        let (server, _) = platform.config.postgres_url.split_once("/api_").unwrap();
        let options = platform.config.postgres_url.split_once('?').unwrap().1;
        let empty = format!("{server}/postgres?{options}");
        let behind = platform.another(|config| config.postgres_url = empty).await;
        let (status, body) = parts(platform, &behind.url).await;
        assert_eq!(status, 503);
        assert_eq!(body["parts"]["catalogue"]["ready"], false);
        let query = json!({"query": format!("{{ video(id: \"{}\") {{ id }} }}", life.id)});
        let (_, answer) = platform.ask_at(&behind, None, query).await;
        assert_eq!(code(&answer), "INTERNAL");
        assert!(!answer.to_string().contains("relation"), "{answer}");
        behind.stop.cancel();
    });
}

#[test]
fn without_the_counters_everything_else_goes_on() {
    test(async |platform| {
        let (life, commit) = Life::ready(
            platform,
            "health-2",
            "uncounted",
            domain::video::Visibility::Public,
        )
        .await;
        reach(platform, commit).await;
        let away = platform
            .another(|config| config.redis_url = "redis://127.0.0.1:1".to_owned())
            .await;
        let query = format!(
            "{{ video(id: \"{}\") {{ title views }} trending {{ id }} }}",
            life.id
        );
        let (status, answer) = platform.ask_at(&away, None, json!({"query": query})).await;
        assert_eq!(status, 200);
        assert_eq!(
            answer["data"],
            json!({"video": {"title": "uncounted", "views": null}, "trending": null})
        );
        for error in answer["errors"].as_array().unwrap() {
            assert_eq!(error["extensions"]["code"], "INTERNAL");
        }
        away.stop.cancel();
    });
}
