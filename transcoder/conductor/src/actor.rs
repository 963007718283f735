//! One open job: everything that is appended to its stream goes through its actor.
//!
//! # Invariants
//!
//! * What is to be done follows from the state alone ([`Actor::settle`]), never from having
//!   been told: after a restart the same things are found to be due, and doing them again
//!   changes nothing, because their command ids are derived.
//! * The job stays open until its video was told the end. Only then its row goes.

use std::{sync::Arc, time::Duration};

use domain::{
    code::Code,
    id::{CommandId, EventId, RenditionId, TaskId},
    job::{Command, End, Lease, Outcome, Rejection},
    media::{Init, Segment},
    plan::Spec,
    video::{self, Video},
};
use eventlog::{Envelope, ExecuteError};
use futures::future::BoxFuture;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Context, clock,
    desk::Offer,
    finish,
    handle::JobHandle,
    spec,
    store::OpenJob,
    stream::{JobStream, Refusal},
};

/// Who runs `finish`. No worker may have this name.
pub(crate) const CONDUCTOR: &str = "conductor";

/// The pauses after something that did not work.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);

pub(crate) type Answer<T> = oneshot::Sender<Result<T, Refusal>>;

/// What others ask of a job.
pub(crate) enum Message {
    Start {
        task: TaskId,
        worker: String,
        request: CommandId,
        answer: Answer<Assignment>,
    },
    Publish {
        lease: Lease,
        rendition: RenditionId,
        from: u32,
        init: Option<Init>,
        segments: Vec<Segment>,
        /// How many segments the rendition has now.
        answer: Answer<u32>,
    },
    Finish {
        lease: Lease,
        outcome: Outcome,
        answer: Answer<()>,
    },
    Fail {
        lease: Lease,
        code: Code,
        message: String,
        answer: Answer<()>,
    },
    /// The video was deleted.
    Cancel { by: EventId },
}

/// What a claim gets.
#[derive(Debug)]
pub(crate) struct Assignment {
    pub lease: Lease,
    pub spec: protocol::task::Spec,
}

/// The check of everything, under way.
struct Check {
    lease: Lease,
    verdict: BoxFuture<'static, Result<Outcome, finish::Fault>>,
}

pub(crate) struct Actor {
    context: Arc<Context>,
    open: OpenJob,
    handle: Arc<JobHandle>,
    messages: mpsc::Receiver<Message>,
    stream: JobStream,
    check: Option<Check>,
    told_playable: bool,
    pause: Duration,
}

impl Actor {
    pub(crate) fn new(
        context: Arc<Context>,
        open: OpenJob,
        handle: Arc<JobHandle>,
        messages: mpsc::Receiver<Message>,
    ) -> Self {
        let stream = JobStream::new(context.log.clone(), open.job);
        Self {
            context,
            open,
            handle,
            messages,
            stream,
            check: None,
            told_playable: false,
            pause: PAUSE_MIN,
        }
    }

    /// Until the job is over, or `stop`. `read` is called once the stream has been read.
    pub(crate) async fn run(
        mut self,
        stop: CancellationToken,
        read: impl FnOnce() + Send,
    ) -> anyhow::Result<()> {
        tokio::select! {
            biased;
            // Whatever is under way is taken up again from the log by the next conductor.
            () = stop.cancelled() => Ok(()),
            () = self.live(read) => Ok(()),
        }
    }

    async fn live(&mut self, read: impl FnOnce() + Send) {
        self.read(read).await;
        self.context.desk.opened().await;

        loop {
            self.handle
                .leases
                .follow(&self.stream.running(), Instant::now());
            self.handle.leases.expire(Instant::now());
            let wake = match self.settle().await {
                Ok(true) => break,
                Ok(false) => {
                    self.pause = PAUSE_MIN;
                    self.handle.leases.next_end()
                }
                Err(refusal) => Some(Instant::now() + self.next_pause(&refusal)),
            };
            self.handle
                .leases
                .follow(&self.stream.running(), Instant::now());
            self.post();
            tokio::select! {
                biased;
                Some(message) = self.messages.recv() => self.receive(message).await,
                (lease, verdict) = verdict_of(&mut self.check) => self.checked(lease, verdict).await,
                () = until(wake) => {}
            }
        }
        self.context.desk.leave(self.open.job);
        self.context.deletable.notify_one();
        tracing::info!(job.id = %self.open.job, video.id = %self.open.video, "job {} is over", self.open.job);
    }

