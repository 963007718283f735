//! Reading, in both directions and from every kind of position.

use super::api::{Position, ReadAllOptions, ReadEvent, ReadStreamOptions, StreamPosition};
use super::words::{
    add, at, connect, connect_to, is_not_found, kinds, ours, position, read, read_all, revisions,
};
use crate::checks;
use crate::node::Node;
use crate::world::World;

checks![
    a_stream_is_read_forwards_from_anywhere,
    a_stream_is_read_backwards_from_anywhere,
    a_stream_of_many_pages_is_read_whole,
    what_is_not_there_is_not_found,
    a_read_says_the_last_revision_and_no_first_one_unless_it_skipped,
    the_log_is_read_both_ways_from_anywhere,
    a_new_log_is_read,
    a_read_may_be_left_in_the_middle,
];

// A position says a direction too, so this one comes after it.

fn forwards(from: StreamPosition<u64>) -> ReadStreamOptions {
    ReadStreamOptions::default().position(from).forwards()
}

fn backwards(from: StreamPosition<u64>) -> ReadStreamOptions {
    ReadStreamOptions::default().position(from).backwards()
}

async fn a_stream_is_read_forwards_from_anywhere(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    add(&client, &stream, "x", 10).await;
    let at = StreamPosition::Position;
    for (options, expected) in [
        (ReadStreamOptions::default(), (0..10).collect::<Vec<u64>>()),
        (forwards(StreamPosition::Start), (0..10).collect()),
        (forwards(StreamPosition::End), vec![]),
        (forwards(at(0)).max_count(1), vec![0]),
        (forwards(at(4)).max_count(3), vec![4, 5, 6]),
        (forwards(at(8)).max_count(100), vec![8, 9]),
        (forwards(at(9)), vec![9]),
        (forwards(at(10)), vec![]),
        (forwards(at(1_000_000)), vec![]),
    ] {
        let found = read(&client, &stream, &options).await.expect("it is there");
        assert_eq!(revisions(&found), expected);
    }
}

async fn a_stream_is_read_backwards_from_anywhere(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    add(&client, &stream, "x", 10).await;
    let at = StreamPosition::Position;
    for (options, expected) in [
        (
            backwards(StreamPosition::End),
            (0..10).rev().collect::<Vec<u64>>(),
        ),
        (backwards(StreamPosition::End).max_count(1), vec![9]),
        (backwards(StreamPosition::Start), vec![0]),
        (backwards(at(0)), vec![0]),
        (backwards(at(4)).max_count(3), vec![4, 3, 2]),
        (backwards(at(9)).max_count(2), vec![9, 8]),
        (backwards(at(1_000_000)).max_count(2), vec![9, 8]),
    ] {
        let found = read(&client, &stream, &options).await.expect("it is there");
        assert_eq!(revisions(&found), expected);
    }
}

async fn a_stream_of_many_pages_is_read_whole(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    for _ in 0..5 {
        add(&client, &stream, "x", 1000).await;
    }
    let options = forwards(StreamPosition::Start);
    let found = read(&client, &stream, &options).await.expect("it is there");
    assert!(revisions(&found).into_iter().eq(0..5000));
    let options = backwards(StreamPosition::End);
    let found = read(&client, &stream, &options).await.expect("it is there");
    assert!(revisions(&found).into_iter().eq((0..5000).rev()));
}

async fn what_is_not_there_is_not_found(world: World) {
    let client = connect(&world);
    let stream = world.name("nothing");
    let at = StreamPosition::Position(5);
    for options in [
        ReadStreamOptions::default(),
        forwards(at),
        backwards(StreamPosition::End),
    ] {
        let found = read(&client, &stream, &options).await;
        assert!(is_not_found(&found), "{found:?}");
    }
}

