//! Limits: what is past them is refused with the protocol's error, and the node lives on.

use eventstore::{
    Error, EventData, ExpectedRevision as Expected, PersistentSubscriptionOptions,
    ReadStreamOptions,
};
use kinolog_eventstore::limits::{
    APPEND_BYTES_MAX, EVENT_BYTES_MAX, EVENT_TYPE_BYTES_MAX, MESSAGE_BYTES_MAX,
    STREAM_NAME_BYTES_MAX,
};

use crate::node::{Node, add, append, event, folder, read, revisions};

#[tokio::test]
async fn an_event_may_be_as_large_as_the_limit_and_no_larger() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    let sized = |bytes: usize| vec![EventData::binary("big", vec![7; bytes].into())];

    let fits = append(
        &node.client,
        "a",
        Expected::NoStream,
        sized(EVENT_BYTES_MAX),
    )
    .await;
    fits.unwrap();
    let over = append(&node.client, "a", Expected::Any, sized(EVENT_BYTES_MAX + 1)).await;
    invalid(over, "Maximum Append Size");
    let pieces = APPEND_BYTES_MAX / EVENT_BYTES_MAX + 1;
    let batch = (0..pieces).flat_map(|_| sized(EVENT_BYTES_MAX)).collect();
    let over = append(&node.client, "a", Expected::Any, batch).await;
    invalid(over, "Maximum Append Size");
    // Too large to be received at all, and told with the same words.
    let over = append(&node.client, "a", Expected::Any, sized(MESSAGE_BYTES_MAX)).await;
    invalid(over, "Maximum Append Size");

    let found = read(&node.client, "a", &ReadStreamOptions::default())
        .await
        .unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].get_original_event().data.len(), EVENT_BYTES_MAX);
    node.stop().await;
    let node = Node::start(dir.path()).await;
    add(&node.client, "a", "next", 1).await;
    assert_eq!(revisions(&node.client, "a").await, [0, 1]);
    node.stop().await;
}

#[tokio::test]
async fn names_have_a_length() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    let longest = "s".repeat(STREAM_NAME_BYTES_MAX);
    add(&node.client, &longest, &"t".repeat(EVENT_TYPE_BYTES_MAX), 1).await;
    let longer = format!("{longest}s");
    let over = append(&node.client, &longer, Expected::Any, vec![event("x")]).await;
    invalid(over, "name");
    let kind = "t".repeat(EVENT_TYPE_BYTES_MAX + 1);
    let over = append(&node.client, "a", Expected::Any, vec![event(&kind)]).await;
    invalid(over, "type");
    let all = append(&node.client, "$all", Expected::Any, vec![event("x")]).await;
    assert!(matches!(all, Err(Error::AccessDenied)), "{all:?}");
    assert_eq!(revisions(&node.client, &longest).await, [0]);
    node.stop().await;
}

#[tokio::test]
async fn what_is_not_served_says_so() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    let options = PersistentSubscriptionOptions::default();
    let created = node
        .client
        .create_persistent_subscription("a", "group", &options)
        .await;
    match created {
        Err(Error::UnsupportedFeature) => {}
        Err(Error::Grpc { code, .. }) => assert_eq!(code, tonic::Code::Unimplemented),
        other => panic!("{other:?}"),
    }
    node.stop().await;
}

fn invalid<T: std::fmt::Debug>(result: eventstore::Result<T>, about: &str) {
    match result {
        Err(Error::Grpc { code, message }) => {
            assert_eq!(code, tonic::Code::InvalidArgument);
            assert!(message.contains(about), "{message}");
        }
        other => panic!("{other:?}"),
    }
}
