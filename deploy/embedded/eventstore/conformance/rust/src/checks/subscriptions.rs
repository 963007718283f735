//! Catching up and staying live.

use super::api::{
    Expected, StreamPosition, SubscribeToAllOptions, SubscribeToStreamOptions, SubscriptionEvent,
};
use super::words::{
    add, append, at, connect, connect_to, events, kinds, next, next_event, next_events, ours,
    position, revisions, until_caught_up,
};
use crate::checks;
use crate::node::Node;
use crate::world::World;

checks![
    a_subscription_is_confirmed_before_anything_else,
    a_stream_is_followed_from_its_start,
    a_stream_is_followed_after_a_revision,
    a_stream_is_followed_from_its_end,
    a_stream_is_followed_before_it_is_there,
    the_log_is_followed_from_its_start,
    the_log_is_followed_after_a_position,
    the_log_is_followed_from_its_end,
    a_new_log_is_followed,
    a_batch_written_meanwhile_is_seen_whole_and_in_order,
    more_than_a_live_subscription_takes_is_caught_up_with,
    many_follow_one_stream,
];

fn from(position: StreamPosition<u64>) -> SubscribeToStreamOptions {
    SubscribeToStreamOptions::default().start_from(position)
}

async fn a_subscription_is_confirmed_before_anything_else(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    add(&client, &stream, "x", 1).await;
    let options = from(StreamPosition::Start);
    let mut subscription = client.subscribe_to_stream(stream.as_str(), &options).await;
    match next(&mut subscription).await.expect("it goes on") {
        SubscriptionEvent::Confirmed(id) => assert!(!id.is_empty()),
        other => panic!("{other:?}"),
    }
}

async fn a_stream_is_followed_from_its_start(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    add(&client, &stream, "before", 1500).await;
    let options = from(StreamPosition::Start);
    let mut subscription = client.subscribe_to_stream(stream.as_str(), &options).await;
    let (history, _) = until_caught_up(&mut subscription).await;
    assert!(revisions(&history).into_iter().eq(0..1500));
    add(&client, &world.name("other"), "other", 1).await;
    add(&client, &stream, "after", 3).await;
    let news = next_events(&mut subscription, 3).await;
    assert_eq!(revisions(&news), [1500, 1501, 1502]);
    assert_eq!(kinds(&news), ["after"; 3]);
}

async fn a_stream_is_followed_after_a_revision(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    add(&client, &stream, "x", 5).await;
    let options = from(StreamPosition::Position(2));
    let mut subscription = client.subscribe_to_stream(stream.as_str(), &options).await;
    let (history, _) = until_caught_up(&mut subscription).await;
    assert_eq!(revisions(&history), [3, 4]);
}

async fn a_stream_is_followed_from_its_end(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    add(&client, &stream, "x", 5).await;
    let options = from(StreamPosition::End);
    let mut subscription = client.subscribe_to_stream(stream.as_str(), &options).await;
    let (history, _) = until_caught_up(&mut subscription).await;
    assert!(history.is_empty(), "{history:?}");
    add(&client, &stream, "x", 1).await;
    assert_eq!(
        next_event(&mut subscription)
            .await
            .get_original_event()
            .revision,
        5
    );
}

async fn a_stream_is_followed_before_it_is_there(world: World) {
    let client = connect(&world);
    for (name, position) in [("a", StreamPosition::Start), ("b", StreamPosition::End)] {
        let stream = world.name(name);
        let options = from(position);
        let mut early = client.subscribe_to_stream(stream.as_str(), &options).await;
        let confirmed = next(&mut early).await.expect("it waits");
        assert!(
            matches!(confirmed, SubscriptionEvent::Confirmed(_)),
            "{confirmed:?}"
        );
        let written = append(&client, &stream, Expected::NoStream, events("x", 2)).await;
        written.expect("nothing is there");
        assert_eq!(revisions(&next_events(&mut early, 2).await), [0, 1]);
    }
}

