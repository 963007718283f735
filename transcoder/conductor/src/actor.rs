//! One open job: everything that is appended to its stream goes through its actor.
//!
//! # Invariants
//!
//! * What is to be done follows from the state alone ([`Actor::settle`]), never from having
//!   been told: after a restart the same things are found to be due, and doing them again
//!   changes nothing, because their command ids are derived.
//! * The job stays open until its video was told the end. Only then its row goes.

mod due;

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use domain::{
    code::Code,
    id::{CommandId, EventId, RenditionId, TaskId},
    job::{Command, End, Lease, Outcome, Rejection},
    media::{Init, Segment},
    plan::Spec,
};
use eventlog::Envelope;
use futures::future::BoxFuture;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Context, clock, finish,
    handle::JobHandle,
    need,
    queue::Offer,
    spec,
    store::OpenJob,
    stream::{JobStream, Refusal},
};

/// Who runs `finish`. No worker may have this name.
pub(crate) const CONDUCTOR: &str = "conductor";

/// How many tasks a film is planned for at least, running at a time: it is not known yet how many
/// workers there will be.
const SLOTS_MIN: u32 = 2;

/// The pauses after something that did not work.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Tasks that one job offers at a time: the next ones follow when these were taken.
const OFFERS_MAX: usize = 64;

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
    pub memory_mib: u32,
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
                    slots: self.slots(),
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
                self.post();
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
            let memory_mib = need::mib(job, &progress.task.spec);
            Some(Assignment {
                lease,
                spec,
                memory_mib,
            })
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
            lease: lease.clone(),
            rendition: rendition.clone(),
            from,
            init,
            segments,
            at_ms: clock::now_ms(),
        };
        self.stream.perform(publish, by).await?;
        let job = self.stream.job();
        let task = job.tasks.get(&lease.task);
        let first = task.map_or(0, |progress| progress.task.spec.segments().start);
        let published = job.renditions.get(&rendition);
        Ok(published.map_or(0, |published| published.next_from(first) - first))
    }

    /// Shows at the desk what can be started.
    fn post(&self) {
        let job = self.stream.job();
        let offer = |task: &&domain::plan::Task| Offer {
            playable: self.stream.playable_by().is_some(),
            priority: self.open.priority,
            asked_at_ms: self.open.asked_at_ms,
            job: self.open.job,
            rank: task.spec.rank(),
            task: task.id.clone(),
            kind: task.spec.name(),
            memory_mib: need::mib(job, &task.spec),
        };
        let over = job.end != End::Open || self.open.cancelled_by.is_some();
        self.handle.over.store(over, Ordering::Relaxed);
        let runnable = job.runnable();
        let for_workers = runnable.iter().filter(|task| task.spec != Spec::Finish);
        let mut waiting = BTreeMap::new();
        let offers = if self.open.cancelled_by.is_none() {
            for task in for_workers.clone() {
                *waiting.entry(task.spec.name()).or_default() += 1;
            }
            for_workers.take(OFFERS_MAX).map(offer).collect()
        } else {
            vec![]
        };
        self.context.desk.post(self.open.job, offers, waiting);
    }

    /// How many tasks are planned to run at a time.
    fn slots(&self) -> u32 {
        self.context.desk.slots().max(SLOTS_MIN)
    }

    fn worker_of(&self, lease: &Lease) -> String {
        let running = self.stream.running();
        running
            .get(lease)
            .map_or_else(|| CONDUCTOR.to_owned(), |running| running.worker.clone())
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
