//! Many appends over one call.

use eventstore::{BatchAppendOptions, Error, ExpectedRevision as Expected};

use crate::node::{Node, event, events, folder, revisions};

#[tokio::test]
async fn appends_of_one_call_are_written_in_order_and_answered_each() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    let batch = node
        .client
        .batch_append(&BatchAppendOptions::default())
        .await
        .unwrap();
    let first = batch
        .append_to_stream("a", Expected::NoStream, events("x", 3))
        .await
        .unwrap();
    assert_eq!(first.current_revision(), Some(2));
    assert_eq!(first.stream_name(), "a");
    let waiting = (0..20).map(|number| {
        let expected = Expected::Exact(2 + number);
        batch.append_to_stream("a", expected, vec![event("y")])
    });
    for result in futures::future::join_all(waiting).await {
        result.unwrap();
    }
    assert_eq!(revisions(&node.client, "a").await.len(), 23);

    let wrong = batch
        .append_to_stream("a", Expected::NoStream, vec![event("z")])
        .await;
    match wrong {
        Err(Error::Grpc { code, .. }) => assert_eq!(code, tonic::Code::AlreadyExists),
        other => panic!("{other:?}"),
    }
    node.stop().await;
}
