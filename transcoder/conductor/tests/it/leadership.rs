//! One leads, the others wait.

use domain::{
    decider::Decider,
    id::{CommandId, VideoId},
    video::Status,
};
use eventlog::{Envelope, Revision};
use tonic::Code;
use uuid::Uuid;

use crate::{
    warnings,
    worker::{Worker, job_of, lease_of},
    world::{TOKEN, World, eventually},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_answers_nobody_until_the_leader_is_gone() {
    let mut world = World::new().await;
    world.upload().await;
    let (address, standby) = world.start_another().await;
    let worker = Worker::new(address, "worker-1", TOKEN);
    let refused = worker.claim_with(Uuid::now_v7(), &[], 0).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    world.worker("worker-1").claim("probe").await;

    world.kill().await;
    eventually("the standby leads", || worker.is_served()).await;
    assert!(!standby.is_finished());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_loses_its_connection_gives_up() {
    let mut world = World::new().await;
    let cut = world
        .sql(
            "select count(pg_terminate_backend(pid)) from pg_locks
             where locktype = 'advisory' and granted
               and database = (select oid from pg_database where datname = current_database())",
        )
        .await;
    assert_eq!(cut, 1);
    let error = world.ended().await.unwrap_err();
    assert!(format!("{error:#}").contains("leadership"), "{error:#}");
    world.start().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conductor_without_its_tables_begins_anew_and_repeats_nothing() {
    let mut world = World::new().await;
    let (video, job) = world.upload().await;
    world.worker("worker-1").work_all(4).await;
    let ready = |video: &domain::video::Video| video.status == Status::Ready;
    world.until_video(video, "ready", ready).await;
    let (other, _) = world.upload().await;
    eventually("its row is there", async || {
        world.sql("select count(*) from conductor.open_jobs").await == 1
    })
    .await;
    let before = (
        world.video_events(video).await.len(),
        world.job_events(job).await.len(),
    );

    world.kill().await;
    world
        .sql("with gone as (delete from conductor.open_jobs returning 1) select count(*) from gone")
        .await;
    world.sql("with gone as (delete from conductor.conductor_checkpoint returning 1) select count(*) from gone").await;
    world.start().await;
    world.worker("worker-1").work_all(4).await;
    world.until_video(other, "ready", ready).await;
    let after = (
        world.video_events(video).await.len(),
        world.job_events(job).await.len(),
    );
    assert_eq!(before, after);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conductor_that_knows_more_than_a_restored_log_begins_anew() {
    const LOST: &str = "the log has lost its end";
    warnings::listen();
    let mut world = World::new().await;
    let (video, _) = world.upload().await;
    world.worker("worker-1").work_all(4).await;
    let ready = |video: &domain::video::Video| video.status == Status::Ready;
    world.until_video(video, "ready", ready).await;
    world.back_up_log().await;
    for _ in 0..3 {
        world.upload().await;
    }
    eventually("their rows are there", async || {
        world.sql("select count(*) from conductor.open_jobs").await == 3
    })
    .await;
    world.restart().await;
    assert_eq!(warnings::count(LOST), 0);

    world.kill().await;
    world.restore_log().await;
    let (other, job) = world.upload().await;
    world.start().await;
    assert_eq!(warnings::count(LOST), 1);
    // The work of this log, and none of what it forgot.
    let probe = world.worker("worker-1").claim("probe").await;
    assert_eq!(job_of(&probe), job);
    eventually("the job that was over is closed again", async || {
        world.sql("select count(*) from conductor.open_jobs").await == 1
    })
    .await;
    let worker = world.worker("worker-1");
    let lease = lease_of(&probe);
    let failed = worker.fail(&lease, "SOURCE_NOT_MEDIA", "this is not a video");
    failed.await.unwrap();
    let failed = |video: &domain::video::Video| video.status == Status::Failed;
    world.until_video(other, "failed", failed).await;
    world.restart().await;
    assert_eq!(warnings::count(LOST), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_jobs_as_may_be_are_open_and_more_are_warned_of_once() {
    const FULL: &str = "2 jobs are open, as many as may be";
    warnings::listen();
    let world = World::with(|config| config.open_jobs_max = 2).await;
    let mut videos = vec![];
    for _ in 0..4 {
        videos.push(world.upload().await.0);
    }
    let worker = world.worker("worker-1");
    let probes = [worker.claim("probe").await, worker.claim("probe").await];
    eventually("it warns", async || warnings::count(FULL) == 1).await;
    let open = world.sql("select count(*) from conductor.open_jobs").await;
    assert_eq!(open, 2);

    let [first, second] = probes.map(|probe| lease_of(&probe));
    let not_media = async |lease| {
        let failed = worker.fail(lease, "SOURCE_NOT_MEDIA", "this is not a video");
        failed.await.unwrap();
    };
    not_media(&first).await;
    let third = lease_of(&worker.claim("probe").await);
    not_media(&second).await;
    not_media(&third).await;
    not_media(&lease_of(&worker.claim("probe").await)).await;
    for video in videos {
        let failed = |video: &domain::video::Video| video.status == Status::Failed;
        world.until_video(video, "failed", failed).await;
    }
    assert_eq!(warnings::count(FULL), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_had_no_place_when_it_stopped_is_opened_by_the_next_conductor() {
    warnings::listen();
    let mut world = World::with(|config| config.open_jobs_max = 3).await;
    for _ in 0..4 {
        world.upload().await;
    }
    let full = "3 jobs are open, as many as may be";
    eventually("it waits", async || warnings::count(full) == 1).await;
    world.stop_conductor().await;
    world.config.open_jobs_max = 4;
    world.start().await;
    eventually("all are open", async || {
        world.sql("select count(*) from conductor.open_jobs").await == 4
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_stops_at_once_although_workers_wait_for_tasks() {
    let mut world = World::new().await;
    let worker = world.worker("worker-1");
    let waiting = tokio::spawn(async move { worker.claim_with(Uuid::now_v7(), &[], 30_000).await });
    let other = world.worker("worker-2");
    assert_eq!(
        other.claim_with(Uuid::now_v7(), &[], 50).await.unwrap(),
        None
    );
    let began = std::time::Instant::now();
    world.stop();
    world.ended().await.unwrap();
    assert!(
        began.elapsed().as_secs() < 5,
        "it took {:?}",
        began.elapsed()
    );
    assert!(waiting.await.unwrap().is_err());
}

/// What a later release might append to a video.
#[derive(Clone, Default)]
struct Newer;

impl Decider for Newer {
    const CATEGORY: &'static str = "video";

    type Id = VideoId;
    type Command = ();
    type Event = serde_json::Value;
    type Rejection = std::fmt::Error;

    fn decide(&self, (): ()) -> Result<Vec<serde_json::Value>, std::fmt::Error> {
        Ok(vec![])
    }

    fn evolve(self, _: &serde_json::Value) -> Self {
        self
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_of_a_later_release_holds_the_checkpoint_but_nobody_up() {
    let mut world = World::new().await;
    let newer = VideoId(Uuid::now_v7());
    let events = [serde_json::json!({"type": "video.upload-completed.v9"})];
    let by = Envelope::new(CommandId(Uuid::now_v7()), "ada");
    let appended = world
        .log
        .append::<Newer>(newer, Revision::NoStream, &by, &events);
    let position = appended.await.unwrap().position as i64;

    let (video, job) = world.upload().await;
    world.worker("worker-1").work_all(4).await;
    world
        .until_video(video, "ready", |video| video.status == Status::Ready)
        .await;
    let checkpoint = "select coalesce(commit_position, -1) from conductor.conductor_checkpoint";
    assert!(world.sql(checkpoint).await < position);
    // The next one comes back to it, and meets the finished job again.
    world.restart().await;
    let (video, _) = world.upload().await;
    world.worker("worker-1").work_all(4).await;
    world
        .until_video(video, "ready", |video| video.status == Status::Ready)
        .await;
    world.assert_one_end_each(job).await;
    assert!(world.sql(checkpoint).await < position);
}
