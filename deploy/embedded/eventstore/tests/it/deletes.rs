//! Deleting softly, beginning again, and deleting for ever.

use eventstore::{
    AppendToStreamOptions, DeleteStreamOptions, Error, ExpectedRevision as Expected,
    ReadAllOptions, ReadStreamOptions, StreamMetadataBuilder, StreamPosition,
    TombstoneStreamOptions,
};

use crate::node::{Node, add, append, event, folder, kind, read, read_all, revisions};
use crate::wire;
use crate::wire::streams::streams_client::StreamsClient;
use crate::wire::streams::{DeleteReq, delete_req};

#[tokio::test]
async fn a_deleted_stream_is_not_found_and_begins_again_where_it_ended() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    let client = &node.client;
    add(client, "a", "old", 3).await;

    let wrong = DeleteStreamOptions::default().expected_revision(Expected::Exact(0));
    let refused = client.delete_stream("a", &wrong).await;
    assert!(refused.is_err(), "{refused:?}");
    let right = DeleteStreamOptions::default().expected_revision(Expected::Exact(2));
    client.delete_stream("a", &right).await.unwrap();

    let found = read(client, "a", &ReadStreamOptions::default()).await;
    assert!(matches!(found, Err(Error::ResourceNotFound)), "{found:?}");
    let exists = append(client, "a", Expected::StreamExists, vec![event("x")]).await;
    assert!(matches!(exists, Err(Error::ResourceDeleted)), "{exists:?}");
    let again = DeleteStreamOptions::default().expected_revision(Expected::StreamExists);
    let again = client.delete_stream("a", &again).await;
    assert!(matches!(again, Err(Error::ResourceDeleted)), "{again:?}");

    let begun = append(client, "a", Expected::NoStream, vec![event("new")]).await;
    assert_eq!(begun.unwrap().next_expected_version, 3);
    add(client, "a", "new", 1).await;
    assert_eq!(revisions(client, "a").await, [3, 4]);
    let kinds = read(client, "a", &ReadStreamOptions::default())
        .await
        .unwrap();
    assert!(kinds.iter().all(|event| kind(event) == "new"));

    // What was deleted is in the whole log still, until a scavenge.
    let all = read_all(client, &ReadAllOptions::default()).await.unwrap();
    assert_eq!(all.iter().filter(|event| kind(event) == "old").count(), 3);
    node.stop().await;

    let node = Node::start(dir.path()).await;
    assert_eq!(revisions(&node.client, "a").await, [3, 4]);
    node.stop().await;
}

#[tokio::test]
async fn a_stream_that_is_not_there_cannot_be_deleted() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    for expected in [Expected::Any, Expected::NoStream, Expected::StreamExists] {
        let options = DeleteStreamOptions::default().expected_revision(expected);
        let refused = node.client.delete_stream("nothing", &options).await;
        assert!(refused.is_err(), "{expected:?}: {refused:?}");
    }
    node.stop().await;
}

#[tokio::test]
async fn a_stream_that_has_metadata_alone_can_be_deleted() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    let client = &node.client;
    let metadata = StreamMetadataBuilder::new().max_count(3).build();
    client
        .set_stream_metadata("a", &Default::default(), &metadata)
        .await
        .unwrap();
    let options = DeleteStreamOptions::default();
    client.delete_stream("a", &options).await.unwrap();
    node.stop().await;
}

#[tokio::test]
async fn a_tombstone_is_for_ever() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    add(&node.client, "a", "x", 2).await;
    let options = TombstoneStreamOptions::default();
    node.client.tombstone_stream("a", &options).await.unwrap();
    gone(&node).await;
    node.stop().await;

    let node = Node::start(dir.path()).await;
    gone(&node).await;
    let backwards = ReadAllOptions::default().position(StreamPosition::End);
    let all = read_all(&node.client, &backwards).await.unwrap();
    assert!(all.iter().any(|event| kind(event) == "$streamDeleted"));
    node.stop().await;
}

async fn gone(node: &Node) {
    let client = &node.client;
    // The call itself is refused: some clients look nowhere else.
    let refused = client.read_stream("a", &ReadStreamOptions::default()).await;
    assert!(matches!(refused, Err(Error::ResourceDeleted)));
    let metadata = read(client, "$$a", &ReadStreamOptions::default()).await;
    assert!(
        matches!(metadata, Err(Error::ResourceDeleted)),
        "{metadata:?}"
    );
    for expected in [Expected::Any, Expected::NoStream, Expected::Exact(1)] {
        let result = append(client, "a", expected, vec![event("x")]).await;
        assert!(matches!(result, Err(Error::ResourceDeleted)), "{result:?}");
    }
    let again = client
        .delete_stream("a", &DeleteStreamOptions::default())
        .await;
    assert!(matches!(again, Err(Error::ResourceDeleted)), "{again:?}");
    // Nobody can read it, and yet it may be set.
    let metadata = StreamMetadataBuilder::new().max_count(3).build();
    let options = AppendToStreamOptions::default();
    let set = client.set_stream_metadata("a", &options, &metadata);
    set.await.unwrap();
}

#[tokio::test]
async fn new_metadata_brings_a_deleted_stream_back_without_its_old_events() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    let client = &node.client;
    add(client, "a", "old", 3).await;
    let options = DeleteStreamOptions::default();
    client.delete_stream("a", &options).await.unwrap();
    let metadata = StreamMetadataBuilder::new()
        .insert_custom_property("colour", "green")
        .build();
    client
        .set_stream_metadata("a", &Default::default(), &metadata)
        .await
        .unwrap();

    assert_eq!(revisions(client, "a").await, [0u64; 0]);
    add(client, "a", "new", 1).await;
    assert_eq!(revisions(client, "a").await, [3]);
    let stored = read(client, "$$a", &ReadStreamOptions::default())
        .await
        .unwrap();
    let json: serde_json::Value =
        serde_json::from_slice(&stored[0].get_original_event().data).unwrap();
    assert_eq!(json["colour"], "green");
    assert_eq!(json["$tb"], 3);
    node.stop().await;
}

#[tokio::test]
async fn a_refusal_names_its_stream_in_ascii() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    let mut streams = StreamsClient::new(wire::connect(node.port).await);
    for (stream, trailer) in [("100%", "100%"), ("é 100%", "%C3%A9 100%25")] {
        add(&node.client, stream, "x", 1).await;
        let options = delete_req::Options {
            stream_identifier: wire::named(stream),
            expected_stream_revision: Some(delete_req::options::ExpectedStreamRevision::Revision(
                7,
            )),
        };
        let options = Some(options);
        let refused = streams.delete(DeleteReq { options }).await.unwrap_err();
        assert_eq!(refused.metadata().get("stream-name").unwrap(), trailer);
    }
    node.stop().await;
}
