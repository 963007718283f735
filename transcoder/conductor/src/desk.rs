//! The desk: what all open jobs have to hand out, and which claim got what.
//!
//! # Invariants
//!
//! * A request id is tied to one task before that task's job hears of it, and stays tied while
//!   the job is open: repeating a claim cannot begin a second task.
//! * Nothing is handed out before every job that was open at the start has been read: only then
//!   is it known which claims were answered by an earlier conductor.
//! * Tasks are ordered: videos that are not playable yet, older jobs, then the task's rank.

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use domain::{
    id::{CommandId, JobId, TaskId, VideoId},
    job::Lease,
};
use tokio::sync::{mpsc, watch};

use crate::{actor::Message, handle::JobHandle};

/// A task that could be started now. The order of the fields is the order of handing out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Offer {
    pub playable: bool,
    pub asked_at_ms: i64,
    pub job: JobId,
    pub rank: u32,
    pub task: TaskId,
    pub kind: &'static str,
}

#[derive(Default)]
struct Table {
    jobs: HashMap<JobId, Open>,
    queue: BTreeSet<Offer>,
    claims: HashMap<CommandId, (JobId, TaskId)>,
}

struct Open {
    handle: Arc<JobHandle>,
    offers: Vec<Offer>,
    running: usize,
}

pub(crate) struct Desk {
    table: Mutex<Table>,
    /// Whether requests are answered: not by a standby, and not before all is read.
    open: watch::Sender<bool>,
    /// Counts the occasions on which a waiting claim should look again.
    offered: watch::Sender<u64>,
}

/// A task picked for a claim. Dropped before its job was told, the task is free again.
pub(crate) struct Pick<'a> {
    desk: &'a Desk,
    pub handle: Arc<JobHandle>,
    pub task: TaskId,
    request: CommandId,
    fresh: bool,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self {
            table: Mutex::default(),
            open: watch::channel(false).0,
            offered: watch::channel(0).0,
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

    /// Changes whenever there may be something new to hand out.
    pub(crate) fn offered(&self) -> watch::Receiver<u64> {
        self.offered.subscribe()
    }

    /// A job was opened. `false`: it is open already.
    pub(crate) fn enter(&self, handle: Arc<JobHandle>) -> bool {
        match self.table().jobs.entry(handle.job) {
            Entry::Occupied(_) => false,
            Entry::Vacant(vacant) => {
                vacant.insert(Open {
                    handle,
                    offers: vec![],
                    running: 0,
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
    pub(crate) fn post(&self, job: JobId, offers: Vec<Offer>, running: usize) {
        let mut guard = self.table();
        let table = &mut *guard;
        let Some(open) = table.jobs.get_mut(&job) else {
            return;
        };
        let more = offers.iter().any(|offer| !table.queue.contains(offer));
        for offer in &open.offers {
            table.queue.remove(offer);
        }
        table.queue.extend(offers.iter().cloned());
        metrics::gauge!("kinolog_conductor_running_tasks")
            .increment(running as f64 - open.running as f64);
        open.offers = offers;
        open.running = running;
        metrics::gauge!("kinolog_conductor_queue_length").set(table.queue.len() as f64);
        drop(guard);
        if more {
            self.offered.send_modify(|count| *count += 1);
        }
    }

    /// The job is over.
    pub(crate) fn leave(&self, job: JobId) {
        self.post(job, vec![], 0);
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

    /// The task for a claim: the one it got before, or else the first of the wanted kinds.
    pub(crate) fn pick(&self, request: CommandId, kinds: &[String]) -> Option<Pick<'_>> {
        let mut guard = self.table();
        let table = &mut *guard;
        if let Some((job, task)) = table.claims.get(&request) {
            let open = table.jobs.get(job)?;
            return Some(Pick {
                desk: self,
                handle: open.handle.clone(),
                task: task.clone(),
                request,
                fresh: false,
            });
        }
        let wanted =
            |offer: &&Offer| kinds.is_empty() || kinds.iter().any(|kind| kind == offer.kind);
        let offer = table.queue.iter().find(wanted)?.clone();
        table.queue.remove(&offer);
        table
            .claims
            .insert(request, (offer.job, offer.task.clone()));
        let open = table.jobs.get(&offer.job)?;
        Some(Pick {
            desk: self,
            handle: open.handle.clone(),
            task: offer.task,
            request,
            fresh: true,
        })
    }

    /// The claim did not get its task; it may be given another.
    pub(crate) fn release(&self, request: CommandId) {
        let mut guard = self.table();
        let table = &mut *guard;
        let Some((job, task)) = table.claims.remove(&request) else {
            return;
        };
        // Only the job itself takes an offer back for good, by posting others.
        let offers = table.jobs.get(&job).map(|open| open.offers.as_slice());
        let offer = offers
            .unwrap_or_default()
            .iter()
            .find(|offer| offer.task == task);
        if let Some(offer) = offer {
            table.queue.insert(offer.clone());
            self.offered.send_modify(|count| *count += 1);
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // No change to the table can panic half way.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pick<'_> {
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

impl Drop for Pick<'_> {
    fn drop(&mut self) {
        if self.fresh {
            self.desk.release(self.request);
        }
    }
}
