//! Subscriptions to the log that want only some of it.

use super::api::{Client, StreamPosition, SubscribeToAllOptions, SubscriptionFilter};
use super::words::{
    add, at, connect, connect_to, end_of, is_invalid, kinds, next_event, until_caught_up,
};
use crate::checks;
use crate::node::Node;
use crate::world::World;

checks![
    a_filter_keeps_types_and_streams_by_prefix_and_by_expression,
    a_filter_may_look_ahead,
    a_filter_without_system_events_has_none,
    a_filter_that_cannot_be_read_is_refused,
    a_filtered_subscription_is_told_how_far_it_is,
    a_filtered_subscription_goes_on_from_a_checkpoint,
];

async fn filtered(client: &Client, from: u64, filter: SubscriptionFilter) -> Vec<String> {
    let options = SubscribeToAllOptions::default()
        .position(at(from))
        .filter(filter);
    let mut subscription = client.subscribe_to_all(&options).await;
    let (events, _) = until_caught_up(&mut subscription).await;
    kinds(&events).into_iter().map(str::to_owned).collect()
}

async fn a_filter_keeps_types_and_streams_by_prefix_and_by_expression(world: World) {
    let client = connect(&world);
    let before = add(&client, &world.name("before"), "x", 1).await;
    let [video, job, other] = ["video", "job", "other"].map(|name| world.name(name));
    for (stream, kind) in [
        (&video, "video.began"),
        (&job, "job.planned"),
        (&other, "views.counted"),
        (&video, "video.ended"),
    ] {
        add(&client, stream, kind, 1).await;
    }
    let types = SubscriptionFilter::on_event_type;
    let streams = SubscriptionFilter::on_stream_name;
    let name = world.name("");
    for (filter, expected) in [
        (
            types().add_prefix("video."),
            vec!["video.began", "video.ended"],
        ),
        (
            types().add_prefix("job.").add_prefix("views."),
            vec!["job.planned", "views.counted"],
        ),
        (
            types().regex("(began|planned)$"),
            vec!["video.began", "job.planned"],
        ),
        (
            streams().add_prefix(&video),
            vec!["video.began", "video.ended"],
        ),
        (
            streams().regex(format!("^{name}(job|other)$")),
            vec!["job.planned", "views.counted"],
        ),
        // An expression wins.
        (
            types().regex("^job").add_prefix("video."),
            vec!["job.planned"],
        ),
    ] {
        assert_eq!(filtered(&client, before, filter).await, expected);
    }
}

async fn a_filter_may_look_ahead(world: World) {
    let client = connect(&world);
    let before = add(&client, &world.name("before"), "x", 1).await;
    for kind in ["video.began", "job.planned", "$system"] {
        add(&client, &world.name("a"), kind, 1).await;
    }
    let filter = SubscriptionFilter::on_event_type().regex(r"^(?!\$|video)");
    assert_eq!(filtered(&client, before, filter).await, ["job.planned"]);
}

async fn a_filter_without_system_events_has_none(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    let before = add(&client, &stream, "mine", 2).await;
    add(&client, &stream, "mine", 1).await;
    let metadata = super::api::StreamMetadataBuilder::new()
        .max_count(1)
        .build();
    client
        .set_stream_metadata(stream.as_str(), &Default::default(), &metadata)
        .await
        .expect("anybody may");
    let filter = SubscriptionFilter::on_event_type().exclude_system_events();
    assert_eq!(filtered(&client, before, filter).await, ["mine"]);
}

async fn a_filter_that_cannot_be_read_is_refused(world: World) {
    let client = connect(&world);
    let filter = SubscriptionFilter::on_event_type().regex("(");
    let options = SubscribeToAllOptions::default().filter(filter);
    let mut subscription = client.subscribe_to_all(&options).await;
    let refused: super::api::Result<()> = Err(end_of(&mut subscription).await);
    assert!(is_invalid(&refused), "{refused:?}");
}

async fn a_filtered_subscription_is_told_how_far_it_is(_: World) {
    let node = Node::start().await;
    let client = connect_to(node.port);
    let mut head = 0;
    for _ in 0..10 {
        head = add(&client, "noise", "noise", 1000).await;
    }
    let filter = SubscriptionFilter::on_event_type()
        .add_prefix("video.")
        .max(500);
    let options = SubscribeToAllOptions::default()
        .position(StreamPosition::Start)
        .filter(filter);
    let mut subscription = client.subscribe_to_all(&options).await;
    let (events, checkpoints) = until_caught_up(&mut subscription).await;
    assert!(events.is_empty(), "{events:?}");
    assert!(checkpoints.len() >= 20, "{checkpoints:?}");
    assert!(checkpoints.is_sorted());
    assert_eq!(checkpoints.last(), Some(&head));

    add(&client, "video", "video.began", 1).await;
    let event = next_event(&mut subscription).await;
    assert_eq!(event.get_original_event().event_type, "video.began");
    node.stop().await;
}

async fn a_filtered_subscription_goes_on_from_a_checkpoint(_: World) {
    let node = Node::start().await;
    let client = connect_to(node.port);
    add(&client, "a", "video.began", 3).await;
    add(&client, "noise", "noise", 1000).await;
    let filter = || {
        SubscriptionFilter::on_event_type()
            .add_prefix("video.")
            .max(100)
    };
    let options = SubscribeToAllOptions::default()
        .position(StreamPosition::Start)
        .filter(filter());
    let mut subscription = client.subscribe_to_all(&options).await;
    let (events, checkpoints) = until_caught_up(&mut subscription).await;
    assert_eq!(events.len(), 3);
    let last = checkpoints.last().expect("there was one on going live");
    drop(subscription);
    add(&client, "a", "video.ended", 1).await;
    let found = filtered(&client, *last, filter()).await;
    assert_eq!(found, ["video.ended"]);
    node.stop().await;
}
