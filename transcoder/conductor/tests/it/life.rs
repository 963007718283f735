//! The main road: an upload is planned, made, checked, and told to its video.

use domain::{
    fact::AnyEvent,
    id::EventId,
    job::{Job, Outcome, TaskState},
    video::Status,
};
use eventlog::stream_name;
use protocol::task::Spec;
use uuid::Uuid;

use crate::{
    worker::{job_of, lease_of},
    world::{World, eventually},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_makes_an_upload_ready() {
    let world = World::new().await;
    let (video, job) = world.upload().await;
    let worker = world.worker("worker-1");

    let probe = worker
        .claim_with(Uuid::now_v7(), &[], 15_000)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(job_of(&probe), job);
    let Some(Spec::Probe(limits)) = &probe.spec else {
        panic!("{:?}", probe.spec)
    };
    assert_eq!(limits.duration_ms_max, 12 * 60 * 60 * 1000);
    assert_eq!((limits.width_max, limits.height_max), (8192, 4320));
    assert_eq!((limits.tracks_max, limits.frame_rate_max), (16, 120));
    worker.work(&probe).await.unwrap();

    // What makes it playable comes first.
    let audio = worker
        .claim_with(Uuid::now_v7(), &[], 15_000)
        .await
        .unwrap()
        .unwrap();
    assert!(
        matches!(audio.spec, Some(Spec::Audio(_))),
        "{:?}",
        audio.spec
    );
    worker.work(&audio).await.unwrap();
    assert!(
        !world.video(video).await.playable,
        "sound alone is not this video"
    );

    let encode = worker.claim("encode").await;
    let renewed = worker.renew_source(&lease_of(&encode)).await.unwrap();
    assert!(!worker.fetch(&renewed).await.is_empty());
    worker
        .make_segment(&lease_of(&encode), "144p", 0)
        .await
        .unwrap();
    world
        .until_video(video, "playable", |video| video.playable)
        .await;
    assert_eq!(world.video(video).await.status, Status::Processing);
    worker.work(&encode).await.unwrap();
    let poster = worker.claim("poster").await;
    worker.work(&poster).await.unwrap();

    world
        .until_video(video, "ready", |video| video.status == Status::Ready)
        .await;
    world.assert_ready_once(video, job).await;
    eventually("the job is closed", async || {
        world.sql("select count(*) from conductor.open_jobs").await == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn finish_leaves_playlists_that_lead_to_every_segment() {
    let world = World::new().await;
    let (video, job) = world.upload().await;
    world.worker("worker-1").work_all(4).await;
    world
        .until_video(video, "ready", |video| video.status == Status::Ready)
        .await;

    let state = world.job(job).await;
    let finish = state
        .tasks
        .values()
        .find(|p| p.task.id.0 == "finish")
        .unwrap();
    let TaskState::Done(Outcome::Checked { playlists }) = &finish.state else {
        panic!("{:?}", finish.state);
    };
    let folder = format!("videos/{video}/{job}/finish/1");
    let mut names = playlists.clone();
    names.sort();
    let expected = [
        "144p.m3u8",
        "240p.m3u8",
        "audio.m3u8",
        "manifest.mpd",
        "master.m3u8",
    ];
    assert_eq!(names, expected.map(|name| format!("{folder}/{name}")));

    let keys = world.keys(&format!("videos/{video}")).await;
    for playlist in ["144p.m3u8", "240p.m3u8", "audio.m3u8"] {
        let text = text(&world, &format!("{folder}/{playlist}")).await;
        assert!(text.contains("#EXT-X-ENDLIST"), "{text}");
        let uris: Vec<&str> = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .collect();
        assert_eq!(uris.len(), 2, "{text}");
        for uri in uris {
            let key = uri.replace("../../../", &format!("videos/{video}/"));
            assert!(keys.contains(&key), "{uri} leads nowhere");
        }
    }
    let master = text(&world, &format!("{folder}/master.m3u8")).await;
    assert!(
        master.contains("\n240p.m3u8") && master.contains("\n144p.m3u8"),
        "{master}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_says_what_caused_it_and_for_which_video() {
    let world = World::new().await;
    let (video, job) = world.upload().await;
    world.worker("worker-1").work_all(4).await;
    world
        .until_video(video, "ready", |video| video.status == Status::Ready)
        .await;

    let asked = world.video_events(video).await[1].id;
    let events = world.job_events(job).await;
    assert_eq!(events[0].metadata.causation, asked.0);
    let mut known: Vec<EventId> = vec![asked];
    for recorded in &events {
        assert_eq!(recorded.stream, stream_name::<Job>(job));
        assert_eq!(
            recorded.metadata.correlation, video.0,
            "{}",
            recorded.type_name
        );
        let cause = EventId(recorded.metadata.causation);
        assert!(
            known.contains(&cause),
            "{} has no cause",
            recorded.type_name
        );
        known.push(recorded.id);
    }
    let told = world.video_events(video).await;
    let ready = told
        .iter()
        .find(|r| r.type_name == "video.became-ready.v1")
        .unwrap();
    let completed = events.last().unwrap();
    assert_eq!(completed.type_name, "job.completed.v1");
    assert_eq!(ready.metadata.causation, completed.id.0);
    assert_eq!(ready.metadata.correlation, video.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn videos_that_are_not_playable_come_first_and_older_jobs_before_younger() {
    let world = World::new().await;
    let worker = world.worker("worker-1");
    let (_, first) = world.upload().await;
    let probe = worker.claim("probe").await;
    assert_eq!(job_of(&probe), first);
    worker.work(&probe).await.unwrap();
    let audio = worker.claim("audio").await;
    worker.work(&audio).await.unwrap();
    let encode = worker.claim("encode").await;
    worker
        .make_segment(&lease_of(&encode), "240p", 0)
        .await
        .unwrap();

    // The first video has a poster to offer, but it plays already.
    let (_, second) = world.upload().await;
    let next = worker.claim("probe").await;
    assert_eq!(job_of(&next), second);
    worker.work(&next).await.unwrap();
    let next = worker
        .claim_with(Uuid::now_v7(), &["poster"], 15_000)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(job_of(&next), second);
    let last = worker
        .claim_with(Uuid::now_v7(), &["poster"], 15_000)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(job_of(&last), first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_video_is_processed_again_when_its_owner_asks() {
    let world = World::new().await;
    let (video, first) = world.upload().await;
    let worker = world.worker("worker-1");
    let probe = worker.claim("probe").await;
    worker
        .fail(&lease_of(&probe), "SOURCE_CORRUPT", "it is damaged")
        .await
        .unwrap();
    world
        .until_video(video, "failed", |video| video.status == Status::Failed)
        .await;

    let retry = domain::video::Command::RetryProcessing {
        by: domain::video::By::Platform,
        at_ms: 1_700_000_001_000,
    };
    world.command(video, retry).await;
    worker.work_all(4).await;
    world
        .until_video(video, "ready", |video| video.status == Status::Ready)
        .await;
    let job = world.video(video).await.job.unwrap();
    assert_ne!(job, first);
    world.assert_ready_once(video, job).await;
    let events = world.job_events(job).await;
    let Ok(AnyEvent::Job(planned)) = &events[0].event else {
        panic!("not a job event")
    };
    assert_eq!(planned.video, video);
}

pub async fn text(world: &World, key: &str) -> String {
    use futures::TryStreamExt;

    let stream = world.objects.get(key, None, None).await.unwrap().stream;
    let parts: Vec<_> = stream.try_collect().await.unwrap();
    String::from_utf8(parts.concat()).unwrap()
}
