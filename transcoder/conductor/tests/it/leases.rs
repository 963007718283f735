//! Workers that vanish, and claims that are repeated.

use std::time::Duration;

use domain::{code::Code as Failure, job::LOST_LEASES_MAX, video::Status};
use tonic::Code;
use uuid::Uuid;

use crate::{
    worker::{job_of, lease_of, probed},
    world::{World, count},
};

/// With leases short enough to wait for their end.
async fn hasty() -> World {
    World::with(|config| {
        config.lease = Duration::from_millis(400);
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_task_of_a_silent_worker_is_handed_on_and_it_is_told_to_stop() {
    let world = hasty().await;
    let (video, job) = world.upload().await;
    let silent = world.worker("worker-1");
    let first = lease_of(&silent.claim("probe").await);
    let other = world.worker("worker-2");
    let second = other.claim("probe").await;
    assert_eq!(lease_of(&second).attempt, first.attempt + 1);

    assert_eq!(
        silent.heartbeat(&first).await.unwrap_err().code(),
        Code::Aborted
    );
    assert_eq!(
        silent.finish(&first, probed()).await.unwrap_err().code(),
        Code::Aborted
    );
    let refused = silent
        .fail(&first, "SOURCE_CORRUPT", "late")
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Aborted);
    assert_eq!(
        silent.renew_source(&first).await.unwrap_err().code(),
        Code::Aborted
    );
    assert_eq!(
        silent.presign(&first, vec![]).await.unwrap_err().code(),
        Code::Aborted
    );

    other.work(&second).await.unwrap();
    assert_eq!(count(&world.job_events(job).await, "job.lease-lost.v1"), 1);
    other.work_all(3).await;
    world
        .until_video(video, "ready", |video| video.status == Status::Ready)
        .await;
    world.assert_ready_once(video, job).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_beating_worker_keeps_its_task() {
    let world = hasty().await;
    let (_, job) = world.upload().await;
    let worker = world.worker("worker-1");
    let probe = worker.claim("probe").await;
    assert_eq!((probe.lease_ms, probe.heartbeat_ms), (400, 100));
    let began = tokio::time::Instant::now();
    let mut beats = tokio::time::interval(Duration::from_millis(100));
    // Three whole leases.
    while began.elapsed() < Duration::from_millis(1_200) {
        beats.tick().await;
        assert!(!worker.heartbeat(&lease_of(&probe)).await.unwrap());
    }
    worker.work(&probe).await.unwrap();
    assert_eq!(count(&world.job_events(job).await, "job.lease-lost.v1"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_all_vanish_fail_the_video() {
    let world = World::with(|config| {
        config.lease = Duration::from_millis(60);
    })
    .await;
    let (video, job) = world.upload().await;
    let worker = world.worker("worker-1");
    for _ in 0..LOST_LEASES_MAX {
        worker.claim("probe").await;
    }
    world
        .until_video(video, "failed", |video| video.status == Status::Failed)
        .await;
    let state = world.job(job).await;
    assert_eq!(state.failure.unwrap().0, Failure::ProcessingStalled);
    world.assert_one_end_each(job).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_conductor_grants_running_tasks_a_full_lease() {
    let mut world = World::new().await;
    let (_, job) = world.upload().await;
    let worker = world.worker("worker-1");
    let probe = worker.claim("probe").await;
    world.restart().await;
    let worker = world.worker("worker-1");
    assert!(!worker.heartbeat(&lease_of(&probe)).await.unwrap());
    worker.work(&probe).await.unwrap();
    assert_eq!(
        count(&world.job_events(job).await, "job.task-started.v1"),
        1
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_whose_worker_and_conductor_vanish_together_is_handed_on() {
    let mut world = hasty().await;
    let (_, job) = world.upload().await;
    world.worker("worker-1").claim("probe").await;
    world.restart().await;
    let probe = world.worker("worker-2").claim("probe").await;
    assert_eq!(lease_of(&probe).attempt, 2);
    assert_eq!(count(&world.job_events(job).await, "job.lease-lost.v1"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_claim_gets_the_same_attempt_from_the_next_conductor_too() {
    let mut world = World::new().await;
    world.upload().await;
    world.upload().await;
    let worker = world.worker("worker-1");
    let request = Uuid::now_v7();
    let first = worker
        .claim_with(request, &[], 15_000)
        .await
        .unwrap()
        .unwrap();
    let again = worker
        .claim_with(request, &[], 15_000)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(first.lease, again.lease);

    world.restart().await;
    let worker = world.worker("worker-1");
    let again = worker
        .claim_with(request, &[], 15_000)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(first.lease, again.lease);
    assert_eq!(first.spec, again.spec);
    assert_eq!(
        count(
            &world.job_events(job_of(&first)).await,
            "job.task-started.v1"
        ),
        1
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_that_race_never_share_a_task_and_never_take_two() {
    let world = World::new().await;
    for _ in 0..4 {
        world.upload().await;
    }
    let request = Uuid::now_v7();
    let worker = world.worker("worker-1");
    // The last of several that wait is answered; the others are told to try again, and do.
    let insist = async || loop {
        match worker.claim_with(request, &["probe"], 15_000).await {
            Err(refusal) if refusal.code() == Code::Unavailable => {}
            answer => return answer,
        }
    };
    let same = (0..4).map(|_| insist());
    let others = (0..3).map(|_| worker.claim_with(Uuid::now_v7(), &["probe"], 15_000));
    let (same, others) = tokio::join!(
        futures::future::try_join_all(same),
        futures::future::try_join_all(others)
    );
    let lease = |task: Option<protocol::Task>| lease_of(&task.expect("there is one for each"));
    let mut same: Vec<_> = same.unwrap().into_iter().map(lease).collect();
    same.dedup();
    assert_eq!(same.len(), 1, "one request got different tasks");
    let mut jobs: Vec<String> = others
        .unwrap()
        .into_iter()
        .map(|task| lease(task).job)
        .collect();
    jobs.push(same[0].job.clone());
    jobs.sort();
    jobs.dedup();
    assert_eq!(jobs.len(), 4, "a task was shared");
}
