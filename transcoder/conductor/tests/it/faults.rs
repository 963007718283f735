//! What goes wrong with a source, a worker or the object store, and what its owner hears.

use domain::{
    code::Code,
    fact::AnyEvent,
    id::VideoId,
    video::{self, Status},
};

use crate::{
    worker::{job_of, lease_of},
    world::{World, count},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_failures_of_a_task_fail_the_video_with_their_history() {
    let world = World::new().await;
    let (video, job) = world.upload().await;
    let worker = world.worker("worker-1");
    for attempt in 1..=3 {
        let probe = worker.claim("probe").await;
        assert_eq!(lease_of(&probe).attempt, attempt);
        let lease = lease_of(&probe);
        worker
            .fail(&lease, "PROCESSING_STALLED", "it stood still")
            .await
            .unwrap();
    }
    world
        .until_video(video, "failed", |video| video.status == Status::Failed)
        .await;
    assert_eq!(
        failure(&world, video).await,
        (Code::ProcessingStalled, "it stood still".to_owned())
    );
    let events = world.job_events(job).await;
    assert_eq!(count(&events, "job.task-failed.v1"), 3);
    assert_eq!(count(&events, "job.failed.v1"), 1);
    world.assert_one_end_each(job).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_is_to_blame_fails_at_once() {
    let world = World::new().await;
    let (video, job) = world.upload().await;
    let worker = world.worker("worker-1");
    let probe = worker.claim("probe").await;
    let lease = lease_of(&probe);
    worker
        .fail(&lease, "SOURCE_NOT_MEDIA", "this is not a video")
        .await
        .unwrap();
    world
        .until_video(video, "failed", |video| video.status == Status::Failed)
        .await;
    assert_eq!(failure(&world, video).await.0, Code::SourceNotMedia);
    assert_eq!(count(&world.job_events(job).await, "job.task-failed.v1"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_word_that_is_no_code_is_a_crash() {
    let world = World::new().await;
    let (video, _) = world.upload().await;
    let worker = world.worker("worker-1");
    for code in ["EATEN_BY_DOG", "", "UPLOAD_EXPIRED"] {
        let probe = worker.claim("probe").await;
        worker
            .fail(&lease_of(&probe), code, &"long ".repeat(500))
            .await
            .unwrap();
    }
    world
        .until_video(video, "failed", |video| video.status == Status::Failed)
        .await;
    let (code, message) = failure(&world, video).await;
    assert_eq!(code, Code::ProcessingCrashed);
    assert_eq!(message.chars().count(), 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_but_not_stored_is_never_ready() {
    let world = World::new().await;
    let (video, job) = world.upload().await;
    let worker = world.worker("worker-1");
    for kind in ["probe", "audio", "encode"] {
        let task = worker.claim(kind).await;
        worker.work(&task).await.unwrap();
    }
    let gone = format!("videos/{video}/{job}/encode/1/240p-1.m4s");
    world.objects.delete(&gone).await.unwrap();
    let poster = worker.claim("poster").await;
    assert_eq!(job_of(&poster), job);
    worker.work(&poster).await.unwrap();

    world
        .until_video(video, "failed", |video| video.status == Status::Failed)
        .await;
    assert_eq!(failure(&world, video).await.0, Code::ProcessingCrashed);
    assert_eq!(
        count(&world.video_events(video).await, "video.became-ready.v1"),
        0
    );
    world.assert_one_end_each(job).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_store_that_stays_away_fails_the_video_in_the_end() {
    let world = World::new().await;
    let (video, job) = world.upload().await;
    let worker = world.worker("worker-1");
    for kind in ["probe", "audio", "poster"] {
        let task = worker.claim(kind).await;
        worker.work(&task).await.unwrap();
    }
    let encode = lease_of(&worker.claim("encode").await);
    for index in 0..2 {
        worker.make_segment(&encode, "240p", index).await.unwrap();
        worker.make_segment(&encode, "144p", index).await.unwrap();
    }
    world.lose_object_store().await;
    worker
        .finish(&encode, crate::worker::encoded())
        .await
        .unwrap();

    world
        .until_video(video, "failed", |video| video.status == Status::Failed)
        .await;
    assert_eq!(failure(&world, video).await.0, Code::StorageUnavailable);
    assert_eq!(count(&world.job_events(job).await, "job.task-failed.v1"), 3);
    world.assert_one_end_each(job).await;
}

async fn failure(world: &World, video: VideoId) -> (Code, String) {
    let events = world.video_events(video).await;
    let failures = events.iter().filter_map(|recorded| match &recorded.event {
        Ok(AnyEvent::Video(fact)) => match &fact.event {
            video::Kind::ProcessingFailed { code, message, .. } => Some((*code, message.clone())),
            _ => None,
        },
        _ => None,
    });
    let failures: Vec<_> = failures.collect();
    assert_eq!(failures.len(), 1, "{failures:?}");
    failures[0].clone()
}
