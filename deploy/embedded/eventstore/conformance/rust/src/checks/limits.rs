//! What is past a limit is refused, and the node lives on.

use bytes::Bytes;

use super::api::{EventData, Expected};
use super::words::{add, append, connect, is_invalid, whole};
use crate::checks;
use crate::world::World;

/// What the node says it takes: data and metadata of one event.
const EVENT_BYTES_MAX: usize = 16 * 1024 * 1024;
const STREAM_NAME_BYTES_MAX: usize = 1024;

checks![
    an_event_of_the_largest_size_is_written_and_read,
    an_event_past_the_largest_size_is_refused,
    data_and_metadata_count_together,
    an_append_past_the_largest_size_is_refused_whole,
    a_name_past_the_longest_is_refused,
    nobody_appends_to_the_log_itself,
];

fn sized(bytes: usize) -> EventData {
    EventData::binary("big", Bytes::from(vec![7; bytes]))
}

async fn an_event_of_the_largest_size_is_written_and_read(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    let written = append(
        &client,
        &stream,
        Expected::NoStream,
        vec![sized(EVENT_BYTES_MAX)],
    )
    .await;
    written.expect("it is not too large");
    let found = whole(&client, &stream).await;
    let data = &found[0].get_original_event().data;
    assert!(data.len() == EVENT_BYTES_MAX && data.iter().all(|byte| *byte == 7));
}

async fn an_event_past_the_largest_size_is_refused(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    let over = append(
        &client,
        &stream,
        Expected::Any,
        vec![sized(EVENT_BYTES_MAX + 1)],
    )
    .await;
    assert!(is_invalid(&over), "{over:?}");
    let message = over.expect_err("it is too large").to_string();
    assert!(message.contains("Maximum Append Size"), "{message}");
    add(&client, &stream, "x", 1).await;
    assert_eq!(whole(&client, &stream).await.len(), 1);
}

async fn data_and_metadata_count_together(world: World) {
    let client = connect(&world);
    let half = Bytes::from(vec![7; EVENT_BYTES_MAX / 2 + 1]);
    let event = EventData::binary("big", half.clone()).metadata(half);
    let over = append(&client, &world.name("a"), Expected::Any, vec![event]).await;
    assert!(is_invalid(&over), "{over:?}");
}

async fn an_append_past_the_largest_size_is_refused_whole(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    add(&client, &stream, "x", 1).await;
    let pieces = (0..5).map(|_| sized(EVENT_BYTES_MAX)).collect();
    let over = append(&client, &stream, Expected::Any, pieces).await;
    assert!(is_invalid(&over), "{over:?}");
    assert_eq!(whole(&client, &stream).await.len(), 1);
}

async fn a_name_past_the_longest_is_refused(world: World) {
    let client = connect(&world);
    let longest = format!("{:x<STREAM_NAME_BYTES_MAX$}", world.name("a"));
    add(&client, &longest, "x", 1).await;
    let over = append(
        &client,
        &format!("{longest}x"),
        Expected::Any,
        vec![sized(1)],
    )
    .await;
    assert!(is_invalid(&over), "{over:?}");
    let nameless = append(&client, "", Expected::Any, vec![sized(1)]).await;
    assert!(is_invalid(&nameless), "{nameless:?}");
    assert_eq!(whole(&client, &longest).await.len(), 1);
}

async fn nobody_appends_to_the_log_itself(world: World) {
    let client = connect(&world);
    let refused = append(&client, "$all", Expected::Any, vec![sized(1)]).await;
    let error = refused.expect_err("nobody may");
    assert!(error.is_access_denied(), "{error:?}");
}
