//! Which events are announced, and how old announcements go.

use std::collections::BTreeSet;

use domain::{
    code::Code,
    fact::AnyEvent,
    id::{JobId, VideoId},
    video::{Event, Kind as Happened, Picture, Status},
};
use eventlog::Recorded;
use sqlx::{PgConnection, migrate::Migrator};

use super::Kind;
use crate::{
    store::{Rows, Unapplied},
    words::status_word,
};

const KEPT_MS: i64 = 30 * 24 * 60 * 60 * 1000;

/// More than a batch adds, so that pruning keeps up.
const PRUNED_PER_BATCH_MAX: i64 = 1000;

pub(crate) struct Announcements;

impl Rows for Announcements {
    const NAME: &'static str = super::NAME;
    const VERSION: i64 = super::VERSION;
    const CHANNEL: &'static str = super::CHANNEL;

    fn migrator() -> &'static Migrator {
        static MIGRATOR: Migrator = sqlx::migrate!("../migrations/announcements");
        &MIGRATOR
    }

    fn concerns(type_name: &str) -> bool {
        type_name.starts_with("video.")
    }

    async fn apply(
        tx: &mut PgConnection,
        recorded: &Recorded,
        event: &AnyEvent,
        news: &mut BTreeSet<String>,
    ) -> Result<(), Unapplied> {
        let AnyEvent::Video(fact) = event else {
            return Ok(());
        };
        remember(tx, fact).await?;
        if let Some(announced) = announced(fact) {
            announce(tx, recorded.commit, fact, announced).await?;
            news.insert(recorded.commit.to_string());
        }
        Ok(())
    }

    async fn tidy(tx: &mut PgConnection, events: &[Recorded]) -> sqlx::Result<()> {
        let newest_ms = events.iter().filter_map(|recorded| match &recorded.event {
            Ok(AnyEvent::Video(fact)) => Some(fact.at_ms),
            Ok(AnyEvent::Job(_) | AnyEvent::Views(_)) | Err(_) => None,
        });
        let Some(newest_ms) = newest_ms.max() else {
            return Ok(());
        };
        sqlx::query!(
            "with newest as (select greatest(newest_ms, $1) as ms from horizon),
                  old as (select commit from announcements, newest where at_ms < newest.ms - $2 order by commit limit $3),
                  pruned as (delete from announcements where commit in (select commit from old) returning commit)
             update horizon set newest_ms = newest.ms,
                    pruned_to = greatest(pruned_to, (select max(commit) from pruned))
             from newest",
            newest_ms,
            KEPT_MS,
            PRUNED_PER_BATCH_MAX
        )
        .execute(tx)
        .await?;
        Ok(())
    }

    async fn video_of(_: &mut PgConnection, _: JobId) -> sqlx::Result<Option<VideoId>> {
        // Jobs are none of its concern.
        Ok(None)
    }

    async fn forget(tx: &mut PgConnection, video: VideoId) -> Result<(), Unapplied> {
        sqlx::query!("delete from subjects where video = $1", video.0)
            .execute(&mut *tx)
            .await?;
        sqlx::query!("delete from announcements where video = $1", video.0)
            .execute(tx)
            .await?;
        Ok(())
    }
}

/// What an event is to subscribers.
struct Announced<'a> {
    kind: Kind,
    status: Status,
    picture: Option<&'a Picture>,
    failure: Option<(Code, &'a str)>,
}

fn announced(fact: &Event) -> Option<Announced<'_>> {
    let shown = |kind, status, picture| Announced {
        kind,
        status,
        picture: Some(picture),
        failure: None,
    };
    let failed = |status, code, message| Announced {
        kind: Kind::Failed,
        status,
        picture: None,
        failure: Some((code, message)),
    };
    match &fact.event {
        Happened::BecamePlayable { picture, .. } => {
            Some(shown(Kind::Playable, Status::Processing, picture))
        }
        Happened::BecameReady { picture, .. } => Some(shown(Kind::Ready, Status::Ready, picture)),
        Happened::ProcessingFailed { code, message, .. }
        | Happened::UploadRejected { code, message } => {
            Some(failed(Status::Failed, *code, message.as_str()))
        }
        Happened::UploadExpired {} => Some(failed(
            Status::Expired,
            Code::UploadExpired,
            "the file did not arrive in time; ask for a new upload",
        )),
        Happened::UploadRequested { .. }
        | Happened::UploadCompleted { .. }
        | Happened::DetailsChanged { .. }
        | Happened::ProcessingRetried { .. }
        | Happened::Deleted { .. } => None,
        // The video was ready before, and is ready however a retry ends: nobody waits for it.
        Happened::RenditionRetried { .. }
        | Happened::RenditionReplaced { .. }
        | Happened::RenditionRetryFailed { .. } => None,
    }
}

/// Keeps what announcements say about their video beside the news.
async fn remember(tx: &mut PgConnection, fact: &Event) -> Result<(), Unapplied> {
    match &fact.event {
        Happened::UploadRequested { details, .. } => {
            sqlx::query!(
                "insert into subjects (video, owner, title, visibility) values ($1, $2, $3, $4)",
                fact.video.0,
                fact.owner.0,
                details.title,
                details.visibility.as_str()
            )
            .execute(tx)
            .await?;
        }
        Happened::DetailsChanged { changes } => {
            sqlx::query!(
                "update subjects set title = coalesce($2, title), visibility = coalesce($3, visibility)
                 where video = $1",
                fact.video.0,
                changes.title,
                changes.visibility.map(|visibility| visibility.as_str())
            )
            .execute(tx)
            .await?;
        }
        Happened::Deleted { .. } => Announcements::forget(tx, fact.video).await?,
        Happened::UploadCompleted { .. }
        | Happened::UploadRejected { .. }
        | Happened::UploadExpired {}
        | Happened::BecamePlayable { .. }
        | Happened::BecameReady { .. }
        | Happened::ProcessingFailed { .. }
        | Happened::ProcessingRetried { .. }
        | Happened::RenditionRetried { .. }
        | Happened::RenditionReplaced { .. }
        | Happened::RenditionRetryFailed { .. } => {}
    }
    Ok(())
}

async fn announce(
    tx: &mut PgConnection,
    commit: u64,
    fact: &Event,
    announced: Announced<'_>,
) -> Result<(), Unapplied> {
    let picture = announced.picture;
    let duration_ms = picture
        .map(|picture| i64::try_from(picture.duration_ms))
        .transpose()?;
    let shown = |pixels: u32| (pixels > 0).then_some(i64::from(pixels));
    sqlx::query!(
        "insert into announcements (commit, kind, video, owner, visibility, title, status, at_ms,
            duration_ms, width, height, code, message)
         select $1, $2, video, owner, visibility, title, $4, $5, $6, $7, $8, $9, $10
         from subjects where video = $3",
        i64::try_from(commit)?,
        announced.kind.as_str(),
        fact.video.0,
        status_word(announced.status),
        fact.at_ms,
        duration_ms,
        picture.and_then(|picture| shown(picture.width)),
        picture.and_then(|picture| shown(picture.height)),
        announced.failure.map(|(code, _)| code.as_str()),
        announced.failure.map(|(_, message)| message)
    )
    .execute(tx)
    .await?;
    Ok(())
}
