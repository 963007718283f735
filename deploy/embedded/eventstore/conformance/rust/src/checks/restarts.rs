//! A node that ends and comes back, under whoever follows it.

use tokio::sync::mpsc;

use super::api::{
    Client, Position, ResolvedEvent, RetryOptions, StreamPosition, SubscribeToAllOptions,
    SubscribeToStreamOptions, Subscription, SubscriptionEvent, SubscriptionFilter,
};
use super::words::{SOON, add, connect_to, end_of, is_ours, next, position, revisions, whole};
use crate::checks;
use crate::node::Node;
use crate::world::World;

checks![
    a_subscription_ends_with_an_error_when_the_node_ends,
    a_stream_is_followed_through_a_kill,
    a_stream_is_followed_through_a_stop,
    the_log_is_followed_through_a_kill,
    the_log_is_followed_through_a_stop,
    a_filtered_log_is_followed_through_a_kill_from_a_checkpoint,
    what_was_acknowledged_is_there_after_a_kill,
    a_subscription_of_the_client_finds_the_node_again_by_itself,
];

/// How the node ends, and is started again.
#[derive(Clone, Copy)]
enum End {
    Killed,
    Stopped,
}

async fn restart(node: &mut Node, end: End) -> Client {
    match end {
        End::Killed => node.kill_and_restart().await,
        End::Stopped => node.terminate_and_restart().await,
    }
    connect_to(node.port)
}

async fn a_subscription_ends_with_an_error_when_the_node_ends(_: World) {
    for end in [End::Killed, End::Stopped] {
        let mut node = Node::start().await;
        let client = connect_to(node.port);
        add(&client, "a", "x", 1).await;
        let options = SubscribeToStreamOptions::default().start_from(StreamPosition::Start);
        let mut stream = client.subscribe_to_stream("a", &options).await;
        let mut all = client.subscribe_to_all(&Default::default()).await;
        next(&mut stream).await.expect("it is confirmed");
        next(&mut all).await.expect("it is confirmed");
        let _ = restart(&mut node, end).await;
        end_of(&mut stream).await;
        end_of(&mut all).await;
        node.stop().await;
    }
}

async fn a_stream_is_followed_through_a_kill(_: World) {
    follow_stream(End::Killed).await;
}

async fn a_stream_is_followed_through_a_stop(_: World) {
    follow_stream(End::Stopped).await;
}

async fn the_log_is_followed_through_a_kill(_: World) {
    follow_log(End::Killed).await;
}

async fn the_log_is_followed_through_a_stop(_: World) {
    follow_log(End::Stopped).await;
}

