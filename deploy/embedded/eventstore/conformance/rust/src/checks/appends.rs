//! Appending, with every expectation of what is there.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde_json::json;
use uuid::Uuid;

use super::api::{
    self, CurrentRevision, Error, EventData, Expected, ReadStreamOptions, Streaming, exact,
};
use super::words::{
    add, append, connect, event, events, is_not_found, is_wrong_version, read, revisions, whole,
};
use crate::checks;
use crate::world::World;

checks![
    an_event_is_read_as_it_was_written,
    json_and_binary_are_told_apart,
    an_append_to_no_stream_begins_one_and_not_twice,
    an_append_at_the_right_revision_is_written,
    an_append_at_a_wrong_revision_says_what_is_there,
    an_append_to_an_existing_stream_needs_one,
    an_append_to_any_stream_is_always_written,
    an_append_of_nothing_is_written_and_changes_nothing,
    a_thousand_events_are_one_append,
    streamed_events_are_one_append,
    positions_only_grow,
    a_name_may_be_in_any_language,
    of_two_appends_at_one_revision_one_is_written,
];

async fn an_event_is_read_as_it_was_written(world: World) {
    let client = connect(&world);
    let (stream, id) = (world.name("a"), Uuid::new_v4());
    let before = SystemTime::now() - Duration::from_secs(1);
    let data = json!({"title": "Grüße", "number": 7});
    let event = EventData::json("video.began", &data).expect("it is JSON");
    let event = event.id(id).metadata(Bytes::from_static(b"\x00meta"));
    let written = append(&client, &stream, Expected::NoStream, vec![event]).await;
    let written = written.expect("nothing is there");
    assert_eq!(written.next_expected_version, 0);

    let found = whole(&client, &stream).await;
    let [found] = found.as_slice() else {
        panic!("{found:?}");
    };
    let event = found.get_original_event();
    assert_eq!(api::stream_of(event), stream);
    assert_eq!((event.id, event.revision), (id, 0));
    assert_eq!(event.event_type, "video.began");
    assert_eq!(
        event.as_json::<serde_json::Value>().expect("it is JSON"),
        data
    );
    assert_eq!(event.custom_metadata, Bytes::from_static(b"\x00meta"));
    assert_eq!(event.position, written.position);
    let created = SystemTime::from(event.created);
    assert!(
        created > before && created <= SystemTime::now(),
        "{created:?}"
    );
    assert_eq!(found.commit_position, Some(written.position.commit));
}

async fn json_and_binary_are_told_apart(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    let json = EventData::json("x", &json!([1])).expect("it is JSON");
    let binary = EventData::binary("x", Bytes::from_static(&[0, 255, 10]));
    let written = append(&client, &stream, Expected::Any, vec![json, binary]).await;
    written.expect("anybody may append");
    let found = whole(&client, &stream).await;
    let [json, binary] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert!(json.get_original_event().is_json);
    assert!(!binary.get_original_event().is_json);
    assert_eq!(binary.get_original_event().data.as_ref(), [0, 255, 10]);
}

async fn an_append_to_no_stream_begins_one_and_not_twice(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    let begun = append(&client, &stream, Expected::NoStream, events("x", 2)).await;
    assert_eq!(begun.expect("nothing is there").next_expected_version, 1);
    let again = append(&client, &stream, Expected::NoStream, events("x", 1)).await;
    wrong(again, Expected::NoStream, CurrentRevision::Current(1));
    assert_eq!(revisions(&whole(&client, &stream).await), [0, 1]);
}

async fn an_append_at_the_right_revision_is_written(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    add(&client, &stream, "x", 3).await;
    for revision in 2..5 {
        let written = append(&client, &stream, exact(revision), vec![event("x")]).await;
        let written = written.expect("the revision is right");
        assert_eq!(written.next_expected_version, revision + 1);
    }
    assert_eq!(revisions(&whole(&client, &stream).await).len(), 6);
}

async fn an_append_at_a_wrong_revision_says_what_is_there(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    let nothing = append(&client, &stream, exact(0), vec![event("x")]).await;
    wrong(nothing, exact(0), CurrentRevision::NoStream);
    add(&client, &stream, "x", 3).await;
    for revision in [0, 1, 3, 1000] {
        let refused = append(&client, &stream, exact(revision), vec![event("x")]).await;
        wrong(refused, exact(revision), CurrentRevision::Current(2));
    }
    assert_eq!(revisions(&whole(&client, &stream).await), [0, 1, 2]);
}

