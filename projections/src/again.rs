//! Tries a stopped video again: its rows are deleted, and its streams are folded once more.
//!
//! # Invariants
//!
//! * The video is folded up to the read model's checkpoint exactly, in one fenced step with it: no event
//!   of it is applied twice or left out. Every other video goes on as it was.
//! * What still cannot be applied stops it again, with today's error.

use anyhow::{Context, bail, ensure};
use domain::{
    fact::AnyEvent,
    id::{JobId, VideoId},
    video::job_asked_for,
    views,
};
use eventlog::{Epoch, Log, Recorded};
use sqlx::PgPool;

use crate::{
    Config, announcements, catalogue,
    overview::Stopped,
    owners,
    popularity::{self, Popularity},
    reader::{Model, Reader},
    runner::{Applied, Projection},
    store::{self, Care, Rows},
};

/// The longest history that is folded in one step.
const EVENTS_MAX: usize = 200_000;
const PAGE_EVENTS: usize = 1_000;
/// The oldest video whose views are counted again.
const VIEW_DAYS_MAX: i64 = 3_660;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// How many are tried again in one call.
const VIDEOS_MAX: usize = 1_000;
/// How often the counters' own writer may come between.
const FENCED_MAX: usize = 20;

/// What came of it for one video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    pub video: VideoId,
    /// `None`: it goes on. Otherwise why it was stopped again.
    pub stopped: Option<Stopped>,
}

/// Tries `video` again in `model`, or all that it stopped, up to a thousand.
pub async fn again(
    config: &Config,
    log: &Log,
    model: Model,
    video: Option<VideoId>,
) -> anyhow::Result<Vec<Tried>> {
    let reader = Reader::new(&config.postgres_url, &config.redis_url)?;
    reader.follow_swaps().await?;
    let epoch = log.epoch().await?;
    let stopped = match model {
        Model::Catalogue => store::stopped(&reader.catalogue(), VIDEOS_MAX).await?,
        Model::Announcements => store::stopped(&reader.announcements(), VIDEOS_MAX).await?,
        Model::Owners => store::stopped(&reader.owners(), VIDEOS_MAX).await?,
        Model::Popularity => {
            popularity::stopped(&mut reader.redis.clone(), reader.popularity()).await?
        }
    };
    let mut videos: Vec<VideoId> = stopped.iter().map(|why| why.video).collect();
    videos.truncate(VIDEOS_MAX);
    if let Some(video) = video {
        ensure!(
            videos.contains(&video),
            "{} did not stop video {video}",
            model.name()
        );
        videos = vec![video];
    }
    let mut tried = vec![];
    for video in videos {
        let stopped = match model {
            Model::Catalogue => {
                in_postgres::<catalogue::Catalogue>(&reader.catalogue(), log, epoch, video).await
            }
            Model::Announcements => {
                let pool = &reader.announcements();
                in_postgres::<announcements::Announcements>(pool, log, epoch, video).await
            }
            Model::Owners => {
                in_postgres::<owners::Owners>(&reader.owners(), log, epoch, video).await
            }
            Model::Popularity => in_redis(&reader, config, log, epoch, video).await,
        };
        let stopped = stopped
            .with_context(|| format!("failed to try video {video} of {} again", model.name()))?;
        tried.push(Tried { video, stopped });
    }
    Ok(tried)
}

async fn in_postgres<R: Rows>(
    pool: &PgPool,
    log: &Log,
    epoch: Epoch,
    video: VideoId,
) -> anyhow::Result<Option<Stopped>> {
    let mut tx = pool.begin().await?;
    // The writer of this read model waits for this row, and so for us.
    let at = sqlx::query!("select epoch, commit from checkpoint for update")
        .fetch_one(&mut *tx)
        .await?;
    ensure!(
        at.epoch == epoch.to_string(),
        "the read model belongs to another log"
    );
    let up_to = at.commit.map(u64::try_from).transpose()?;
    let events = events_of(log, video, up_to, R::concerns("views.")).await?;
    R::forget(&mut tx, video).await?;
    sqlx::query!("delete from stopped_videos where video = $1", video.0)
        .execute(&mut *tx)
        .await?;
    store::apply_events::<R>(&mut tx, &events, Care::Great).await?;
    let again = sqlx::query!(
        "select commit, type_name, error from stopped_videos where video = $1",
        video.0
    )
    .fetch_optional(&mut *tx)
    .await?;
    tx.commit().await?;
    let Some(again) = again else { return Ok(None) };
    Ok(Some(Stopped {
        video,
        position: again.commit.try_into()?,
        type_name: again.type_name,
        error: again.error,
    }))
}

