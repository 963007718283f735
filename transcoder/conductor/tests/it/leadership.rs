//! One leads, the others wait.

use tonic::Code;
use uuid::Uuid;

use crate::{
    worker::Worker,
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
    let ready = |video: &domain::video::Video| video.status == domain::video::Status::Ready;
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
