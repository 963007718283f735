//! How events change what owners have.

use std::collections::BTreeSet;

use domain::{
    fact::AnyEvent,
    id::{JobId, VideoId},
    job,
    video::{self, job_asked_for},
};
use eventlog::Recorded;
use sqlx::{PgConnection, migrate::Migrator};
use uuid::Uuid;

use crate::{
    catalogue::job_of,
    sessions,
    store::{Rows, Unapplied},
};

pub(crate) struct Owners;

impl Rows for Owners {
    const NAME: &'static str = super::NAME;
    const VERSION: i64 = super::VERSION;
    const CHANNEL: &'static str = super::CHANNEL;

    fn migrator() -> &'static Migrator {
        static MIGRATOR: Migrator = sqlx::migrate!("../migrations/owners");
        &MIGRATOR
    }

    fn concerns(type_name: &str) -> bool {
        // Of jobs, only what they add to the storage.
        ["video.", "views.", "job.segments-published."]
            .iter()
            .any(|prefix| type_name.starts_with(prefix))
    }

    async fn apply(
        tx: &mut PgConnection,
        recorded: &Recorded,
        event: &AnyEvent,
        _: &mut BTreeSet<String>,
    ) -> Result<(), Unapplied> {
        match event {
            AnyEvent::Video(fact) => apply_video(tx, recorded, fact).await,
            AnyEvent::Job(fact) => apply_job(tx, recorded, fact).await,
            AnyEvent::Views(fact) => {
                let views = i64::from(sessions::is_new(tx, fact).await?);
                let change = Change {
                    views,
                    ..Change::default()
                };
                change.apply(tx, fact.video).await
            }
        }
    }

    async fn tidy(tx: &mut PgConnection, events: &[Recorded]) -> sqlx::Result<()> {
        sessions::tidy(tx, events).await
    }

    async fn video_of(tx: &mut PgConnection, job: JobId) -> sqlx::Result<Option<VideoId>> {
        let video = sqlx::query_scalar!("select video from made where job = $1 limit 1", job.0)
            .fetch_optional(tx)
            .await?;
        Ok(video.map(VideoId))
    }

    async fn forget(tx: &mut PgConnection, video: VideoId) -> Result<(), Unapplied> {
        sessions::forget(tx, video).await?;
        sqlx::query!("delete from made where video = $1", video.0)
            .execute(&mut *tx)
            .await?;
        sqlx::query!(
            "with gone as (delete from owned_videos where video = $1 returning *)
             update owners set videos = videos - 1, duration_ms = owners.duration_ms - gone.duration_ms,
                storage_bytes = storage_bytes - gone.source_bytes - gone.made_bytes,
                views = owners.views - gone.views
             from gone where owners.owner = gone.owner",
            video.0
        )
        .execute(tx)
        .await?;
        Ok(())
    }
}

/// What an event changes of a video, and so of its owner's sums. `None`: it stays.
#[derive(Default)]
struct Change {
    duration_ms: Option<i64>,
    source_bytes: Option<i64>,
    /// More, or less.
    made_bytes: i64,
    /// More.
    views: i64,
}

impl Change {
    /// Nothing, for a video that is not there any more.
    async fn apply(self, tx: &mut PgConnection, video: VideoId) -> Result<(), Unapplied> {
        sqlx::query!(
            "with changed as (
                update owned_videos as now set duration_ms = coalesce($2, now.duration_ms),
                    source_bytes = coalesce($3, now.source_bytes),
                    made_bytes = now.made_bytes + $4, views = now.views + $5
                from owned_videos as before where now.video = $1 and before.video = now.video
                returning now.owner, now.duration_ms - before.duration_ms as duration_ms,
                    now.source_bytes - before.source_bytes + $4 as storage_bytes
             )
             update owners set duration_ms = owners.duration_ms + changed.duration_ms,
                storage_bytes = owners.storage_bytes + changed.storage_bytes, views = owners.views + $5
             from changed where owners.owner = changed.owner",
            video.0,
            self.duration_ms,
            self.source_bytes,
            self.made_bytes,
            self.views
        )
        .execute(tx)
        .await?;
        Ok(())
    }
}