async fn the_log_is_followed_from_its_start(_: World) {
    let node = Node::start().await;
    let client = connect_to(node.port);
    for number in 0..5 {
        add(&client, &format!("s{number}"), &format!("n{number}"), 1).await;
    }
    let options = SubscribeToAllOptions::default().position(StreamPosition::Start);
    let mut subscription = client.subscribe_to_all(&options).await;
    let (history, _) = until_caught_up(&mut subscription).await;
    assert_eq!(kinds(&ours(history)), ["n0", "n1", "n2", "n3", "n4"]);
    add(&client, "s0", "live", 1).await;
    let event = next_event(&mut subscription).await;
    assert_eq!(event.get_original_event().event_type, "live");
    node.stop().await;
}

async fn the_log_is_followed_after_a_position(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    let first = add(&client, &stream, "first", 1).await;
    add(&client, &stream, "second", 2).await;
    let options = SubscribeToAllOptions::default().position(at(first));
    let mut subscription = client.subscribe_to_all(&options).await;
    let seen = next_events(&mut subscription, 2).await;
    assert_eq!(kinds(&seen), ["second", "second"]);
    assert!(seen.iter().all(|event| position(event) > first));
}

async fn the_log_is_followed_from_its_end(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    add(&client, &stream, "before", 3).await;
    let options = SubscribeToAllOptions::default().position(StreamPosition::End);
    let mut subscription = client.subscribe_to_all(&options).await;
    let (history, _) = until_caught_up(&mut subscription).await;
    assert!(history.is_empty(), "{history:?}");
    add(&client, &stream, "after", 1).await;
    let event = next_event(&mut subscription).await;
    assert_eq!(event.get_original_event().event_type, "after");
}

async fn a_new_log_is_followed(_: World) {
    let node = Node::start().await;
    let client = connect_to(node.port);
    let options = SubscribeToAllOptions::default().position(StreamPosition::Start);
    let mut subscription = client.subscribe_to_all(&options).await;
    let (history, _) = until_caught_up(&mut subscription).await;
    assert!(ours(history).is_empty());
    add(&client, "a", "first", 1).await;
    let event = next_event(&mut subscription).await;
    assert_eq!(event.get_original_event().event_type, "first");
    node.stop().await;
}

async fn a_batch_written_meanwhile_is_seen_whole_and_in_order(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    let options = from(StreamPosition::Start);
    let mut subscription = client.subscribe_to_stream(stream.as_str(), &options).await;
    let writer = client.clone();
    let to = stream.clone();
    let writing = tokio::spawn(async move {
        for _ in 0..20 {
            add(&writer, &to, "x", 50).await;
        }
    });
    let seen = next_events(&mut subscription, 1000).await;
    assert!(revisions(&seen).into_iter().eq(0..1000));
    writing.await.expect("the appends are written");
}

async fn more_than_a_live_subscription_takes_is_caught_up_with(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    add(&client, &stream, "x", 1).await;
    let options = from(StreamPosition::Start);
    let mut subscription = client.subscribe_to_stream(stream.as_str(), &options).await;
    until_caught_up(&mut subscription).await;
    for _ in 0..2 {
        add(&client, &stream, "x", 500).await;
        let (events, _) = until_caught_up(&mut subscription).await;
        assert_eq!(events.len(), 500);
    }
}

async fn many_follow_one_stream(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    add(&client, &stream, "x", 1).await;
    let options = from(StreamPosition::Start);
    let mut subscriptions = vec![];
    for _ in 0..50 {
        subscriptions.push(client.subscribe_to_stream(stream.as_str(), &options).await);
    }
    for subscription in &mut subscriptions {
        until_caught_up(subscription).await;
    }
    add(&client, &stream, "x", 2).await;
    for subscription in &mut subscriptions {
        assert_eq!(revisions(&next_events(subscription, 2).await), [1, 2]);
    }
}
