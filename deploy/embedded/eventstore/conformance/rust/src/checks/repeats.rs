//! Appends that are sent again, because their answer was lost.

use uuid::Uuid;

use super::api::{Expected, exact};
use super::words::{
    add, append, connect, event, identified, ids, is_wrong_version, place, revisions, whole,
};
use crate::checks;
use crate::world::World;

checks![
    an_append_at_a_revision_is_answered_again_as_the_first_time,
    an_append_to_no_stream_is_answered_again_as_the_first_time,
    an_append_is_known_however_much_came_after_it,
    a_repeated_append_that_lost_its_end_is_answered_again,
    a_repeated_append_with_more_at_its_end_is_refused,
    an_append_of_which_only_a_part_is_there_is_refused,
    the_same_ids_in_another_order_are_refused,
    an_append_to_any_stream_is_known_by_its_ids,
    an_append_to_any_stream_with_more_at_its_end_is_refused,
    an_append_to_an_existing_stream_is_known_by_its_ids,
    the_same_id_in_another_stream_is_another_event,
];

async fn an_append_at_a_revision_is_answered_again_as_the_first_time(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    add(&client, &stream, "x", 1).await;
    let ids = ids::<3>();
    let first = append(&client, &stream, exact(0), identified("x", &ids)).await;
    let first = place(first.expect("the revision is right"));
    let again = append(&client, &stream, exact(0), identified("x", &ids)).await;
    assert_eq!(place(again.expect("it stands there")), first);
    assert_eq!(whole(&client, &stream).await.len(), 4);
}

async fn an_append_to_no_stream_is_answered_again_as_the_first_time(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    let ids = ids::<2>();
    let first = append(&client, &stream, Expected::NoStream, identified("x", &ids)).await;
    let first = place(first.expect("nothing is there"));
    for _ in 0..3 {
        let again = append(&client, &stream, Expected::NoStream, identified("x", &ids)).await;
        assert_eq!(place(again.expect("it stands there")), first);
    }
    assert_eq!(revisions(&whole(&client, &stream).await), [0, 1]);
}

async fn an_append_is_known_however_much_came_after_it(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    let ids = ids::<2>();
    let first = append(&client, &stream, Expected::NoStream, identified("x", &ids)).await;
    let first = place(first.expect("nothing is there"));
    add(&client, &stream, "y", 3000).await;
    let again = append(&client, &stream, Expected::NoStream, identified("x", &ids)).await;
    assert_eq!(place(again.expect("it stands there")), first);
}

async fn a_repeated_append_that_lost_its_end_is_answered_again(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    let ids = ids::<3>();
    let first = append(&client, &stream, Expected::NoStream, identified("x", &ids)).await;
    first.expect("nothing is there");
    let again = append(
        &client,
        &stream,
        Expected::NoStream,
        identified("x", &ids[..2]),
    )
    .await;
    assert_eq!(again.expect("it stands there").next_expected_version, 1);
    assert_eq!(whole(&client, &stream).await.len(), 3);
}

async fn a_repeated_append_with_more_at_its_end_is_refused(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    let ids = ids::<3>();
    let first = append(
        &client,
        &stream,
        Expected::NoStream,
        identified("x", &ids[..2]),
    )
    .await;
    first.expect("nothing is there");
    let more = append(&client, &stream, Expected::NoStream, identified("x", &ids)).await;
    assert!(is_wrong_version(&more), "{more:?}");
    assert_eq!(whole(&client, &stream).await.len(), 2);
}

async fn an_append_of_which_only_a_part_is_there_is_refused(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    let ids = ids::<3>();
    let first = append(&client, &stream, Expected::NoStream, identified("x", &ids)).await;
    first.expect("nothing is there");
    let part = vec![event("x"), event("x")];
    let mixed = [identified("x", &ids[..1]), part].concat();
    let refused = append(&client, &stream, Expected::NoStream, mixed).await;
    assert!(is_wrong_version(&refused), "{refused:?}");
    let later = append(&client, &stream, exact(0), identified("x", &ids)).await;
    assert!(is_wrong_version(&later), "{later:?}");
    assert_eq!(whole(&client, &stream).await.len(), 3);
}

async fn the_same_ids_in_another_order_are_refused(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    let mut ids = ids::<3>();
    let first = append(&client, &stream, Expected::NoStream, identified("x", &ids)).await;
    first.expect("nothing is there");
    ids.reverse();
    let refused = append(&client, &stream, Expected::NoStream, identified("x", &ids)).await;
    assert!(is_wrong_version(&refused), "{refused:?}");
}

async fn an_append_to_any_stream_is_known_by_its_ids(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    add(&client, &stream, "x", 2).await;
    let ids = ids::<3>();
    let first = append(&client, &stream, Expected::Any, identified("x", &ids)).await;
    let first = place(first.expect("anything is right"));
    add(&client, &stream, "y", 20).await;
    let again = append(&client, &stream, Expected::Any, identified("x", &ids)).await;
    assert_eq!(place(again.expect("it stands there")), first);
    let part = append(&client, &stream, Expected::Any, identified("x", &ids[1..])).await;
    assert_eq!(part.expect("it stands there").next_expected_version, 4);
    assert_eq!(whole(&client, &stream).await.len(), 25);
}

async fn an_append_to_any_stream_with_more_at_its_end_is_refused(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    let ids = ids::<2>();
    let first = append(&client, &stream, Expected::Any, identified("x", &ids)).await;
    first.expect("anything is right");
    let mixed = [identified("x", &ids), vec![event("new")]].concat();
    let refused = append(&client, &stream, Expected::Any, mixed).await;
    assert!(is_wrong_version(&refused), "{refused:?}");
    assert_eq!(whole(&client, &stream).await.len(), 2);
}

async fn an_append_to_an_existing_stream_is_known_by_its_ids(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    add(&client, &stream, "x", 1).await;
    let ids = ids::<2>();
    let first = append(
        &client,
        &stream,
        Expected::StreamExists,
        identified("x", &ids),
    )
    .await;
    let first = place(first.expect("it is there"));
    let again = append(
        &client,
        &stream,
        Expected::StreamExists,
        identified("x", &ids),
    )
    .await;
    assert_eq!(place(again.expect("it stands there")), first);
    assert_eq!(whole(&client, &stream).await.len(), 3);
}

async fn the_same_id_in_another_stream_is_another_event(world: World) {
    let client = connect(&world);
    let id = Uuid::new_v4();
    for stream in ["a", "b"] {
        let stream = world.name(stream);
        let written = append(&client, &stream, Expected::NoStream, identified("x", &[id])).await;
        assert_eq!(written.expect("nothing is there").next_expected_version, 0);
    }
}
