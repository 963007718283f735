//! Each rendition of a ready video is made again, and it plays on.

use std::{collections::BTreeMap, time::Instant};

use serde_json::{Value, json};

use crate::{
    client::{Client, PATIENCE},
    media,
    platform::{Platform, signal},
};

/// What is encoded, what is passed through, and the sound.
const RENDITIONS: [&str; 3] = ["144p", "240p", "audio"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rendition_that_is_made_again_from_its_source_is_what_it_was() {
    let platform = Platform::start("retries");
    let client = Client::of(&platform);
    let watch = client.watch();
    watch.subscribed().await;
    let clip = media::clip("retries.mp4", 5);
    let video = client.upload(&clip, "made again").await;
    watch.heard("ready", &video).await;
    let ready = client.settled(&video, &["READY"]).await;
    let base = ready["playback"]["hls"].as_str().unwrap();
    let base = base.strip_suffix("master.m3u8").unwrap();
    let before = played(&client, base).await;
    assert_eq!(before.keys().collect::<Vec<_>>(), RENDITIONS.each_ref());

    for rendition in RENDITIONS {
        let files = before[rendition].keys().cloned().collect::<Vec<_>>();
        let position = retry(&client, &video, rendition).await;
        if rendition == "144p" {
            // Whoever makes it, and wherever it is.
            signal(platform.pid("worker-1"), libc::SIGKILL);
        }
        let retried = ended(&client, &video, &position).await;
        assert_eq!(retried["status"], "DONE", "{retried}");

        let after = played(&client, base).await;
        for (other, segments) in &after {
            let bytes = |of: &BTreeMap<String, Vec<u8>>| of.values().cloned().collect::<Vec<_>>();
            assert_eq!(
                bytes(segments),
                bytes(&before[other]),
                "{other} is another after {rendition}"
            );
        }
        let anew = after[rendition].keys();
        assert!(anew.clone().all(|file| !files.contains(file)), "{anew:?}");
        for file in files {
            let (status, _) = client.fetch(&format!("{base}{file}")).await;
            assert_eq!(status, 200, "who has the older playlist still gets {file}");
        }
    }
    assert_eq!(watch.frames("ready", &video), 1);
    assert_eq!(watch.frames("playable", &video), 1);
    assert_eq!(watch.frames("failed", &video), 0);
}

/// Where the log stands then.
async fn retry(client: &Client, video: &str, rendition: &str) -> String {
    let query = "mutation($input: RetryRenditionInput!) { retryRendition(input: $input) {
        video { status } position userErrors { field message code } } }";
    let input = json!({"videoId": video, "rendition": rendition, "idempotencyKey": "once"});
    let answer = client.graphql(query, json!({ "input": input })).await;
    let answer = &answer["retryRendition"];
    assert_eq!(answer["userErrors"], json!([]), "{answer}");
    assert_eq!(answer["video"]["status"], "READY");
    answer["position"].as_str().unwrap().to_owned()
}

/// The last retry, once it is over; the video stays ready all the time.
async fn ended(client: &Client, video: &str, position: &str) -> Value {
    let query = "query($id: ID!, $at: String) { video(id: $id, minPosition: $at) { status playable renditionRetry {
        rendition status endedAt failure { code message attempts { task outcome message } } } } }";
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = client
            .graphql(query, json!({ "id": video, "at": position }))
            .await;
        let found = &answer["video"];
        assert_eq!(
            (&found["status"], &found["playable"]),
            (&json!("READY"), &json!(true))
        );
        let retry = &found["renditionRetry"];
        if !retry["endedAt"].is_null() {
            return retry.clone();
        }
        assert!(Instant::now() < deadline, "it is stuck: {found}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

/// Of each rendition, in the order of its playlist: the names of init and segments, and the bytes.
async fn played(client: &Client, base: &str) -> BTreeMap<&'static str, BTreeMap<String, Vec<u8>>> {
    let mut renditions = BTreeMap::new();
    for rendition in RENDITIONS {
        let (status, text) = client.fetch(&format!("{base}{rendition}.m3u8")).await;
        assert_eq!(status, 200);
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("#EXT-X-ENDLIST"), "{text}");
        let mut files = BTreeMap::new();
        for file in text
            .split(['"', '\n'])
            .filter(|part| part.contains(rendition) && part.contains('/'))
        {
            let (status, bytes) = client.fetch(&format!("{base}{file}")).await;
            assert_eq!(status, 200, "{file}");
            files.insert(file.to_owned(), bytes);
        }
        assert!(files.len() > 2, "{text}");
        renditions.insert(rendition, files);
    }
    renditions
}
