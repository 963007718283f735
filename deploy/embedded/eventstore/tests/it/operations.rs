//! What an operator asks of a node: to stop, and how it is.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use eventstore::ReadStreamOptions;
use eventstore::operations::{Client as Operator, StatsOptions};
use kinolog_eventstore::limits::STATS_REFRESH_MIN;
use tonic::Code;

use crate::node::{Node, SOON, add, folder, read};
use crate::wire;
use crate::wire::monitoring::StatsReq;
use crate::wire::monitoring::monitoring_client::MonitoringClient;
use crate::wire::operations::operations_client::OperationsClient;
use crate::wire::operations::{SetNodePriorityReq, StartScavengeReq, StopScavengeReq};

#[tokio::test]
async fn a_shutdown_is_answered_and_ends_the_node_with_success() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    add(&node.client, "a", "x", 3).await;
    let mut subscription = node.client.subscribe_to_all(&Default::default()).await;
    subscription.next().await.unwrap();
    let operator: Operator = node.client.clone().into();
    operator.shutdown(&Default::default()).await.unwrap();
    let served = tokio::time::timeout(SOON, node.serving).await;
    served.expect("it stops in time").unwrap().unwrap();
    let ended = loop {
        match subscription.next_subscription_event().await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(!ended.to_string().is_empty());

    let node = Node::start(dir.path()).await;
    let found = read(&node.client, "a", &ReadStreamOptions::default()).await;
    assert_eq!(found.unwrap().len(), 3);
    node.stop().await;
}

#[tokio::test]
async fn an_operation_on_what_the_node_does_not_have_says_so() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    let mut operations = OperationsClient::new(wire::connect(node.port).await);
    let refused = [
        operations.merge_indexes(()).await.unwrap_err(),
        operations.resign_node(()).await.unwrap_err(),
        operations
            .restart_persistent_subscriptions(())
            .await
            .unwrap_err(),
        operations
            .set_node_priority(SetNodePriorityReq { priority: 1 })
            .await
            .unwrap_err(),
        operations
            .start_scavenge(StartScavengeReq::default())
            .await
            .unwrap_err(),
        operations
            .stop_scavenge(StopScavengeReq::default())
            .await
            .unwrap_err(),
    ];
    for status in refused {
        assert_eq!(status.code(), Code::Unimplemented, "{status:?}");
        assert!(status.message().starts_with("this node "), "{status:?}");
    }
    add(&node.client, "a", "x", 1).await;
    node.stop().await;
}

#[tokio::test]
async fn statistics_say_what_the_node_did() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    for _ in 0..5 {
        add(&node.client, "a", "x", 2).await;
    }
    read(&node.client, "a", &ReadStreamOptions::default())
        .await
        .unwrap();
    let operator: Operator = node.client.clone().into();
    let options = StatsOptions::default().refresh_time(Duration::from_millis(1));
    let mut answers = operator.stats(&options).await.unwrap();
    // The writer counts an append just after it is answered.
    let stats = loop {
        let stats = answers.next().await.unwrap().0;
        if number(&stats, "es-queue-StorageWriterQueue-totalItemsProcessed") >= 5.0 {
            break stats;
        }
    };
    let number = |name| number(&stats, name);
    assert_eq!(
        number("es-queue-StorageWriterQueue-totalItemsProcessed"),
        5.0
    );
    assert_eq!(number("es-queue-StorageWriterQueue-length"), 0.0);
    assert_eq!(number("es-readIndex-notCachedRecord"), 10.0);
    assert_eq!(number("es-checksum"), 10.0);
    assert_eq!(number("proc-id"), f64::from(std::process::id()));
    assert!(number("es-writer-lastFlushSize") > 2.0 * 152.0);
    assert!(number("es-writer-maxFlushSize") >= number("es-writer-meanFlushSize"));
    assert!(number("es-writer-maxFlushDelayMs") >= number("es-writer-lastFlushDelayMs"));
    assert!(number("es-writer-lastFlushDelayMs") > 0.0);
    assert!(number("proc-mem") > 0.0);
    assert!(number("proc-mem") < number("sys-totalMem"));
    assert!((0.0..=100.0).contains(&number("proc-cpu")));
    assert!((0.0..=100.0).contains(&number("es-queue-StorageWriterQueue-idleTimePercent")));
    assert!(stats["proc-startTime"].ends_with('Z'));
    node.stop().await;
}

#[tokio::test]
async fn statistics_are_told_again_and_again_and_end_with_an_error() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    let mut monitoring = MonitoringClient::new(wire::connect(node.port).await);
    let asked = StatsReq {
        use_metadata: true,
        refresh_time_period_in_ms: 0,
    };
    let begun = Instant::now();
    let mut answers = monitoring.stats(asked).await.unwrap().into_inner();
    for _ in 0..3 {
        let stats = answers.message().await.unwrap().unwrap().stats;
        let memory: serde_json::Value = serde_json::from_str(&stats["proc-mem"]).unwrap();
        assert_eq!(memory["category"], "Process");
        assert!(memory["value"].as_u64().unwrap() > 0);
        // What nobody draws a chart of is a plain value with metadata, too.
        assert_eq!(number(&stats, "proc-id"), f64::from(std::process::id()));
    }
    // Whoever asks for no pause gets the shortest there is.
    assert!(begun.elapsed() >= 2 * STATS_REFRESH_MIN);
    node.stop.cancel();
    let ended = loop {
        match answers.message().await {
            Ok(answer) => assert!(answer.is_some(), "it ended with success"),
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::Unavailable, "{ended:?}");
    node.serving.await.unwrap().unwrap();
}

fn number(stats: &HashMap<String, String>, name: &str) -> f64 {
    let value = stats.get(name).unwrap_or_else(|| panic!("no {name}"));
    value.parse().unwrap()
}
