//! The stream of one job: folded in memory, appended to at the exact revision.
//!
//! # Invariants
//!
//! * A command whose id stands in the stream has been done: it is not decided again.
//! * An append whose answer was lost is sent again unchanged, by the log; if its fate stays
//!   unknown, nothing is decided before the stream was read again.

use std::collections::{HashMap, HashSet};

use domain::{
    decider::Decider,
    fact::AnyEvent,
    id::{CommandId, EventId, JobId},
    job::{Command, End, Event, Job, Kind, Lease, Rejection, TaskState},
};
use eventlog::{AppendError, Envelope, Log, LogError, Revision, stream_name};

/// How often a conflict is met by reading again.
const RELOADS_MAX: u32 = 5;

/// Events read in one go.
const PAGE: usize = 500;

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// Nobody's fault; the same command may be given again.
    #[error("the job cannot be recorded at the moment")]
    Unavailable(#[source] anyhow::Error),
}

impl Refusal {
    /// Whether waiting may help, as far as one can know.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Rejected(_) => false,
            Self::Unavailable(error) => {
                matches!(error.downcast_ref(), Some(LogError::Unavailable { .. }))
            }
        }
    }
}

pub(crate) struct JobStream {
    id: JobId,
    log: Log,
    job: Job,
    /// The last event's number; `None` while there is no stream.
    revision: Option<u64>,
    /// An append may or may not have happened.
    doubtful: bool,
    commands: HashSet<CommandId>,
    claims: HashMap<CommandId, Lease>,
    starts: HashMap<Lease, Start>,
    last: Option<EventId>,
    playable_by: Option<EventId>,
    ended_by: Option<EventId>,
}

/// How an attempt began.
struct Start {
    event: EventId,
    at_ms: i64,
}

/// An attempt under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Running {
    pub worker: String,
    pub kind: &'static str,
    pub since_ms: i64,
}

impl JobStream {
    /// A stream of which nothing was read yet.
    pub(crate) fn new(log: Log, id: JobId) -> Self {
        Self {
            id,
            log,
            job: Job::default(),
            revision: None,
            doubtful: true,
            commands: HashSet::new(),
            claims: HashMap::new(),
            starts: HashMap::new(),
            last: None,
            playable_by: None,
            ended_by: None,
        }
    }

    pub(crate) fn job(&self) -> &Job {
        &self.job
    }

    /// What was read, of a stream that is not appended to.
    pub(crate) fn into_job(self) -> Job {
        self.job
    }

    /// The attempt that a claim was answered with.
    pub(crate) fn claimed_by(&self, request: CommandId) -> Option<&Lease> {
        self.claims.get(&request)
    }

    pub(crate) fn claims(&self) -> impl Iterator<Item = (CommandId, &Lease)> {
        self.claims.iter().map(|(request, lease)| (*request, lease))
    }

    /// The event that began an attempt.
    pub(crate) fn start_of(&self, lease: &Lease) -> Option<EventId> {
        self.starts.get(lease).map(|start| start.event)
    }

    pub(crate) fn last(&self) -> Option<EventId> {
        self.last
    }

    /// The event with which the job became playable.
    pub(crate) fn playable_by(&self) -> Option<EventId> {
        self.playable_by
    }

    /// The event with which the job ended.
    pub(crate) fn ended_by(&self) -> Option<EventId> {
        self.ended_by
    }

    /// The attempts under way, with who runs them.
    pub(crate) fn running(&self) -> HashMap<Lease, Running> {
        let worker = |state: &TaskState| match state {
            TaskState::Running { worker } => worker.clone(),
            TaskState::Waiting | TaskState::Done(_) | TaskState::GivenUp => String::new(),
        };
        let running = self.job.running().map(|(lease, progress)| {
            let running = Running {
                worker: worker(&progress.state),
                kind: progress.task.spec.name(),
                since_ms: self.starts.get(&lease).map_or(0, |start| start.at_ms),
            };
            (lease, running)
        });
        running.collect()
    }

