//! Read models are thrown away and come back the same.

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    client::Client,
    media,
    platform::{Platform, remove},
};

/// What a frontend would ask, with everything that read models hold but progress and what is signed anew.
const QUERIES: &str = include_str!("rebuild.graphql");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_read_models_come_back_the_same() {
    let mut platform = Platform::start("rebuild");
    let client = Client::of(&platform);
    let whole = client
        .upload(&media::clip("rebuild.mp4", 3), "Aurora over the fjord")
        .await;
    let broken = client
        .upload(
            &media::written("rebuild.txt.mp4", b"no video at all"),
            "Broken reel",
        )
        .await;
    client.settled(&whole, &["READY"]).await;
    client.settled(&broken, &["FAILED"]).await;
    let view = "mutation($video: ID!, $session: String!) {
        recordView(input: { videoId: $video, sessionId: $session }) { position userErrors { code message } } }";
    for session in ["one-session", "another-session", "one-session"] {
        let recorded = client
            .graphql(view, json!({ "video": whole, "session": session }))
            .await;
        assert_eq!(
            recorded["recordView"]["userErrors"],
            json!([]),
            "{recorded}"
        );
    }
    let changed = client
        .graphql(
            "mutation($id: ID!) { updateVideo(input: { videoId: $id, description: \"Green light.\", tags: [\"night\"] }) {
                position userErrors { code message } } }",
            json!({ "id": whole }),
        )
        .await;
    assert_eq!(changed["updateVideo"]["userErrors"], json!([]), "{changed}");

    let before = answers_once_viewed(&client, &whole, 2).await;
    platform.down();
    for part in ["postgres", "search", "redis"] {
        let path = platform.dir.join(part);
        assert!(
            path.exists(),
            "{part} has data in {}",
            platform.dir.display()
        );
        if path.is_symlink() {
            fs::remove_file(&path).unwrap();
        } else {
            remove(&path);
        }
    }
    platform.up();
    let client = Client::of(&platform);
    let after = answers(&client, &whole).await;
    assert_eq!(without_addresses(&before), without_addresses(&after));
}

/// Read models follow the log by themselves: waits until the views and the new words are in all.
async fn answers_once_viewed(client: &Client, video: &str, views: u64) -> Value {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let found = answers(client, video).await;
        let is_described = found["video"]["description"] == "Green light.";
        let is_found = found["search"]["totalCount"] == 1;
        if is_described && is_found && found["video"]["views"] == views {
            return found;
        }
        assert!(
            Instant::now() < deadline,
            "the views or the words are not there: {found}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn answers(client: &Client, video: &str) -> Value {
    client
        .try_graphql(QUERIES, &json!({ "id": video }))
        .await
        .expect("every query is answered")
}

/// The ports are free ones, new at each start.
fn without_addresses(answers: &Value) -> String {
    let text = serde_json::to_string_pretty(answers).unwrap();
    let mut clean = String::new();
    for line in text.lines() {
        match line.split_once("http://") {
            Some((head, address)) => {
                let path = address.split_once('/').map_or("", |(_, path)| path);
                clean.push_str(&format!("{head}/{path}\n"));
            }
            None => clean.push_str(&format!("{line}\n")),
        }
    }
    clean
}
