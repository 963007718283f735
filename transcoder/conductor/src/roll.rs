//! The roll of workers: who called lately, what each can do and what it has left.
//!
//! # Invariants
//!
//! * It is what workers said last, in memory only: a worker that is silent for [`FORGOTTEN`] is
//!   forgotten, and at most [`WORKERS_MAX`] are remembered, those that called last.
//! * It reads no clock: its callers say what time it is.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use crate::queue::Memory;

/// Longer than a claim waits, and many times longer than a heartbeat.
pub(crate) const FORGOTTEN: Duration = Duration::from_secs(60);

pub(crate) const WORKERS_MAX: usize = 1024;

/// What a worker says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Capacity {
    pub slots: u32,
    pub running: u32,
    /// 0: it did not say.
    pub memory_mib: u32,
    pub memory_used_mib: u32,
    pub version: String,
}

#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Empty: all.
    pub kinds: Vec<String>,
    pub capacity: Capacity,
    pub first: Instant,
    pub last: Instant,
}

#[derive(Default)]
pub(crate) struct Roll {
    workers: HashMap<String, Seen>,
}

impl Roll {
    /// A worker asked for a task.
    pub(crate) fn claims(
        &mut self,
        worker: &str,
        kinds: &[String],
        capacity: Capacity,
        now: Instant,
    ) {
        self.forget(now);
        let first = self.workers.get(worker).map_or(now, |seen| seen.first);
        if first == now && self.workers.len() >= WORKERS_MAX {
            let longest_silent = self.workers.iter().min_by_key(|(_, seen)| seen.last);
            if let Some(name) = longest_silent.map(|(name, _)| name.clone()) {
                self.workers.remove(&name);
            }
        }
        let seen = Seen {
            kinds: kinds.to_vec(),
            capacity,
            first,
            last: now,
        };
        self.workers.insert(worker.to_owned(), seen);
    }

    /// A worker that holds a lease gave a sign of life; it may say how it stands.
    pub(crate) fn beats(&mut self, worker: &str, capacity: Option<Capacity>, now: Instant) {
        // One that is full has no claim open: its heartbeats are all there is, and they do not say
        // what it can do.
        if let Some(seen) = self.workers.get_mut(worker) {
            seen.last = now;
            if let Some(capacity) = capacity {
                seen.capacity = capacity;
            }
        }
    }

    pub(crate) fn forget(&mut self, now: Instant) {
        self.workers
            .retain(|_, seen| now.saturating_duration_since(seen.last) < FORGOTTEN);
    }

    pub(crate) fn workers(&self) -> impl Iterator<Item = (&String, &Seen)> {
        self.workers.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.workers.len()
    }

    /// The most memory that any worker has.
    pub(crate) fn largest_mib(&self) -> u32 {
        let all = self.workers.values().map(|seen| seen.capacity.memory_mib);
        all.max().unwrap_or(0)
    }
}

impl Capacity {
    /// What may be given to a worker that stands so.
    pub(crate) fn memory(&self, largest_mib: u32) -> Memory {
        let all_mib = self.memory_mib;
        if all_mib == 0 {
            return Memory::Unknown;
        }
        Memory::Known {
            free_mib: all_mib.saturating_sub(self.memory_used_mib),
            all_mib,
            is_idle: self.running == 0,
            largest_mib: largest_mib.max(all_mib),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_worker_is_forgotten_and_a_heartbeat_keeps_it() {
        let mut roll = Roll::default();
        let began = Instant::now();
        roll.claims("ada", &[], Capacity::default(), began);
        roll.claims("bob", &[], Capacity::default(), began);
        let later = began + FORGOTTEN / 2;
        let full = Capacity {
            running: 2,
            ..Capacity::default()
        };
        roll.beats("ada", Some(full), later);
        roll.forget(began + FORGOTTEN);
        let left: Vec<_> = roll.workers().collect();
        assert_eq!(left.len(), 1);
        let (name, seen) = left[0];
        assert_eq!((name.as_str(), seen.capacity.running), ("ada", 2));
        assert_eq!((seen.first, seen.last), (began, later));
    }

    #[test]
    fn the_one_that_was_silent_longest_goes_when_there_are_too_many() {
        let mut roll = Roll::default();
        let began = Instant::now();
        let at = |index: usize| began + Duration::from_millis(index as u64);
        for index in 0..=WORKERS_MAX {
            roll.claims(
                &format!("worker-{index}"),
                &[],
                Capacity::default(),
                at(index),
            );
        }
        assert_eq!(roll.len(), WORKERS_MAX);
        assert!(roll.workers().all(|(name, _)| name != "worker-0"));
    }

    #[test]
    fn the_largest_worker_is_known_to_all() {
        let mut roll = Roll::default();
        let has = |memory_mib, memory_used_mib| Capacity {
            slots: 2,
            running: 1,
            memory_mib,
            memory_used_mib,
            version: String::new(),
        };
        roll.claims("ada", &[], has(4000, 0), Instant::now());
        let expected = Memory::Known {
            free_mib: 700,
            all_mib: 1000,
            is_idle: false,
            largest_mib: 4000,
        };
        assert_eq!(has(1000, 300).memory(roll.largest_mib()), expected);
        assert_eq!(Capacity::default().memory(4000), Memory::Unknown);
    }
}
