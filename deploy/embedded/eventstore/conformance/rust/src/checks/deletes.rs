//! Deleting softly, beginning again, and deleting for ever.

use super::api::{
    self, Client, Error, Expected, ReadStreamOptions, StreamPosition, SubscribeToStreamOptions,
    exact,
};
use super::words::{
    add, append, connect, end_of, event, events, is_deleted, is_not_found, kinds, next_event, read,
    revisions, until_caught_up, whole,
};
use crate::checks;
use crate::world::World;

checks![
    a_deleted_stream_is_not_found,
    a_deleted_stream_begins_again_where_it_ended,
    a_delete_has_a_position_after_its_events,
    a_delete_at_a_wrong_revision_is_refused,
    a_delete_at_the_right_revision_is_done,
    a_deleted_stream_does_not_exist,
    a_follower_of_a_deleted_stream_sees_it_begin_again,
    a_tombstone_is_for_ever,
    a_tombstone_at_a_wrong_revision_is_refused,
    a_stream_that_was_never_there_can_have_a_tombstone,
    a_follower_of_a_stream_with_a_tombstone_is_told,
];

async fn delete(client: &Client, stream: &str, expected: Expected) -> api::Result<u64> {
    let deleted = client
        .delete_stream(stream, &api::deleting(expected))
        .await?;
    Ok(deleted.expect("it has a position").commit)
}

async fn tombstone(client: &Client, stream: &str, expected: Expected) -> api::Result<u64> {
    let gone = client
        .tombstone_stream(stream, &api::tombstoning(expected))
        .await?;
    Ok(gone.expect("it has a position").commit)
}

async fn found(client: &Client, stream: &str) -> api::Result<Vec<api::ResolvedEvent>> {
    read(client, stream, &ReadStreamOptions::default()).await
}

async fn a_deleted_stream_is_not_found(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    add(&client, &stream, "x", 3).await;
    delete(&client, &stream, Expected::Any)
        .await
        .expect("it is there");
    for options in [
        ReadStreamOptions::default(),
        ReadStreamOptions::default().position(StreamPosition::Position(1)),
        ReadStreamOptions::default()
            .backwards()
            .position(StreamPosition::End),
    ] {
        let found = read(&client, &stream, &options).await;
        assert!(is_not_found(&found), "{found:?}");
    }
}

async fn a_deleted_stream_begins_again_where_it_ended(world: World) {
    let client = connect(&world);
    for (name, expected) in [
        ("any", Expected::Any),
        ("none", Expected::NoStream),
        ("exact", exact(2)),
    ] {
        let stream = world.name(name);
        add(&client, &stream, "old", 3).await;
        delete(&client, &stream, Expected::Any)
            .await
            .expect("it is there");
        let begun = append(&client, &stream, expected, events("new", 2)).await;
        assert_eq!(begun.expect("it may begin again").next_expected_version, 4);
        let there = whole(&client, &stream).await;
        assert_eq!(revisions(&there), [3, 4]);
        assert_eq!(kinds(&there), ["new", "new"]);
    }
}

async fn a_delete_has_a_position_after_its_events(world: World) {
    let client = connect(&world);
    for (name, for_ever) in [("soft", false), ("hard", true)] {
        let stream = world.name(name);
        let last = add(&client, &stream, "x", 3).await;
        let position = if for_ever {
            tombstone(&client, &stream, Expected::Any).await
        } else {
            delete(&client, &stream, Expected::Any).await
        };
        assert!(position.expect("it is there") > last);
    }
}

