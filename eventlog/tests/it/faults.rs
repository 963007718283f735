use domain::video::{Status, Video};
use eventlog::LogError;

use crate::{
    node::{Node, in_time, log_at, until},
    proxy::Proxy,
    stories::{VIDEO, by, rename, request},
};

const STREAM: &str = "video-00000000-0000-0000-0000-00000000000a";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_whose_answer_was_lost_is_recorded_once() {
    let node = Node::start().await;
    let proxy = Proxy::to(node.port()).await;
    let (far, near) = (log_at(proxy.port), node.log());
    in_time(far.execute::<Video>(VIDEO, &by(1), request()))
        .await
        .unwrap();
    let events = vec![renamed(&near).await];

    // The request goes through, the answer does not, then the connection is gone.
    proxy.swallow_answers();
    let loaded = near.load::<Video>(VIDEO).await.unwrap();
    let sending = {
        let far = far.clone();
        tokio::spawn(async move {
            far.append::<Video>(VIDEO, loaded.revision, &by(2), &events)
                .await
        })
    };
    until(|| async { near.read_stream(STREAM, None, 10).await.unwrap().len() == 2 }).await;
    proxy.cut();

    let appended = in_time(sending).await.unwrap().unwrap();
    let recorded = near.read_stream(STREAM, None, 10).await.unwrap();
    assert_eq!(recorded.len(), 2);
    assert_eq!(appended.revision, 1);
    assert_eq!(appended.position, recorded[1].commit);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_is_found_even_when_others_wrote_since() {
    let node = Node::start().await;
    let proxy = Proxy::to(node.port()).await;
    let (far, near) = (log_at(proxy.port), node.log());
    in_time(far.execute::<Video>(VIDEO, &by(1), request()))
        .await
        .unwrap();
    let events = vec![renamed(&near).await];
    let loaded = near.load::<Video>(VIDEO).await.unwrap();

    proxy.swallow_answers();
    let sending = {
        let far = far.clone();
        tokio::spawn(async move {
            far.append::<Video>(VIDEO, loaded.revision, &by(2), &events)
                .await
        })
    };
    until(|| async { near.read_stream(STREAM, None, 10).await.unwrap().len() == 2 }).await;
    near.execute::<Video>(VIDEO, &by(3), rename("by another"))
        .await
        .unwrap();
    proxy.cut();

    let appended = in_time(sending).await.unwrap().unwrap();
    assert_eq!(appended.revision, 1);
    // And the whole command finds itself, too.
    let again = far
        .execute::<Video>(VIDEO, &by(2), rename("a run"))
        .await
        .unwrap();
    assert_eq!(again.position, appended.position);
    assert_eq!(near.read_stream(STREAM, None, 10).await.unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_down_at_the_start_is_waited_for() {
    let node = Node::start().await;
    let proxy = Proxy::to(node.port()).await;
    proxy.set_down(true);
    let log = log_at(proxy.port);
    let not_ready = in_time(log.ready()).await.unwrap_err();
    assert!(
        matches!(not_ready, LogError::Unavailable { .. }),
        "{not_ready:?}"
    );

    let waiting = {
        let log = log.clone();
        tokio::spawn(async move { log.execute::<Video>(VIDEO, &by(1), request()).await })
    };
    // It was tried and tried again, with more than one client.
    until(|| async { proxy.refused() >= 4 }).await;
    proxy.set_down(false);
    let done = in_time(waiting).await.unwrap().unwrap();
    assert_eq!(done.state.status, Status::Uploading);
    in_time(log.ready()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_goes_away_comes_back_for_the_same_handle() {
    let mut node = Node::start().await;
    let log = node.log();
    in_time(log.execute::<Video>(VIDEO, &by(1), request()))
        .await
        .unwrap();
    node.stop().await;
    assert!(in_time(log.ready()).await.is_err());
    let waiting = {
        let log = log.clone();
        tokio::spawn(async move { log.execute::<Video>(VIDEO, &by(2), rename("a run")).await })
    };
    node.start_again().await;
    in_time(waiting).await.unwrap().unwrap();
    in_time(log.ready()).await.unwrap();
    assert_eq!(log.read_stream(STREAM, None, 10).await.unwrap().len(), 2);
}

/// The event that renaming leads to, to be appended by hand.
async fn renamed(log: &eventlog::Log) -> domain::video::Event {
    use domain::decider::Decider;
    let state = log.load::<Video>(VIDEO).await.unwrap().state;
    state.decide(rename("a run")).unwrap().remove(0)
}
