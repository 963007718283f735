//! The processing of one source: a DAG of tasks, each tried by workers until it is done.
//!
//! # Invariants
//!
//! * Every `task-started` has exactly one end: finished, failed, lease lost or cancelled.
//! * A published segment is never withdrawn or replaced; the next attempt goes on after the last.
//! * Each task publishes its own segments in order; tasks among themselves in any. All init
//!   segments of a rendition are interchangeable: the first one is served for all.
//! * Only the running attempt of a task may report. A late report of an older one is refused.
//! * A job ends once: completed, failed or cancelled. Nothing happens after that.
//! * It never completes with less than the source declared.
//! * Where one rendition is made again, the others are named and not repeated: see [`again`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    code::Code,
    decider::Decider,
    fact::Fact,
    id::{CommandId, JobId, Owner, RenditionId, TaskId, VideoId},
    job::again::{Again, TakenOver},
    media::{Init, Media, Published, Rendition, Segment},
    plan::{self, Task},
};

pub mod again;
mod decide;
mod rejection;
mod standing;

pub use rejection::Rejection;

pub type Event = Fact<Kind>;

/// The file a job reads: this version of it and no other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Source {
    pub key: String,
    pub etag: String,
    pub size_bytes: u64,
}

/// One attempt of one task.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Lease {
    pub task: TaskId,
    pub attempt: u32,
}

