//! How the events of a video change the catalogue.

use std::collections::BTreeSet;

use domain::{
    fact::AnyEvent,
    id::{JobId, Owner, VideoId},
    video::{Asked, Changes, Declared, Details, Event, Kind, Picture, Status, job_asked_for},
};
use eventlog::Recorded;
use sqlx::{PgConnection, migrate::Migrator};

use super::{jobs, past::is_progress, retry, versions, views};
use crate::{
    sessions,
    store::{Rows, Unapplied},
    words::status_word,
};

pub(crate) struct Catalogue;

impl Rows for Catalogue {
    const NAME: &'static str = super::NAME;
    const VERSION: i64 = super::VERSION;
    const CHANNEL: &'static str = super::CHANNEL;

    fn migrator() -> &'static Migrator {
        static MIGRATOR: Migrator = sqlx::migrate!("../migrations/catalogue");
        &MIGRATOR
    }

    fn concerns(_: &str) -> bool {
        true
    }

    async fn apply(
        tx: &mut PgConnection,
        recorded: &Recorded,
        event: &AnyEvent,
        news: &mut BTreeSet<String>,
    ) -> Result<(), Unapplied> {
        let (video, at_ms, changed) = match event {
            AnyEvent::Video(fact) => (
                fact.video,
                fact.at_ms,
                apply_video(tx, recorded, fact).await?,
            ),
            AnyEvent::Job(fact) => (
                fact.video,
                fact.at_ms,
                jobs::apply(tx, recorded, fact).await?,
            ),
            AnyEvent::Views(fact) => return views::count(tx, fact).await,
        };
        if changed {
            let position = i64::try_from(recorded.commit)?;
            sqlx::query!(
                "update videos set position = $2 where id = $1",
                video.0,
                position
            )
            .execute(&mut *tx)
            .await?;
            if !is_progress(event) {
                versions::begin(tx, video, position, at_ms).await?;
            }
            news.insert(video.to_string());
        }
        Ok(())
    }

    async fn tidy(tx: &mut PgConnection, events: &[Recorded]) -> sqlx::Result<()> {
        sessions::tidy(tx, events).await
    }

    async fn video_of(tx: &mut PgConnection, job: JobId) -> sqlx::Result<Option<VideoId>> {
        let video = sqlx::query_scalar!("select video from jobs where job = $1", job.0)
            .fetch_optional(tx)
            .await?;
        Ok(video.map(VideoId))
    }

    async fn forget(tx: &mut PgConnection, video: VideoId) -> Result<(), Unapplied> {
        jobs::delete_all(tx, video).await?;
        versions::erase(tx, video).await?;
        views::delete(tx, video).await?;
        sqlx::query!("delete from videos where id = $1", video.0)
            .execute(tx)
            .await?;
        Ok(())
    }
}

/// Whether the video changed as its viewers see it.
async fn apply_video(
    tx: &mut PgConnection,
    recorded: &Recorded,
    fact: &Event,
) -> Result<bool, Unapplied> {
    let video = fact.video;
    match &fact.event {
        Kind::UploadRequested {
            details,
            declared,
            key,
            expires_at_ms,
            priority: _,
        } => {
            let row = New {
                video,
                owner: &fact.owner,
                details,
                declared,
                key,
                expires_at_ms: *expires_at_ms,
                created_ms: fact.at_ms,
            };
            insert(tx, row).await?;
            views::begin(tx, fact).await?;
        }
        Kind::UploadCompleted { .. } | Kind::ProcessingRetried { .. } => {
            begin_job(tx, recorded, fact).await?;
        }
        Kind::UploadRejected { code, message } => {
            fail(tx, video, Status::Failed, code.as_str(), message).await?;
        }
        Kind::UploadExpired {} => {
            sqlx::query!(
                "update videos set status = $2 where id = $1",
                video.0,
                status_word(Status::Expired)
            )
            .execute(tx)
            .await?;
        }
        Kind::DetailsChanged { changes } => change(tx, video, changes).await?,
        Kind::BecamePlayable { job, picture } => {
            show(tx, video, *job, picture, Status::Processing, None).await?;
        }
        Kind::BecameReady { job, picture } => {
            show(tx, video, *job, picture, Status::Ready, Some(fact.at_ms)).await?;
        }
        Kind::ProcessingFailed { code, message, .. } => {
            fail(tx, video, Status::Failed, code.as_str(), message).await?;
        }
        Kind::RenditionRetried { rendition, .. } => {
            retry::begin(tx, recorded, fact, rendition).await?;
        }
        Kind::RenditionReplaced { job, rendition } => {
            retry::switch(tx, fact, *job, rendition).await?;
        }
        Kind::RenditionRetryFailed {
            job, code, message, ..
        } => retry::fail(tx, fact, *job, *code, message).await?,
        Kind::Deleted { .. } => delete(tx, fact).await?,
    }
    Ok(true)
}