async fn a_delete_at_a_wrong_revision_is_refused(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    let nothing = delete(&client, &stream, exact(0)).await;
    assert!(nothing.is_err(), "{nothing:?}");
    add(&client, &stream, "x", 3).await;
    for expected in [exact(1), exact(3), Expected::NoStream] {
        match delete(&client, &stream, expected).await {
            Err(Error::Grpc { code, message }) => {
                assert_eq!(format!("{code:?}"), "FailedPrecondition");
                assert!(message.contains("WrongExpectedVersion"), "{message}");
                assert!(message.ends_with("Actual version: 2"), "{message}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(whole(&client, &stream).await.len(), 3);
}

async fn a_delete_at_the_right_revision_is_done(world: World) {
    let client = connect(&world);
    for (name, expected) in [("exact", exact(2)), ("exists", Expected::StreamExists)] {
        let stream = world.name(name);
        add(&client, &stream, "x", 3).await;
        delete(&client, &stream, expected)
            .await
            .expect("it is right");
        let found = found(&client, &stream).await;
        assert!(is_not_found(&found), "{found:?}");
    }
}

async fn a_deleted_stream_does_not_exist(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    add(&client, &stream, "x", 3).await;
    delete(&client, &stream, Expected::Any)
        .await
        .expect("it is there");
    let refused = append(&client, &stream, Expected::StreamExists, vec![event("x")]).await;
    assert!(is_deleted(&refused), "{refused:?}");
}

async fn a_follower_of_a_deleted_stream_sees_it_begin_again(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    add(&client, &stream, "old", 2).await;
    let options = SubscribeToStreamOptions::default().start_from(StreamPosition::Start);
    let mut follower = client.subscribe_to_stream(stream.as_str(), &options).await;
    until_caught_up(&mut follower).await;
    delete(&client, &stream, Expected::Any)
        .await
        .expect("it is there");
    add(&client, &stream, "new", 1).await;
    let event = next_event(&mut follower).await;
    assert_eq!(event.get_original_event().revision, 2);
}

async fn a_tombstone_is_for_ever(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    add(&client, &stream, "x", 3).await;
    tombstone(&client, &stream, exact(2))
        .await
        .expect("it is right");
    // The read itself is refused, not its first event.
    let refused = client
        .read_stream(stream.as_str(), &Default::default())
        .await;
    assert!(matches!(refused, Err(Error::ResourceDeleted)));
    for expected in [
        Expected::Any,
        Expected::NoStream,
        exact(2),
        Expected::StreamExists,
    ] {
        let refused = append(&client, &stream, expected, vec![event("x")]).await;
        assert!(is_deleted(&refused), "{refused:?}");
    }
    let again = delete(&client, &stream, Expected::Any).await;
    assert!(is_deleted(&again), "{again:?}");
    let again = tombstone(&client, &stream, Expected::Any).await;
    assert!(is_deleted(&again), "{again:?}");
    let metadata = client
        .get_stream_metadata(stream.as_str(), &Default::default())
        .await;
    assert!(is_deleted(&metadata), "{metadata:?}");
}

async fn a_tombstone_at_a_wrong_revision_is_refused(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    add(&client, &stream, "x", 3).await;
    for expected in [exact(0), exact(7), Expected::NoStream] {
        let refused = tombstone(&client, &stream, expected).await;
        assert!(refused.is_err(), "{refused:?}");
    }
    assert_eq!(whole(&client, &stream).await.len(), 3);
}

async fn a_stream_that_was_never_there_can_have_a_tombstone(world: World) {
    let client = connect(&world);
    for (name, expected) in [("any", Expected::Any), ("none", Expected::NoStream)] {
        let stream = world.name(name);
        tombstone(&client, &stream, expected)
            .await
            .expect("nothing is there");
        let found = found(&client, &stream).await;
        assert!(is_deleted(&found), "{found:?}");
    }
}

async fn a_follower_of_a_stream_with_a_tombstone_is_told(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    add(&client, &stream, "x", 1).await;
    let options = SubscribeToStreamOptions::default().start_from(StreamPosition::Start);
    let mut before = client.subscribe_to_stream(stream.as_str(), &options).await;
    until_caught_up(&mut before).await;
    tombstone(&client, &stream, Expected::Any)
        .await
        .expect("it is there");
    let told = end_of(&mut before).await;
    assert!(matches!(told, Error::ResourceDeleted), "{told:?}");
    let mut after = client.subscribe_to_stream(stream.as_str(), &options).await;
    let told = end_of(&mut after).await;
    assert!(matches!(told, Error::ResourceDeleted), "{told:?}");
}
