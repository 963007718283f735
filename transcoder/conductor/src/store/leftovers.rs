//! Retries that are over, and what they left in the object store.

use domain::id::{JobId, VideoId};
use sqlx::PgConnection;

use super::Store;

/// Retries looked at in one go.
const LEFTOVERS_MAX: i64 = 100;

/// What nothing names any more because of `job`, to be erased when it is due.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leftovers {
    pub job: JobId,
    pub video: VideoId,
    pub due_at_ms: i64,
}

impl Leftovers {
    pub(super) async fn insert(self, tx: &mut PgConnection) -> sqlx::Result<()> {
        sqlx::query!(
            "insert into leftovers (job, video, due_at_ms) values ($1, $2, $3) on conflict (job) do nothing",
            self.job.0,
            self.video.0,
            self.due_at_ms,
        )
        .execute(tx)
        .await?;
        Ok(())
    }
}

impl Store {
    /// What is due by `now_ms`, of videos that no job writes for.
    pub(crate) async fn leftovers(&self, now_ms: i64) -> sqlx::Result<Vec<Leftovers>> {
        let rows = sqlx::query!(
            "select job, video, due_at_ms from leftovers
             where due_at_ms <= $1
               and not exists (select 1 from open_jobs where open_jobs.video = leftovers.video)
             order by due_at_ms limit $2",
            now_ms,
            LEFTOVERS_MAX,
        )
        .fetch_all(&self.pool)
        .await?;
        let leftovers = rows.into_iter().map(|row| Leftovers {
            job: JobId(row.job),
            video: VideoId(row.video),
            due_at_ms: row.due_at_ms,
        });
        Ok(leftovers.collect())
    }

    /// They were erased.
    pub(crate) async fn end_leftovers(&self, job: JobId) -> sqlx::Result<()> {
        sqlx::query!("delete from leftovers where job = $1", job.0)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}
