//! Subscriptions: what is there, then what comes, filtered, and across a restart.

use eventstore::{
    Position, ResolvedEvent, StreamPosition, SubscribeToAllOptions, SubscribeToStreamOptions,
    Subscription, SubscriptionEvent, SubscriptionFilter,
};

use crate::node::{Node, SOON, add, folder, kind, position};

#[tokio::test]
async fn a_subscription_gets_history_then_news() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    add(&node.client, "a", "old", 1200).await;
    let mut subscription = all(&node, SubscribeToAllOptions::default()).await;

    assert!(matches!(
        next(&mut subscription).await,
        SubscriptionEvent::Confirmed(_)
    ));
    let (history, _) = until_caught_up(&mut subscription).await;
    assert_eq!(history.len(), 1200);
    for number in 0..3 {
        add(&node.client, "b", &format!("new{number}"), 1).await;
        let event = next_event(&mut subscription).await;
        assert_eq!(kind(&event), format!("new{number}"));
    }
    node.stop().await;
}

#[tokio::test]
async fn a_subscription_from_a_position_begins_after_it_and_from_the_end_with_the_next() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    let first = add(&node.client, "a", "first", 1).await;
    add(&node.client, "a", "second", 1).await;

    let after = SubscribeToAllOptions::default().position(StreamPosition::Position(first.position));
    let mut after = all(&node, after).await;
    assert_eq!(kind(&next_event(&mut after).await), "second");

    let end = SubscribeToAllOptions::default().position(StreamPosition::End);
    let mut end = all(&node, end).await;
    let (history, _) = until_caught_up(&mut end).await;
    assert!(history.is_empty());
    add(&node.client, "a", "third", 1).await;
    assert_eq!(kind(&next_event(&mut end).await), "third");
    node.stop().await;
}

#[tokio::test]
async fn filters_keep_what_they_say() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    for (stream, kind) in [
        ("video-1", "video.began"),
        ("job-1", "job.planned"),
        ("video-2", "views.counted"),
        ("other", "video.ended"),
    ] {
        add(&node.client, stream, kind, 1).await;
    }
    let types = SubscriptionFilter::on_event_type;
    let streams = SubscriptionFilter::on_stream_name;
    for (filter, expected) in [
        (
            types().add_prefix("video.").add_prefix("job."),
            vec!["video.began", "job.planned", "video.ended"],
        ),
        (
            types().regex("(began|counted)$"),
            vec!["video.began", "views.counted"],
        ),
        (
            types().regex(r"^(?!video\.)"),
            vec!["job.planned", "views.counted"],
        ),
        (
            streams().add_prefix("video-"),
            vec!["video.began", "views.counted"],
        ),
        (streams().regex("^o"), vec!["video.ended"]),
    ] {
        let options = SubscribeToAllOptions::default().filter(filter);
        let mut subscription = all(&node, options).await;
        let (history, _) = until_caught_up(&mut subscription).await;
        assert_eq!(history.iter().map(kind).collect::<Vec<_>>(), expected);
    }
    let bad = SubscribeToAllOptions::default().filter(types().regex("("));
    let mut bad = all(&node, bad).await;
    assert!(bad.next_subscription_event().await.is_err());
    node.stop().await;
}

#[tokio::test]
async fn a_filtered_subscription_is_told_how_far_it_is_while_nothing_matches() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    let mut head = 0;
    for _ in 0..10 {
        head = add(&node.client, "noise", "noise", 1000)
            .await
            .position
            .commit;
    }
    let filter = SubscriptionFilter::on_event_type()
        .add_prefix("video.")
        .max(500);
    let options = SubscribeToAllOptions::default().filter(filter);
    let mut subscription = all(&node, options).await;
    let (history, checkpoints) = until_caught_up(&mut subscription).await;
    assert!(history.is_empty());
    assert!(
        (20..=21).contains(&checkpoints.len()),
        "{}",
        checkpoints.len()
    );
    assert!(checkpoints.windows(2).all(|pair| pair[0] <= pair[1]));
    assert_eq!(checkpoints.last(), Some(&head));

    // Live, too few for an interval: told when it falls silent.
    let last = add(&node.client, "noise", "noise", 3).await.position.commit;
    loop {
        match next(&mut subscription).await {
            SubscriptionEvent::Checkpoint(at) if at.commit == last => break,
            SubscriptionEvent::Checkpoint(_) => {}
            other => panic!("{other:?}"),
        }
    }
    node.stop().await;
}

