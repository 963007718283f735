//! The desk: what all open jobs have to hand out, who waits for it, and which claim got what.
//!
//! # Invariants
//!
//! * A request id is tied to one task before that task's job hears of it, and stays tied while
//!   the job is open: repeating a claim cannot begin a second task.
//! * Nothing is handed out before every job that was open at the start has been read: only then
//!   is it known which claims were answered by an earlier conductor.
//! * Which task is next is the `queue`'s to say. Among the claims that wait and can take something,
//!   the one that came first is answered first. At most one claim waits under one request id.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use domain::{
    id::{CommandId, JobId, TaskId, VideoId},
    job::Lease,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

use crate::{
    actor::Message,
    handle::JobHandle,
    queue::{Offer, Queue, Room},
    queues::{Queues, TASKS_SHOWN_MAX, Task},
    roll::{Capacity, Roll},
};

#[derive(Default)]
struct Table {
    jobs: HashMap<JobId, Open>,
    queue: Queue,
    claims: HashMap<CommandId, (JobId, TaskId)>,
    /// Those that wait, by when they came.
    line: BTreeMap<Ticket, Waiting>,
    roll: Roll,
}

/// When a claim came, and which of its repetitions it is.
type Ticket = (u64, u64);

struct Open {
    handle: Arc<JobHandle>,
    offers: Vec<Offer>,
    /// How many of its tasks wait, of each kind, also those that are not offered yet.
    waiting: BTreeMap<&'static str, usize>,
}

struct Waiting {
    claim: Claim,
    answer: oneshot::Sender<Pick>,
}

/// What a worker asks for.
#[derive(Clone)]
pub(crate) struct Claim {
    pub request: CommandId,
    pub worker: String,
    /// Empty: all.
    pub kinds: Vec<String>,
    pub capacity: Capacity,
}

pub(crate) struct Desk {
    table: Mutex<Table>,
    /// Whether requests are answered: not by a standby, and not before all is read.
    open: watch::Sender<bool>,
    tickets: AtomicU64,
    /// Tasks that nobody who waits can take.
    left: watch::Sender<usize>,
}

/// A task picked for a claim. Dropped before its job was told, the task is free again.
pub(crate) struct Pick {
    desk: Arc<Desk>,
    pub handle: Arc<JobHandle>,
    pub task: TaskId,
    request: CommandId,
    fresh: bool,
}

