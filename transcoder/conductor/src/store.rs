//! The conductor's own tables: where it is in the log, which jobs are open, what is to be erased.
//!
//! # Invariants
//!
//! * What an event asks for and the checkpoint behind that event are written in one transaction.
//! * The checkpoint moves only from where its writer believes it to be: a conductor that was
//!   replaced cannot write any more.
//! * The tables hold no fact of their own. For another log (another epoch), and for one that was
//!   set back behind what they know, they begin anew.

use std::str::FromStr;

use anyhow::{Context, bail};
use domain::{
    id::{EventId, JobId, Owner, RenditionId, VideoId},
    job::Source,
    video::{Priority, Redo},
};
use sqlx::{
    PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

/// Connections for everything but the leadership.
const CONNECTIONS_MAX: u32 = 4;

/// Deletions looked at in one go.
const DELETIONS_MAX: i64 = 100;

/// A job that is not over, or whose end its video has not been told yet.
#[derive(Debug, Clone)]
pub(crate) struct OpenJob {
    pub job: JobId,
    pub video: VideoId,
    pub owner: Owner,
    pub source: Source,
    /// The event that asked for it.
    pub cause: EventId,
    pub asked_at_ms: i64,
    pub priority: Priority,
    /// `None`: it makes all of the video.
    pub redo: Option<Redo>,
    /// The event that made it pointless.
    pub cancelled_by: Option<EventId>,
}

/// How far which log was acted upon.
#[derive(Debug, Clone)]
pub(crate) struct Checkpoint {
    pub epoch: String,
    /// Where the log is to be followed from; `None` is its beginning.
    pub commit: Option<u64>,
    /// The last event of ours: behind it a log may go on without anything of ours.
    pub last_event: Option<u64>,
}

/// From which checkpoint to which.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub from: Option<u64>,
    pub to: Option<u64>,
    pub last_event: Option<u64>,
}

/// A video whose objects are to be erased.
pub(crate) struct Deletion {
    pub video: VideoId,
    pub asked_at_ms: i64,
    /// They were erased once already.
    pub swept: bool,
}

mod leftovers;
mod queues;

pub(crate) use leftovers::Leftovers;

#[derive(Clone)]
pub(crate) struct Store {
    pool: PgPool,
}

/// As it stands in the tables: lower comes first.
fn priority_number(priority: Priority) -> i16 {
    match priority {
        Priority::High => 0,
        Priority::Normal => 1,
        Priority::Low => 2,
    }
}

fn priority_of(number: i16) -> Priority {
    let known = Priority::ALL.into_iter();
    // A row of a later release, which knows more of them.
    known
        .rev()
        .find(|priority| priority_number(*priority) <= number)
        .unwrap_or_default()
}

fn redo_of(rendition: Option<String>, from: Option<JobId>) -> Option<Redo> {
    Some(Redo {
        rendition: RenditionId(rendition?),
        from: from?,
    })
}

/// How to reach PostgreSQL, with our schema in front.
pub(crate) fn options(postgres_url: &str) -> anyhow::Result<PgConnectOptions> {
    let options =
        PgConnectOptions::from_str(postgres_url).context("the PostgreSQL address is not one")?;
    Ok(options.options([("search_path", "conductor")]))
}

impl Store {
    /// Connects, and brings the schema up to date.
    pub(crate) async fn open(postgres_url: &str) -> anyhow::Result<Self> {
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .connect_with(options(postgres_url)?)
            .await
            .context("failed to connect to PostgreSQL")?;
        sqlx::query!("create schema if not exists conductor")
            .execute(&pool)
            .await
            .context("failed to create the schema `conductor`")?;
        sqlx::migrate!("../../migrations/conductor")
            .run(&pool)
            .await
            .context("failed to migrate the schema `conductor`")?;
        Ok(Self { pool })
    }

    /// `None` before anything was acted upon.
    pub(crate) async fn checkpoint(&self) -> sqlx::Result<Option<Checkpoint>> {
        let row =
            sqlx::query!("select epoch, commit_position, last_event from conductor_checkpoint")
                .fetch_optional(&self.pool)
                .await?;
        Ok(row.map(|row| Checkpoint {
            epoch: row.epoch,
            commit: row.commit_position.map(|position| position as u64),
            last_event: row.last_event.map(|position| position as u64),
        }))
    }

