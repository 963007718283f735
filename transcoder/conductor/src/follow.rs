//! Following the log: jobs are asked for, videos are deleted.
//!
//! # Invariants
//!
//! * What an event asks for is written down together with the checkpoint behind it, and acted
//!   upon after that: a crash in between leaves a row, and the next start acts upon rows.
//! * A video event that this program cannot read is reported, and the checkpoint stays before
//!   it: a newer conductor comes back to it, and what it meets again on the way is already so.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use domain::{
    fact::AnyEvent,
    id::EventId,
    video::{self, job_asked_for},
};
use eventlog::{Followed, Recorded};
use tokio_util::sync::CancellationToken;

use crate::{
    Context,
    actor::Message,
    crew::Crew,
    employ,
    store::{Checkpoint, Deletion, OpenJob, Step},
};

/// Events that ask for nothing may be read again after a crash; at most so many.
const UNSAVED_MAX: u32 = 256;

struct Follower {
    context: Arc<Context>,
    crew: Crew,
    stop: CancellationToken,
    /// What the checkpoint in the table is.
    saved: Option<u64>,
    /// Up to where everything was looked at.
    seen: Option<u64>,
    /// The last event among that.
    last_event: Option<u64>,
    unsaved: u32,
    /// The checkpoint before the first event that could not be read, or had no place at the end.
    held: Option<Option<u64>>,
    /// It was said that there are as many open jobs as may be.
    full: bool,
}

pub(crate) async fn run(
    context: Arc<Context>,
    crew: Crew,
    checkpoint: Checkpoint,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut followed = context.log.follow(checkpoint.commit, stop.clone());
    let mut follower = Follower {
        context,
        crew,
        stop: stop.clone(),
        saved: checkpoint.commit,
        seen: checkpoint.commit,
        last_event: checkpoint.last_event,
        unsaved: 0,
        held: None,
        full: false,
    };
    while let Some(followed) = followed.recv().await {
        follower.react(followed).await?;
    }
    if stop.is_cancelled() {
        return follower.save().await;
    }
    bail!("the log is not followed any more")
}

impl Follower {
    async fn react(&mut self, followed: Followed) -> anyhow::Result<()> {
        match followed {
            Followed::Event(recorded) => {
                let commit = recorded.commit;
                if self.seen.is_some_and(|seen| commit <= seen) {
                    return Ok(());
                }
                let context = || {
                    format!(
                        "failed to react to event {} of {}",
                        recorded.revision, recorded.stream
                    )
                };
                // Kept when the checkpoint is held before events that were seen.
                self.last_event = self.last_event.max(Some(commit));
                self.react_to(&recorded).await.with_context(context)?;
                self.seen = Some(commit);
                self.unsaved += 1;
                if self.unsaved >= UNSAVED_MAX {
                    self.save().await?;
                }
                Ok(())
            }
            Followed::Checkpoint(commit) => {
                self.seen = self.seen.max(Some(commit));
                self.save().await
            }
            Followed::CaughtUp => self.save().await,
        }
    }

    async fn react_to(&mut self, recorded: &Recorded) -> anyhow::Result<()> {
        let fact = match &recorded.event {
            Ok(AnyEvent::Video(fact)) => fact,
            // Job events are our own doing; views are nothing to us.
            Ok(AnyEvent::Job(_) | AnyEvent::Views(_)) => return Ok(()),
            Err(error) if recorded.type_name.starts_with("video.") => {
                metrics::counter!("kinolog_conductor_unreadable_events_total").increment(1);
                tracing::error!(
                    %error,
                    "event {} of {} cannot be read; a newer conductor will come back to it",
                    recorded.revision,
                    recorded.stream
                );
                self.held.get_or_insert(self.seen);
                return Ok(());
            }
            Err(_) => return Ok(()),
        };
        let step = self.step_to(recorded.commit);
        if let Some(asked) = job_asked_for(fact, recorded.id) {
            let open = OpenJob {
                job: asked.job,
                video: fact.video,
                owner: fact.owner.clone(),
                source: asked.source,
                cause: recorded.id,
                asked_at_ms: fact.at_ms,
                priority: asked.priority,
                redo: asked.redo,
                cancelled_by: None,
            };
            return self.open_job(step, open).await;
        }
        if let video::Kind::Deleted { .. } = &fact.event {
            return self.delete(step, fact, recorded.id).await;
        }
        Ok(())
    }

    async fn open_job(&mut self, step: Step, open: OpenJob) -> anyhow::Result<()> {
        self.look_for_places();
        let place = tokio::select! {
            () = self.stop.cancelled() => {
                // Nobody wrote it down: the next conductor comes back to it.
                self.held.get_or_insert(self.seen);
                return Ok(());
            }
            place = self.context.places.clone().acquire_owned() => place?,
        };
        self.context.store.open_job(step, &open).await?;
        self.saved(step);
        tracing::info!(job.id = %open.job, video.id = %open.video, "job {} was asked for", open.job);
        employ(
            &self.context,
            &self.crew,
            &self.stop,
            open,
            Some(place),
            || (),
        )
        .await;
        Ok(())
    }

    /// Warns when there is no place for another job: once, until a tenth of them is free again.
    fn look_for_places(&mut self) {
        let open_jobs_max = self.context.config.open_jobs_max;
        let free = self.context.places.available_permits();
        if free == 0 && !self.full {
            self.full = true;
            tracing::warn!(
                open_jobs_max,
                "{open_jobs_max} jobs are open, as many as may be: what comes later, deletions included, \
                 waits until one of them is over; start more workers, and look why jobs do not end"
            );
        } else if free > open_jobs_max / 10 {
            self.full = false;
        }
    }

    async fn delete(
        &mut self,
        step: Step,
        fact: &video::Event,
        cause: EventId,
    ) -> anyhow::Result<()> {
        let deletion = Deletion {
            video: fact.video,
            asked_at_ms: fact.at_ms,
            swept: false,
        };
        self.context
            .store
            .begin_deletion(step, &deletion, cause)
            .await?;
        self.saved(step);
        for handle in self.context.desk.jobs_of(fact.video) {
            // A job that is over by now needs no telling.
            let _ = handle.mailbox.send(Message::Cancel { by: cause }).await;
        }
        self.context.deletable.notify_one();
        Ok(())
    }

    fn step_to(&self, commit: u64) -> Step {
        Step {
            from: self.saved,
            to: self.held.unwrap_or(Some(commit)),
            last_event: self.last_event,
        }
    }

    fn saved(&mut self, step: Step) {
        self.saved = step.to;
        self.unsaved = 0;
    }

    async fn save(&mut self) -> anyhow::Result<()> {
        let Some(to) = self.seen else { return Ok(()) };
        let step = self.step_to(to);
        if step.from == step.to {
            return Ok(());
        }
        self.context.store.pass(step).await?;
        self.saved(step);
        Ok(())
    }
}
