//! The catalogue: videos, what can be played of them, and what was done to make it so.
//!
//! # Invariants
//!
//! * What was playable is withdrawn when processing fails or the video is deleted.
//! * A deleted video leaves its id behind and nothing else, so that late events bring nothing back.
//! * Only the current job's renditions are shown, and only their published segments. Those that a
//!   retry replaced are named beside them, for players that have the older playlist.

use domain::{
    code::Code,
    id::{JobId, Owner, RenditionId, VideoId},
    media::{Init, Kind, Published, Ratio, Rendition, Segment},
    video::{Declared, Details, Status, Visibility},
};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::reader::Reader;

mod apply;
mod jobs;
pub mod list;
mod past;
mod retry;
mod rows;
mod versions;
mod views;

#[cfg(test)]
mod list_tests;

pub(crate) use apply::Catalogue;
pub(crate) use jobs::job_of;
#[cfg(test)]
pub(crate) use past::{Fold, Place};
pub use past::{Moment, Past, PastError, past};
pub use versions::page_as_of;

/// The projection.
pub(crate) type Projection = crate::store::Postgres<Catalogue>;

pub const NAME: &str = "catalogue";
/// Raised whenever the same events give other rows. 2: it counts views. 3: it keeps what was true.
pub(crate) const VERSION: i64 = 3;
pub(crate) const CHANNEL: &str = "catalogue";

/// The most that any one query returns.
pub const PAGE_MAX: usize = 100;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Video {
    pub id: VideoId,
    pub owner: Owner,
    pub details: Details,
    /// Never `Unknown`; `Deleted` only where a query says that it may be.
    pub status: Status,
    pub playable: bool,
    pub created_ms: i64,
    pub ready_ms: Option<i64>,
    pub declared: Declared,
    pub upload_key: String,
    pub expires_at_ms: i64,
    /// The current job; `None` until the upload is completed.
    pub job: Option<JobId>,
    pub segments_planned: u64,
    pub segments_published: u64,
    pub duration_ms: Option<u64>,
    /// As shown; `None` for audio alone, or not known yet.
    pub width: Option<u32>,
    pub height: Option<u32>,
    pub poster_key: Option<String>,
    pub failure: Option<Failure>,
    /// The last time that one of its renditions was made again.
    pub retry: Option<Retry>,
    /// `Some`: as it was then, not as it is.
    pub as_of: Option<Moment>,
    /// The commit position of the last event that changed it.
    pub commit: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub code: Code,
    pub message: String,
}

/// One rendition of a ready video is, or was, made again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    pub rendition: RenditionId,
    pub state: RetryState,
    pub asked_ms: i64,
    pub ended_ms: Option<i64>,
    pub failure: Option<Failure>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryState {
    Running,
    Done,
    Failed,
}

impl Video {
    /// From 0 to 1: how much of the processing is done.
    pub fn progress(&self) -> f64 {
        match self.status {
            Status::Ready => 1.0,
            Status::Processing if self.segments_planned > 0 => {
                // Not all is done before it is ready: the last hundredth is for checking the sum.
                0.99 * (self.segments_published as f64 / self.segments_planned as f64).min(1.0)
            }
            Status::Unknown
            | Status::Uploading
            | Status::Processing
            | Status::Failed
            | Status::Expired
            | Status::Deleted => 0.0,
        }
    }

    /// Whether `viewer` may see it, knowing its id.
    pub fn visible_to(&self, viewer: Option<&Owner>) -> bool {
        match self.details.visibility {
            Visibility::Public | Visibility::Unlisted => true,
            Visibility::Private => viewer == Some(&self.owner),
        }
    }
}

/// A rendition of a job, as far as it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenditionState {
    pub job: JobId,
    pub rendition: Rendition,
    /// RFC 6381; known once the first segment is published.
    pub codec: Option<String>,
    /// Of the init and all published segments.
    pub size_bytes: u64,
    pub segments_planned: u64,
    pub segments_published: u64,
}