async fn an_append_to_an_existing_stream_needs_one(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    let nothing = append(&client, &stream, Expected::StreamExists, vec![event("x")]).await;
    wrong(nothing, Expected::StreamExists, CurrentRevision::NoStream);
    let found = read(&client, &stream, &ReadStreamOptions::default()).await;
    assert!(is_not_found(&found), "{found:?}");
    add(&client, &stream, "x", 1).await;
    let written = append(&client, &stream, Expected::StreamExists, vec![event("x")]).await;
    assert_eq!(written.expect("it is there").next_expected_version, 1);
}

async fn an_append_to_any_stream_is_always_written(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    for revision in 0..3 {
        let written = append(&client, &stream, Expected::Any, vec![event("x")]).await;
        let written = written.expect("anything is right");
        assert_eq!(written.next_expected_version, revision);
    }
}

async fn an_append_of_nothing_is_written_and_changes_nothing(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    let nothing = append(&client, &stream, Expected::NoStream, vec![]).await;
    nothing.expect("there is no stream");
    let found = read(&client, &stream, &ReadStreamOptions::default()).await;
    assert!(is_not_found(&found), "{found:?}");
    add(&client, &stream, "x", 2).await;
    let nothing = append(&client, &stream, exact(1), vec![]).await;
    assert_eq!(nothing.expect("it is right").next_expected_version, 1);
    let wrong = append(&client, &stream, exact(5), vec![]).await;
    assert!(is_wrong_version(&wrong), "{wrong:?}");
}

async fn a_thousand_events_are_one_append(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    let written = append(&client, &stream, Expected::NoStream, events("x", 1000)).await;
    assert_eq!(written.expect("it is new").next_expected_version, 999);
    let found = revisions(&whole(&client, &stream).await);
    assert!(found.into_iter().eq(0..1000));
}

async fn streamed_events_are_one_append(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    let events = Streaming((0..300).map(|_| event("x")));
    let options = api::appending(Expected::NoStream);
    let written = client.append_to_stream(stream.as_str(), &options, events);
    assert_eq!(written.await.expect("it is new").next_expected_version, 299);
}

async fn positions_only_grow(world: World) {
    let client = connect(&world);
    let mut last = 0;
    for number in 0..5 {
        let stream = world.name(&number.to_string());
        let position = add(&client, &stream, "x", 3).await;
        assert!(position > last, "{position} <= {last}");
        last = position;
        let found = whole(&client, &stream).await;
        let positions = found.iter().map(super::words::position);
        assert!(positions.is_sorted());
        assert_eq!(found.last().map(super::words::position), Some(last));
    }
}

async fn a_name_may_be_in_any_language(world: World) {
    let client = connect(&world);
    let stream = world.name("видео/größe 影片@7$");
    add(&client, &stream, "началось", 1).await;
    let found = whole(&client, &stream).await;
    let there = found[0].get_original_event();
    assert_eq!(api::stream_of(there), stream);
    assert_eq!(there.event_type, "началось");
    let wrong = append(&client, &stream, Expected::NoStream, vec![event("x")]).await;
    assert!(is_wrong_version(&wrong), "{wrong:?}");
}

async fn of_two_appends_at_one_revision_one_is_written(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    add(&client, &stream, "x", 1).await;
    let both = (0..8).map(|_| append(&client, &stream, exact(0), vec![event("y")]));
    let both = futures::future::join_all(both).await;
    assert_eq!(both.iter().filter(|it| it.is_ok()).count(), 1);
    assert_eq!(both.iter().filter(|it| is_wrong_version(it)).count(), 7);
    assert_eq!(whole(&client, &stream).await.len(), 2);
}

fn wrong<T: std::fmt::Debug>(result: api::Result<T>, asked: Expected, there: CurrentRevision) {
    match result {
        Err(Error::WrongExpectedVersion { expected, current }) => {
            assert_eq!((expected, current), (asked, there));
        }
        other => panic!("{other:?}"),
    }
}
