//! The processing of one source: a DAG of tasks, each tried by workers until it is done.
//!
//! # Invariants
//!
//! * Every `task-started` has exactly one end: finished, failed, lease lost or cancelled.
//! * A published segment is never withdrawn or replaced; the next attempt goes on after the last.
//! * Only the running attempt of a task may report. A late report of an older one is refused.
//! * A job ends once: completed, failed or cancelled. Nothing happens after that.
//! * It never completes with less than the source declared.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    code::Code,
    decider::Decider,
    fact::Fact,
    id::{CommandId, JobId, Owner, RenditionId, TaskId, VideoId},
    media::{Init, Kind as RenditionKind, Media, Published, Rendition, Segment},
    plan::{self, Task},
    video::Picture,
};

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
    /// After the probe: what is going to be made, and how.
    #[serde(rename = "job.ladder-planned.v1")]
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
    #[serde(rename = "job.task-finished.v1")]
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
    Finish {
        lease: Lease,
        outcome: Outcome,
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

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("there is no such job")]
    Unknown,
    #[error("the job has ended")]
    Ended,
    #[error("there is no task {0}")]
    UnknownTask(TaskId),
    #[error("task {0} is not to be run now")]
    NotRunnable(TaskId),
    #[error("attempt {} of task {} is not running any more", .0.attempt, .0.task)]
    NotLeased(Lease),
    #[error("rendition {0} is not made by this task")]
    NotItsRendition(RenditionId),
    #[error("rendition {rendition} has {published} segments, so these cannot begin at {from}")]
    OutOfOrder {
        rendition: RenditionId,
        published: u32,
        from: u32,
    },
    #[error("a rendition needs its init segment first")]
    NoInit,
    #[error("this is not what task {0} leaves behind")]
    WrongOutcome(TaskId),
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
    pub renditions: BTreeMap<RenditionId, Published>,
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
        if let Command::Plan {
            job,
            video,
            owner,
            source,
            at_ms,
        } = command
        {
            if self.planned_at_ms != 0 {
                return Ok(vec![]);
            }
            let event = Kind::Planned {
                job,
                source,
                tasks: plan::first_tasks(),
            };
            return Ok(vec![Fact {
                video,
                owner,
                at_ms,
                event,
            }]);
        }
        if self.planned_at_ms == 0 {
            return Err(Rejection::Unknown);
        }
        match command {
            Command::Plan { .. } => Ok(vec![]),
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
                at_ms,
            } => self.finish(lease, outcome, at_ms),
            Command::Fail {
                lease,
                code,
                message,
                at_ms,
            } => self.fail(lease, code, message, at_ms),
            Command::LoseLease { lease, at_ms } => self.lose_lease(lease, at_ms),
            Command::Cancel { at_ms } => {
                if self.end != End::Open {
                    return Ok(vec![]);
                }
                let mut kinds = self.cancellations(None);
                kinds.push(Kind::Cancelled {});
                Ok(self.facts(at_ms, kinds))
            }
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
                    let published = Published {
                        rendition: rendition.clone(),
                        init: None,
                        segments: vec![],
                    };
                    self.renditions.insert(rendition.id.clone(), published);
                }
                self.add_tasks(tasks);
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
                init,
                segments,
                ..
            } => {
                if let Some(published) = self.renditions.get_mut(rendition) {
                    if published.init.is_none() {
                        published.init.clone_from(init);
                    }
                    published.segments.extend(segments.iter().cloned());
                }
            }
            Kind::TaskFinished { lease, outcome } => {
                self.settle(lease, TaskState::Done(outcome.clone()))
            }
            Kind::TaskFailed { lease, code, .. } => {
                if let Some(progress) = self.tasks.get_mut(&lease.task) {
                    progress.failures += 1;
                    let gone = code.blames_the_source() || progress.failures >= FAILURES_MAX;
                    progress.state = if gone && !progress.task.required {
                        TaskState::GivenUp
                    } else {
                        TaskState::Waiting
                    };
                }
            }
            Kind::LeaseLost { lease } => {
                if let Some(progress) = self.tasks.get_mut(&lease.task) {
                    progress.lost_leases += 1;
                    let gone = progress.lost_leases >= LOST_LEASES_MAX;
                    progress.state = if gone && !progress.task.required {
                        TaskState::GivenUp
                    } else {
                        TaskState::Waiting
                    };
                }
            }
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

impl Job {
    /// The tasks a worker may start now, in the order in which they should be handed out.
    pub fn runnable(&self) -> Vec<&Task> {
        if self.end != End::Open {
            return vec![];
        }
        let mut tasks: Vec<&Task> = self
            .tasks
            .values()
            .filter(|p| self.is_runnable(p))
            .map(|p| &p.task)
            .collect();
        tasks.sort_by_key(|task| task.spec.rank());
        tasks
    }

