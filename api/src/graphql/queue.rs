//! The conductor's queues as operators see them.

use async_graphql::{ID, Object, Result, SimpleObject};
use projections::queues::{self, Queues};
use time::OffsetDateTime;

use crate::{
    app::moment,
    graphql::{connection, scalar::Long, video::Priority},
};

/// What waits, who works and what runs, all at one moment, at most about a second ago.
pub(crate) struct Queue(pub Queues);

#[Object]
impl Queue {
    /// When it was so. If that is long ago no conductor leads.
    async fn at(&self) -> OffsetDateTime {
        moment(self.0.shown_ms)
    }

    /// How many tasks wait.
    async fn tasks_total(&self) -> Long {
        Long::of(self.0.tasks_total)
    }

    async fn workers_total(&self) -> Long {
        Long::of(self.0.workers_total)
    }

    async fn running_total(&self) -> Long {
        Long::of(self.0.running_total)
    }

    /// How many tasks all workers together run at a time.
    async fn slots(&self) -> Long {
        Long::of(self.0.slots)
    }

    async fn slots_taken(&self) -> Long {
        Long::of(self.0.slots_taken)
    }

    /// The tasks that could be started, in the order in which they will be handed out, but for
    /// what does not fit.
    #[graphql(complexity = "connection::cost(first, child_complexity)")]
    async fn tasks(
        &self,
        #[graphql(desc = "How many, 1 to 100; 20 if not said.")] first: Option<i32>,
    ) -> Result<Vec<QueuedTask>> {
        let first = connection::first(first)?;
        let tasks = self.0.tasks.iter().take(first);
        Ok(tasks.map(QueuedTask::from).collect())
    }

    /// The workers that called lately, by name.
    #[graphql(complexity = "connection::cost(first, child_complexity)")]
    async fn workers(
        &self,
        #[graphql(desc = "How many, 1 to 100; 20 if not said.")] first: Option<i32>,
    ) -> Result<Vec<Worker>> {
        let first = connection::first(first)?;
        let workers = self.0.workers.iter().take(first);
        Ok(workers.map(Worker::from).collect())
    }

    /// The attempts under way, those that began earliest first.
    #[graphql(complexity = "connection::cost(first, child_complexity)")]
    async fn running(
        &self,
        #[graphql(desc = "How many, 1 to 100; 20 if not said.")] first: Option<i32>,
    ) -> Result<Vec<RunningTask>> {
        let first = connection::first(first)?;
        let running = self.0.running.iter().take(first);
        Ok(running.map(RunningTask::from).collect())
    }
}

/// A task that waits for a worker.
#[derive(SimpleObject)]
pub(crate) struct QueuedTask {
    video_id: ID,
    job_id: ID,
    /// Unique within its job: `probe`, `audio`, `poster`.
    task: String,
    /// What a worker must be able to do.
    kind: String,
    priority: Priority,
    /// Whether its video can be played already; those that cannot come first.
    playable: bool,
    /// What it is expected to need.
    memory_mib: Long,
    /// Since when it could be started, as far as the conductor that leads knows.
    since: OffsetDateTime,
}

impl From<&queues::Task> for QueuedTask {
    fn from(task: &queues::Task) -> Self {
        Self {
            video_id: ID(task.video.to_string()),
            job_id: ID(task.job.to_string()),
            task: task.task.clone(),
            kind: task.kind.clone(),
            priority: task.priority.into(),
            playable: task.playable,
            memory_mib: Long::of(task.memory_mib),
            since: moment(task.since_ms),
        }
    }
}

/// A worker that called lately.
#[derive(SimpleObject)]
pub(crate) struct Worker {
    name: String,
    version: String,
    /// The kinds of tasks it takes; none: all.
    kinds: Vec<String>,
    /// How many tasks it runs at a time.
    slots: Long,
    running: Long,
    /// What all its tasks together may take; null where it did not say.
    memory_mib: Option<Long>,
    /// What those that run are expected to need.
    memory_used_mib: Long,
    first_seen_at: OffsetDateTime,
    last_seen_at: OffsetDateTime,
}

impl From<&queues::Worker> for Worker {
    fn from(worker: &queues::Worker) -> Self {
        let said = Some(worker.memory_mib).filter(|mib| *mib > 0);
        Self {
            name: worker.name.clone(),
            version: worker.version.clone(),
            kinds: worker.kinds.clone(),
            slots: Long::of(worker.slots),
            running: Long::of(worker.running),
            memory_mib: said.map(Long::of),
            memory_used_mib: Long::of(worker.memory_used_mib),
            first_seen_at: moment(worker.first_ms),
            last_seen_at: moment(worker.last_ms),
        }
    }
}

/// An attempt under way.
#[derive(SimpleObject)]
pub(crate) struct RunningTask {
    video_id: ID,
    job_id: ID,
    task: String,
    kind: String,
    /// The how-manieth it is of this task.
    attempt: u32,
    worker: String,
    /// How much of it is done, from 0 to 1, as its worker says.
    progress: f64,
    since: OffsetDateTime,
    /// When it is handed on, if its worker gives no sign of life before.
    lease_until: OffsetDateTime,
}

impl From<&queues::Running> for RunningTask {
    fn from(running: &queues::Running) -> Self {
        Self {
            video_id: ID(running.video.to_string()),
            job_id: ID(running.job.to_string()),
            task: running.task.clone(),
            kind: running.kind.clone(),
            attempt: running.attempt,
            worker: running.worker.clone(),
            progress: f64::from(running.progress_permille) / 1000.0,
            since: moment(running.since_ms),
            lease_until: moment(running.lease_until_ms),
        }
    }
}
