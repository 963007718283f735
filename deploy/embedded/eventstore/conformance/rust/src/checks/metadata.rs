//! What a stream's metadata keeps, hides, and says of itself.

use std::time::Duration;

use super::api::{
    self, Client, Expected, ReadStreamOptions, StreamMetadata, StreamMetadataBuilder,
    StreamMetadataResult, StreamPosition, SubscribeToStreamOptions,
};
use super::words::{
    add, append, connect, event, is_wrong_version, read, revisions, until_caught_up, whole,
};
use crate::checks;
use crate::world::World;

checks![
    metadata_is_returned_as_it_was_set,
    a_stream_without_metadata_has_none,
    metadata_is_set_at_the_revision_of_its_own_stream,
    a_maximum_count_hides_the_oldest,
    a_maximum_age_hides_the_old,
    what_is_truncated_is_hidden,
    what_is_hidden_is_not_followed_either,
    metadata_may_come_before_the_stream,
];

async fn set(client: &Client, stream: &str, metadata: StreamMetadata) {
    client
        .set_stream_metadata(stream, &Default::default(), &metadata)
        .await
        .expect("anybody may");
}

async fn metadata_is_returned_as_it_was_set(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    let acl = api::StreamAclBuilder::new()
        .add_read_roles("ada")
        .add_write_roles("$admins")
        .build();
    let metadata = StreamMetadataBuilder::new()
        .max_count(12)
        .max_age(Duration::from_secs(3600))
        .truncate_before(3)
        .cache_control(Duration::from_secs(20))
        .acl(api::Acl::Stream(acl))
        .insert_custom_property("colour", "green")
        .build();
    set(&client, &stream, metadata).await;
    let found = client
        .get_stream_metadata(stream.as_str(), &Default::default())
        .await;
    let Ok(StreamMetadataResult::Success(found)) = found else {
        panic!("{found:?}");
    };
    assert_eq!(found.version(), 0);
    let found = found.metadata();
    assert_eq!(found.max_count, Some(12));
    assert_eq!(found.max_age, Some(Duration::from_secs(3600)));
    assert_eq!(found.truncate_before, Some(3));
    assert_eq!(found.cache_control, Some(Duration::from_secs(20)));
    let acl = format!("{:?}", found.acl.as_ref().expect("it was set"));
    assert!(acl.contains("ada") && acl.contains("$admins"), "{acl}");
    assert_eq!(found.custom_properties["colour"], "green");
}

async fn a_stream_without_metadata_has_none(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    add(&client, &stream, "x", 1).await;
    let found = client
        .get_stream_metadata(stream.as_str(), &Default::default())
        .await;
    assert!(found.expect("it says so").is_not_found());
}

async fn metadata_is_set_at_the_revision_of_its_own_stream(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    let metadata = StreamMetadataBuilder::new().max_count(5).build();
    let at = |expected| {
        let (client, stream, metadata) = (&client, stream.as_str(), &metadata);
        async move {
            let options = api::appending(expected);
            client.set_stream_metadata(stream, &options, metadata).await
        }
    };
    at(Expected::NoStream).await.expect("there is none");
    let again = at(Expected::NoStream).await;
    assert!(is_wrong_version(&again), "{again:?}");
    at(api::exact(0)).await.expect("there is one");
    let all = ReadStreamOptions::default().position(StreamPosition::Start);
    let stored = read(&client, &format!("$${stream}"), &all)
        .await
        .expect("it is there");
    // Of metadata only the last counts.
    assert_eq!(revisions(&stored), [1]);
    assert_eq!(stored[0].get_original_event().event_type, "$metadata");
}

async fn a_maximum_count_hides_the_oldest(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    add(&client, &stream, "x", 10).await;
    set(
        &client,
        &stream,
        StreamMetadataBuilder::new().max_count(3).build(),
    )
    .await;
    assert_eq!(revisions(&whole(&client, &stream).await), [7, 8, 9]);
    add(&client, &stream, "x", 1).await;
    assert_eq!(revisions(&whole(&client, &stream).await), [8, 9, 10]);
    let back = ReadStreamOptions::default()
        .backwards()
        .position(StreamPosition::End);
    let back = read(&client, &stream, &back).await.expect("it is there");
    assert_eq!(revisions(&back), [10, 9, 8]);
    let hidden = ReadStreamOptions::default()
        .position(StreamPosition::Position(2))
        .max_count(2);
    let hidden = read(&client, &stream, &hidden).await.expect("it is there");
    assert!(
        revisions(&hidden).iter().all(|revision| *revision >= 8),
        "{hidden:?}"
    );
}

async fn a_maximum_age_hides_the_old(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    add(&client, &stream, "old", 3).await;
    set_age(&client, &stream, 3600).await;
    assert_eq!(whole(&client, &stream).await.len(), 3);
    set_age(&client, &stream, 1).await;
    // The only thing to wait for is the time itself.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    add(&client, &stream, "young", 1).await;
    assert_eq!(revisions(&whole(&client, &stream).await), [3]);
}

/// In seconds, as the server and other clients count; these two write milliseconds.
async fn set_age(client: &Client, stream: &str, seconds: u64) {
    let age = serde_json::json!({"$maxAge": seconds});
    let metadata = api::EventData::json("$metadata", &age).expect("it is JSON");
    append(
        client,
        &format!("$${stream}"),
        Expected::Any,
        vec![metadata],
    )
    .await
    .expect("anybody may");
}

async fn what_is_truncated_is_hidden(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    add(&client, &stream, "x", 10).await;
    set(
        &client,
        &stream,
        StreamMetadataBuilder::new().truncate_before(7).build(),
    )
    .await;
    assert_eq!(revisions(&whole(&client, &stream).await), [7, 8, 9]);
    let written = append(&client, &stream, api::exact(9), vec![event("x")]).await;
    assert_eq!(written.expect("it is right").next_expected_version, 10);
    set(&client, &stream, StreamMetadataBuilder::new().build()).await;
    assert_eq!(whole(&client, &stream).await.len(), 11);
}

async fn what_is_hidden_is_not_followed_either(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    add(&client, &stream, "x", 10).await;
    set(
        &client,
        &stream,
        StreamMetadataBuilder::new().max_count(2).build(),
    )
    .await;
    let options = SubscribeToStreamOptions::default().start_from(StreamPosition::Start);
    let mut follower = client.subscribe_to_stream(stream.as_str(), &options).await;
    let (history, _) = until_caught_up(&mut follower).await;
    assert_eq!(revisions(&history), [8, 9]);
}

async fn metadata_may_come_before_the_stream(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    set(
        &client,
        &stream,
        StreamMetadataBuilder::new().max_count(1).build(),
    )
    .await;
    let written = append(
        &client,
        &stream,
        Expected::NoStream,
        vec![event("x"), event("y")],
    )
    .await;
    assert_eq!(
        written
            .expect("only its metadata is there")
            .next_expected_version,
        1
    );
    assert_eq!(revisions(&whole(&client, &stream).await), [1]);
}