async fn a_read_says_the_last_revision_and_no_first_one_unless_it_skipped(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    add(&client, &stream, "x", 5).await;
    let options = forwards(StreamPosition::Start).max_count(2);
    let answers = client.read_stream(stream.as_str(), &options).await;
    let mut answers = answers.expect("it is there");
    let (mut first, mut last, mut events) = (None, None, 0);
    while let Some(answer) = answers.next_read_event().await.expect("it goes on") {
        match answer {
            ReadEvent::Event(_) => events += 1,
            ReadEvent::FirstStreamPosition(revision) => first = Some(revision),
            ReadEvent::LastStreamPosition(revision) => last = Some(revision),
            ReadEvent::LastAllStreamPosition(position) => panic!("{position:?}"),
        }
    }
    assert_eq!((events, first, last), (2, None, Some(4)));
}

async fn the_log_is_read_both_ways_from_anywhere(_: World) {
    let node = Node::start().await;
    let client = connect_to(node.port);
    let names: Vec<String> = (0..700).map(|number| format!("n{number}")).collect();
    let batch = client
        .batch_append(&Default::default())
        .await
        .expect("it is served");
    let written = names.iter().enumerate().map(|(number, name)| {
        let stream = format!("s{}", number % 7);
        let events = vec![super::words::event(name)];
        batch.append_to_stream(stream, super::api::Expected::Any, events)
    });
    for result in futures::future::join_all(written).await {
        result.expect("anything is right");
    }

    let forwards = ReadAllOptions::default().position(StreamPosition::Start);
    let all = ours(read_all(&client, &forwards).await.expect("it is there"));
    assert_eq!(kinds(&all), names);
    assert!(
        all.windows(2)
            .all(|pair| position(&pair[0]) < position(&pair[1]))
    );
    let backwards = ReadAllOptions::default()
        .backwards()
        .position(StreamPosition::End);
    let back = read_all(&client, &backwards).await.expect("it is there");
    let mut back = ours(back);
    back.reverse();
    assert_eq!(kinds(&back), names);

    // Forwards with what stands at the position, backwards with what stands before it.
    let middle = at(position(&all[300]));
    let options = ReadAllOptions::default().position(middle).max_count(2);
    let after = read_all(&client, &options.clone().forwards()).await;
    assert_eq!(kinds(&after.expect("it is there")), ["n300", "n301"]);
    let before = read_all(&client, &options.backwards()).await;
    assert_eq!(kinds(&before.expect("it is there")), ["n299", "n298"]);
    let last = ReadAllOptions::default()
        .backwards()
        .position(StreamPosition::End);
    let last = read_all(&client, &last.max_count(1)).await;
    assert_eq!(kinds(&last.expect("it is there")), ["n699"]);
    let end = ReadAllOptions::default()
        .position(StreamPosition::End)
        .forwards();
    assert!(
        read_all(&client, &end)
            .await
            .expect("it is there")
            .is_empty()
    );
    let start = ReadAllOptions::default()
        .position(StreamPosition::Start)
        .backwards();
    assert!(
        read_all(&client, &start)
            .await
            .expect("it is there")
            .is_empty()
    );
    node.stop().await;
}

async fn a_new_log_is_read(_: World) {
    let node = Node::start().await;
    let client = connect_to(node.port);
    let zero = StreamPosition::Position(Position {
        commit: 0,
        prepare: 0,
    });
    for options in [
        ReadAllOptions::default(),
        ReadAllOptions::default().position(zero),
        ReadAllOptions::default()
            .backwards()
            .position(StreamPosition::End),
    ] {
        let found = ours(read_all(&client, &options).await.expect("it is there"));
        assert!(found.is_empty(), "{found:?}");
    }
    node.stop().await;
}

async fn a_read_may_be_left_in_the_middle(world: World) {
    let client = connect(&world);
    let stream = world.name("a");
    add(&client, &stream, "x", 3000).await;
    for _ in 0..50 {
        let options = forwards(StreamPosition::Start);
        let answers = client.read_stream(stream.as_str(), &options).await;
        let mut answers = answers.expect("it is there");
        for _ in 0..3 {
            assert!(answers.next().await.expect("it goes on").is_some());
        }
    }
    let found = read(&client, &stream, &backwards(StreamPosition::End)).await;
    assert_eq!(found.expect("it is there").len(), 3000);
}