    /// Reads the stream, however long that takes.
    async fn read(&mut self, read: impl FnOnce() + Send) {
        let mut read = Some(read);
        loop {
            let refusal = {
                let _turn = self.context.reading.acquire().await;
                match self.stream.refresh().await {
                    Ok(()) => break,
                    Err(refusal) => refusal,
                }
            };
            // One job that nobody can read must not hold up all others.
            if !refusal.may_pass()
                && let Some(read) = read.take()
            {
                read();
            }
            let pause = self.next_pause(&refusal);
            tokio::time::sleep(pause).await;
        }
        self.context
            .desk
            .remember(self.open.job, self.stream.claims());
        if let Some(read) = read {
            read();
        }
    }

    /// Does what is due. `true`: nothing ever will be again.
    async fn settle(&mut self) -> Result<bool, Refusal> {
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
        let closed = self.context.store.close_job(self.open.job).await;
        closed.map_err(|error| Refusal::Unavailable(error.into()))?;
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
        let plan = Command::Plan {
            job: self.open.job,
            video: self.open.video,
            owner: self.open.owner.clone(),
            source: self.open.source.clone(),
            at_ms: clock::now_ms(),
        };
        let by = self.by(command, CONDUCTOR, cause);
        self.stream.perform(plan, by).await
    }

