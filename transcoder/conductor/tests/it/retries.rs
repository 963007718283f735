//! One rendition of a ready video is made again: what is taken over, what is erased, and what the
//! video is meanwhile.

use std::{collections::BTreeSet, time::Duration};

use conductor::Config;
use domain::{
    id::{CommandId, JobId, RenditionId, VideoId},
    job::{End, FAILURES_MAX, Outcome, TaskState},
    video::{By, Command, Kind, Rejection, Status, Video},
};
use eventlog::{Envelope, ExecuteError, Executed};
use protocol::task::Spec;
use uuid::Uuid;

use crate::{
    worker::{job_of, lease_of},
    world::{World, count, eventually},
};

/// What is replaced is erased as soon as it may be.
fn at_once(config: &mut Config) {
    config.leftovers_kept = Duration::ZERO;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_rendition_is_made_again_and_the_others_are_taken_over() {
    let world = World::with(at_once).await;
    let (video, first) = ready(&world).await;
    let before = named(&world, video).await;
    let second = retry(&world, video, "144p").await;

    let worker = world.worker("worker-1");
    let task = any_task(&world).await;
    assert_eq!(job_of(&task), second);
    let Some(Spec::Encode(spec)) = &task.spec else {
        panic!("{:?}", task.spec)
    };
    assert_eq!(spec.boundaries_us, world.job(first).await.boundaries_us);
    let targets: Vec<&str> = spec.targets.iter().map(|t| t.rendition.as_str()).collect();
    assert_eq!(targets, ["144p"]);
    worker
        .make_segment(&lease_of(&task), "144p", 0)
        .await
        .unwrap();
    let meanwhile = world.video(video).await;
    assert_eq!(
        (meanwhile.status, meanwhile.playable),
        (Status::Ready, true)
    );
    assert_eq!(meanwhile.job, Some(first));

    worker.work(&task).await.unwrap();
    replaced(&world, video, second).await;
    let after = named(&world, video).await;
    let anew: Vec<&String> = after.difference(&before).collect();
    assert_eq!(anew.len(), 3, "an init and two segments: {anew:?}");
    let folder = format!("videos/{video}/{second}/encode/1/144p-");
    assert!(anew.iter().all(|key| key.starts_with(&folder)), "{anew:?}");
    only_what_is_named_is_stored(&world, video).await;

    let told = world.video_events(video).await;
    assert_eq!(count(&told, "video.rendition-replaced.v1"), 1);
    world.assert_ready_once(video, second).await;
    let made = world.job(second).await;
    let tasks: Vec<&str> = made.tasks.keys().map(|id| id.0.as_str()).collect();
    assert_eq!(tasks, ["encode", "finish"]);
    no_job_is_open(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_replaced_is_kept_for_those_who_have_its_playlist() {
    let world = World::new().await;
    let (video, _) = ready(&world).await;
    let before = world.keys(&format!("videos/{video}")).await;
    let second = retry(&world, video, "240p").await;
    world.worker("worker-1").work_all(1).await;
    replaced(&world, video, second).await;
    no_job_is_open(&world).await;
    // When the second of these was swept, what was due at the first is erased.
    let swept = "select count(*) from conductor.deletions where swept_at_ms is not null";
    for expected in 1..=2 {
        let (other, _) = world.upload().await;
        world.delete(other).await;
        eventually("another was swept", async || {
            world.sql(swept).await == expected
        })
        .await;
    }
    let now = world.keys(&format!("videos/{video}")).await;
    assert!(before.iter().all(|key| now.contains(key)));
    let waiting = "select count(*) from conductor.leftovers";
    assert_eq!(world.sql(waiting).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renditions_are_made_again_after_each_other_and_then_all_of_it_is_deleted() {
    let world = World::with(at_once).await;
    let (video, first) = ready(&world).await;
    let worker = world.worker("worker-1");
    let mut jobs = vec![first];
    for rendition in ["144p", "audio", "144p"] {
        let job = retry(&world, video, rendition).await;
        worker.work_all(1).await;
        replaced(&world, video, job).await;
        only_what_is_named_is_stored(&world, video).await;
        jobs.push(job);
    }
    let makers = world.job(jobs[3]).await.taken_over.unwrap();
    let makers: BTreeSet<(String, JobId)> = makers
        .kept
        .into_iter()
        .map(|kept| (kept.rendition.id.0, kept.made_by))
        .collect();
    let expected = [("240p".to_owned(), first), ("audio".to_owned(), jobs[2])];
    assert_eq!(makers, BTreeSet::from(expected));

    let last = retry(&world, video, "240p").await;
    let task = worker.claim("encode").await;
    worker
        .make_segment(&lease_of(&task), "240p", 0)
        .await
        .unwrap();
    world.delete(video).await;
    world
        .until_job(last, "cancelled", |job| job.end == End::Cancelled)
        .await;
    eventually("its objects are gone", async || {
        let outputs = world.keys(&format!("videos/{video}")).await;
        outputs.is_empty() && world.keys(&format!("sources/{video}")).await.is_empty()
    })
    .await;
    assert_eq!(world.video(video).await.status, Status::Deleted);
    world.assert_one_end_each(last).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_is_begun_once_and_no_other_beside_it() {
    let world = World::with(at_once).await;
    let (video, _) = ready(&world).await;
    let intent = CommandId(Uuid::now_v7());
    let first = ask(&world, video, "144p", intent).await.unwrap();
    let again = ask(&world, video, "144p", intent).await.unwrap();
    assert_eq!(again.position, first.position);
    for rendition in ["144p", "audio"] {
        let other = CommandId(Uuid::now_v7());
        let refused = ask(&world, video, rendition, other).await.unwrap_err();
        let rendition = RenditionId("144p".to_owned());
        let expected = Rejection::RetryUnderWay { rendition };
        assert!(matches!(refused, ExecuteError::Rejected(it) if it == expected));
    }
    world.worker("worker-1").work_all(1).await;
    world
        .until_video(video, "done", |video| video.retry.is_none())
        .await;
    let late = ask(&world, video, "144p", intent).await.unwrap();
    assert_eq!(late.position, first.position);
    let told = world.video_events(video).await;
    assert_eq!(count(&told, "video.rendition-retried.v1"), 1);
    assert_eq!(count(&told, "video.rendition-replaced.v1"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_that_fails_leaves_the_video_as_it_was() {
    let world = World::with(at_once).await;
    let (video, first) = ready(&world).await;
    let before = named(&world, video).await;
    let second = retry(&world, video, "144p").await;
    let worker = world.worker("worker-1");
    for _ in 0..FAILURES_MAX {
        let lease = lease_of(&worker.claim("encode").await);
        let published = world.job(second).await.renditions;
        // What is published is never published again.
        if published.values().all(|it| it.segments.is_empty()) {
            worker.make_segment(&lease, "144p", 0).await.unwrap();
        }
        let code = "STORAGE_UNAVAILABLE";
        worker.fail(&lease, code, "no source").await.unwrap();
    }
    world
        .until_video(video, "over", |video| video.retry.is_none())
        .await;
    let after = world.video(video).await;
    assert_eq!((after.status, after.playable), (Status::Ready, true));
    assert_eq!(after.job, Some(first));
    let told = world.video_events(video).await;
    assert_eq!(count(&told, "video.rendition-retry-failed.v1"), 1);
    assert_eq!(count(&told, "video.processing-failed.v1"), 0);
    assert_eq!(named(&world, video).await, before);
    only_what_is_named_is_stored(&world, video).await;

    let third = retry(&world, video, "144p").await;
    worker.work_all(1).await;
    replaced(&world, video, third).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_does_not_end_well_when_something_taken_over_was_lost() {
    let world = World::with(at_once).await;
    let (video, first) = ready(&world).await;
    let lost = world.job(first).await.renditions[&RenditionId("240p".to_owned())].clone();
    world.objects.delete(&lost.segments[1].key).await.unwrap();
    let second = retry(&world, video, "144p").await;
    world.worker("worker-1").work_all(1).await;
    world
        .until_job(second, "failed", |job| job.end == End::Failed)
        .await;
    world
        .until_video(video, "over", |video| video.retry.is_none())
        .await;
    let after = world.video(video).await;
    assert_eq!((after.status, after.job), (Status::Ready, Some(first)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_survives_a_worker_that_vanishes() {
    let world = World::with(|config| {
        at_once(config);
        config.lease = Duration::from_millis(400);
    })
    .await;
    let (video, _) = ready(&world).await;
    let second = retry(&world, video, "144p").await;
    let silent = world.worker("worker-2");
    let lease = lease_of(&silent.claim("encode").await);
    silent.make_segment(&lease, "144p", 0).await.unwrap();

    let task = world.worker("worker-3").claim("encode").await;
    let Some(Spec::Encode(spec)) = &task.spec else {
        panic!("{:?}", task.spec)
    };
    assert_eq!(spec.targets[0].published, 1, "it goes on after the last");
    world.worker("worker-3").work(&task).await.unwrap();
    replaced(&world, video, second).await;
    let lost = count(&world.job_events(second).await, "job.lease-lost.v1");
    assert_eq!(lost, 1);
    only_what_is_named_is_stored(&world, video).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_survives_conductors_killed_at_every_step() {
    let mut world = World::with(at_once).await;
    let (video, _) = ready(&world).await;
    world.kill().await;
    let second = retry(&world, video, "audio").await;
    world.start().await;
    let task = world.worker("worker-1").claim("audio").await;
    world.restart().await;
    let lease = lease_of(&task);
    let worker = world.worker("worker-1");
    worker.make_segment(&lease, "audio", 0).await.unwrap();
    world.restart().await;
    let worker = world.worker("worker-1");
    worker.make_segment(&lease, "audio", 1).await.unwrap();
    let whole = protocol::finish_request::Result::Encode(protocol::EncodeResult {
        duration_ms: 4_000,
        samples: 120,
    });
    worker.finish(&lease, whole).await.unwrap();
    // Wherever it is by now: checking, telling, erasing.
    world.restart().await;
    replaced(&world, video, second).await;
    world.restart().await;
    only_what_is_named_is_stored(&world, video).await;
    let told = world.video_events(video).await;
    assert_eq!(count(&told, "video.rendition-replaced.v1"), 1);
    world.assert_ready_once(video, second).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conductor_that_begins_anew_erases_nothing_that_is_played() {
    let mut world = World::with(at_once).await;
    let (video, _) = ready(&world).await;
    for rendition in ["144p", "240p"] {
        let job = retry(&world, video, rendition).await;
        world.worker("worker-1").work_all(1).await;
        replaced(&world, video, job).await;
    }
    only_what_is_named_is_stored(&world, video).await;
    world.kill().await;
    let forgotten = "with gone as (delete from conductor.conductor_checkpoint returning 1)
                     select count(*) from gone";
    assert_eq!(world.sql(forgotten).await, 1);
    world.start().await;
    let (other, _) = world.upload().await;
    world.worker("worker-1").work_all(4).await;
    world
        .until_video(other, "ready", |video| video.status == Status::Ready)
        .await;
    no_job_is_open(&world).await;
    only_what_is_named_is_stored(&world, video).await;
}

async fn ready(world: &World) -> (VideoId, JobId) {
    let (video, job) = world.upload().await;
    world.worker("worker-1").work_all(4).await;
    world
        .until_video(video, "ready", |video| video.status == Status::Ready)
        .await;
    (video, job)
}

async fn ask(
    world: &World,
    video: VideoId,
    rendition: &str,
    intent: CommandId,
) -> Result<Executed<Video>, ExecuteError<Rejection>> {
    let state = world.video(video).await;
    let current = world.job(state.job.unwrap()).await;
    let head = world.objects.head(&state.key).await.unwrap();
    let command = Command::RetryRendition {
        by: By::Platform,
        rendition: RenditionId(rendition.to_owned()),
        made: current.all_renditions(),
        kept: head.map(|head| head.etag),
        at_ms: 1_700_000_002_000,
    };
    let by = Envelope::new(intent, "ada");
    world.log.execute::<Video>(video, &by, command).await
}

/// The job that follows.
async fn retry(world: &World, video: VideoId, rendition: &str) -> JobId {
    let intent = CommandId(Uuid::now_v7());
    ask(world, video, rendition, intent).await.unwrap();
    let events = world.video_events(video).await;
    JobId::caused_by(events.last().unwrap().id)
}

async fn any_task(world: &World) -> protocol::Task {
    let worker = world.worker("worker-1");
    let task = worker.claim_with(Uuid::now_v7(), &[], 15_000).await;
    task.unwrap().expect("there is a task")
}

async fn replaced(world: &World, video: VideoId, job: JobId) {
    world
        .until_video(video, "the retry is done", |video| video.job == Some(job))
        .await;
    let state = world.video(video).await;
    assert_eq!((state.status, state.playable), (Status::Ready, true));
    let events = world.video_events(video).await;
    let last = events.last().unwrap().event.as_ref().unwrap();
    assert!(matches!(
        last,
        domain::fact::AnyEvent::Video(fact) if matches!(fact.event, Kind::RenditionReplaced { .. })
    ));
}

async fn no_job_is_open(world: &World) {
    let open = "select count(*) from conductor.open_jobs";
    eventually("no job is open", async || world.sql(open).await == 0).await;
}

/// The static playlists of a video's current job, and what they lead to.
async fn playlists(world: &World, video: VideoId) -> (Vec<String>, BTreeSet<String>) {
    let job = world.video(video).await.job.unwrap();
    let job = world.job(job).await;
    let checked = job.tasks.values().find_map(|task| match &task.state {
        TaskState::Done(Outcome::Checked { playlists }) => Some(playlists.clone()),
        _ => None,
    });
    let playlists = checked.expect("the sum was checked");
    let mut named = BTreeSet::new();
    for key in playlists.iter().filter(|key| key.ends_with(".m3u8")) {
        let text = crate::life::text(world, key).await;
        for part in text.split(['"', '\n']) {
            if let Some(file) = part.strip_prefix("../../../") {
                named.insert(format!("videos/{video}/{file}"));
            }
        }
    }
    (playlists, named)
}

/// Every init and segment that the video's playlists lead to.
async fn named(world: &World, video: VideoId) -> BTreeSet<String> {
    let (_, named) = playlists(world, video).await;
    assert_eq!(
        named.len(),
        9,
        "three renditions of two segments: {named:?}"
    );
    named
}

async fn only_what_is_named_is_stored(world: &World, video: VideoId) {
    let (playlists, mut expected) = playlists(world, video).await;
    expected.extend(playlists);
    let job = world.video(video).await.job.unwrap();
    expected.extend(world.job(job).await.poster().map(|poster| poster.key));
    eventually(
        "what is not named is erased, and all else is there",
        async || {
            let stored = world.keys(&format!("videos/{video}")).await;
            stored.into_iter().collect::<BTreeSet<String>>() == expected
        },
    )
    .await;
    assert_eq!(world.keys(&format!("sources/{video}")).await.len(), 1);
}
