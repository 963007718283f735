//! Many appends over one call.

use std::time::Duration;

use futures::future::join_all;

use super::api::{BatchAppendOptions, Expected, exact};
use super::words::{add, connect, event, events, identified, ids, revisions, whole};
use crate::checks;
use crate::world::World;

checks![
    appends_of_one_call_go_to_many_streams,
    appends_of_one_call_are_in_the_order_they_were_sent,
    a_repeated_batch_is_answered_as_the_first_time,
    a_wrong_revision_refuses_one_batch_alone,
    a_large_batch_is_one_append,
];

async fn appends_of_one_call_go_to_many_streams(world: World) {
    let client = connect(&world);
    let options = BatchAppendOptions::default().deadline(Duration::from_secs(20));
    let batch = client.batch_append(&options).await.expect("it is served");
    let names: Vec<String> = (0..50)
        .map(|number| world.name(&number.to_string()))
        .collect();
    let written = names.iter().map(|name| {
        let events = events("x", 3);
        batch.append_to_stream(name.as_str(), Expected::NoStream, events)
    });
    for (result, name) in join_all(written).await.into_iter().zip(&names) {
        let result = result.expect("nothing is there");
        assert_eq!(result.stream_name(), name);
        assert_eq!(result.current_revision(), Some(2));
        assert!(result.current_position().is_some());
        assert_eq!(revisions(&whole(&client, name).await), [0, 1, 2]);
    }
}

async fn appends_of_one_call_are_in_the_order_they_were_sent(world: World) {
    let client = connect(&world);
    let batch = client.batch_append(&BatchAppendOptions::default()).await;
    let batch = batch.expect("it is served");
    let stream = world.name("a");
    add(&client, &stream, "x", 1).await;
    let written = (0..100).map(|revision| {
        let events = vec![event(&format!("n{revision}"))];
        batch.append_to_stream(stream.as_str(), exact(revision), events)
    });
    for (revision, result) in (1..).zip(join_all(written).await) {
        let result = result.expect("each is right after the one before");
        assert_eq!(result.current_revision(), Some(revision));
    }
}

async fn a_repeated_batch_is_answered_as_the_first_time(world: World) {
    let client = connect(&world);
    let batch = client.batch_append(&BatchAppendOptions::default()).await;
    let batch = batch.expect("it is served");
    let stream = world.name("a");
    let ids = ids::<2>();
    for expected in [Expected::NoStream, Expected::NoStream, Expected::Any] {
        let events = identified("x", &ids);
        let written = batch
            .append_to_stream(stream.as_str(), expected, events)
            .await;
        let written = written.expect("it stands there");
        assert_eq!(written.current_revision(), Some(1));
    }
    assert_eq!(whole(&client, &stream).await.len(), 2);
}

async fn a_wrong_revision_refuses_one_batch_alone(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    let options = BatchAppendOptions::default();
    let batch = client.batch_append(&options).await.expect("it is served");
    let good = batch.append_to_stream(stream.as_str(), Expected::NoStream, events("x", 1));
    good.await.expect("nothing is there");
    let wrong = batch.append_to_stream(stream.as_str(), exact(7), events("x", 1));
    assert!(wrong.await.is_err());
    // This client gives up its call with the first error; the node does not mind.
    let batch = client.batch_append(&options).await.expect("it is served");
    let good = batch.append_to_stream(stream.as_str(), exact(0), events("x", 1));
    good.await.expect("the revision is right");
    assert_eq!(revisions(&whole(&client, &stream).await), [0, 1]);
}

async fn a_large_batch_is_one_append(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    let batch = client.batch_append(&BatchAppendOptions::default()).await;
    let batch = batch.expect("it is served");
    let written = batch.append_to_stream(stream.as_str(), Expected::NoStream, events("x", 5000));
    let written = written.await.expect("nothing is there");
    assert_eq!(written.current_revision(), Some(4999));
    assert_eq!(whole(&client, &stream).await.len(), 5000);
}
