//! Appends: every expected revision, and saying the same thing twice.

use eventstore::{CurrentRevision, Error, ExpectedRevision as Expected, ReadStreamOptions};
use uuid::Uuid;

use crate::node::{Node, add, append, event, event_with, events, folder, read, revisions};

#[tokio::test]
async fn an_append_is_read_back_as_it_was_written() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    let id = Uuid::new_v4();
    let written = event_with("video.upload-requested.v1", id);

    let result = append(&node.client, "video-1", Expected::NoStream, vec![written]).await;
    let result = result.unwrap();
    assert_eq!(result.next_expected_version, 0);

    let found = read(&node.client, "video-1", &ReadStreamOptions::default())
        .await
        .unwrap();
    assert_eq!(found.len(), 1);
    let event = found[0].get_original_event();
    assert_eq!(event.id, id);
    assert_eq!(event.event_type, "video.upload-requested.v1");
    assert_eq!(event.stream_id, "video-1");
    assert_eq!(event.revision, 0);
    assert_eq!(event.data.as_ref(), b"payload");
    assert!(!event.is_json);
    assert_eq!(event.position, result.position);
    let age = seconds_since(event.created.timestamp());
    assert!((0..60).contains(&age), "created {age} s ago");
    node.stop().await;
}

#[tokio::test]
async fn each_expected_revision_is_kept() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    let client = &node.client;

    refused(
        client,
        "a",
        Expected::StreamExists,
        CurrentRevision::NoStream,
    )
    .await;
    refused(client, "a", Expected::Exact(0), CurrentRevision::NoStream).await;
    accepted(client, "a", Expected::NoStream, 0).await;
    refused(client, "a", Expected::NoStream, CurrentRevision::Current(0)).await;
    accepted(client, "a", Expected::Exact(0), 1).await;
    refused(client, "a", Expected::Exact(0), CurrentRevision::Current(1)).await;
    refused(client, "a", Expected::Exact(7), CurrentRevision::Current(1)).await;
    accepted(client, "a", Expected::StreamExists, 2).await;
    accepted(client, "a", Expected::Any, 3).await;
    accepted(client, "b", Expected::Any, 0).await;

    assert_eq!(revisions(client, "a").await, [0, 1, 2, 3]);
    node.stop().await;
}

#[tokio::test]
async fn an_append_sent_again_is_answered_as_the_first_time() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    let client = &node.client;
    add(client, "a", "before", 1).await;
    let batch = || -> Vec<_> {
        (1..=3)
            .map(|id| event_with("twice", Uuid::from_u128(id)))
            .collect()
    };

    let first = append(client, "a", Expected::Exact(0), batch())
        .await
        .unwrap();
    add(client, "a", "after", 1).await;
    for expected in [Expected::Exact(0), Expected::Any, Expected::StreamExists] {
        let again = append(client, "a", expected, batch()).await.unwrap();
        assert_eq!(again.next_expected_version, first.next_expected_version);
        assert_eq!(again.position, first.position);
    }
    assert_eq!(revisions(client, "a").await, [0, 1, 2, 3, 4]);

    let begun = append(client, "b", Expected::NoStream, batch())
        .await
        .unwrap();
    let again = append(client, "b", Expected::NoStream, batch())
        .await
        .unwrap();
    assert_eq!(begun.position, again.position);
    assert_eq!(revisions(client, "b").await, [0, 1, 2]);
    node.stop().await;
}

#[tokio::test]
async fn an_append_of_which_a_part_is_there_is_refused() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    let client = &node.client;
    let (known, new) = (Uuid::new_v4(), Uuid::new_v4());
    append(
        client,
        "a",
        Expected::NoStream,
        vec![event_with("known", known)],
    )
    .await
    .unwrap();

    for expected in [Expected::Any, Expected::NoStream, Expected::StreamExists] {
        for ids in [[known, new], [new, known]] {
            let batch = ids.map(|id| event_with("part", id)).to_vec();
            let result = append(client, "a", expected, batch).await;
            assert!(
                matches!(result, Err(Error::WrongExpectedVersion { .. })),
                "{expected:?}: {result:?}"
            );
        }
    }
    assert_eq!(revisions(client, "a").await, [0]);
    node.stop().await;
}

#[tokio::test]
async fn the_same_append_at_the_same_time_is_written_once() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    for (stream, expected) in [("a", Expected::NoStream), ("b", Expected::Any)] {
        let batch = [1, 2].map(|id| event_with("once", Uuid::from_u128(id)));
        let attempts = (0..20).map(|_| append(&node.client, stream, expected, batch.to_vec()));
        let results = futures::future::join_all(attempts).await;
        let positions: Vec<_> = results.into_iter().map(|it| it.unwrap().position).collect();
        assert!(positions.iter().all(|position| *position == positions[0]));
        assert_eq!(revisions(&node.client, stream).await, [0, 1]);
    }
    node.stop().await;
}

#[tokio::test]
async fn of_many_who_expect_the_same_revision_one_succeeds() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    for round in 0..5 {
        let expected = match round {
            0 => Expected::NoStream,
            _ => Expected::Exact(round - 1),
        };
        let attempts = (0..20).map(|_| append(&node.client, "a", expected, vec![event("x")]));
        let results = futures::future::join_all(attempts).await;
        assert_eq!(results.iter().filter(|it| it.is_ok()).count(), 1);
    }
    assert_eq!(revisions(&node.client, "a").await, [0, 1, 2, 3, 4]);
    node.stop().await;
}

#[tokio::test]
async fn a_thousand_events_in_one_append_are_one_batch() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    let result = append(&node.client, "a", Expected::NoStream, events("many", 1000)).await;
    assert_eq!(result.unwrap().next_expected_version, 999);
    assert_eq!(revisions(&node.client, "a").await.len(), 1000);
    node.stop().await;
}

async fn accepted(client: &eventstore::Client, stream: &str, expected: Expected, revision: u64) {
    let result = append(client, stream, expected, vec![event("x")]).await;
    let result = result.unwrap_or_else(|error| panic!("{stream} {expected:?}: {error}"));
    assert_eq!(result.next_expected_version, revision);
}

async fn refused(
    client: &eventstore::Client,
    stream: &str,
    expected: Expected,
    is: CurrentRevision,
) {
    match append(client, stream, expected, vec![event("x")]).await {
        Err(Error::WrongExpectedVersion {
            current,
            expected: asked,
        }) => {
            assert_eq!(current, is);
            assert_eq!(asked, expected);
        }
        other => panic!("{stream} {expected:?}: {other:?}"),
    }
}

fn seconds_since(created: i64) -> i64 {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    i64::try_from(now.as_secs()).unwrap() - created
}

#[tokio::test]
async fn an_append_that_repeats_one_id_is_known_where_that_stands_first() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    let id = Uuid::new_v4();
    let same = || (0..6).map(|_| event_with("x", id)).collect();
    for (expected, last) in [
        (Expected::NoStream, 5),
        (Expected::NoStream, 5),
        (Expected::Any, 0),
    ] {
        let written = append(&node.client, "a", expected, same()).await;
        assert_eq!(written.unwrap().next_expected_version, last);
    }
    assert_eq!(revisions(&node.client, "a").await.len(), 6);
    node.stop().await;
}