/// A place among those that wait; left by dropping it.
pub(crate) struct Place {
    desk: Arc<Desk>,
    ticket: Ticket,
    answer: oneshot::Receiver<Pick>,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self {
            table: Mutex::default(),
            open: watch::channel(false).0,
            tickets: AtomicU64::new(0),
            left: watch::channel(0).0,
        }
    }

    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }

    pub(crate) fn is_open(&self) -> bool {
        *self.open.borrow()
    }

    /// Waits until the desk is open.
    pub(crate) async fn opened(&self) {
        let mut open = self.open.subscribe();
        // An error means that the desk is gone, and its waiters with it.
        let _ = open.wait_for(|open| *open).await;
    }

    /// How many tasks are left that nobody who waits can take.
    pub(crate) fn left(&self) -> watch::Receiver<usize> {
        self.left.subscribe()
    }

    /// A job was opened. `false`: it is open already.
    pub(crate) fn enter(&self, handle: Arc<JobHandle>) -> bool {
        match self.table().jobs.entry(handle.job) {
            Entry::Occupied(_) => false,
            Entry::Vacant(vacant) => {
                vacant.insert(Open {
                    handle,
                    offers: vec![],
                    waiting: BTreeMap::new(),
                });
                true
            }
        }
    }

    /// Claims that an earlier conductor answered.
    pub(crate) fn remember<'a>(
        &self,
        job: JobId,
        claims: impl Iterator<Item = (CommandId, &'a Lease)>,
    ) {
        let mut table = self.table();
        for (request, lease) in claims {
            table.claims.insert(request, (job, lease.task.clone()));
        }
    }

    /// What the job has to offer from now on.
    pub(crate) fn post(
        self: &Arc<Self>,
        job: JobId,
        offers: Vec<Offer>,
        waiting: BTreeMap<&'static str, usize>,
    ) {
        let mut guard = self.table();
        let table = &mut *guard;
        let Some(open) = table.jobs.get_mut(&job) else {
            return;
        };
        for gone in &open.offers {
            if !offers.iter().any(|offer| offer.task == gone.task) {
                table.queue.remove(job, &gone.task);
            }
        }
        let now = Instant::now();
        for offer in &offers {
            table.queue.add(offer.clone(), now);
        }
        open.offers = offers;
        open.waiting = waiting;
        self.hand_out(table);
    }

    /// The job is over.
    pub(crate) fn leave(self: &Arc<Self>, job: JobId) {
        self.post(job, vec![], BTreeMap::new());
        let mut table = self.table();
        table.jobs.remove(&job);
        table.claims.retain(|_, (claimed, _)| *claimed != job);
    }

    pub(crate) fn job(&self, job: JobId) -> Option<Arc<JobHandle>> {
        self.table().jobs.get(&job).map(|open| open.handle.clone())
    }

    pub(crate) fn jobs_of(&self, video: VideoId) -> Vec<Arc<JobHandle>> {
        let table = self.table();
        let handles = table.jobs.values().map(|open| &open.handle);
        handles
            .filter(|handle| handle.video == video)
            .cloned()
            .collect()
    }

    /// A worker that holds a lease gave a sign of life.
    pub(crate) fn beats(&self, worker: &str, capacity: Option<Capacity>) {
        self.table().roll.beats(worker, capacity, Instant::now());
    }

    /// How many workers were heard of lately.
    pub(crate) fn workers(&self) -> u32 {
        let mut table = self.table();
        table.roll.forget(Instant::now());
        u32::try_from(table.roll.len()).unwrap_or(u32::MAX)
    }

    /// How many tasks the workers that were heard of lately run at a time, all together.
    pub(crate) fn slots(&self) -> u32 {
        let mut table = self.table();
        table.roll.forget(Instant::now());
        let slots = table.roll.workers().map(|(_, seen)| seen.capacity.slots);
        slots.fold(0, u32::saturating_add)
    }

    /// The three queues as they are now.
    pub(crate) fn queues(&self) -> Queues {
        let now = Instant::now();
        let mut guard = self.table();
        let table = &mut *guard;
        table.roll.forget(now);
        let mut queues = Queues::default();
        for open in table.jobs.values() {
            queues.add_job(&open.handle, &open.waiting, now);
        }
        let first = table.queue.first(TASKS_SHOWN_MAX);
        queues.tasks = first
            .filter_map(|(offer, since)| {
                let video = table.jobs.get(&offer.job)?.handle.video;
                Some(Task::of(offer, video, since, now))
            })
            .collect();
        queues.oldest_wait = table.queue.oldest().map(|since| now - since);
        queues.add_workers(table.roll.workers(), now);
        queues
    }

    /// When a claim came, for [`Desk::stand`].
    pub(crate) fn ticket(&self) -> u64 {
        self.tickets.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes a place in the line. The answer is the task that the claim got before, or the first
    /// that is to be had.
    pub(crate) fn stand(self: &Arc<Self>, mut came: u64, claim: Claim) -> Place {
        let (answer, answered) = oneshot::channel();
        let mut guard = self.table();
        let table = &mut *guard;
        let (worker, kinds) = (&claim.worker, &claim.kinds);
        let capacity = claim.capacity.clone();
        table.roll.claims(worker, kinds, capacity, Instant::now());
        // Whoever waited under this id has lost its line, and this is who comes back.
        let mut same = table.line.iter();
        let same = same.find(|(_, waiting)| waiting.claim.request == claim.request);
        if let Some(earlier) = same.map(|(ticket, _)| *ticket) {
            table.line.remove(&earlier);
            came = came.min(earlier.0);
        }
        let ticket = (came, self.ticket());
        let waiting = Waiting { claim, answer };
        match table.claims.get(&waiting.claim.request).cloned() {
            Some((job, task)) => self.give(table, waiting, job, task, false),
            None => {
                table.line.insert(ticket, waiting);
                self.hand_out(table);
            }
        }
        Place {
            desk: self.clone(),
            ticket,
            answer: answered,
        }
    }

    /// Gives those that wait what there is for them.
    fn hand_out(self: &Arc<Self>, table: &mut Table) {
        let tickets: Vec<Ticket> = table.line.keys().copied().collect();
        let largest_mib = table.roll.largest_mib();
        for ticket in tickets {
            let Some(waiting) = table.line.get(&ticket) else {
                continue;
            };
            if table.queue.len() == 0 {
                break;
            }
            let room = Room {
                kinds: &waiting.claim.kinds,
                memory: waiting.claim.capacity.memory(largest_mib),
            };
            let Some(offer) = table.queue.take(room, Instant::now()) else {
                continue;
            };
            if let Some(waiting) = table.line.remove(&ticket) {
                self.give(table, waiting, offer.job, offer.task, true);
            }
        }
        let left = table.queue.len();
        self.left
            .send_if_modified(|before| std::mem::replace(before, left) != left);
    }

    /// Answers a claim that waits no more.
    fn give(
        self: &Arc<Self>,
        table: &mut Table,
        waiting: Waiting,
        job: JobId,
        task: TaskId,
        fresh: bool,
    ) {
        let Some(open) = table.jobs.get(&job) else {
            return;
        };
        let request = waiting.claim.request;
        let pick = Pick {
            desk: self.clone(),
            handle: open.handle.clone(),
            task: task.clone(),
            request,
            fresh,
        };
        table.claims.insert(request, (job, task));
        if let Err(mut unwanted) = waiting.answer.send(pick) {
            // It must not come back by itself while the table is locked.
            if std::mem::take(&mut unwanted.fresh) {
                give_back(table, request);
            }
        }
    }

    /// The claim did not get its task; it may be given another.
    pub(crate) fn release(self: &Arc<Self>, request: CommandId) {
        let mut guard = self.table();
        give_back(&mut guard, request);
        self.hand_out(&mut guard);
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // No change to the table can panic half way.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn give_back(table: &mut Table, request: CommandId) {
    let Some((job, task)) = table.claims.remove(&request) else {
        return;
    };
    // Only the job itself takes an offer back for good, by posting others.
    let offers = table.jobs.get(&job).map(|open| open.offers.as_slice());
    let mut offers = offers.unwrap_or_default().iter();
    if let Some(offer) = offers.find(|offer| offer.task == task) {
        table.queue.add(offer.clone(), Instant::now());
    }
}

impl Place {
    /// The task, as soon as there is one. `None`: somebody else stands here under the same id now.
    pub(crate) async fn answer(&mut self) -> Option<Pick> {
        (&mut self.answer).await.ok()
    }

    /// Leaves, with what may have been handed out in this very moment.
    pub(crate) fn give_up(mut self) -> Option<Pick> {
        self.leave();
        self.answer.try_recv().ok()
    }

    fn leave(&self) {
        self.desk.table().line.remove(&self.ticket);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Pick {
    /// Tells the job. From here on only the job decides what becomes of the claim.
    pub(crate) async fn tell(
        mut self,
        message: Message,
    ) -> Result<(), mpsc::error::SendError<Message>> {
        let mailbox = self.handle.mailbox.clone();
        let permit = match mailbox.reserve().await {
            Ok(permit) => permit,
            Err(_) => return Err(mpsc::error::SendError(message)),
        };
        self.fresh = false;
        permit.send(message);
        Ok(())
    }
}

impl Drop for Pick {
    fn drop(&mut self) {
        if self.fresh {
            self.desk.release(self.request);
        }
    }
}
