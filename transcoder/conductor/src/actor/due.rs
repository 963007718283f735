//! What is due for a job, as its state alone says.
//!
//! # Invariants
//!
//! * Every step may be repeated: its command id is derived from the job and from what it does.
//! * The steps come in the order of a job's life, and each begins with looking whether it is due.

use domain::{
    id::{CommandId, EventId},
    job::{Command, End, Lease, Outcome, Rejection, again::Again},
    plan::Spec,
    video::{self, Redo, Video},
};
use eventlog::ExecuteError;
use tokio::time::Instant;

use super::{Actor, CONDUCTOR, Check};
use crate::{clock, finish, past, store::Leftovers, stream::Refusal};

impl Actor {
    /// Does what is due. `true`: nothing ever will be again.
    pub(super) async fn settle(&mut self) -> Result<bool, Refusal> {
        self.stream.refresh().await?;
        self.plan_or_cancel().await?;
        self.record_lost_leases().await?;
        self.tell_playable().await?;
        self.run_finish().await?;
        let job = self.stream.job();
        let never_planned = job.planned_at_ms == 0 && self.open.cancelled_by.is_some();
        if job.end == End::Open && !never_planned {
            return Ok(false);
        }
        self.tell_end().await?;
        let leftovers = self.leftovers();
        let closed = self.context.store.close_job(self.open.job, leftovers);
        closed
            .await
            .map_err(|error| Refusal::Unavailable(error.into()))?;
        Ok(true)
    }

    async fn plan_or_cancel(&mut self) -> Result<(), Refusal> {
        let planned = self.stream.job().planned_at_ms != 0;
        if let Some(cause) = self.open.cancelled_by {
            if !planned || self.stream.job().end != End::Open {
                return Ok(());
            }
            self.check = None;
            let by = self.by(self.command("cancel"), CONDUCTOR, cause);
            return self
                .stream
                .perform(
                    Command::Cancel {
                        at_ms: clock::now_ms(),
                    },
                    by,
                )
                .await;
        }
        if planned {
            return Ok(());
        }
        let cause = self.open.cause;
        let command = CommandId::caused_by(cause.0.as_bytes(), "plan");
        let plan = self.plan().await?;
        let by = self.by(command, CONDUCTOR, cause);
        self.stream.perform(plan, by).await
    }

    /// All of the video, or one rendition of it again.
    async fn plan(&mut self) -> Result<Command, Refusal> {
        let (job, video) = (self.open.job, self.open.video);
        let (owner, source) = (self.open.owner.clone(), self.open.source.clone());
        let at_ms = clock::now_ms();
        let Some(Redo { rendition, from }) = &self.open.redo else {
            return Ok(Command::Plan {
                job,
                video,
                owner,
                source,
                at_ms,
            });
        };
        let old = past::read(&self.context, *from).await?;
        Ok(Command::Redo {
            job,
            video,
            owner,
            source,
            again: Again::of(&old, rendition),
            slots: self.slots(),
            at_ms,
        })
    }

    /// What this job leaves unnamed in the object store, if it was a retry.
    fn leftovers(&self) -> Option<Leftovers> {
        self.open.redo.as_ref()?;
        match self.stream.job().end {
            // Its video was deleted, and all of it is erased.
            End::Open | End::Cancelled => None,
            End::Completed | End::Failed => {
                let kept_ms = self.context.config.leftovers_kept.as_millis() as i64;
                Some(Leftovers {
                    job: self.open.job,
                    video: self.open.video,
                    due_at_ms: clock::now_ms().saturating_add(kept_ms),
                })
            }
        }
    }

