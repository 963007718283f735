//! Notifications: none is lost, whatever is killed.

use http::StatusCode;
use kinolog_objectstore::Notify;

use crate::support::{Program, Receiver, Server, eventually, folder, presign, web};

fn notify(receiver: &Receiver) -> Option<Notify> {
    Some(Notify {
        url: receiver.url.clone(),
        token: "hook-token".into(),
        prefix: "sources/".into(),
    })
}

#[tokio::test]
async fn a_created_source_is_announced_in_the_words_of_s3() {
    let receiver = Receiver::start().await;
    let server = Server::start_in(folder(), |config| config.notify = notify(&receiver)).await;
    server.put("videos/not-announced", &[], "x").await;
    let put = server.put("sources/a b", &[], "body").await;
    let etag = put.headers()["etag"]
        .to_str()
        .unwrap()
        .trim_matches('"')
        .to_owned();
    eventually(|| !receiver.accepted().is_empty(), "the notification").await;
    let record = receiver.accepted()[0]["Records"][0].clone();
    assert_eq!(record["eventName"], "ObjectCreated:Put");
    assert_eq!(record["s3"]["bucket"]["name"], "kinolog");
    assert_eq!(record["s3"]["object"]["key"], "sources/a%20b");
    assert_eq!(record["s3"]["object"]["size"], 4);
    assert_eq!(record["s3"]["object"]["eTag"], etag);
    server.stop().await;
    assert_eq!(receiver.keys(), ["sources/a%20b"]);
}

#[tokio::test]
async fn what_the_receiver_refuses_is_sent_again() {
    let receiver = Receiver::start().await;
    receiver.answer(StatusCode::INTERNAL_SERVER_ERROR);
    let server = Server::start_in(folder(), |config| config.notify = notify(&receiver)).await;
    server.put("sources/a", &[], "body").await;
    eventually(|| receiver.refused() >= 2, "two refused attempts").await;
    receiver.answer(StatusCode::NO_CONTENT);
    eventually(|| receiver.keys() == ["sources/a"], "the notification").await;
    server.stop().await;
}

#[tokio::test]
async fn killing_the_store_right_after_the_200_loses_no_notification() {
    let receiver = Receiver::start().await;
    let dir = folder();
    let mut expected = vec![];
    for round in 0..5 {
        // Nobody listens while it is put: the outbox alone carries it over the kill.
        receiver.answer(StatusCode::SERVICE_UNAVAILABLE);
        let program = Program::start(dir.path(), Some(&receiver.url), None);
        let key = format!("sources/{round}");
        let url = presign(program.address, http::Method::PUT, &key, &[]).await;
        let status = web().put(url).body("body").send().await.unwrap().status();
        program.kill();
        assert_eq!(status, 200);
        expected.push(key);

        receiver.answer(StatusCode::OK);
        let program = Program::start(dir.path(), Some(&receiver.url), None);
        let newest = expected.last().unwrap();
        eventually(
            || receiver.keys().contains(newest),
            "the notification after the kill",
        )
        .await;
        program.kill();
    }
    // At least once each; in the order of their sequencers.
    let mut seen: Vec<(String, String)> = vec![];
    for event in receiver.accepted() {
        let object = &event["Records"][0]["s3"]["object"];
        let pair = (
            object["sequencer"].as_str().unwrap().to_owned(),
            object["key"].as_str().unwrap().to_owned(),
        );
        if !seen.contains(&pair) {
            seen.push(pair);
        }
    }
    assert!(
        seen.is_sorted(),
        "sequencers grow across restarts: {seen:?}"
    );
    assert_eq!(
        seen.into_iter().map(|(_, key)| key).collect::<Vec<_>>(),
        expected
    );
}

#[tokio::test]
async fn what_was_delivered_is_not_sent_again_after_a_restart() {
    let receiver = Receiver::start().await;
    let dir = folder();
    let program = Program::start(dir.path(), Some(&receiver.url), None);
    let url = presign(program.address, http::Method::PUT, "sources/a", &[]).await;
    web().put(url).body("body").send().await.unwrap();
    eventually(|| receiver.keys() == ["sources/a"], "the notification").await;
    program.terminate();
    let program = Program::start(dir.path(), Some(&receiver.url), None);
    let url = presign(program.address, http::Method::PUT, "sources/b", &[]).await;
    web().put(url).body("body").send().await.unwrap();
    eventually(
        || receiver.keys().contains(&"sources/b".to_owned()),
        "the second",
    )
    .await;
    assert_eq!(receiver.keys(), ["sources/a", "sources/b"]);
    program.terminate();
}
