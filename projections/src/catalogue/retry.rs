//! How making one rendition again changes the catalogue.
//!
//! # Invariants
//!
//! * Until the retry ends well, nothing of the video's current job is touched.
//! * The switch is one step: the new job gets the rows of all renditions that it took over, and
//!   only what was replaced stays under the old one, for players that have the older playlist.

use domain::{
    code::Code,
    id::{JobId, RenditionId, VideoId},
    video::Event,
};
use eventlog::Recorded;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{RetryState, apply::insert_job};
use crate::{store::Unapplied, words::retry_word};

/// How long rows of what was replaced stay, at least: longer than the conductor keeps the objects.
const REPLACED_KEPT_MS: i64 = 72 * 60 * 60 * 1000;

pub(super) async fn begin(
    tx: &mut PgConnection,
    recorded: &Recorded,
    fact: &Event,
    rendition: &RenditionId,
) -> Result<(), Unapplied> {
    insert_job(tx, recorded, fact).await?;
    sqlx::query!(
        "update videos set retry_rendition = $2, retry_state = $3, retry_asked_ms = $4,
            retry_ended_ms = null, retry_code = null, retry_message = null
         where id = $1",
        fact.video.0,
        rendition.0,
        retry_word(RetryState::Running),
        fact.at_ms
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// `job` is the current one from now on.
pub(super) async fn switch(
    tx: &mut PgConnection,
    fact: &Event,
    job: JobId,
    rendition: &RenditionId,
) -> Result<(), Unapplied> {
    let video = fact.video;
    let old = sqlx::query_scalar!("select job from videos where id = $1", video.0)
        .fetch_optional(&mut *tx)
        .await?
        .flatten();
    // The video was deleted.
    let Some(old) = old else { return Ok(()) };
    take_over(tx, old, job, rendition).await?;
    sqlx::query!(
        "update jobs set replaced_ms = $2 where job = $1",
        old,
        fact.at_ms
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "update videos set job = $2, retry_state = $3, retry_ended_ms = $4,
            segments_published = (select coalesce(sum(segments_published), 0)::bigint from renditions where job = $2)
         where id = $1",
        video.0,
        job.0,
        retry_word(RetryState::Done),
        fact.at_ms
    )
    .execute(&mut *tx)
    .await?;
    forget_replaced(tx, video, fact.at_ms - REPLACED_KEPT_MS).await
}

async fn take_over(
    tx: &mut PgConnection,
    old: Uuid,
    job: JobId,
    rendition: &RenditionId,
) -> Result<(), Unapplied> {
    // Alone in its plan, it did not know its place in the ladder.
    sqlx::query!(
        "update renditions set ordinal = replaced.ordinal
         from renditions as replaced
         where renditions.job = $1 and renditions.rendition = $3
           and replaced.job = $2 and replaced.rendition = $3",
        job.0,
        old,
        rendition.0
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "update renditions set job = $1 where job = $2 and rendition <> $3",
        job.0,
        old,
        rendition.0
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "update segments set job = $1 where job = $2 and rendition <> $3",
        job.0,
        old,
        rendition.0
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// What was replaced before `before_ms` is not in the store any more.
async fn forget_replaced(
    tx: &mut PgConnection,
    video: VideoId,
    before_ms: i64,
) -> Result<(), Unapplied> {
    let jobs = sqlx::query_scalar!(
        "select job from jobs where video = $1 and replaced_ms < $2",
        video.0,
        before_ms
    )
    .fetch_all(&mut *tx)
    .await?;
    forget(tx, &jobs).await
}

/// The video stays as it was.
pub(super) async fn fail(
    tx: &mut PgConnection,
    fact: &Event,
    job: JobId,
    code: Code,
    message: &str,
) -> Result<(), Unapplied> {
    sqlx::query!(
        "update videos set retry_state = $2, retry_ended_ms = $3, retry_code = $4, retry_message = $5
         where id = $1",
        fact.video.0,
        retry_word(RetryState::Failed),
        fact.at_ms,
        code.as_str(),
        message
    )
    .execute(&mut *tx)
    .await?;
    forget(tx, &[job.0]).await
}

/// What these jobs made is not shown any more; who tried what stays known.
async fn forget(tx: &mut PgConnection, jobs: &[Uuid]) -> Result<(), Unapplied> {
    sqlx::query!("delete from segments where job = any($1)", jobs)
        .execute(&mut *tx)
        .await?;
    sqlx::query!("delete from renditions where job = any($1)", jobs)
        .execute(tx)
        .await?;
    Ok(())
}
