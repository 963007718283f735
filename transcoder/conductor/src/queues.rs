//! The task queue, the worker queue and the running queue, as operators see them.
//!
//! # Invariants
//!
//! * It is a copy for people: nothing is decided by it, and it may be a second old.
//! * At most so many tasks, workers and attempts are shown; all of them are counted.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use domain::{
    id::{JobId, TaskId, VideoId},
    video::Priority,
};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::{Context, clock, handle::JobHandle, leases::Standing, queue::Offer, roll::Seen};

pub(crate) const TASKS_SHOWN_MAX: usize = 100;
const WORKERS_SHOWN_MAX: usize = 256;
const RUNNING_SHOWN_MAX: usize = 256;

/// How often they are shown.
const EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct Queues {
    /// How many tasks wait, of each kind.
    pub waiting: BTreeMap<&'static str, usize>,
    pub running: BTreeMap<&'static str, usize>,
    pub workers_total: usize,
    pub slots: u64,
    pub slots_taken: u64,
    pub oldest_wait: Option<Duration>,
    /// The first that wait, in the order of handing out.
    pub tasks: Vec<Task>,
    pub workers: Vec<Worker>,
    pub attempts: Vec<Attempt>,
}

/// A task that waits.
#[derive(Debug)]
pub(crate) struct Task {
    pub job: JobId,
    pub video: VideoId,
    pub task: TaskId,
    pub kind: &'static str,
    pub priority: Priority,
    pub playable: bool,
    pub memory_mib: u32,
    /// Since it could be started, as far as this conductor knows.
    pub since_ms: i64,
}

#[derive(Debug)]
pub(crate) struct Worker {
    pub name: String,
    pub first_ms: i64,
    pub last_ms: i64,
    pub seen: Seen,
}

/// An attempt under way.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub job: JobId,
    pub video: VideoId,
    pub standing: Standing,
    pub until_ms: i64,
}

impl Task {
    pub(crate) fn of(offer: &Offer, video: VideoId, since: Instant, now: Instant) -> Self {
        Self {
            job: offer.job,
            video,
            task: offer.task.clone(),
            kind: offer.kind,
            priority: offer.priority,
            playable: offer.playable,
            memory_mib: offer.memory_mib,
            since_ms: at_ms(since, now),
        }
    }
}

impl Queues {
    pub(crate) fn add_job(
        &mut self,
        handle: &JobHandle,
        waiting: &BTreeMap<&'static str, usize>,
        now: Instant,
    ) {
        for (kind, count) in waiting {
            *self.waiting.entry(kind).or_default() += count;
        }
        for standing in handle.leases.standing(now) {
            *self.running.entry(standing.running.kind).or_default() += 1;
            if self.attempts.len() < RUNNING_SHOWN_MAX {
                let left_ms = i64::try_from(standing.left.as_millis()).unwrap_or(0);
                self.attempts.push(Attempt {
                    job: handle.job,
                    video: handle.video,
                    standing,
                    until_ms: clock::now_ms() + left_ms,
                });
            }
        }
    }

    pub(crate) fn add_workers<'a>(
        &mut self,
        workers: impl Iterator<Item = (&'a String, &'a Seen)>,
        now: Instant,
    ) {
        for (name, seen) in workers {
            self.workers_total += 1;
            self.slots += u64::from(seen.capacity.slots);
            self.slots_taken += u64::from(seen.capacity.running);
            self.workers.push(Worker {
                name: name.clone(),
                first_ms: at_ms(seen.first, now),
                last_ms: at_ms(seen.last, now),
                seen: seen.clone(),
            });
        }
        self.workers.sort_by(|a, b| a.name.cmp(&b.name));
        self.workers.truncate(WORKERS_SHOWN_MAX);
    }

    pub(crate) fn tasks_total(&self) -> usize {
        self.waiting.values().sum()
    }

    pub(crate) fn running_total(&self) -> usize {
        self.running.values().sum()
    }

    fn measure(&self, kinds: &mut Kinds) {
        for (name, counts, known) in [
            (
                "kinolog_conductor_tasks_waiting",
                &self.waiting,
                &mut kinds.waiting,
            ),
            (
                "kinolog_conductor_tasks_running",
                &self.running,
                &mut kinds.running,
            ),
        ] {
            // What there is none of any more must be said too.
            known.extend(counts.keys().map(|kind| (*kind, ())));
            for kind in known.keys() {
                let count = counts.get(kind).copied().unwrap_or(0);
                metrics::gauge!(name, "kind" => *kind).set(count as f64);
            }
        }
        metrics::gauge!("kinolog_conductor_workers").set(self.workers_total as f64);
        metrics::gauge!("kinolog_conductor_slots").set(self.slots as f64);
        metrics::gauge!("kinolog_conductor_slots_taken").set(self.slots_taken as f64);
        let oldest = self.oldest_wait.unwrap_or_default();
        metrics::gauge!("kinolog_conductor_oldest_wait_seconds").set(oldest.as_secs_f64());
    }
}

/// The kinds of which there ever was one.
#[derive(Default)]
struct Kinds {
    waiting: BTreeMap<&'static str, ()>,
    running: BTreeMap<&'static str, ()>,
}

/// Shows them until `stop`.
pub(crate) async fn show(context: Arc<Context>, stop: CancellationToken) -> anyhow::Result<()> {
    let mut kinds = Kinds::default();
    let mut was_shown = true;
    let mut turns = tokio::time::interval(EVERY);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = turns.tick() => {}
        }
        let queues = context.desk.queues();
        queues.measure(&mut kinds);
        let shown = context.store.show(&queues, clock::now_ms()).await;
        // Nobody's work depends on it, so it is tried again, and said once.
        if let Err(error) = &shown
            && was_shown
        {
            tracing::warn!(%error, "failed to show the queues, trying again");
        }
        was_shown = shown.is_ok();
    }
}

fn at_ms(then: Instant, now: Instant) -> i64 {
    let ago = now.saturating_duration_since(then);
    clock::now_ms() - i64::try_from(ago.as_millis()).unwrap_or(0)
}
