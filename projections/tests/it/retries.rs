//! One rendition is made again: what is played before, meanwhile and after it.

use std::collections::BTreeMap;

use domain::{
    code::Code,
    id::{JobId, RenditionId, TaskId},
    job::{self, Job, Outcome, again::Again},
    media::Published,
    video::{By, Command, Status},
};
use projections::catalogue::{self, Failure, Playback, RetryState};

use crate::{
    owners,
    platform::{PICTURE, Platform, Story, story},
    rebuild::{assert_same, dump},
};

#[tokio::test]
async fn a_retry_switches_in_one_step_and_a_rebuild_says_the_same() {
    let platform = Platform::new().await;
    let projecting = platform.project();
    let story = story(1, "made again");
    let first = finished(&platform, &story).await;
    let before = playback(&platform, &story, first).await;
    assert_eq!(before.renditions, whole(&platform, first).await);

    let second = retry(&platform, &story, first, "144p").await;
    let position = remake(&platform, &story, second, "144p", "encode").await;
    platform.reach(position).await;
    let meanwhile = playback(&platform, &story, first).await;
    assert_eq!(meanwhile, before);
    let state = catalogue::video(&platform.reader, story.id).await;
    let video = state.unwrap().unwrap();
    assert_eq!((video.status, video.playable), (Status::Ready, true));
    assert_eq!(video.retry.unwrap().state, RetryState::Running);

    become_ready(&platform, &story, second).await;
    let after = playback(&platform, &story, second).await;
    assert_eq!(after.renditions, whole(&platform, second).await);
    assert_eq!(ids(&after.renditions), ["240p", "144p", "audio"]);
    assert_eq!(after.poster_key, before.poster_key);
    assert_eq!(after.replaced, [before.renditions[1].clone()]);

    // Once more, of what was taken over: and nothing is followed from job to job.
    let third = retry(&platform, &story, second, "audio").await;
    remake(&platform, &story, third, "audio", "audio").await;
    become_ready(&platform, &story, third).await;
    let last = playback(&platform, &story, third).await;
    assert_eq!(last.renditions, whole(&platform, third).await);
    let mut replaced = ids(&last.replaced);
    replaced.sort_unstable();
    assert_eq!(replaced, ["144p", "audio"]);
    let video = catalogue::video(&platform.reader, story.id).await;
    let video = video.unwrap().unwrap();
    assert_eq!(video.segments_published, 6);
    assert_eq!(video.retry.unwrap().state, RetryState::Done);
    let jobs = [third];
    let states = catalogue::renditions(&platform.reader, &jobs).await;
    assert_eq!(states.unwrap().len(), 3);
    // What was replaced counts for its owner no more.
    let owned = owners::statistics(&platform, &story.owner).await;
    assert_eq!(
        owned.storage_bytes,
        owners::storage_bytes(&platform, third).await
    );

    assert_rebuilt_the_same(platform, projecting, video.commit).await;
}

#[tokio::test]
async fn a_failed_retry_changes_nothing_that_is_played() {
    let platform = Platform::new().await;
    let projecting = platform.project();
    let story = story(1, "made again in vain");
    let first = finished(&platform, &story).await;
    let before = playback(&platform, &story, first).await;
    let second = retry(&platform, &story, first, "240p").await;
    remake(&platform, &story, second, "240p", "encode").await;
    let at_ms = story.at_ms + 20;
    let failed = Command::Fail {
        job: second,
        code: Code::ProcessingStalled,
        message: "its worker vanished".to_owned(),
        at_ms,
    };
    let position = platform.video(story.id, failed).await.position;
    platform.reach(position).await;

    assert_eq!(playback(&platform, &story, first).await, before);
    let video = catalogue::video(&platform.reader, story.id).await;
    let video = video.unwrap().unwrap();
    assert_eq!((video.status, &video.failure), (Status::Ready, &None));
    let retry = video.retry.unwrap();
    assert_eq!(
        (retry.state, retry.ended_ms),
        (RetryState::Failed, Some(at_ms))
    );
    let why = Failure {
        code: Code::ProcessingStalled,
        message: "its worker vanished".to_owned(),
    };
    assert_eq!(retry.failure, Some(why));
    let history = catalogue::history(&platform.reader, story.id).await;
    assert!(history.unwrap().iter().any(|tried| tried.job == second));
    let owned = owners::statistics(&platform, &story.owner).await;
    assert_eq!(
        owned.storage_bytes,
        owners::storage_bytes(&platform, first).await
    );
    assert_rebuilt_the_same(platform, projecting, position).await;
}

#[tokio::test]
async fn a_video_deleted_during_a_retry_leaves_no_row() {
    let platform = Platform::new().await;
    let projecting = platform.project();
    let story = story(1, "gone");
    let first = finished(&platform, &story).await;
    let second = retry(&platform, &story, first, "144p").await;
    remake(&platform, &story, second, "144p", "encode").await;
    platform.delete(&story).await;
    // A conductor that has not heard of it yet.
    let late = become_done(&platform, &story, second).await;
    platform.reach(late).await;
    let mut connection = platform.catalogue().await;
    for table in ["jobs", "tasks", "attempts", "renditions", "segments"] {
        let count = sqlx::AssertSqlSafe(format!("select count(*) from {table}"));
        let left: i64 = sqlx::query_scalar(count)
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert_eq!(left, 0, "{table}");
    }
    projecting.stop().await;
    platform.stop().await;
}