#[tokio::test]
async fn a_subscriber_that_comes_back_after_a_restart_sees_each_event_once() {
    let dir = folder();
    let mut seen = vec![];
    let mut at = StreamPosition::Start;
    let mut number = 0;
    for _ in 0..4 {
        let node = Node::start(dir.path()).await;
        let options = SubscribeToAllOptions::default().position(at);
        let mut subscription = all(&node, options).await;
        for _ in 0..20 {
            add(&node.client, "a", &format!("n{number}"), 1).await;
            number += 1;
        }
        // It leaves in the middle: some of what was written it has not read.
        while seen.len() < number - 7 {
            let event = next_event(&mut subscription).await;
            let commit = position(&event);
            at = StreamPosition::Position(Position {
                commit,
                prepare: commit,
            });
            seen.push(kind(&event).to_owned());
        }
        node.stop().await;
        let ended = loop {
            match subscription.next_subscription_event().await {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert!(
            !ended.to_string().is_empty(),
            "it ends with an error, never with success"
        );
    }
    let node = Node::start(dir.path()).await;
    let mut subscription = all(&node, SubscribeToAllOptions::default().position(at)).await;
    let (rest, _) = until_caught_up(&mut subscription).await;
    seen.extend(rest.iter().map(|event| kind(event).to_owned()));
    let written: Vec<String> = (0..number).map(|number| format!("n{number}")).collect();
    assert_eq!(seen, written);
    node.stop().await;
}

#[tokio::test]
async fn a_stream_is_subscribed_to_before_it_is_there() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    let options = SubscribeToStreamOptions::default();
    let mut subscription = node.client.subscribe_to_stream("a", &options).await;
    let (history, _) = until_caught_up(&mut subscription).await;
    assert!(history.is_empty());
    add(&node.client, "b", "other", 1).await;
    add(&node.client, "a", "mine", 2).await;
    assert_eq!(
        next_event(&mut subscription)
            .await
            .get_original_event()
            .revision,
        0
    );
    assert_eq!(
        next_event(&mut subscription)
            .await
            .get_original_event()
            .revision,
        1
    );

    let after = SubscribeToStreamOptions::default().start_from(StreamPosition::Position(0));
    let mut after = node.client.subscribe_to_stream("a", &after).await;
    assert_eq!(
        next_event(&mut after).await.get_original_event().revision,
        1
    );
    node.stop().await;
}

async fn all(node: &Node, options: SubscribeToAllOptions) -> Subscription {
    node.client.subscribe_to_all(&options).await
}

async fn next(subscription: &mut Subscription) -> SubscriptionEvent {
    let next = tokio::time::timeout(SOON, subscription.next_subscription_event()).await;
    next.expect("something comes in time").unwrap()
}

async fn next_event(subscription: &mut Subscription) -> ResolvedEvent {
    loop {
        if let SubscriptionEvent::EventAppeared(event) = next(subscription).await {
            return event;
        }
    }
}

/// The events and the checkpoints until it is live.
async fn until_caught_up(subscription: &mut Subscription) -> (Vec<ResolvedEvent>, Vec<u64>) {
    let (mut events, mut checkpoints) = (vec![], vec![]);
    loop {
        match next(subscription).await {
            SubscriptionEvent::EventAppeared(event) => events.push(event),
            SubscriptionEvent::Checkpoint(at) => checkpoints.push(at.commit),
            SubscriptionEvent::CaughtUp => return (events, checkpoints),
            SubscriptionEvent::Confirmed(_) => {}
            other => panic!("{other:?}"),
        }
    }
}
