//! Who viewed what on which day, for read models that count views in PostgreSQL: the table
//! `view_sessions` of the read model that asks.
//!
//! # Invariants
//!
//! * A session counts once per video and day (UTC, by event time).
//! * What is remembered and what counts depends on the events alone, not on the clock nor on how they
//!   were cut into batches: a rebuild counts the same.

use domain::{fact::AnyEvent, id::VideoId, views};
use eventlog::Recorded;
use sqlx::PgConnection;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Past midnight a day's views may still come, not for long.
const KEPT_DAYS: i64 = 3;

/// Whether this view is the session's first of the day. One that comes days late is not.
pub(crate) async fn is_new(tx: &mut PgConnection, fact: &views::Event) -> sqlx::Result<bool> {
    let views::Kind::Recorded { session } = &fact.event;
    let remembered = sqlx::query!(
        "insert into view_sessions (day, video, session) select $1, $2, $3
         where $1 >= coalesce((select max(day) from view_sessions), $1) - $4::bigint
         on conflict do nothing",
        fact.at_ms.div_euclid(DAY_MS),
        fact.video.0,
        session,
        KEPT_DAYS
    )
    .execute(tx)
    .await?;
    Ok(remembered.rows_affected() == 1)
}

/// Forgets the sessions of days that no view comes from any more.
pub(crate) async fn tidy(tx: &mut PgConnection, events: &[Recorded]) -> sqlx::Result<()> {
    let is_view = |recorded: &Recorded| matches!(recorded.event, Ok(AnyEvent::Views(_)));
    if !events.iter().any(is_view) {
        return Ok(());
    }
    sqlx::query!(
        "delete from view_sessions where day < (select max(day) from view_sessions) - $1::bigint",
        KEPT_DAYS
    )
    .execute(tx)
    .await?;
    Ok(())
}

pub(crate) async fn forget(tx: &mut PgConnection, video: VideoId) -> sqlx::Result<()> {
    sqlx::query!("delete from view_sessions where video = $1", video.0)
        .execute(tx)
        .await?;
    Ok(())
}