/// What a task leaves behind beside its segments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    Probed {
        media: Media,
        /// Where the picture can be cut as it is, in µs; none: it has to be encoded.
        cuts_us: Vec<u64>,
    },
    Encoded {
        duration_ms: u64,
        samples: u64,
    },
    Poster {
        key: String,
        width: u32,
        height: u32,
        size_bytes: u64,
    },
    /// The sum of it all was checked, and static copies of the playlists stand here.
    Checked {
        playlists: Vec<String>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Kind {
    #[serde(rename = "job.planned.v1")]
    Planned {
        job: JobId,
        source: Source,
        tasks: Vec<Task>,
    },
    /// One rendition is made again; the others stay as they are.
    #[serde(rename = "job.renditions-taken-over.v1")]
    RenditionsTakenOver {
        #[serde(flatten)]
        taken_over: TakenOver,
    },
    /// What is going to be made, and how.
    #[serde(rename = "job.ladder-planned.v2")]
    LadderPlanned {
        media: Media,
        /// Running times at which segments begin, in µs, the same for every rendition.
        boundaries_us: Vec<u64>,
        renditions: Vec<Rendition>,
        tasks: Vec<Task>,
    },
    #[serde(rename = "job.task-started.v1")]
    TaskStarted {
        #[serde(flatten)]
        lease: Lease,
        worker: String,
    },
    #[serde(rename = "job.segments-published.v1")]
    SegmentsPublished {
        #[serde(flatten)]
        lease: Lease,
        rendition: RenditionId,
        from: u32,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        init: Option<Init>,
        segments: Vec<Segment>,
    },
    #[serde(rename = "job.task-finished.v2")]
    TaskFinished {
        #[serde(flatten)]
        lease: Lease,
        #[serde(flatten)]
        outcome: Outcome,
    },
    #[serde(rename = "job.task-failed.v1")]
    TaskFailed {
        #[serde(flatten)]
        lease: Lease,
        code: Code,
        message: String,
    },
    #[serde(rename = "job.lease-lost.v1")]
    LeaseLost {
        #[serde(flatten)]
        lease: Lease,
    },
    /// The job ended while this attempt ran.
    #[serde(rename = "job.task-cancelled.v1")]
    TaskCancelled {
        #[serde(flatten)]
        lease: Lease,
    },
    #[serde(rename = "job.completed.v1")]
    Completed {},
    #[serde(rename = "job.failed.v1")]
    Failed {
        code: Code,
        message: String,
        task: TaskId,
        attempts: u32,
    },
    #[serde(rename = "job.cancelled.v1")]
    Cancelled {},
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Plan {
        job: JobId,
        video: VideoId,
        owner: Owner,
        source: Source,
        at_ms: i64,
    },
    /// `again`: what is known of the rendition; `None`: the job that made it says nothing of it.
    Redo {
        job: JobId,
        video: VideoId,
        owner: Owner,
        source: Source,
        again: Option<Box<Again>>,
        slots: u32,
        at_ms: i64,
    },
    /// A worker claimed the task; `request` makes a repeated claim find its answer.
    Start {
        task: TaskId,
        worker: String,
        request: CommandId,
        at_ms: i64,
    },
    Publish {
        lease: Lease,
        rendition: RenditionId,
        from: u32,
        init: Option<Init>,
        segments: Vec<Segment>,
        at_ms: i64,
    },
    /// `slots`: how many tasks all workers can run at a time.
    Finish {
        lease: Lease,
        outcome: Outcome,
        slots: u32,
        at_ms: i64,
    },
    Fail {
        lease: Lease,
        code: Code,
        message: String,
        at_ms: i64,
    },
    /// No heartbeat for a whole lease.
    LoseLease { lease: Lease, at_ms: i64 },
    /// The video is gone.
    Cancel { at_ms: i64 },
}

/// How often a task may fail, and how often its lease may be lost, before the job fails.
pub const FAILURES_MAX: u32 = 3;
pub const LOST_LEASES_MAX: u32 = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum End {
    #[default]
    Open,
    Completed,
    Failed,
    Cancelled,
}

/// Where a task stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    pub task: Task,
    pub state: TaskState,
    /// How many attempts there were, the running one among them.
    pub attempts: u32,
    pub failures: u32,
    pub lost_leases: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskState {
    Waiting,
    Running {
        worker: String,
    },
    Done(Outcome),
    /// Optional, and failed too often.
    GivenUp,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Job {
    pub id: JobId,
    pub video: VideoId,
    pub owner: Owner,
    pub source: Source,
    pub planned_at_ms: i64,
    pub media: Option<Media>,
    pub boundaries_us: Vec<u64>,
    pub tasks: BTreeMap<TaskId, Progress>,
    /// Those that it makes itself.
    pub renditions: BTreeMap<RenditionId, Published>,
    pub taken_over: Option<TakenOver>,
    pub end: End,
    /// Why it failed, for the video.
    pub failure: Option<(Code, String)>,
}

impl Decider for Job {
    const CATEGORY: &'static str = "job";

    type Id = JobId;
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, command: Command) -> Result<Vec<Event>, Rejection> {
        let begins = matches!(command, Command::Plan { .. } | Command::Redo { .. });
        match (begins, self.is_planned()) {
            (true, true) => return Ok(vec![]),
            (false, false) => return Err(Rejection::Unknown),
            (true, false) | (false, true) => {}
        }
        match command {
            Command::Plan {
                job,
                video,
                owner,
                source,
                at_ms,
            } => {
                let tasks = plan::first_tasks();
                let planned = vec![Kind::Planned { job, source, tasks }];
                Ok(facts(video, &owner, at_ms, planned))
            }
            Command::Redo {
                job,
                video,
                owner,
                source,
                again,
                slots,
                at_ms,
            } => {
                let planned = again::plan(job, source, again, slots);
                Ok(facts(video, &owner, at_ms, planned))
            }
            Command::Start {
                task,
                worker,
                request: _,
                at_ms,
            } => self.start(task, worker, at_ms),
            Command::Publish {
                lease,
                rendition,
                from,
                init,
                segments,
                at_ms,
            } => self.publish(lease, rendition, from, init, segments, at_ms),
            Command::Finish {
                lease,
                outcome,
                slots,
                at_ms,
            } => self.finish(lease, outcome, slots, at_ms),
            Command::Fail {
                lease,
                code,
                message,
                at_ms,
            } => self.fail(lease, code, message, at_ms),
            Command::LoseLease { lease, at_ms } => self.lose_lease(lease, at_ms),
            Command::Cancel { at_ms } => Ok(self.cancel(at_ms)),
        }
    }

    fn evolve(mut self, fact: &Event) -> Self {
        match &fact.event {
            Kind::Planned { job, source, tasks } => {
                self.id = *job;
                self.video = fact.video;
                self.owner = fact.owner.clone();
                self.source = source.clone();
                self.planned_at_ms = fact.at_ms;
                self.add_tasks(tasks);
            }
            Kind::LadderPlanned {
                media,
                boundaries_us,
                renditions,
                tasks,
            } => {
                self.media = Some(media.clone());
                self.boundaries_us.clone_from(boundaries_us);
                for rendition in renditions {
                    let segment_us_max = plan::longest_segment(rendition, boundaries_us, media);
                    let published = Published::nothing_of(rendition.clone(), segment_us_max);
                    self.renditions.insert(rendition.id.clone(), published);
                }
                self.add_tasks(tasks);
            }
            Kind::RenditionsTakenOver { taken_over } => {
                self.taken_over = Some(taken_over.clone());
            }
            Kind::TaskStarted { lease, worker } => {
                if let Some(progress) = self.tasks.get_mut(&lease.task) {
                    progress.attempts = lease.attempt;
                    progress.state = TaskState::Running {
                        worker: worker.clone(),
                    };
                }
            }
            Kind::SegmentsPublished {
                rendition,
                from,
                init,
                segments,
                ..
            } => {
                if let Some(published) = self.renditions.get_mut(rendition) {
                    if published.init.is_none() {
                        published.init.clone_from(init);
                    }
                    for (number, segment) in (*from..).zip(segments) {
                        published.add(number, segment.clone());
                    }
                }
            }
            Kind::TaskFinished { lease, outcome } => {
                self.settle(lease, TaskState::Done(outcome.clone()))
            }
            Kind::TaskFailed { lease, code, .. } => self.count_failure(lease, *code),
            Kind::LeaseLost { lease } => self.count_lost_lease(lease),
            Kind::TaskCancelled { lease } => self.settle(lease, TaskState::Waiting),
            Kind::Completed {} => self.end = End::Completed,
            Kind::Failed { code, message, .. } => {
                self.end = End::Failed;
                self.failure = Some((*code, message.clone()));
            }
            Kind::Cancelled {} => self.end = End::Cancelled,
        }
        self
    }
}

fn facts(video: VideoId, owner: &Owner, at_ms: i64, kinds: Vec<Kind>) -> Vec<Event> {
    let fact = |event| Fact {
        video,
        owner: owner.clone(),
        at_ms,
        event,
    };
    kinds.into_iter().map(fact).collect()
}

impl Job {
    fn is_planned(&self) -> bool {
        self.id != JobId::default()
    }

    fn add_tasks(&mut self, tasks: &[Task]) {
        for task in tasks {
            let progress = Progress {
                task: task.clone(),
                state: TaskState::Waiting,
                attempts: 0,
                failures: 0,
                lost_leases: 0,
            };
            self.tasks.insert(task.id.clone(), progress);
        }
    }

    fn settle(&mut self, lease: &Lease, state: TaskState) {
        if let Some(progress) = self.tasks.get_mut(&lease.task) {
            progress.state = state;
        }
    }

    fn count_failure(&mut self, lease: &Lease, code: Code) {
        if let Some(progress) = self.tasks.get_mut(&lease.task) {
            progress.failures += 1;
            progress.state = progress.after_mishap(code.blames_the_source());
        }
    }

    fn count_lost_lease(&mut self, lease: &Lease) {
        if let Some(progress) = self.tasks.get_mut(&lease.task) {
            progress.lost_leases += 1;
            progress.state = progress.after_mishap(false);
        }
    }
}

impl Progress {
    /// An optional task that has used up its chances is given up; a required one takes the
    /// job with it, which another event says.
    fn after_mishap(&self, is_hopeless: bool) -> TaskState {
        let is_over =
            is_hopeless || self.failures >= FAILURES_MAX || self.lost_leases >= LOST_LEASES_MAX;
        if is_over && !self.task.required {
            TaskState::GivenUp
        } else {
            TaskState::Waiting
        }
    }
}

#[cfg(test)]
mod tests;
