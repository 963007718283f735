use domain::{codec::DecodeError, fact::AnyEvent, video::Video};
use eventlog::{Followed, Log, Recorded};
use eventstore::EventData;
use serde_json::json;
use tokio::sync::mpsc::Receiver;
use tokio_util::sync::CancellationToken;

use crate::{
    node::{Node, in_time, log_at, until},
    proxy::Proxy,
    stories::{VIDEO, by, rename, request},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_and_what_comes_is_delivered_in_order() {
    let node = Node::start().await;
    let log = node.log();
    in_time(log.execute::<Video>(VIDEO, &by(1), request()))
        .await
        .unwrap();
    let mut following = log.follow(None, CancellationToken::new());
    let first = next_event(&mut following).await;
    assert!(matches!(first.event, Ok(AnyEvent::Video(_))));
    until_caught_up(&mut following).await;

    let renamed = log
        .execute::<Video>(VIDEO, &by(2), rename("a run"))
        .await
        .unwrap();
    let second = next_event(&mut following).await;
    assert_eq!(second.commit, renamed.position);
    assert_eq!(second.revision, 1);

    // After a position means after it.
    let mut from_first = log.follow(Some(first.commit), CancellationToken::new());
    assert_eq!(next_event(&mut from_first).await.commit, second.commit);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_restarts_every_event_comes_once_and_in_order() {
    let mut node = Node::start().await;
    let log = node.log();
    in_time(log.execute::<Video>(VIDEO, &by(1), request()))
        .await
        .unwrap();
    let mut following = log.follow(None, CancellationToken::new());
    let mut seen = vec![next_event(&mut following).await.revision];
    for round in 0..3 {
        write(&log, 10 + round * 10).await;
        node.stop().await;
        node.start_again().await;
        write(&log, 15 + round * 10).await;
    }
    while seen.len() < 19 {
        seen.push(next_event(&mut following).await.revision);
    }
    assert_eq!(seen, (0..19).collect::<Vec<u64>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_connection_loses_and_repeats_nothing() {
    let node = Node::start().await;
    let proxy = Proxy::to(node.port()).await;
    let log = node.log();
    in_time(log.execute::<Video>(VIDEO, &by(1), request()))
        .await
        .unwrap();
    let mut following = log_at(proxy.port).follow(None, CancellationToken::new());
    let mut seen = vec![next_event(&mut following).await.revision];
    for round in 0..4 {
        write(&log, 10 + round * 10).await;
        proxy.cut();
        seen.push(next_event(&mut following).await.revision);
    }
    while seen.len() < 13 {
        seen.push(next_event(&mut following).await.revision);
    }
    assert_eq!(seen, (0..13).collect::<Vec<u64>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_waits_for_a_log_that_is_down() {
    let node = Node::start().await;
    let proxy = Proxy::to(node.port()).await;
    proxy.set_down(true);
    let mut following = log_at(proxy.port).follow(None, CancellationToken::new());
    until(|| async { proxy.refused() >= 4 }).await;
    in_time(node.log().execute::<Video>(VIDEO, &by(1), request()))
        .await
        .unwrap();
    proxy.set_down(false);
    assert_eq!(next_event(&mut following).await.revision, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checkpoints_pass_what_is_not_ours() {
    let node = Node::start().await;
    let log = node.log();
    let ours = in_time(log.execute::<Video>(VIDEO, &by(1), request()))
        .await
        .unwrap();
    foreign(&node, 200).await;
    let mut following = log.follow(Some(ours.position), CancellationToken::new());
    let caught_up = until_caught_up(&mut following).await;
    assert!(
        caught_up.unwrap() >= ours.position + 200 - 64,
        "{caught_up:?}"
    );

    // Live, too.
    foreign(&node, 200).await;
    let mut reached = caught_up.unwrap();
    while reached < caught_up.unwrap() + 100 {
        match in_time(following.recv()).await.unwrap() {
            Followed::Checkpoint(commit) => reached = commit,
            Followed::CaughtUp => {}
            Followed::Event(event) => panic!("none of these is ours: {event:?}"),
        }
    }
    // Going on from a checkpoint misses nothing.
    let next = log
        .execute::<Video>(VIDEO, &by(2), rename("a run"))
        .await
        .unwrap();
    let mut later = log.follow(Some(reached), CancellationToken::new());
    assert_eq!(next_event(&mut later).await.commit, next.position);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_newer_than_this_program_is_delivered_as_an_error() {
    let node = Node::start().await;
    let log = node.log();
    in_time(log.execute::<Video>(VIDEO, &by(1), request()))
        .await
        .unwrap();
    let stream = eventlog::stream_name::<Video>(VIDEO);
    let newer = EventData::json("video.teleported.v1", &json!({})).unwrap();
    // Ours by its type, but without our metadata.
    let unsigned = EventData::json("video.upload-expired.v1", &json!({})).unwrap();
    node.client()
        .append_to_stream(stream, &Default::default(), vec![newer, unsigned])
        .await
        .unwrap();
    let last = log.execute::<Video>(VIDEO, &by(1), request()).await;
    assert!(last.is_err());

    let mut following = log.follow(None, CancellationToken::new());
    assert!(next_event(&mut following).await.event.is_ok());
    let unknown = next_event(&mut following).await;
    assert_eq!(unknown.revision, 1);
    assert!(
        matches!(unknown.event, Err(DecodeError::UnknownType(name)) if name == "video.teleported.v1")
    );
    let unsigned = next_event(&mut following).await;
    assert!(matches!(unsigned.event, Err(DecodeError::Malformed { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_ends_when_it_is_stopped() {
    let node = Node::start().await;
    let stop = CancellationToken::new();
    let mut following = node.log().follow(None, stop.clone());
    until_caught_up(&mut following).await;
    stop.cancel();
    in_time(async { while following.recv().await.is_some() {} }).await;
}

async fn write(log: &Log, first: u128) {
    for command in first..first + 3 {
        let title = format!("title {command}");
        let by = by(command);
        in_time(log.execute::<Video>(VIDEO, &by, rename(&title)))
            .await
            .unwrap();
    }
}

async fn foreign(node: &Node, count: usize) {
    let events: Vec<EventData> = (0..count)
        .map(|_| EventData::json("weather.changed", &json!({})).unwrap())
        .collect();
    node.client()
        .append_to_stream("weather", &Default::default(), events)
        .await
        .unwrap();
}

async fn next_event(following: &mut Receiver<Followed>) -> Recorded {
    in_time(async {
        loop {
            if let Followed::Event(event) = following.recv().await.unwrap() {
                return event;
            }
        }
    })
    .await
}

/// The last position heard of before.
async fn until_caught_up(following: &mut Receiver<Followed>) -> Option<u64> {
    in_time(async {
        let mut last = None;
        loop {
            match following.recv().await.unwrap() {
                Followed::Event(event) => last = Some(event.commit),
                Followed::Checkpoint(commit) => last = Some(commit),
                Followed::CaughtUp => return last,
            }
        }
    })
    .await
}
