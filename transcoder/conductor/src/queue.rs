//! The task queue: which waiting task a worker gets next.
//!
//! # The order
//!
//! Tasks of videos that are not playable yet come first, then the upload's priority, then what was
//! asked for earlier; within a job its own order. Equals are first in, first out.
//!
//! # Invariants
//!
//! * Nothing starves: a task that has waited for [`OVERDUE`] is overdue, and while some are, one in
//!   [`TURNS`] tasks that are handed out is the one of them that has waited longest. The others keep
//!   their order, so that a flood of old work does not delay what was just uploaded either.
//! * A worker gets only what fits into its memory. A task that does not is passed over by at most
//!   [`PASSED_MAX`] others; then its workers get nothing else until it fits.
//! * A task that is larger than any worker is given to one that runs nothing else.
//! * It reads no clock: its callers say what time it is.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use domain::{
    id::{JobId, TaskId},
    video::Priority,
};
use tokio::time::Instant;

/// How long a task waits before it is overdue.
pub(crate) const OVERDUE: Duration = Duration::from_secs(10 * 60);

/// One in so many tasks is an overdue one, while there are any.
pub(crate) const TURNS: u32 = 4;

/// How many tasks may go before one that was their first but needs more memory.
pub(crate) const PASSED_MAX: u32 = 16;

/// How many tasks are looked at for one that fits.
const LOOKED_AT_MAX: usize = 256;

/// A task that could be started now. The order of the fields is the order of handing out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Offer {
    pub playable: bool,
    pub priority: Priority,
    pub asked_at_ms: i64,
    pub job: JobId,
    pub rank: u32,
    pub task: TaskId,
    pub kind: &'static str,
    pub memory_mib: u32,
}

/// What a worker can take at the moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room<'a> {
    /// Empty: all.
    pub kinds: &'a [String],
    pub memory: Memory,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// It did not say.
    Unknown,
    Known {
        free_mib: u32,
        /// What it has while it runs nothing.
        all_mib: u32,
        /// It runs nothing now.
        is_idle: bool,
        /// The most that any worker has.
        largest_mib: u32,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    Now,
    /// When the worker runs less than now.
    Later,
    Never,
}

#[derive(Default)]
pub(crate) struct Queue {
    /// By kind, so that nobody has to look through what it cannot do.
    waiting: BTreeMap<&'static str, BTreeSet<Offer>>,
    by_age: BTreeSet<(Instant, Offer)>,
    entries: HashMap<(JobId, TaskId), Entry>,
    /// How many were handed out since an overdue one was, or could have been.
    turn: u32,
}

struct Entry {
    offer: Offer,
    since: Instant,
    passed: u32,
}

impl Queue {
    /// Whether it is new here. One that was known keeps its age, also where its place changed.
    pub(crate) fn add(&mut self, offer: Offer, now: Instant) -> bool {
        let before = self.take_out(offer.job, &offer.task);
        let is_new = before.is_none();
        let (since, passed) = before.map_or((now, 0), |entry| (entry.since, entry.passed));
        self.by_age.insert((since, offer.clone()));
        let waiting = self.waiting.entry(offer.kind).or_default();
        waiting.insert(offer.clone());
        let key = (offer.job, offer.task.clone());
        let entry = Entry {
            offer,
            since,
            passed,
        };
        self.entries.insert(key, entry);
        is_new
    }

    pub(crate) fn remove(&mut self, job: JobId, task: &TaskId) {
        self.take_out(job, task);
    }

    fn take_out(&mut self, job: JobId, task: &TaskId) -> Option<Entry> {
        let entry = self.entries.remove(&(job, task.clone()))?;
        if let Some(waiting) = self.waiting.get_mut(entry.offer.kind) {
            waiting.remove(&entry.offer);
        }
        self.by_age.remove(&(entry.since, entry.offer.clone()));
        Some(entry)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Since when the one has been waiting that has waited longest.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.by_age.first().map(|(since, _)| *since)
    }

    /// The first of them, with since when each has been waiting.
    pub(crate) fn first(&self, count: usize) -> impl Iterator<Item = (&Offer, Instant)> {
        let since = |offer: &Offer| {
            let entry = self.entries.get(&(offer.job, offer.task.clone()));
            entry.map(|entry| entry.since)
        };
        self.in_order(&[])
            .take(count)
            .filter_map(move |offer| Some((offer, since(offer)?)))
    }

    /// Takes the task that this worker is to have, if there is one.
    pub(crate) fn take(&mut self, room: Room<'_>, now: Instant) -> Option<Offer> {
        let turn = self.turn + 1;
        if turn >= TURNS
            && let Some(offer) = self.overdue(room, now)
        {
            self.turn = 0;
            return self
                .take_out(offer.job, &offer.task)
                .map(|entry| entry.offer);
        }
        let mut large = None;
        let mut found = None;
        for offer in self.in_order(room.kinds).take(LOOKED_AT_MAX) {
            match room.memory.fit(offer.memory_mib) {
                Fit::Now => {
                    found = Some(offer.clone());
                    break;
                }
                Fit::Later => large = large.or_else(|| Some(offer.clone())),
                Fit::Never => {}
            }
        }
        if let Some(large) = &large
            && let Some(entry) = self.entries.get_mut(&(large.job, large.task.clone()))
        {
            if entry.passed >= PASSED_MAX {
                return None;
            }
            entry.passed += u32::from(found.is_some());
        }
        let offer = found?;
        self.turn = turn.min(TURNS);
        self.take_out(offer.job, &offer.task)
            .map(|entry| entry.offer)
    }

    /// The one that has waited longest, and for too long.
    fn overdue(&self, room: Room<'_>, now: Instant) -> Option<Offer> {
        let overdue = self.by_age.iter().take(LOOKED_AT_MAX);
        overdue
            .take_while(|(since, _)| now.saturating_duration_since(*since) >= OVERDUE)
            .map(|(_, offer)| offer)
            .find(|offer| room.can_do(offer.kind) && room.memory.fit(offer.memory_mib) == Fit::Now)
            .cloned()
    }

    /// All of these kinds, merged.
    fn in_order(&self, kinds: &[String]) -> impl Iterator<Item = &Offer> {
        let wanted = |kind: &str| kinds.is_empty() || kinds.iter().any(|wanted| wanted == kind);
        let mut lists: Vec<_> = self
            .waiting
            .iter()
            .filter(|(kind, _)| wanted(kind))
            .map(|(_, waiting)| waiting.iter().peekable())
            .collect();
        std::iter::from_fn(move || {
            let heads = lists.iter_mut().enumerate();
            let heads = heads.filter_map(|(index, list)| Some((*list.peek()?, index)));
            let (_, index) = heads.min()?;
            lists[index].next()
        })
    }
}

impl Room<'_> {
    fn can_do(&self, kind: &str) -> bool {
        self.kinds.is_empty() || self.kinds.iter().any(|known| known == kind)
    }
}

impl Memory {
    fn fit(self, needed_mib: u32) -> Fit {
        let Self::Known {
            free_mib,
            all_mib,
            is_idle,
            largest_mib,
        } = self
        else {
            return Fit::Now;
        };
        let is_for_us =
            needed_mib <= all_mib || (needed_mib > largest_mib && all_mib == largest_mib);
        if needed_mib <= free_mib || (is_for_us && is_idle) {
            return Fit::Now;
        }
        if is_for_us { Fit::Later } else { Fit::Never }
    }
}

#[cfg(test)]
mod tests;
