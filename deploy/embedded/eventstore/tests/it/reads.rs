//! Reading streams and the whole log, both ways, from every kind of position.

use eventstore::{
    Client, Error, Position, ReadAllOptions, ReadEvent, ReadStreamOptions, StreamMetadataBuilder,
    StreamPosition,
};

use crate::node::{Node, add, folder, kind, position, read, read_all, revisions};

#[tokio::test]
async fn a_stream_is_read_both_ways_from_anywhere() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    let client = &node.client;
    // More than two pages.
    add(client, "a", "x", 1100).await;
    add(client, "b", "y", 1).await;

    let seen = |options: ReadStreamOptions| async move {
        let found = read(client, "a", &options).await.unwrap();
        let revisions = found.iter().map(|it| it.get_original_event().revision);
        revisions.collect::<Vec<u64>>()
    };
    let forwards = ReadStreamOptions::default();
    let backwards = ReadStreamOptions::default().backwards();
    let at = StreamPosition::Position;

    let all: Vec<u64> = (0..1100).collect();
    assert_eq!(
        seen(forwards.clone().position(StreamPosition::Start)).await,
        all
    );
    let reversed: Vec<u64> = (0..1100).rev().collect();
    assert_eq!(
        seen(backwards.clone().position(StreamPosition::End)).await,
        reversed
    );
    assert_eq!(
        seen(forwards.clone().position(at(1098))).await,
        [1098, 1099]
    );
    assert_eq!(seen(forwards.clone().position(at(1100))).await, [0u64; 0]);
    assert_eq!(seen(backwards.clone().position(at(1))).await, [1, 0]);
    assert_eq!(
        seen(backwards.clone().position(at(5000)).max_count(1)).await,
        [1099]
    );
    assert_eq!(
        seen(forwards.clone().position(at(3)).max_count(2)).await,
        [3, 4]
    );
    assert_eq!(
        seen(forwards.position(at(0)).max_count(600)).await.len(),
        600
    );
    node.stop().await;
}

#[tokio::test]
async fn a_stream_that_is_not_there_is_not_found() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    add(&node.client, "a", "x", 1).await;
    let found = read(&node.client, "nothing", &ReadStreamOptions::default()).await;
    assert!(matches!(found, Err(Error::ResourceNotFound)), "{found:?}");
    node.stop().await;
}

#[tokio::test]
async fn a_read_tells_the_last_revision_and_the_first_if_it_begins_a_page_before_it() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    let client = &node.client;
    add(client, "a", "x", 64).await;
    assert_eq!(ends(client, 0, 2).await, (None, Some(63)));
    let metadata = StreamMetadataBuilder::new().truncate_before(33).build();
    client
        .set_stream_metadata("a", &Default::default(), &metadata)
        .await
        .unwrap();
    assert_eq!(ends(client, 0, 100).await, (Some(33), Some(63)));
    assert_eq!(ends(client, 2, 100).await, (None, Some(63)));
    assert_eq!(ends(client, 32, 1).await, (Some(33), Some(63)));
    node.stop().await;
}

/// The first and the last revision, as a read of so many events is told.
async fn ends(client: &Client, from: u64, count: usize) -> (Option<u64>, Option<u64>) {
    let from = StreamPosition::Position(from);
    let options = ReadStreamOptions::default().position(from).max_count(count);
    let mut answers = client.read_stream("a", &options).await.unwrap();
    let (mut first, mut last) = (None, None);
    while let Some(answer) = answers.next_read_event().await.unwrap() {
        match answer {
            ReadEvent::FirstStreamPosition(revision) => first = Some(revision),
            ReadEvent::LastStreamPosition(revision) => last = Some(revision),
            ReadEvent::Event(_) | ReadEvent::LastAllStreamPosition(_) => {}
        }
    }
    (first, last)
}

#[tokio::test]
async fn the_log_is_read_both_ways_in_the_order_of_writing() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    let client = &node.client;
    for number in 0..6 {
        add(
            client,
            &format!("s{}", number % 2),
            &format!("k{number}"),
            1,
        )
        .await;
    }
    add(client, "many", "filler", 700).await;

    let forwards = ReadAllOptions::default().position(StreamPosition::Start);
    let found = read_all(client, &forwards).await.unwrap();
    assert_eq!(found.len(), 706);
    let kinds: Vec<&str> = found.iter().take(6).map(kind).collect();
    assert_eq!(kinds, ["k0", "k1", "k2", "k3", "k4", "k5"]);
    assert!(
        found
            .windows(2)
            .all(|pair| position(&pair[0]) < position(&pair[1]))
    );

    let backwards = ReadAllOptions::default().position(StreamPosition::End);
    let reversed = read_all(client, &backwards).await.unwrap();
    let ids = |events: &[eventstore::ResolvedEvent]| -> Vec<_> {
        events.iter().map(|it| it.get_original_event().id).collect()
    };
    let mut back = ids(&reversed);
    back.reverse();
    assert_eq!(back, ids(&found));

    // Forwards includes the position, backwards begins before it.
    let third = position(&found[2]);
    let at = StreamPosition::Position(Position {
        commit: third,
        prepare: third,
    });
    let options = ReadAllOptions::default().position(at).max_count(2);
    let after = read_all(client, &options.clone().forwards()).await.unwrap();
    assert_eq!(after.iter().map(kind).collect::<Vec<_>>(), ["k2", "k3"]);
    let before = read_all(client, &options.backwards()).await.unwrap();
    assert_eq!(before.iter().map(kind).collect::<Vec<_>>(), ["k1", "k0"]);
    node.stop().await;
}

#[tokio::test]
async fn metadata_hides_old_events_of_a_stream_and_is_returned_as_it_was_set() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    let client = &node.client;
    add(client, "a", "x", 10).await;
    let set = |metadata: StreamMetadataBuilder| async move {
        let metadata = metadata.build();
        client
            .set_stream_metadata("a", &Default::default(), &metadata)
            .await
            .unwrap();
    };

    set(StreamMetadataBuilder::new().truncate_before(7)).await;
    assert_eq!(revisions(client, "a").await, [7, 8, 9]);
    set(StreamMetadataBuilder::new().max_count(2)).await;
    assert_eq!(revisions(client, "a").await, [8, 9]);
    set(StreamMetadataBuilder::new().max_age(std::time::Duration::from_secs(3600))).await;
    assert_eq!(revisions(client, "a").await.len(), 10);
    set(StreamMetadataBuilder::new().insert_custom_property("colour", "green")).await;
    assert_eq!(revisions(client, "a").await.len(), 10);

    let options = ReadStreamOptions::default();
    let stored = read(client, "$$a", &options).await.unwrap();
    assert_eq!(stored.len(), 1, "of the metadata only the last is there");
    let stored = stored[0].get_original_event();
    assert_eq!(stored.revision, 3);
    assert_eq!(stored.event_type, "$metadata");
    let json: serde_json::Value = serde_json::from_slice(&stored.data).unwrap();
    assert_eq!(json["colour"], "green");

    // The whole log still has everything.
    let all = read_all(client, &ReadAllOptions::default()).await.unwrap();
    assert_eq!(all.iter().filter(|it| kind(it) == "x").count(), 10);
    node.stop().await;
}