async fn apply_video(
    tx: &mut PgConnection,
    recorded: &Recorded,
    fact: &video::Event,
) -> Result<(), Unapplied> {
    let video = fact.video;
    let mut change = Change::default();
    match &fact.event {
        video::Kind::UploadRequested { .. } => return begin(tx, fact).await,
        video::Kind::Deleted { .. } => return Owners::forget(tx, video).await,
        // Whatever an older job made is replaced by what this one will make.
        video::Kind::UploadCompleted { .. } | video::Kind::ProcessingRetried { .. } => {
            let asked = job_asked_for(fact, recorded.id);
            let size_bytes = asked.map(|asked| i64::try_from(asked.source.size_bytes));
            change.source_bytes = size_bytes.transpose()?;
            change.duration_ms = Some(0);
            change.made_bytes = -unmake(tx, video, None).await?;
        }
        video::Kind::BecamePlayable { picture, .. } | video::Kind::BecameReady { picture, .. } => {
            change.duration_ms = Some(picture.duration_ms.try_into()?);
        }
        video::Kind::RenditionReplaced { job, rendition } => {
            change.made_bytes = -replace(tx, video, *job, &rendition.0).await?;
        }
        video::Kind::RenditionRetryFailed { job, .. } => {
            change.made_bytes = -unmake(tx, video, Some(job.0)).await?;
        }
        video::Kind::UploadRejected { .. }
        | video::Kind::UploadExpired {}
        | video::Kind::DetailsChanged { .. }
        | video::Kind::ProcessingFailed { .. }
        | video::Kind::RenditionRetried { .. } => return Ok(()),
    }
    change.apply(tx, video).await
}

async fn begin(tx: &mut PgConnection, fact: &video::Event) -> Result<(), Unapplied> {
    sqlx::query!(
        "insert into owned_videos (video, owner) values ($1, $2)",
        fact.video.0,
        fact.owner.0
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "insert into owners (owner, videos) values ($1, 1)
         on conflict (owner) do update set videos = owners.videos + 1",
        fact.owner.0
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn apply_job(
    tx: &mut PgConnection,
    recorded: &Recorded,
    fact: &job::Event,
) -> Result<(), Unapplied> {
    let job::Kind::SegmentsPublished {
        rendition,
        init,
        segments,
        ..
    } = &fact.event
    else {
        return Ok(());
    };
    let Some(job) = job_of(&recorded.stream) else {
        return Err(anyhow::anyhow!("stream {} is no job's", recorded.stream).into());
    };
    // Every chunk brings the same init; it counts once.
    let begun = sqlx::query!(
        "insert into made (video, job, rendition, size_bytes)
         select video, $2, $3, 0 from owned_videos where video = $1 on conflict do nothing",
        fact.video.0,
        job.0,
        rendition.0
    )
    .execute(&mut *tx)
    .await?;
    let init = init.iter().filter(|_| begun.rows_affected() == 1);
    let sizes = segments.iter().map(|segment| segment.size_bytes);
    let bytes: u64 = sizes.chain(init.map(|init| init.size_bytes)).sum();
    let bytes = i64::try_from(bytes)?;
    sqlx::query!(
        "update made set size_bytes = size_bytes + $4 where video = $1 and job = $2 and rendition = $3",
        fact.video.0,
        job.0,
        rendition.0,
        bytes
    )
    .execute(&mut *tx)
    .await?;
    let change = Change {
        made_bytes: bytes,
        ..Change::default()
    };
    change.apply(tx, fact.video).await
}

/// Forgets what a job made, or all jobs of the video, and says how much that was.
async fn unmake(tx: &mut PgConnection, video: VideoId, job: Option<Uuid>) -> sqlx::Result<i64> {
    let sizes = sqlx::query_scalar!(
        "delete from made where video = $1 and ($2::uuid is null or job = $2) returning size_bytes",
        video.0,
        job
    )
    .fetch_all(tx)
    .await?;
    Ok(sizes.into_iter().sum())
}

/// Forgets what other jobs made of the rendition, and says how much that was.
async fn replace(
    tx: &mut PgConnection,
    video: VideoId,
    by: JobId,
    rendition: &str,
) -> sqlx::Result<i64> {
    let sizes = sqlx::query_scalar!(
        "delete from made where video = $1 and rendition = $2 and job <> $3 returning size_bytes",
        video.0,
        rendition,
        by.0
    )
    .fetch_all(tx)
    .await?;
    Ok(sizes.into_iter().sum())
}