/// Reads until this many events of ours are seen or the subscription ends; they are added up.
async fn take(subscription: &mut Subscription, seen: &mut Vec<ResolvedEvent>, until: usize) {
    while seen.len() < until {
        match next(subscription).await {
            Ok(SubscriptionEvent::EventAppeared(event)) if is_ours(&event) => seen.push(event),
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

async fn follow_stream(end: End) {
    let mut node = Node::start().await;
    let mut client = connect_to(node.port);
    let mut seen = vec![];
    for round in 1..=3 {
        let from = revisions(&seen).last().copied();
        let from = from.map_or(StreamPosition::Start, StreamPosition::Position);
        let options = SubscribeToStreamOptions::default().start_from(from);
        let mut subscription = client.subscribe_to_stream("a", &options).await;
        for _ in 0..10 {
            add(&client, "a", "x", 5).await;
        }
        // It is in the middle of things when the node ends.
        take(&mut subscription, &mut seen, round * 50 - 20).await;
        client = restart(&mut node, end).await;
    }
    let last = revisions(&seen).last().copied().expect("it saw something");
    let options = SubscribeToStreamOptions::default().start_from(StreamPosition::Position(last));
    let mut subscription = client.subscribe_to_stream("a", &options).await;
    take(&mut subscription, &mut seen, 150).await;
    assert!(
        revisions(&seen).into_iter().eq(0..150),
        "each once, in order"
    );
    node.stop().await;
}

async fn follow_log(end: End) {
    let mut node = Node::start().await;
    let mut client = connect_to(node.port);
    let mut seen: Vec<ResolvedEvent> = vec![];
    for round in 1..=3 {
        let options = SubscribeToAllOptions::default().position(after(&seen));
        let mut subscription = client.subscribe_to_all(&options).await;
        for number in 0..10 {
            add(&client, &format!("s{number}"), "x", 5).await;
        }
        take(&mut subscription, &mut seen, round * 50 - 20).await;
        client = restart(&mut node, end).await;
    }
    let options = SubscribeToAllOptions::default().position(after(&seen));
    let mut subscription = client.subscribe_to_all(&options).await;
    take(&mut subscription, &mut seen, 150).await;
    let positions: Vec<u64> = seen.iter().map(position).collect();
    assert!(
        positions.windows(2).all(|pair| pair[0] < pair[1]),
        "in order"
    );
    assert_eq!(seen.len(), 150);
    node.stop().await;
}

fn after(seen: &[ResolvedEvent]) -> StreamPosition<Position> {
    seen.last().map_or(StreamPosition::Start, |event| {
        StreamPosition::Position(event.get_original_event().position)
    })
}

async fn a_filtered_log_is_followed_through_a_kill_from_a_checkpoint(_: World) {
    let mut node = Node::start().await;
    let mut client = connect_to(node.port);
    let filter = || {
        SubscriptionFilter::on_event_type()
            .add_prefix("video.")
            .max(10)
    };
    let mut at = StreamPosition::Start;
    let mut seen = vec![];
    for round in 1..=3 {
        let options = SubscribeToAllOptions::default()
            .position(at)
            .filter(filter());
        let mut subscription = client.subscribe_to_all(&options).await;
        for _ in 0..5 {
            add(&client, "noise", "noise", 30).await;
            add(&client, "a", "video.began", 1).await;
        }
        // Its place is where it was last told to be, by an event or by a checkpoint.
        let mut told = 0;
        while seen.len() < round * 5 || told < 5 {
            match next(&mut subscription).await.expect("it goes on") {
                SubscriptionEvent::EventAppeared(event) => {
                    at = StreamPosition::Position(event.get_original_event().position);
                    seen.push(event);
                }
                SubscriptionEvent::Checkpoint(position) => {
                    at = StreamPosition::Position(position);
                    told += 1;
                }
                _ => {}
            }
        }
        client = restart(&mut node, End::Killed).await;
    }
    assert!(
        revisions(&seen).into_iter().eq(0..15),
        "each once, in order"
    );
    node.stop().await;
}

async fn what_was_acknowledged_is_there_after_a_kill(_: World) {
    let mut node = Node::start().await;
    let client = connect_to(node.port);
    let (acknowledged, mut heard) = mpsc::unbounded_channel();
    let writing = tokio::spawn(async move {
        while let Ok(written) = super::words::append(
            &client,
            "a",
            super::api::Expected::Any,
            super::words::events("x", 3),
        )
        .await
        {
            // Nobody listens any more only when the check is over.
            let _ = acknowledged.send(written.next_expected_version);
        }
    });
    let mut last = 0;
    while last < 60 {
        last = heard.recv().await.expect("appends are acknowledged");
    }
    node.kill_and_restart().await;
    writing.await.expect("it ends with the node");
    while let Some(acknowledged) = heard.recv().await {
        last = acknowledged;
    }
    let there = revisions(&whole(&connect_to(node.port), "a").await);
    assert!(there.len() as u64 > last, "{} of {last}", there.len());
    assert!(
        there.len().is_multiple_of(3),
        "a part of an append is there"
    );
    assert!(there.iter().copied().eq(0..there.len() as u64));
    node.stop().await;
}

async fn a_subscription_of_the_client_finds_the_node_again_by_itself(_: World) {
    let mut node = Node::start().await;
    let client = connect_to(node.port);
    add(&client, "a", "x", 3).await;
    let options = SubscribeToStreamOptions::default()
        .start_from(StreamPosition::Start)
        .retry_options(RetryOptions::default().retry_forever());
    let mut subscription = client.subscribe_to_stream("a", &options).await;
    let mut seen = vec![];
    take(&mut subscription, &mut seen, 3).await;
    let client = restart(&mut node, End::Killed).await;
    add(&client, "a", "x", 3).await;
    let rest = tokio::time::timeout(SOON, take(&mut subscription, &mut seen, 6));
    rest.await.expect("it finds the node again");
    assert_eq!(revisions(&seen), [0, 1, 2, 3, 4, 5]);
    node.stop().await;
}
