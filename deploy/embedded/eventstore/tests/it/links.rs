//! Events that stand for others.

use eventstore::{EventData, ExpectedRevision as Expected, ReadStreamOptions};

use crate::node::{Node, add, append, folder, read};

#[tokio::test]
async fn a_link_is_resolved_when_asked_for() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    let client = &node.client;
    add(client, "target", "first", 1).await;
    add(client, "target", "second", 1).await;
    let links = ["1@target", "9@target"].map(|to| EventData::binary("$>", to.as_bytes().into()));
    append(client, "links", Expected::NoStream, links.to_vec())
        .await
        .unwrap();

    let plain = read(client, "links", &ReadStreamOptions::default())
        .await
        .unwrap();
    assert!(plain.iter().all(|it| it.link.is_none()));

    let options = ReadStreamOptions::default().resolve_link_tos();
    let resolved = read(client, "links", &options).await.unwrap();
    let target = resolved[0].event.as_ref().unwrap();
    assert_eq!((target.event_type.as_str(), target.revision), ("second", 1));
    assert_eq!(resolved[0].link.as_ref().unwrap().stream_id, "links");
    assert!(
        resolved[1].event.is_none(),
        "what it points to is not there"
    );
    assert_eq!(resolved[1].link.as_ref().unwrap().revision, 1);
    node.stop().await;
}

#[tokio::test]
async fn a_link_to_the_metadata_of_a_tombstoned_stream_leads_nowhere() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    let client = &node.client;
    add(client, "a", "x", 1).await;
    add(client, "$$a", "$metadata", 1).await;
    let link = EventData::binary("$>", "0@$$a".as_bytes().into());
    append(client, "links", Expected::NoStream, vec![link])
        .await
        .unwrap();
    let options = ReadStreamOptions::default().resolve_link_tos();
    let resolved = read(client, "links", &options).await.unwrap();
    assert_eq!(resolved[0].event.as_ref().unwrap().stream_id, "$$a");

    client
        .tombstone_stream("a", &Default::default())
        .await
        .unwrap();
    let resolved = read(client, "links", &options).await.unwrap();
    assert!(resolved[0].event.is_none());
    node.stop().await;
}