/// Takes the counters over from their writer for a moment: it finds itself fenced, pauses and goes on.
async fn in_redis(
    reader: &Reader,
    config: &Config,
    log: &Log,
    epoch: Epoch,
    video: VideoId,
) -> anyhow::Result<Option<Stopped>> {
    let mut popularity = Popularity::open(config, reader.popularity())?;
    for _ in 0..FENCED_MAX {
        let at = popularity.prepare(epoch).await?;
        ensure!(
            at.epoch == epoch.to_string(),
            "the read model belongs to another log"
        );
        let events = events_of(log, video, at.commit, true).await?;
        let counted = popularity.count_again(epoch, at.commit, video, &events);
        if counted.await? == Applied::Yes {
            let stopped =
                popularity::stopped(&mut reader.redis.clone(), reader.popularity()).await?;
            return Ok(stopped.into_iter().find(|why| why.video == video));
        }
    }
    bail!("its writer came between {FENCED_MAX} times")
}

/// Everything of a video up to the position `up_to`, in the log's order.
async fn events_of(
    log: &Log,
    video: VideoId,
    up_to: Option<u64>,
    with_views: bool,
) -> anyhow::Result<Vec<Recorded>> {
    let mut events = vec![];
    read(log, &format!("video-{video}"), &mut events).await?;
    let jobs: Vec<JobId> = events
        .iter()
        .filter_map(|recorded| match &recorded.event {
            Ok(AnyEvent::Video(fact)) => job_asked_for(fact, recorded.id),
            Ok(AnyEvent::Job(_) | AnyEvent::Views(_)) | Err(_) => None,
        })
        .map(|asked| asked.job)
        .collect();
    for job in jobs {
        read(log, &format!("job-{job}"), &mut events).await?;
    }
    if with_views {
        for day in days(&events) {
            let stream = format!("{}-{video}-{day}", views::CATEGORY);
            read(log, &stream, &mut events).await?;
        }
    }
    events.retain(|recorded| Some(recorded.commit) <= up_to);
    events.sort_by_key(|recorded| recorded.commit);
    Ok(events)
}

/// From the first thing that is known of the video to today.
fn days(events: &[Recorded]) -> Vec<String> {
    let Some(first_ms) = events.iter().find_map(|recorded| match &recorded.event {
        Ok(AnyEvent::Video(fact)) => Some(fact.at_ms),
        Ok(AnyEvent::Job(_) | AnyEvent::Views(_)) | Err(_) => None,
    }) else {
        return vec![];
    };
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now_ms = since.map_or(0, |since| since.as_millis() as i64);
    let days = ((now_ms - first_ms) / DAY_MS).clamp(0, VIEW_DAYS_MAX);
    // A day more at each end: the clocks of those who wrote may differ.
    (-1..=days + 1)
        .map(|day| views::day(first_ms + day * DAY_MS))
        .collect()
}

async fn read(log: &Log, stream: &str, events: &mut Vec<Recorded>) -> anyhow::Result<()> {
    let mut from = 0;
    loop {
        let page = log.read_stream(stream, Some(from), PAGE_EVENTS).await?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        from = last.revision + 1;
        let is_last = page.len() < PAGE_EVENTS;
        events.extend(page);
        ensure!(
            events.len() <= EVENTS_MAX,
            "it has more than {EVENTS_MAX} events: rebuild the read model instead"
        );
        if is_last {
            return Ok(());
        }
    }
}