async fn assert_rebuilt_the_same(
    platform: Platform,
    projecting: crate::platform::Running,
    commit: u64,
) {
    projecting.stop().await;
    let before = dump(&platform).await;
    assert!(before["catalogue_g1.stopped_videos"].is_empty());
    platform.forget_everything().await;
    platform.project_up_to(commit).await;
    assert_same(&dump(&platform).await, &before);
    platform.stop().await;
}

/// Two segments of everything, a poster, and the sum was checked.
async fn finished(platform: &Platform, story: &Story) -> JobId {
    platform.request(story).await;
    let job = platform.complete(story).await;
    platform.plan(story, job).await;
    for (task, renditions) in [("encode", &["240p", "144p"][..]), ("audio", &["audio"][..])] {
        make(platform, story, job, task, renditions).await;
    }
    let poster = Outcome::Poster {
        key: format!("videos/{}/{job}/poster/1/poster.jpg", story.id),
        width: 320,
        height: 240,
        size_bytes: 9,
    };
    end(platform, story, job, "poster", poster).await;
    let playable = Command::Playable {
        job,
        picture: PICTURE,
        at_ms: story.at_ms + 6,
    };
    platform.video(story.id, playable).await;
    become_ready(platform, story, job).await;
    job
}

async fn retry(platform: &Platform, story: &Story, from: JobId, rendition: &str) -> JobId {
    let old = platform.log.load::<Job>(from).await.unwrap().state;
    let retry = Command::RetryRendition {
        by: By::Owner(story.owner.clone()),
        rendition: RenditionId(rendition.to_owned()),
        made: old.all_renditions(),
        kept: Some("etag".to_owned()),
        at_ms: story.at_ms + 15,
    };
    platform.video(story.id, retry).await;
    let job = platform.asked_job(story.id).await;
    let redo = job::Command::Redo {
        job,
        video: story.id,
        owner: story.owner.clone(),
        source: old.source.clone(),
        again: Again::of(&old, &RenditionId(rendition.to_owned())),
        slots: 1,
        at_ms: story.at_ms + 16,
    };
    platform.job(job, redo).await;
    job
}

async fn remake(
    platform: &Platform,
    story: &Story,
    job: JobId,
    rendition: &str,
    task: &str,
) -> u64 {
    make(platform, story, job, task, &[rendition]).await
}

async fn make(
    platform: &Platform,
    story: &Story,
    job: JobId,
    task: &str,
    renditions: &[&str],
) -> u64 {
    let lease = platform.start(story, job, task).await;
    for rendition in renditions {
        let rendition = RenditionId((*rendition).to_owned());
        platform.publish(story, job, &lease, &rendition, 0, 2).await;
    }
    let finish = job::Command::Finish {
        lease,
        outcome: Outcome::Encoded {
            duration_ms: 4_000,
            samples: 120,
        },
        slots: 1,
        at_ms: story.at_ms + 7,
    };
    platform.job(job, finish).await.position
}

async fn end(platform: &Platform, story: &Story, job: JobId, task: &str, outcome: Outcome) {
    let lease = platform.start(story, job, task).await;
    assert_eq!(lease.task, TaskId(task.to_owned()));
    let finish = job::Command::Finish {
        lease,
        outcome,
        slots: 1,
        at_ms: story.at_ms + 7,
    };
    platform.job(job, finish).await;
}

/// The sum is checked, and the video told.
async fn become_done(platform: &Platform, story: &Story, job: JobId) -> u64 {
    let checked = Outcome::Checked { playlists: vec![] };
    end(platform, story, job, "finish", checked).await;
    let ready = Command::Ready {
        job,
        picture: PICTURE,
        at_ms: story.at_ms + 17,
    };
    platform.video(story.id, ready).await.position
}

async fn become_ready(platform: &Platform, story: &Story, job: JobId) {
    let position = become_done(platform, story, job).await;
    platform.reach(position).await;
}

async fn playback(platform: &Platform, story: &Story, job: JobId) -> Playback {
    let video = catalogue::video(&platform.reader, story.id).await;
    assert_eq!(video.unwrap().unwrap().job, Some(job));
    let playback = catalogue::playback(&platform.reader, story.id).await;
    playback.unwrap().unwrap()
}

/// What a job and those before it published, in the order of the ladder.
async fn whole(platform: &Platform, job: JobId) -> Vec<Published> {
    let state = platform.log.load::<Job>(job).await.unwrap().state;
    let jobs = state.taken_over.as_ref().map(|it| it.jobs());
    let mut makers = BTreeMap::new();
    for maker in jobs.unwrap_or_default() {
        let state = platform.log.load::<Job>(maker).await.unwrap().state;
        makers.insert(maker, state);
    }
    let whole = state.whole(&makers).expect("its makers say what it is");
    let ladder = ["240p", "144p", "audio"].map(|id| RenditionId(id.to_owned()));
    ladder
        .iter()
        .map(|id| whole.renditions[id].clone())
        .collect()
}

fn ids(published: &[Published]) -> Vec<&str> {
    let ids = published.iter().map(|it| it.rendition.id.0.as_str());
    ids.collect()
}
