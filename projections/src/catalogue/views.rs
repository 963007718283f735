//! How often each video was viewed, for lists in that order.
//!
//! # Invariants
//!
//! * A session counts once per video and day (UTC, by event time).
//! * Sessions are forgotten by the time of events, not by the clock: a rebuild counts the same.

use domain::{fact::AnyEvent, id::VideoId, video, views};
use eventlog::Recorded;
use sqlx::PgConnection;

use crate::store::Unapplied;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Past midnight a day's views may still come, not for long.
const SESSIONS_KEPT_DAYS: i64 = 3;

pub(super) async fn begin(tx: &mut PgConnection, fact: &video::Event) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into video_views (video, owner) values ($1, $2)",
        fact.video.0,
        fact.owner.0
    )
    .execute(tx)
    .await?;
    Ok(())
}

pub(super) async fn count(tx: &mut PgConnection, fact: &views::Event) -> Result<(), Unapplied> {
    let views::Kind::Recorded { session } = &fact.event;
    sqlx::query!(
        "with counted as (
            insert into view_sessions (day, video, session)
            select $1, video, $3 from video_views where video = $2
            on conflict do nothing returning video
         )
         update video_views set views = views + 1 from counted where video_views.video = counted.video",
        fact.at_ms.div_euclid(DAY_MS),
        fact.video.0,
        session
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Forgets the sessions of days that no view comes from any more.
pub(super) async fn tidy(tx: &mut PgConnection, events: &[Recorded]) -> sqlx::Result<()> {
    let viewed = events.iter().filter_map(|recorded| match &recorded.event {
        Ok(AnyEvent::Views(fact)) => Some(fact.at_ms.div_euclid(DAY_MS)),
        Ok(AnyEvent::Video(_) | AnyEvent::Job(_)) | Err(_) => None,
    });
    let Some(day) = viewed.max() else {
        return Ok(());
    };
    sqlx::query!(
        "delete from view_sessions where day < $1",
        day - SESSIONS_KEPT_DAYS
    )
    .execute(tx)
    .await?;
    Ok(())
}

pub(super) async fn delete(tx: &mut PgConnection, video: VideoId) -> sqlx::Result<()> {
    sqlx::query!("delete from view_sessions where video = $1", video.0)
        .execute(&mut *tx)
        .await?;
    sqlx::query!("delete from video_views where video = $1", video.0)
        .execute(tx)
        .await?;
    Ok(())
}
