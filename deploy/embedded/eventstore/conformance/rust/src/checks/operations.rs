//! What operators ask: how the node is, and to stop.

use std::time::{Duration, Instant};

use super::api::Error;
use super::api::operations::{Client as Operator, RawStatistics, StatsOptions};
use super::words::{SOON, add, connect, connect_to, end_of, next, whole};
use crate::checks;
use crate::node::Node;
use crate::world::World;

checks![
    statistics_come_again_and_again,
    statistics_say_what_was_done,
    statistics_end_with_an_error_when_the_node_ends,
    a_shutdown_ends_the_node_with_success_and_loses_nothing,
    operations_on_what_is_not_there_are_unsupported,
];

async fn statistics_come_again_and_again(world: World) {
    let operator: Operator = connect(&world).into();
    let options = StatsOptions::default().refresh_time(Duration::from_millis(200));
    let mut stats = operator.stats(&options).await.expect("it is served");
    let begun = Instant::now();
    for _ in 0..3 {
        let stats = stats.next().await.expect("it goes on").0;
        let memory: u64 = stats["proc-mem"].parse().expect("a number");
        assert!(memory > 0);
    }
    assert!(begun.elapsed() >= Duration::from_millis(400));
}

async fn statistics_say_what_was_done(_: World) {
    let node = Node::start().await;
    let client = connect_to(node.port);
    let operator: Operator = client.clone().into();
    let options = StatsOptions::default().refresh_time(Duration::from_millis(100));
    let mut stats = operator.stats(&options).await.expect("it is served");
    let before = processed(&stats.next().await.expect("it goes on"));
    for _ in 0..7 {
        add(&client, "a", "x", 1).await;
    }
    let counted = tokio::time::timeout(SOON, async {
        while processed(&stats.next().await.expect("it goes on")) < before + 7 {}
    });
    counted.await.expect("it counts seven appends");
    let last = processed(&stats.next().await.expect("it goes on"));
    assert_eq!(last, before + 7);
    node.stop().await;
}

fn processed(stats: &RawStatistics) -> u64 {
    let value = &stats.0["es-queue-StorageWriterQueue-totalItemsProcessed"];
    value.parse().expect("a number")
}

async fn statistics_end_with_an_error_when_the_node_ends(_: World) {
    let mut node = Node::start().await;
    let operator: Operator = connect_to(node.port).into();
    let mut stats = operator
        .stats(&StatsOptions::default())
        .await
        .expect("it is served");
    stats.next().await.expect("it goes on");
    node.terminate_and_restart().await;
    let error = loop {
        if let Err(error) = stats.next().await {
            break error;
        }
    };
    // What this client says of an end without an error.
    assert!(!matches!(error, Error::ResourceNotFound), "{error:?}");
    node.stop().await;
}

async fn a_shutdown_ends_the_node_with_success_and_loses_nothing(_: World) {
    let mut node = Node::start().await;
    let client = connect_to(node.port);
    add(&client, "a", "x", 5).await;
    let mut subscription = client.subscribe_to_all(&Default::default()).await;
    next(&mut subscription).await.expect("it is confirmed");
    let operator: Operator = client.into();
    operator
        .shutdown(&Default::default())
        .await
        .expect("it is served");
    let status = node.ended().await;
    assert!(status.success(), "{status}");
    end_of(&mut subscription).await;
    node.start_again().await;
    assert_eq!(whole(&connect_to(node.port), "a").await.len(), 5);
    node.stop().await;
}

async fn operations_on_what_is_not_there_are_unsupported(world: World) {
    let client = connect(&world);
    let operator: Operator = client.clone().into();
    let options = Default::default();
    for refused in [
        operator.merge_indexes(&options).await,
        operator.resign_node(&options).await,
        operator.set_node_priority(1, &options).await,
        operator.restart_persistent_subscriptions(&options).await,
        operator.start_scavenge(1, 0, &options).await.map(|_| ()),
        operator.stop_scavenge("none", &options).await.map(|_| ()),
    ] {
        assert!(
            matches!(refused, Err(Error::UnsupportedFeature)),
            "{refused:?}"
        );
    }
    add(&client, &world.name("a"), "x", 1).await;
}