    /// Reads what is not known yet, if anything might be.
    pub(crate) async fn refresh(&mut self) -> Result<(), Refusal> {
        if !self.doubtful {
            return Ok(());
        }
        let name = stream_name::<Job>(self.id);
        loop {
            let from = self.revision.map(|revision| revision + 1);
            let page = self
                .log
                .read_stream(&name, from, PAGE)
                .await
                .map_err(|error| Refusal::Unavailable(error.into()))?;
            let full = page.len() == PAGE;
            for recorded in page {
                let event = match recorded.event {
                    Ok(AnyEvent::Job(event)) => event,
                    Ok(AnyEvent::Video(_) | AnyEvent::Views(_)) => {
                        let error = anyhow::anyhow!("a foreign event stands in {name}");
                        return Err(Refusal::Unavailable(error));
                    }
                    Err(error) => return Err(Refusal::Unavailable(error.into())),
                };
                self.evolve(recorded.id, recorded.metadata.command, &event);
                self.revision = Some(recorded.revision);
            }
            if !full {
                self.doubtful = false;
                return Ok(());
            }
        }
    }

    /// Does `command` once, whatever happens on the way.
    pub(crate) async fn perform(&mut self, command: Command, by: Envelope) -> Result<(), Refusal> {
        for _ in 0..=RELOADS_MAX {
            self.refresh().await?;
            if self.commands.contains(&by.command) {
                return Ok(());
            }
            let events = self.job.decide(command.clone())?;
            if events.is_empty() || self.append(&by, &events).await? {
                return Ok(());
            }
        }
        let error = anyhow::anyhow!("job {} was changed by others all the time", self.id);
        Err(Refusal::Unavailable(error))
    }

    /// Whether the events were appended; if not, others were quicker.
    async fn append(&mut self, by: &Envelope, events: &[Event]) -> Result<bool, Refusal> {
        let expected = self.revision.map_or(Revision::NoStream, Revision::Exact);
        self.doubtful = true;
        // The log sends the same events again until it has an answer, or gives up.
        let appended = match self.log.append::<Job>(self.id, expected, by, events).await {
            Ok(appended) => appended,
            Err(AppendError::WrongRevision { .. }) => return Ok(false),
            Err(AppendError::Log(error)) => return Err(Refusal::Unavailable(error.into())),
        };
        for (index, event) in events.iter().enumerate() {
            self.count(event);
            self.evolve(EventId::of(by.command, index), by.command, event);
        }
        self.revision = Some(appended.revision);
        self.doubtful = false;
        Ok(true)
    }

    /// Counts how attempts end: here and not in `evolve`, which sees the past again.
    fn count(&self, event: &Event) {
        let (lease, outcome) = match &event.event {
            Kind::TaskFinished { lease, .. } => (lease, "finished"),
            Kind::TaskFailed { lease, .. } => (lease, "failed"),
            Kind::LeaseLost { lease } => (lease, "lease_lost"),
            Kind::TaskCancelled { lease } => (lease, "cancelled"),
            Kind::Planned { .. }
            | Kind::LadderPlanned { .. }
            | Kind::RenditionsTakenOver { .. }
            | Kind::TaskStarted { .. }
            | Kind::SegmentsPublished { .. }
            | Kind::Completed {}
            | Kind::Failed { .. }
            | Kind::Cancelled {} => return,
        };
        let task = self.job.tasks.get(&lease.task);
        let kind = task.map_or("unknown", |progress| progress.task.spec.name());
        metrics::counter!("kinolog_conductor_attempts_total", "kind" => kind, "outcome" => outcome)
            .increment(1);
    }

    fn evolve(&mut self, id: EventId, command: CommandId, event: &Event) {
        self.commands.insert(command);
        if let Kind::TaskStarted { lease, .. } = &event.event {
            self.claims.insert(command, lease.clone());
            let start = Start {
                event: id,
                at_ms: event.at_ms,
            };
            self.starts.insert(lease.clone(), start);
        }
        self.job = std::mem::take(&mut self.job).evolve(event);
        self.last = Some(id);
        if self.playable_by.is_none() && self.job.is_playable() {
            self.playable_by = Some(id);
        }
        if self.ended_by.is_none() && self.job.end != End::Open {
            self.ended_by = Some(id);
        }
    }
}