    /// Records what the book of leases says of attempts that the log still calls running.
    async fn record_lost_leases(&mut self) -> Result<(), Refusal> {
        self.handle
            .leases
            .follow(&self.stream.running(), Instant::now());
        for (lease, worker) in self.stream.running() {
            if worker == CONDUCTOR || self.handle.leases.holds(&lease) {
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
        let Some((lease, _)) = running.into_iter().find(|(_, worker)| worker == CONDUCTOR) else {
            self.check = None;
            return Ok(());
        };
        if self.check.is_none() {
            let verdict = finish::check(
                self.context.objects.clone(),
                self.handle.clone(),
                self.stream.job().clone(),
                lease.clone(),
                self.context.config.storage_patience,
            );
            self.check = Some(Check {
                lease,
                verdict: Box::pin(verdict),
            });
        }
        Ok(())
    }

    async fn checked(&mut self, lease: Lease, verdict: Result<Outcome, finish::Fault>) {
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

    async fn receive(&mut self, message: Message) {
        match message {
            Message::Start {
                task,
                worker,
                request,
                answer,
            } => {
                let result = self.start(task, worker, request).await;
                send(answer, result);
            }
            Message::Publish {
                lease,
                rendition,
                from,
                init,
                segments,
                answer,
            } => {
                let result = self.publish(lease, rendition, from, init, segments).await;
                send(answer, result);
            }
            Message::Finish {
                lease,
                outcome,
                answer,
            } => {
                let by = self.by_lease(&lease, "finish", &self.worker_of(&lease));
                let at_ms = clock::now_ms();
                let finish = Command::Finish {
                    lease,
                    outcome,
                    at_ms,
                };
                send(answer, self.stream.perform(finish, by).await);
            }
            Message::Fail {
                lease,
                code,
                message,
                answer,
            } => {
                let by = self.by_lease(&lease, "fail", &self.worker_of(&lease));
                let at_ms = clock::now_ms();
                let fail = Command::Fail {
                    lease,
                    code,
                    message,
                    at_ms,
                };
                send(answer, self.stream.perform(fail, by).await);
            }
            Message::Cancel { by } => {
                self.open.cancelled_by.get_or_insert(by);
            }
        }
    }

    async fn start(
        &mut self,
        task: TaskId,
        worker: String,
        request: CommandId,
    ) -> Result<Assignment, Refusal> {
        if self.open.cancelled_by.is_some() {
            return Err(Rejection::Ended.into());
        }
        let by = self.by(
            request,
            &worker,
            self.stream.last().unwrap_or(self.open.cause),
        );
        let start = Command::Start {
            task: task.clone(),
            worker,
            request,
            at_ms: clock::now_ms(),
        };
        self.stream.perform(start, by).await?;
        self.handle
            .leases
            .follow(&self.stream.running(), Instant::now());
        let job = self.stream.job();
        let lease = self.stream.claimed_by(request).cloned();
        let assignment = lease.and_then(|lease| {
            let progress = job.tasks.get(&lease.task)?;
            let spec = spec::of(job, &progress.task.spec)?;
            Some(Assignment { lease, spec })
        });
        assignment.ok_or_else(|| Rejection::NotRunnable(task).into())
    }

    async fn publish(
        &mut self,
        lease: Lease,
        rendition: RenditionId,
        from: u32,
        init: Option<Init>,
        segments: Vec<Segment>,
    ) -> Result<u32, Refusal> {
        // The end belongs to the name: a longer report of the same beginning is another command.
        let what = format!("publish {rendition} {from} {}", segments.len());
        let by = self.by_lease(&lease, &what, &self.worker_of(&lease));
        let publish = Command::Publish {
            lease,
            rendition: rendition.clone(),
            from,
            init,
            segments,
            at_ms: clock::now_ms(),
        };
        self.stream.perform(publish, by).await?;
        let published = self.stream.job().renditions.get(&rendition);
        Ok(published.map_or(0, |published| published.segments.len() as u32))
    }

    /// Shows at the desk what can be started.
    fn post(&self) {
        let job = self.stream.job();
        let offer = |task: &&domain::plan::Task| Offer {
            playable: self.stream.playable_by().is_some(),
            asked_at_ms: self.open.asked_at_ms,
            job: self.open.job,
            rank: task.spec.rank(),
            task: task.id.clone(),
            kind: task.spec.name(),
        };
        let runnable = job.runnable();
        let for_workers = runnable.iter().filter(|task| task.spec != Spec::Finish);
        let offers = if self.open.cancelled_by.is_none() {
            for_workers.map(offer).collect()
        } else {
            vec![]
        };
        self.context
            .desk
            .post(self.open.job, offers, job.running().count());
    }

    fn worker_of(&self, lease: &Lease) -> String {
        let running = self.stream.running();
        running
            .get(lease)
            .cloned()
            .unwrap_or_else(|| CONDUCTOR.to_owned())
    }

    /// The one command of this job that does `what`.
    fn command(&self, what: &str) -> CommandId {
        CommandId::caused_by(self.open.job.0.as_bytes(), what)
    }

    fn by(&self, command: CommandId, actor: &str, cause: EventId) -> Envelope {
        Envelope {
            command,
            actor: actor.to_owned(),
            correlation: self.open.video.0,
            causation: cause.0,
        }
    }

    fn by_lease(&self, lease: &Lease, what: &str, actor: &str) -> Envelope {
        let cause = self.stream.start_of(lease).unwrap_or(self.open.cause);
        let what = format!("{what} {} {}", lease.task, lease.attempt);
        self.by(self.command(&what), actor, cause)
    }

    fn next_pause(&mut self, refusal: &Refusal) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(PAUSE_MAX);
        let error: &dyn std::error::Error = refusal;
        tracing::warn!(
            job.id = %self.open.job,
            error = format!("{error}: {:?}", error.source().map(ToString::to_string)),
            "job {} cannot go on at the moment, trying again", self.open.job
        );
        pause
    }
}

async fn verdict_of(check: &mut Option<Check>) -> (Lease, Result<Outcome, finish::Fault>) {
    match check {
        Some(check) => ((check.lease.clone()), (&mut check.verdict).await),
        None => std::future::pending().await,
    }
}

async fn until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}

fn send<T>(answer: Answer<T>, result: Result<T, Refusal>) {
    // Whoever asked may be gone: it is done all the same, and found done when asked again.
    let _ = answer.send(result);
}