    /// Records what the book of leases says of attempts that the log still calls running.
    async fn record_lost_leases(&mut self) -> Result<(), Refusal> {
        self.handle
            .leases
            .follow(&self.stream.running(), Instant::now());
        for (lease, running) in self.stream.running() {
            if running.worker == CONDUCTOR || self.handle.leases.holds(&lease) {
                continue;
            }
            let by = self.by_lease(&lease, "lose", CONDUCTOR);
            let lose = Command::LoseLease {
                lease,
                at_ms: clock::now_ms(),
            };
            match self.stream.perform(lose, by).await {
                Ok(()) => metrics::counter!("kinolog_conductor_leases_lost_total").increment(1),
                // It was cancelled with the one before.
                Err(Refusal::Rejected(Rejection::NotLeased(_))) => {}
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(())
    }

    async fn tell_playable(&mut self) -> Result<(), Refusal> {
        if self.told_playable || self.stream.job().end != End::Open {
            return Ok(());
        }
        let (Some(cause), Some(picture)) = (self.stream.playable_by(), self.stream.job().picture())
        else {
            return Ok(());
        };
        let command = video::Command::Playable {
            job: self.open.job,
            picture,
            at_ms: clock::now_ms(),
        };
        self.tell("playable", cause, command).await?;
        self.told_playable = true;
        Ok(())
    }

    async fn tell_end(&mut self) -> Result<(), Refusal> {
        let job = self.stream.job();
        let cause = self.stream.ended_by().unwrap_or(self.open.cause);
        let at_ms = clock::now_ms();
        match (job.end, job.failure.clone()) {
            (End::Completed, _) => {
                let picture = job.picture().unwrap_or_default();
                let command = video::Command::Ready {
                    job: self.open.job,
                    picture,
                    at_ms,
                };
                self.tell("ready", cause, command).await
            }
            (End::Failed, Some((code, message))) => {
                let command = video::Command::Fail {
                    job: self.open.job,
                    code,
                    message,
                    at_ms,
                };
                self.tell("fail", cause, command).await
            }
            (End::Failed, None) | (End::Cancelled | End::Open, _) => Ok(()),
        }
    }

    async fn tell(
        &mut self,
        what: &str,
        cause: EventId,
        command: video::Command,
    ) -> Result<(), Refusal> {
        let by = self.by(self.command(what), CONDUCTOR, cause);
        let video = self.open.video;
        match self.context.log.execute::<Video>(video, &by, command).await {
            Ok(_) => Ok(()),
            // The video's word is final: there is nobody to tell.
            Err(ExecuteError::Rejected(rejection)) => {
                tracing::warn!(job.id = %self.open.job, video.id = %video, %rejection, "video {video} did not want to know that its job is {what}");
                Ok(())
            }
            Err(error @ (ExecuteError::Conflict | ExecuteError::Log(_))) => {
                Err(Refusal::Unavailable(error.into()))
            }
        }
    }

    /// The last task is the conductor's own. An attempt that an earlier conductor began is taken up.
    async fn run_finish(&mut self) -> Result<(), Refusal> {
        let job = self.stream.job();
        let runnable = job.runnable();
        if let Some(task) = runnable.iter().find(|task| task.spec == Spec::Finish) {
            let id = task.id.clone();
            let attempt = job.tasks.get(&id).map_or(0, |progress| progress.attempts) + 1;
            let request = self.command(&format!("start {id} {attempt}"));
            let by = self.by(
                request,
                CONDUCTOR,
                self.stream.last().unwrap_or(self.open.cause),
            );
            let start = Command::Start {
                task: id,
                worker: CONDUCTOR.to_owned(),
                request,
                at_ms: clock::now_ms(),
            };
            self.stream.perform(start, by).await?;
        }
        let running = self.stream.running().into_iter();
        let Some((lease, _)) = running.into_iter().find(|(_, it)| it.worker == CONDUCTOR) else {
            self.check = None;
            return Ok(());
        };
        if self.check.is_none() {
            let verdict = finish::check(
                self.context.clone(),
                self.handle.clone(),
                self.stream.job().clone(),
                lease.clone(),
            );
            self.check = Some(Check {
                lease,
                verdict: Box::pin(verdict),
            });
        }
        Ok(())
    }

    pub(super) async fn checked(&mut self, lease: Lease, verdict: Result<Outcome, finish::Fault>) {
        self.check = None;
        let at_ms = clock::now_ms();
        let (what, command) = match verdict {
            Ok(outcome) => {
                let lease = lease.clone();
                (
                    "finish",
                    Command::Finish {
                        lease,
                        outcome,
                        slots: super::SLOTS_MIN,
                        at_ms,
                    },
                )
            }
            Err(finish::Fault { code, message }) => {
                let lease = lease.clone();
                (
                    "fail",
                    Command::Fail {
                        lease,
                        code,
                        message,
                        at_ms,
                    },
                )
            }
        };
        let by = self.by_lease(&lease, what, CONDUCTOR);
        if let Err(refusal) = self.stream.perform(command, by).await {
            // While the attempt runs it is checked again; otherwise the verdict is about the past.
            let pause = self.next_pause(&refusal);
            tokio::time::sleep(pause).await;
        }
    }
}