    /// Forgets everything, and stands at the beginning of the log of this epoch.
    pub(crate) async fn begin_anew(&self, epoch: &str) -> sqlx::Result<()> {
        let mut tx = self.pool.begin().await?;
        sqlx::query!("delete from conductor_checkpoint")
            .execute(&mut *tx)
            .await?;
        sqlx::query!("delete from open_jobs")
            .execute(&mut *tx)
            .await?;
        sqlx::query!("delete from deletions")
            .execute(&mut *tx)
            .await?;
        sqlx::query!("delete from leftovers")
            .execute(&mut *tx)
            .await?;
        sqlx::query!(
            "insert into conductor_checkpoint (epoch) values ($1)",
            epoch
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    pub(crate) async fn open_jobs(&self) -> sqlx::Result<Vec<OpenJob>> {
        let rows = sqlx::query!(
            "select job, video, owner, source_key, source_etag, source_size_bytes, cause, asked_at_ms, priority,
                redo_rendition, redo_from, cancelled_by
             from open_jobs order by asked_at_ms, job"
        )
        .fetch_all(&self.pool)
        .await?;
        let open = rows.into_iter().map(|row| OpenJob {
            job: JobId(row.job),
            video: VideoId(row.video),
            owner: Owner(row.owner),
            source: Source {
                key: row.source_key,
                etag: row.source_etag,
                size_bytes: row.source_size_bytes as u64,
            },
            cause: EventId(row.cause),
            asked_at_ms: row.asked_at_ms,
            priority: priority_of(row.priority),
            redo: redo_of(row.redo_rendition, row.redo_from.map(JobId)),
            cancelled_by: row.cancelled_by.map(EventId),
        });
        Ok(open.collect())
    }

    /// Nothing was asked for on the way.
    pub(crate) async fn pass(&self, step: Step) -> anyhow::Result<()> {
        let mut connection = self.pool.acquire().await?;
        advance(&mut connection, step).await
    }

    /// A job was asked for.
    pub(crate) async fn open_job(&self, step: Step, open: &OpenJob) -> anyhow::Result<()> {
        let mut tx = self.pool.begin().await?;
        sqlx::query!(
            "insert into open_jobs (job, video, owner, source_key, source_etag, source_size_bytes, cause, asked_at_ms, priority,
                redo_rendition, redo_from)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
             on conflict (job) do nothing",
            open.job.0,
            open.video.0,
            open.owner.0,
            open.source.key,
            open.source.etag,
            open.source.size_bytes as i64,
            open.cause.0,
            open.asked_at_ms,
            priority_number(open.priority),
            open.redo.as_ref().map(|redo| redo.rendition.0.clone()),
            open.redo.as_ref().map(|redo| redo.from.0),
        )
        .execute(&mut *tx)
        .await?;
        advance(&mut tx, step).await?;
        tx.commit().await?;
        Ok(())
    }

    /// A video was deleted: its jobs are pointless, its objects are to be erased.
    pub(crate) async fn begin_deletion(
        &self,
        step: Step,
        deletion: &Deletion,
        cause: EventId,
    ) -> anyhow::Result<()> {
        let mut tx = self.pool.begin().await?;
        sqlx::query!(
            "insert into deletions (video, asked_at_ms) values ($1, $2) on conflict (video) do nothing",
            deletion.video.0,
            deletion.asked_at_ms,
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query!(
            "update open_jobs set cancelled_by = $2 where video = $1 and cancelled_by is null",
            deletion.video.0,
            cause.0,
        )
        .execute(&mut *tx)
        .await?;
        advance(&mut tx, step).await?;
        tx.commit().await?;
        Ok(())
    }

    /// The job is over and its video knows. `leftovers`: what is to be erased for that.
    pub(crate) async fn close_job(
        &self,
        job: JobId,
        leftovers: Option<Leftovers>,
    ) -> sqlx::Result<()> {
        let mut tx = self.pool.begin().await?;
        if let Some(leftovers) = leftovers {
            leftovers.insert(&mut tx).await?;
        }
        sqlx::query!("delete from open_jobs where job = $1", job.0)
            .execute(&mut *tx)
            .await?;
        tx.commit().await
    }

    /// What can be erased now: no job writes there any more. Once at once, and once again
    /// what was swept before `over_before_ms`.
    pub(crate) async fn deletions(&self, over_before_ms: i64) -> sqlx::Result<Vec<Deletion>> {
        let rows = sqlx::query!(
            "select video, asked_at_ms, swept_at_ms from deletions
             where (swept_at_ms is null or swept_at_ms < $1)
               and not exists (select 1 from open_jobs where open_jobs.video = deletions.video)
             order by asked_at_ms limit $2",
            over_before_ms,
            DELETIONS_MAX,
        )
        .fetch_all(&self.pool)
        .await?;
        let deletions = rows.into_iter().map(|row| Deletion {
            video: VideoId(row.video),
            asked_at_ms: row.asked_at_ms,
            swept: row.swept_at_ms.is_some(),
        });
        Ok(deletions.collect())
    }

    /// The objects were erased for the first time.
    pub(crate) async fn swept(&self, video: VideoId, at_ms: i64) -> sqlx::Result<()> {
        sqlx::query!(
            "update deletions set swept_at_ms = $2 where video = $1",
            video.0,
            at_ms,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The objects were erased for the last time.
    pub(crate) async fn end_deletion(&self, video: VideoId) -> sqlx::Result<()> {
        sqlx::query!("delete from deletions where video = $1", video.0)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

async fn advance(connection: &mut PgConnection, step: Step) -> anyhow::Result<()> {
    let moved = sqlx::query!(
        "update conductor_checkpoint set commit_position = $2, last_event = $3
         where commit_position is not distinct from $1",
        step.from.map(|position| position as i64),
        step.to.map(|position| position as i64),
        step.last_event.map(|position| position as i64),
    )
    .execute(connection)
    .await?;
    if moved.rows_affected() != 1 {
        bail!(
            "the checkpoint is not at {:?} any more: another conductor moved it",
            step.from
        );
    }
    Ok(())
}
