//! The conductor's queues as it last showed them: what waits, who works, what runs.
//!
//! # Invariants
//!
//! * It only reads. The tables are the conductor's own, and it alone writes them.
//! * All that is returned is of one moment, and says of which.

use domain::{
    id::{JobId, VideoId},
    video::Priority,
};

use crate::reader::Reader;

/// The most that any one list returns.
pub const PAGE_MAX: usize = 100;

/// PostgreSQL's word for a table that is not there.
const UNDEFINED_TABLE: &str = "42P01";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queues {
    pub shown_ms: i64,
    pub tasks_total: u64,
    pub workers_total: u64,
    pub slots: u64,
    pub slots_taken: u64,
    pub running_total: u64,
    /// The first of them, in the order in which they will be handed out.
    pub tasks: Vec<Task>,
    pub workers: Vec<Worker>,
    pub running: Vec<Running>,
}

/// A task that could be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    pub job: JobId,
    pub video: VideoId,
    pub task: String,
    pub kind: String,
    pub priority: Priority,
    pub playable: bool,
    pub memory_mib: u64,
    pub since_ms: i64,
}

/// A worker that called lately.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    pub name: String,
    pub version: String,
    /// Empty: all.
    pub kinds: Vec<String>,
    pub slots: u64,
    pub running: u64,
    /// 0: it did not say.
    pub memory_mib: u64,
    pub memory_used_mib: u64,
    pub first_ms: i64,
    pub last_ms: i64,
}

/// An attempt under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    pub job: JobId,
    pub video: VideoId,
    pub task: String,
    pub kind: String,
    pub attempt: u32,
    pub worker: String,
    pub progress_permille: u32,
    pub since_ms: i64,
    pub lease_until_ms: i64,
}

/// The queues, with the first so many of each; `None` before a conductor has shown any.
pub async fn queues(reader: &Reader, first: usize) -> anyhow::Result<Option<Queues>> {
    match read(reader, first.min(PAGE_MAX) as i64).await {
        Err(Unread::Database(sqlx::Error::Database(error)))
            if error.code().as_deref() == Some(UNDEFINED_TABLE) =>
        {
            Ok(None)
        }
        Err(Unread::Database(error)) => Err(error.into()),
        Err(Unread::Number(error)) => Err(error.into()),
        Ok(queues) => Ok(queues),
    }
}

#[derive(Debug, thiserror::Error)]
enum Unread {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Number(#[from] std::num::TryFromIntError),
}

async fn read(reader: &Reader, first: i64) -> Result<Option<Queues>, Unread> {
    let mut tx = reader.catalogue().begin().await?;
    sqlx::query!("set transaction isolation level repeatable read, read only")
        .execute(&mut *tx)
        .await?;
    let totals = sqlx::query!(
        "select shown_ms, tasks, workers, slots, slots_taken, running from conductor.queues"
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(totals) = totals else {
        return Ok(None);
    };
    let tasks = tasks(&mut tx, first).await?;
    let workers = workers(&mut tx, first).await?;
    let running = running(&mut tx, first).await?;
    tx.commit().await?;
    Ok(Some(Queues {
        shown_ms: totals.shown_ms,
        tasks_total: totals.tasks.try_into()?,
        workers_total: totals.workers.try_into()?,
        slots: totals.slots.try_into()?,
        slots_taken: totals.slots_taken.try_into()?,
        running_total: totals.running.try_into()?,
        tasks,
        workers,
        running,
    }))
}

async fn tasks(tx: &mut sqlx::PgConnection, first: i64) -> Result<Vec<Task>, Unread> {
    let rows = sqlx::query!(
        "select job, video, task, kind, priority, playable, memory_mib, since_ms
         from conductor.queue_tasks order by place limit $1",
        first
    )
    .fetch_all(tx)
    .await?;
    let tasks = rows.into_iter().map(|row| {
        Ok(Task {
            job: JobId(row.job),
            video: VideoId(row.video),
            task: row.task,
            kind: row.kind,
            priority: match row.priority {
                ..=0 => Priority::High,
                1 => Priority::Normal,
                2.. => Priority::Low,
            },
            playable: row.playable,
            memory_mib: row.memory_mib.try_into()?,
            since_ms: row.since_ms,
        })
    });
    tasks.collect()
}

async fn workers(tx: &mut sqlx::PgConnection, first: i64) -> Result<Vec<Worker>, Unread> {
    let rows = sqlx::query!(
        "select name, version, kinds, slots, running, memory_mib, memory_used_mib, first_ms, last_ms
         from conductor.queue_workers order by name limit $1",
        first
    )
    .fetch_all(tx)
    .await?;
    let workers = rows.into_iter().map(|row| {
        Ok(Worker {
            name: row.name,
            version: row.version,
            kinds: row.kinds,
            slots: row.slots.try_into()?,
            running: row.running.try_into()?,
            memory_mib: row.memory_mib.try_into()?,
            memory_used_mib: row.memory_used_mib.try_into()?,
            first_ms: row.first_ms,
            last_ms: row.last_ms,
        })
    });
    workers.collect()
}

async fn running(tx: &mut sqlx::PgConnection, first: i64) -> Result<Vec<Running>, Unread> {
    let rows = sqlx::query!(
        "select job, video, task, kind, attempt, worker, progress_permille, since_ms, lease_until_ms
         from conductor.queue_running order by since_ms, job, task limit $1",
        first
    )
    .fetch_all(tx)
    .await?;
    let running = rows.into_iter().map(|row| {
        Ok(Running {
            job: JobId(row.job),
            video: VideoId(row.video),
            task: row.task,
            kind: row.kind,
            attempt: row.attempt.try_into()?,
            worker: row.worker,
            progress_permille: row.progress_permille.try_into()?,
            since_ms: row.since_ms,
            lease_until_ms: row.lease_until_ms,
        })
    });
    running.collect()
}