struct New<'a> {
    video: VideoId,
    owner: &'a Owner,
    details: &'a Details,
    declared: &'a Declared,
    key: &'a str,
    expires_at_ms: i64,
    created_ms: i64,
}

async fn insert(tx: &mut PgConnection, new: New<'_>) -> Result<(), Unapplied> {
    sqlx::query!(
        "insert into videos (id, owner, title, description, tags, visibility, status, created_ms,
            file_name, content_type, size_bytes, checksum_sha256, upload_key, expires_at_ms, position)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, 0)",
        new.video.0,
        new.owner.0,
        new.details.title,
        new.details.description,
        &new.details.tags,
        new.details.visibility.as_str(),
        status_word(Status::Uploading),
        new.created_ms,
        new.declared.file_name,
        new.declared.content_type,
        i64::try_from(new.declared.size_bytes)?,
        new.declared.checksum_sha256,
        new.key,
        new.expires_at_ms,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The event asks for a job, which replaces whatever an older one made.
async fn begin_job(
    tx: &mut PgConnection,
    recorded: &Recorded,
    fact: &Event,
) -> Result<(), Unapplied> {
    let Some(Asked { job, source, .. }) = insert_job(tx, recorded, fact).await? else {
        return Ok(());
    };
    let size_bytes = i64::try_from(source.size_bytes)?;
    sqlx::query!(
        "update videos set status = $2, playable = false, job = $3, size_bytes = $4,
            segments_planned = 0, segments_published = 0, duration_ms = null, width = null, height = null,
            poster_key = null, ready_ms = null, failure_code = null, failure_message = null
         where id = $1",
        fact.video.0,
        status_word(Status::Processing),
        job.0,
        size_bytes
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The job that the event asks for.
pub(super) async fn insert_job(
    tx: &mut PgConnection,
    recorded: &Recorded,
    fact: &Event,
) -> Result<Option<Asked>, Unapplied> {
    let Some(asked) = job_asked_for(fact, recorded.id) else {
        return Ok(None);
    };
    let Asked { job, source, .. } = &asked;
    sqlx::query!(
        "insert into jobs (job, video, state, asked_ms, source_key, source_etag, source_size_bytes)
         values ($1, $2, 'asked', $3, $4, $5, $6)",
        job.0,
        fact.video.0,
        fact.at_ms,
        source.key,
        source.etag,
        i64::try_from(source.size_bytes)?
    )
    .execute(tx)
    .await?;
    Ok(Some(asked))
}

async fn change(tx: &mut PgConnection, video: VideoId, changes: &Changes) -> Result<(), Unapplied> {
    sqlx::query!(
        "update videos set title = coalesce($2, title), description = coalesce($3, description),
            tags = coalesce($4, tags), visibility = coalesce($5, visibility)
         where id = $1",
        video.0,
        changes.title,
        changes.description,
        changes.tags.as_deref(),
        changes.visibility.map(|visibility| visibility.as_str())
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The video can be played, from this job's segments.
async fn show(
    tx: &mut PgConnection,
    video: VideoId,
    job: JobId,
    picture: &Picture,
    status: Status,
    ready_ms: Option<i64>,
) -> Result<(), Unapplied> {
    let shown = |pixels: u32| (pixels > 0).then_some(i64::from(pixels));
    sqlx::query!(
        "update videos set playable = true, status = $2, job = $3, duration_ms = $4, width = $5, height = $6, ready_ms = $7
         where id = $1",
        video.0,
        status_word(status),
        job.0,
        i64::try_from(picture.duration_ms)?,
        shown(picture.width),
        shown(picture.height),
        ready_ms
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn fail(
    tx: &mut PgConnection,
    video: VideoId,
    status: Status,
    code: &str,
    message: &str,
) -> Result<(), Unapplied> {
    sqlx::query!(
        "update videos set status = $2, playable = false, failure_code = $3, failure_message = $4 where id = $1",
        video.0,
        status_word(status),
        code,
        message
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Leaves the id behind, and nothing that anybody said or made.
async fn delete(tx: &mut PgConnection, fact: &Event) -> Result<(), Unapplied> {
    Catalogue::forget(tx, fact.video).await?;
    let nothing = New {
        video: fact.video,
        owner: &fact.owner,
        details: &Details::default(),
        declared: &Declared::default(),
        key: "",
        expires_at_ms: 0,
        created_ms: fact.at_ms,
    };
    insert(tx, nothing).await?;
    sqlx::query!(
        "update videos set status = $2 where id = $1",
        fact.video.0,
        status_word(Status::Deleted)
    )
    .execute(tx)
    .await?;
    Ok(())
}