/// What a player gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Playback {
    pub owner: Owner,
    pub visibility: Visibility,
    pub status: Status,
    pub playable: bool,
    /// Nothing will be added any more.
    pub complete: bool,
    pub poster_key: Option<String>,
    /// In the order of the ladder; those without a segment too.
    pub renditions: Vec<Published>,
    /// What was played before and was replaced: in no playlist any more.
    pub replaced: Vec<Published>,
}

/// A place among the open uploads, oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    pub created_ms: i64,
    pub id: VideoId,
}

/// An upload that nobody has completed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenUpload {
    pub id: VideoId,
    pub owner: Owner,
    pub key: String,
    pub size_bytes: u64,
    pub created_ms: i64,
    pub expires_at_ms: i64,
}

/// One attempt of one task: who tried what, when, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    pub job: JobId,
    pub task: String,
    pub attempt: u32,
    pub worker: String,
    pub started_ms: i64,
    pub ended_ms: Option<i64>,
    pub outcome: AttemptOutcome,
    pub failure: Option<Failure>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptOutcome {
    Running,
    Finished,
    Failed,
    LeaseLost,
    Cancelled,
}

/// The video, unless there is none or it was deleted.
pub async fn video(reader: &Reader, id: VideoId) -> anyhow::Result<Option<Video>> {
    Ok(videos_by_ids(reader, &[id]).await?.pop())
}

/// Those of `ids` that exist, in no particular order. At most [`PAGE_MAX`] are looked at.
pub async fn videos_by_ids(reader: &Reader, ids: &[VideoId]) -> anyhow::Result<Vec<Video>> {
    let ids: Vec<Uuid> = ids.iter().take(PAGE_MAX).map(|id| id.0).collect();
    let rows = sqlx::query_as!(
        rows::VideoRow,
        "select * from videos where id = any($1) and status <> 'deleted'",
        &ids
    )
    .fetch_all(&reader.catalogue())
    .await?;
    rows.into_iter().map(Video::try_from).collect()
}

/// The renditions of all of `jobs`, each job's in the order of its ladder.
pub async fn renditions(reader: &Reader, jobs: &[JobId]) -> anyhow::Result<Vec<RenditionState>> {
    let jobs: Vec<Uuid> = jobs.iter().take(PAGE_MAX).map(|job| job.0).collect();
    let rows = sqlx::query_as!(
        rows::RenditionRow,
        "select * from renditions where job = any($1) order by job, ordinal",
        &jobs
    )
    .fetch_all(&reader.catalogue())
    .await?;
    rows.into_iter().map(RenditionState::try_from).collect()
}

