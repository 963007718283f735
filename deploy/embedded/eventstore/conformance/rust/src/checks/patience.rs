//! Clients that wait too little, leave early, or read slowly.

use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;

use super::api::{
    self, Error, EventData, Expected, ReadAllOptions, ReadStreamOptions, StreamPosition, Streaming,
    SubscribeToAllOptions, SubscribeToStreamOptions, SubscriptionEvent, SubscriptionFilter,
};
use super::words::{
    add, append, connect, connect_to, event, next, next_events, read_all, revisions,
    until_caught_up, whole,
};
use crate::checks;
use crate::node::Node;
use crate::world::World;

checks![
    an_append_that_takes_longer_than_its_deadline_is_not_written,
    a_generous_deadline_is_no_limit,
    an_append_that_is_cancelled_is_written_whole_or_not_at_all,
    subscriptions_that_are_dropped_leave_room_for_others,
    a_slow_subscriber_of_a_stream_misses_nothing,
    a_slow_subscriber_of_the_log_misses_nothing_and_holds_up_nobody,
    a_slow_reader_holds_up_nobody,
];

async fn an_append_that_takes_longer_than_its_deadline_is_not_written(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    let options = api::appending(Expected::Any).deadline(Duration::from_millis(50));
    // More than is sent before the node has begun to read.
    let data = Bytes::from(vec![7; 1024 * 1024]);
    let events = Streaming((0..4).map(move |number| {
        // On a thread of this client's own, which has others.
        std::thread::sleep(Duration::from_millis(100 * number));
        EventData::binary("x", data.clone())
    }));
    let late = client
        .append_to_stream(stream.as_str(), &options, events)
        .await;
    assert!(matches!(late, Err(Error::DeadlineExceeded)), "{late:?}");
    let written = append(&client, &stream, Expected::NoStream, vec![event("y")]).await;
    written.expect("nothing is there, and the connection is as good as before");
}

async fn a_generous_deadline_is_no_limit(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    let day = Duration::from_secs(24 * 3600);
    let options = api::appending(Expected::NoStream).deadline(day);
    let written = client
        .append_to_stream(stream.as_str(), &options, event("x"))
        .await;
    written.expect("there is time");
    let options = ReadStreamOptions::default().deadline(day);
    let found = super::words::read(&client, &stream, &options).await;
    assert_eq!(found.expect("there is time").len(), 1);
}

async fn an_append_that_is_cancelled_is_written_whole_or_not_at_all(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    add(&client, &stream, "first", 1).await;
    for turns in 0..60 {
        let events = (0..4).map(|_| event("x")).collect();
        let mut appending = Box::pin(append(&client, &stream, Expected::Any, events));
        for _ in 0..turns {
            if (&mut appending).now_or_never().is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
    }
    let written = append(&client, &stream, Expected::Any, vec![event("last")]).await;
    let last = written.expect("the node goes on").next_expected_version;
    let found = whole(&client, &stream).await;
    assert!(revisions(&found).into_iter().eq(0..=last));
    let kinds = super::words::kinds(&found);
    // Whatever a cancelled call has still brought about came before or after the last.
    assert_eq!(kinds.iter().filter(|kind| **kind == "x").count() % 4, 0);
}

async fn subscriptions_that_are_dropped_leave_room_for_others(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    add(&client, &stream, "x", 1).await;
    for _ in 0..300 {
        let mut dropped = client
            .subscribe_to_all(&SubscribeToAllOptions::default())
            .await;
        next(&mut dropped).await.expect("there is room");
    }
    let options = SubscribeToStreamOptions::default().start_from(StreamPosition::Start);
    let mut last = client.subscribe_to_stream(stream.as_str(), &options).await;
    let (history, _) = until_caught_up(&mut last).await;
    assert_eq!(history.len(), 1);
}

async fn a_slow_subscriber_of_a_stream_misses_nothing(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    add(&client, &stream, "x", 1).await;
    let options = SubscribeToStreamOptions::default().start_from(StreamPosition::Start);
    let mut slow = client.subscribe_to_stream(stream.as_str(), &options).await;
    until_caught_up(&mut slow).await;
    // More than any window between the two holds.
    write_megabytes(&client, &stream, 24).await;
    let rest = next_events(&mut slow, 24 * 16).await;
    assert!(revisions(&rest).into_iter().eq(1..=24 * 16));
}

async fn a_slow_subscriber_of_the_log_misses_nothing_and_holds_up_nobody(_: World) {
    let node = Node::start().await;
    let client = connect_to(node.port);
    let filter = SubscriptionFilter::on_event_type().add_prefix("big");
    let filtered = SubscribeToAllOptions::default()
        .position(StreamPosition::Start)
        .filter(filter);
    let plain = SubscribeToAllOptions::default().position(StreamPosition::Start);
    let mut slow = [
        client.subscribe_to_all(&plain).await,
        client.subscribe_to_all(&filtered).await,
    ];
    for slow in &mut slow {
        let confirmed = next(slow).await.expect("it is confirmed");
        assert!(matches!(confirmed, SubscriptionEvent::Confirmed(_)));
    }
    write_megabytes(&client, "a", 24).await;
    // Somebody else is served while they sleep.
    let mut quick = connect_to(node.port).subscribe_to_all(&plain).await;
    next_events(&mut quick, 24 * 16).await;
    for slow in &mut slow {
        let all = next_events(slow, 24 * 16).await;
        assert!(revisions(&all).into_iter().eq(0..24 * 16));
    }
    node.stop().await;
}

async fn a_slow_reader_holds_up_nobody(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    write_megabytes(&client, &stream, 24).await;
    let options = ReadStreamOptions::default().position(StreamPosition::Start);
    let slow = client.read_stream(stream.as_str(), &options).await;
    let mut slow = slow.expect("it is there");
    slow.next().await.expect("it goes on");
    let other = connect(&world);
    for _ in 0..20 {
        add(&other, &stream, "x", 1).await;
    }
    let last = ReadAllOptions::default()
        .backwards()
        .position(StreamPosition::End);
    let last = read_all(&other, &last.max_count(1)).await;
    assert_eq!(last.expect("it is there").len(), 1);
    let mut rest = 1;
    while slow.next().await.expect("it goes on").is_some() {
        rest += 1;
    }
    assert!(rest >= 24 * 16, "{rest}");
}

/// Sixteen events each.
async fn write_megabytes(client: &api::Client, stream: &str, megabytes: usize) {
    let data = Bytes::from(vec![7; 64 * 1024]);
    for _ in 0..megabytes {
        let events = (0..16)
            .map(|_| EventData::binary("big", data.clone()))
            .collect();
        append(client, stream, Expected::Any, events)
            .await
            .expect("anybody may");
    }
}
