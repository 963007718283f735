//! Deleted videos: work on them stops, and nothing of them stays in the object store.

use domain::{job::End, video::Status};
use uuid::Uuid;

use crate::{
    worker::lease_of,
    world::{World, count, eventually},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_a_video_cancels_its_work_and_erases_its_objects() {
    let world = World::new().await;
    let (video, job) = world.upload().await;
    let worker = world.worker("worker-1");
    let probe = worker.claim("probe").await;
    worker.work(&probe).await.unwrap();
    let encode = lease_of(&worker.claim("encode").await);
    let (kept, _) = world.upload().await;
    worker.make_segment(&encode, "240p", 0).await.unwrap();
    assert!(!world.keys(&format!("videos/{video}")).await.is_empty());

    world.delete(video).await;
    world
        .until_job(job, "cancelled", |job| job.end == End::Cancelled)
        .await;
    eventually("its objects are gone", async || {
        let outputs = world.keys(&format!("videos/{video}")).await;
        let sources = world.keys(&format!("sources/{video}")).await;
        outputs.is_empty() && sources.is_empty()
    })
    .await;
    assert!(
        worker.heartbeat(&encode).await.unwrap(),
        "the worker is told to stop"
    );
    assert!(worker.make_segment(&encode, "240p", 1).await.is_err());
    assert_eq!(
        count(&world.job_events(job).await, "job.task-cancelled.v1"),
        1
    );
    world.assert_one_end_each(job).await;
    assert_eq!(world.keys(&format!("sources/{kept}")).await.len(), 1);
    // Signed addresses outlive the deletion, so it stays on the list until they have run out.
    eventually("it was swept", async || {
        world
            .sql("select count(*) from conductor.deletions where swept_at_ms is not null")
            .await
            == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_while_no_conductor_runs_is_made_up_for() {
    let mut world = World::new().await;
    let (video, job) = world.upload().await;
    let worker = world.worker("worker-1");
    worker.claim("probe").await;
    world.kill().await;
    world.delete(video).await;
    world.start().await;
    world
        .until_job(job, "cancelled", |job| job.end == End::Cancelled)
        .await;
    eventually("its source is gone", async || {
        world.keys(&format!("sources/{video}")).await.is_empty()
    })
    .await;
    assert_eq!(world.video(video).await.status, Status::Deleted);
    let nothing = world
        .worker("worker-1")
        .claim_with(Uuid::now_v7(), &[], 0)
        .await
        .unwrap();
    assert_eq!(nothing, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ready_video_is_erased_too() {
    let mut world = World::new().await;
    let (video, _) = world.upload().await;
    world.worker("worker-1").work_all(4).await;
    world
        .until_video(video, "ready", |video| video.status == Status::Ready)
        .await;
    world.delete(video).await;
    // Wherever it is by now.
    world.restart().await;
    eventually("its objects are gone", async || {
        let outputs = world.keys(&format!("videos/{video}")).await;
        outputs.is_empty() && world.keys(&format!("sources/{video}")).await.is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_arrives_long_after_a_deletion_is_erased_too() {
    let mut world = World::new().await;
    let (video, _) = world.upload().await;
    world.kill().await;
    // So long ago that every address of then has run out: but who knows what was signed since.
    world.delete_at(video, 1_700_000_000_001).await;
    world.start().await;
    let swept = "select count(*) from conductor.deletions where swept_at_ms is not null";
    eventually("it was swept", async || world.sql(swept).await == 1).await;

    // A slow PUT ends, while others may still go on.
    let key = format!("sources/{video}/original");
    let body = "late".into();
    world.objects.create(&key, "video/mp4", body).await.unwrap();
    let hours = "with aged as (update conductor.deletions set swept_at_ms = swept_at_ms - 7200000 returning 1)
                 select count(*) from aged";
    world.sql(hours).await;
    let (other, _) = world.upload().await;
    world.delete(other).await;
    eventually("another was swept", async || world.sql(swept).await == 2).await;
    assert_eq!(world.keys(&format!("sources/{video}")).await, [key]);

    let days = "with aged as (update conductor.deletions set swept_at_ms = swept_at_ms - 172800000
                where asked_at_ms = 1700000000001 returning 1) select count(*) from aged";
    assert_eq!(world.sql(days).await, 1);
    world.restart().await;
    eventually("it is erased for good", async || {
        world.sql("select count(*) from conductor.deletions").await == 1
    })
    .await;
    assert!(world.keys(&format!("sources/{video}")).await.is_empty());
}