    /// The attempts under way.
    pub fn running(&self) -> impl Iterator<Item = (Lease, &Progress)> {
        self.tasks
            .values()
            .filter(|p| matches!(p.state, TaskState::Running { .. }))
            .map(|p| {
                (
                    Lease {
                        task: p.task.id.clone(),
                        attempt: p.attempts,
                    },
                    p,
                )
            })
    }

    /// Whether a player can start: one video rendition and the audio, or the only one there
    /// is, have their first segments.
    pub fn is_playable(&self) -> bool {
        let begun = |wanted: fn(&RenditionKind) -> bool| {
            let mut any = false;
            let mut begun = false;
            for published in self
                .renditions
                .values()
                .filter(|p| wanted(&p.rendition.kind))
            {
                any = true;
                begun |= !published.segments.is_empty();
            }
            begun || !any
        };
        !self.renditions.is_empty()
            && begun(|kind| matches!(kind, RenditionKind::Video { .. }))
            && begun(|kind| matches!(kind, RenditionKind::Audio { .. }))
    }

    /// What the video looks like, once the probe is done.
    pub fn picture(&self) -> Option<Picture> {
        let media = self.media.as_ref()?;
        let (width, height) = media
            .video
            .as_ref()
            .map_or((0, 0), |video| (video.display_width, video.display_height));
        Some(Picture {
            duration_ms: media.duration_ms,
            width,
            height,
        })
    }

    /// Finished segments of those that are planned, in thousandths.
    pub fn progress_permille(&self) -> u32 {
        let planned = self.boundaries_us.len() * self.renditions.len();
        let published: usize = self.renditions.values().map(|p| p.segments.len()).sum();
        if planned == 0 {
            return 0;
        }
        (published * 1000 / planned).min(1000) as u32
    }

