//! Reading the log with a filter, which only crate `kurrentdb` can.

use crate::checks;
use crate::kurrentdb_client::checks::words::{add, at, connect, connect_to, kinds, read_all};
use crate::kurrentdb_client::{ReadAllOptions, StreamPosition, SubscriptionFilter};
use crate::node::Node;
use crate::world::World;

checks![
    a_filtered_read_keeps_what_it_says_in_both_directions,
    a_filtered_read_counts_what_it_found,
    a_filtered_read_may_find_nothing,
];

async fn a_filtered_read_keeps_what_it_says_in_both_directions(world: World) {
    let client = connect(&world);
    let [video, job] = ["video", "job"].map(|name| world.name(name));
    let before = add(&client, &job, "before", 1).await;
    for (stream, kind) in [
        (&video, "video.began"),
        (&job, "job.planned"),
        (&video, "video.ended"),
    ] {
        add(&client, stream, kind, 1).await;
    }
    let after = |filter| {
        ReadAllOptions::default()
            .position(at(before + 1))
            .filter(filter)
    };
    let types = SubscriptionFilter::on_event_type;
    for (filter, expected) in [
        (
            types().add_prefix("video."),
            vec!["video.began", "video.ended"],
        ),
        (types().regex("planned$"), vec!["job.planned"]),
        (
            SubscriptionFilter::on_stream_name().add_prefix(&job),
            vec!["job.planned"],
        ),
    ] {
        let found = read_all(&client, &after(filter)).await;
        assert_eq!(kinds(&found.expect("it is there")), expected);
    }
    let back = ReadAllOptions::default()
        .position(StreamPosition::End)
        .filter(SubscriptionFilter::on_stream_name().add_prefix(&video))
        .max_count(2);
    let back = read_all(&client, &back).await.expect("it is there");
    assert_eq!(kinds(&back), ["video.ended", "video.began"]);
}

async fn a_filtered_read_counts_what_it_found(_: World) {
    let node = Node::start().await;
    let client = connect_to(node.port);
    for _ in 0..5 {
        add(&client, "noise", "noise", 1000).await;
        add(&client, "video", "video.began", 2).await;
    }
    let filter = || {
        SubscriptionFilter::on_event_type()
            .add_prefix("video.")
            .max(10)
    };
    let options = ReadAllOptions::default()
        .position(StreamPosition::Start)
        .filter(filter());
    for (count, expected) in [(3, 3), (10, 10), (100, 10)] {
        let found = read_all(&client, &options.clone().max_count(count)).await;
        assert_eq!(found.expect("it is there").len(), expected);
    }
    node.stop().await;
}

async fn a_filtered_read_may_find_nothing(world: World) {
    let client = connect(&world);
    let before = add(&client, &world.name("a"), "x", 100).await;
    let filter = SubscriptionFilter::on_event_type().add_prefix("no such type");
    let options = ReadAllOptions::default()
        .position(at(before))
        .filter(filter);
    let found = read_all(&client, &options).await.expect("it is there");
    assert!(found.is_empty(), "{found:?}");
}