/// What can be played of a video; `None` if there is no such video.
/// Whether the asker may is for the caller to say, and whether there is anything is `playable`.
pub async fn playback(reader: &Reader, id: VideoId) -> anyhow::Result<Option<Playback>> {
    // One snapshot: a segment counted in the video must be in the list.
    let mut tx = reader.catalogue().begin().await?;
    sqlx::query!("set transaction isolation level repeatable read, read only")
        .execute(&mut *tx)
        .await?;
    let row = sqlx::query_as!(
        rows::VideoRow,
        "select * from videos where id = $1 and status <> 'deleted'",
        id.0
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let video = Video::try_from(row)?;
    let job = video.job.unwrap_or_default().0;
    let replaced = sqlx::query_scalar!(
        "select job from jobs where video = $1 and replaced_ms is not null and job <> $2",
        id.0,
        job
    )
    .fetch_all(&mut *tx)
    .await?;
    let renditions = published(&mut tx, &[job]).await?;
    let replaced = match replaced.is_empty() {
        true => vec![],
        false => published(&mut tx, &replaced).await?,
    };
    tx.commit().await?;

    Ok(Some(Playback {
        owner: video.owner,
        visibility: video.details.visibility,
        status: video.status,
        playable: video.playable,
        complete: video.status == Status::Ready,
        poster_key: video.poster_key,
        renditions,
        replaced,
    }))
}

/// What these jobs have published, each job's in the order of its ladder.
async fn published(tx: &mut PgConnection, jobs: &[Uuid]) -> anyhow::Result<Vec<Published>> {
    let renditions = sqlx::query_as!(
        rows::RenditionRow,
        "select * from renditions where job = any($1) order by job, ordinal",
        jobs
    )
    .fetch_all(&mut *tx)
    .await?;
    let segments = sqlx::query!(
        "select job, rendition, number, key, size_bytes, time, duration, samples
         from segments where job = any($1) order by job, rendition, number",
        jobs
    )
    .fetch_all(tx)
    .await?;
    let mut published = renditions
        .into_iter()
        .map(|row| Ok((row.job, row.published()?)))
        .collect::<anyhow::Result<Vec<(Uuid, Published)>>>()?;
    for row in segments {
        let Some((_, of)) = published
            .iter_mut()
            .find(|(job, published)| *job == row.job && published.rendition.id.0 == row.rendition)
        else {
            continue;
        };
        let segment = Segment {
            key: row.key,
            size_bytes: row.size_bytes.try_into()?,
            time: row.time.try_into()?,
            duration: row.duration.try_into()?,
            samples: row.samples.try_into()?,
        };
        of.add(row.number.try_into()?, segment);
    }
    Ok(published
        .into_iter()
        .map(|(_, published)| published)
        .collect())
}

/// Uploads begun before `created_before_ms` and still open, oldest first, after `after`.
pub async fn open_uploads(
    reader: &Reader,
    created_before_ms: i64,
    after: Option<Cursor>,
    limit: usize,
) -> anyhow::Result<Vec<OpenUpload>> {
    let after = after.unwrap_or(Cursor {
        created_ms: i64::MIN,
        id: VideoId(Uuid::nil()),
    });
    let rows = sqlx::query!(
        "select id, owner, upload_key, size_bytes, created_ms, expires_at_ms from videos
         where status = 'uploading' and created_ms < $1 and (created_ms, id) > ($2, $3)
         order by created_ms, id limit $4",
        created_before_ms,
        after.created_ms,
        after.id.0,
        limit.min(PAGE_MAX) as i64
    )
    .fetch_all(&reader.catalogue())
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(OpenUpload {
                id: VideoId(row.id),
                owner: Owner(row.owner),
                key: row.upload_key,
                size_bytes: row.size_bytes.try_into()?,
                created_ms: row.created_ms,
                expires_at_ms: row.expires_at_ms,
            })
        })
        .collect()
}

/// The last attempts at the tasks of each of these videos' jobs, oldest first. At most
/// [`PAGE_MAX`] of each.
pub async fn histories(
    reader: &Reader,
    videos: &[VideoId],
) -> anyhow::Result<Vec<(VideoId, Attempt)>> {
    let videos: Vec<Uuid> = videos.iter().take(PAGE_MAX).map(|id| id.0).collect();
    let rows = sqlx::query!(
        "select video, job, task, attempt, worker, started_ms, ended_ms, outcome, failure_code, failure_message
         from (
            select jobs.video, a.*, row_number() over (
                partition by video order by a.started_ms desc, a.job, a.task, a.attempt desc) as nth
            from attempts a join jobs using (job) where video = any($1)
         ) as last
         where nth <= $2 order by started_ms, job, task, attempt",
        &videos,
        PAGE_MAX as i64
    )
    .fetch_all(&reader.catalogue())
    .await?;
    rows.into_iter()
        .map(|row| {
            let attempt = Attempt {
                job: JobId(row.job),
                task: row.task,
                attempt: row.attempt.try_into()?,
                worker: row.worker,
                started_ms: row.started_ms,
                ended_ms: row.ended_ms,
                outcome: crate::words::outcome(&row.outcome)?,
                failure: rows::failure(row.failure_code, row.failure_message)?,
            };
            Ok((VideoId(row.video), attempt))
        })
        .collect()
}

/// The same of one video.
pub async fn history(reader: &Reader, id: VideoId) -> anyhow::Result<Vec<Attempt>> {
    let histories = histories(reader, &[id]).await?;
    Ok(histories.into_iter().map(|(_, attempt)| attempt).collect())
}