    fn facts(&self, at_ms: i64, kinds: Vec<Kind>) -> Vec<Event> {
        let fact = |event| Fact {
            video: self.video,
            owner: self.owner.clone(),
            at_ms,
            event,
        };
        kinds.into_iter().map(fact).collect()
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

    fn is_runnable(&self, progress: &Progress) -> bool {
        let settled = |id: &TaskId| {
            self.tasks
                .get(id)
                .is_some_and(|p| matches!(p.state, TaskState::Done(_) | TaskState::GivenUp))
        };
        progress.state == TaskState::Waiting && progress.task.after.iter().all(settled)
    }

    fn start(&self, task: TaskId, worker: String, at_ms: i64) -> Result<Vec<Event>, Rejection> {
        if self.end != End::Open {
            return Err(Rejection::Ended);
        }
        let progress = self
            .tasks
            .get(&task)
            .ok_or_else(|| Rejection::UnknownTask(task.clone()))?;
        if !self.is_runnable(progress) {
            return Err(Rejection::NotRunnable(task));
        }
        let lease = Lease {
            task,
            attempt: progress.attempts + 1,
        };
        Ok(self.facts(at_ms, vec![Kind::TaskStarted { lease, worker }]))
    }

    /// The running attempt that `lease` speaks of.
    fn leased(&self, lease: &Lease) -> Result<&Progress, Rejection> {
        let progress = self
            .tasks
            .get(&lease.task)
            .ok_or_else(|| Rejection::UnknownTask(lease.task.clone()))?;
        let running = matches!(progress.state, TaskState::Running { .. })
            && progress.attempts == lease.attempt;
        if self.end != End::Open || !running {
            return Err(Rejection::NotLeased(lease.clone()));
        }
        Ok(progress)
    }

    fn publish(
        &self,
        lease: Lease,
        rendition: RenditionId,
        from: u32,
        init: Option<Init>,
        segments: Vec<Segment>,
        at_ms: i64,
    ) -> Result<Vec<Event>, Rejection> {
        let progress = self.leased(&lease)?;
        let published = match self.renditions.get(&rendition) {
            Some(published) if progress.task.spec.makes(&rendition) => published,
            Some(_) | None => return Err(Rejection::NotItsRendition(rendition)),
        };
        let have = published.segments.len() as u32;
        if from > have {
            return Err(Rejection::OutOfOrder {
                rendition,
                published: have,
                from,
            });
        }
        // A repeated report begins with what is there already.
        let fresh: Vec<Segment> = segments.into_iter().skip((have - from) as usize).collect();
        if fresh.is_empty() {
            return Ok(vec![]);
        }
        let init = if published.init.is_some() {
            None
        } else {
            Some(init.ok_or(Rejection::NoInit)?)
        };
        let event = Kind::SegmentsPublished {
            lease,
            rendition,
            from: have,
            init,
            segments: fresh,
        };
        Ok(self.facts(at_ms, vec![event]))
    }

    fn finish(&self, lease: Lease, outcome: Outcome, at_ms: i64) -> Result<Vec<Event>, Rejection> {
        if self.has_finished(&lease) {
            return Ok(vec![]);
        }
        let progress = self.leased(&lease)?;
        if !progress.task.spec.leaves(&outcome) {
            return Err(Rejection::WrongOutcome(lease.task));
        }
        if let Outcome::Checked { .. } = &outcome {
            if let Some((code, message)) = self.shortfall() {
                return self.fail(lease, code, message, at_ms);
            }
            let kinds = vec![Kind::TaskFinished { lease, outcome }, Kind::Completed {}];
            return Ok(self.facts(at_ms, kinds));
        }
        let Outcome::Probed { media } = &outcome else {
            return Ok(self.facts(at_ms, vec![Kind::TaskFinished { lease, outcome }]));
        };
        match plan::after_probe(media) {
            Ok(plan) => {
                let ladder = Kind::LadderPlanned {
                    media: media.clone(),
                    boundaries_us: plan.boundaries_us,
                    renditions: plan.renditions,
                    tasks: plan.tasks,
                };
                Ok(self.facts(at_ms, vec![Kind::TaskFinished { lease, outcome }, ladder]))
            }
            Err((code, message)) => self.fail(lease, code, message, at_ms),
        }
    }

    fn has_finished(&self, lease: &Lease) -> bool {
        self.tasks
            .get(&lease.task)
            .is_some_and(|p| p.attempts == lease.attempt && matches!(p.state, TaskState::Done(_)))
    }

    fn fail(
        &self,
        lease: Lease,
        code: Code,
        message: String,
        at_ms: i64,
    ) -> Result<Vec<Event>, Rejection> {
        let progress = self.leased(&lease)?;
        let over = code.blames_the_source() || progress.failures + 1 >= FAILURES_MAX;
        let mut kinds = vec![Kind::TaskFailed {
            lease: lease.clone(),
            code,
            message: message.clone(),
        }];
        if over && progress.task.required {
            kinds.extend(self.cancellations(Some(&lease)));
            kinds.push(Kind::Failed {
                code,
                message,
                task: lease.task,
                attempts: progress.attempts,
            });
        }
        Ok(self.facts(at_ms, kinds))
    }

    fn lose_lease(&self, lease: Lease, at_ms: i64) -> Result<Vec<Event>, Rejection> {
        let progress = self.leased(&lease)?;
        let mut kinds = vec![Kind::LeaseLost {
            lease: lease.clone(),
        }];
        if progress.lost_leases + 1 >= LOST_LEASES_MAX && progress.task.required {
            kinds.extend(self.cancellations(Some(&lease)));
            kinds.push(Kind::Failed {
                code: Code::ProcessingStalled,
                message: format!(
                    "processing was started {} times and its worker vanished each time; retry it, or tell the operator",
                    progress.attempts
                ),
                task: lease.task,
                attempts: progress.attempts,
            });
        }
        Ok(self.facts(at_ms, kinds))
    }

    /// The ends of all running attempts but `except`, which ends in its own way.
    fn cancellations(&self, except: Option<&Lease>) -> Vec<Kind> {
        self.running()
            .map(|(lease, _)| lease)
            .filter(|lease| Some(lease) != except)
            .map(|lease| Kind::TaskCancelled { lease })
            .collect()
    }

    /// Why this must not be called complete: something is missing, or shorter than the source.
    fn shortfall(&self) -> Option<(Code, String)> {
        let media = self.media.as_ref()?;
        let longest_ms = self
            .renditions
            .values()
            .map(Published::duration_ms)
            .max()
            .unwrap_or(0);
        if longest_ms + plan::shorter_ms_max(media.duration_ms) < media.duration_ms {
            let message = format!(
                "the file says it lasts {:.1} s, but only {:.1} s could be read; it is cut off, upload it again",
                media.duration_ms as f64 / 1000.0,
                longest_ms as f64 / 1000.0
            );
            return Some((Code::SourceTruncated, message));
        }
        let mut counts = self
            .renditions
            .values()
            .filter(|p| matches!(p.rendition.kind, RenditionKind::Video { .. }))
            .map(|p| p.segments.iter().map(|s| u64::from(s.samples)).sum::<u64>());
        let first = counts.next();
        let uneven = counts.any(|count| Some(count) != first);
        let empty = self.renditions.values().any(|p| p.segments.is_empty());
        (uneven || empty).then(|| {
            (
                Code::ProcessingCrashed,
                "not every rendition was made in full; retry the processing".to_owned(),
            )
        })
    }
}
