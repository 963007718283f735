//! The leases on the running attempts of one job, in memory only.
//!
//! # Invariants
//!
//! * An attempt is granted one full lease when this conductor first learns of it, after a
//!   restart too; from then on heartbeats keep it.
//! * An attempt that is not in the book any more has lost its lease, even before that is recorded:
//!   nobody is told otherwise in between.
//! * It reads no clock: its callers say what time it is.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use domain::job::Lease;
use tokio::time::Instant;

use crate::stream::Running;

pub(crate) struct Leases {
    length: Duration,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    held: HashMap<Lease, Held>,
    /// All that were ever granted here, so that a lost one is not granted again.
    granted: HashSet<Lease>,
}

struct Held {
    running: Running,
    until: Instant,
    /// As last reported. Measured, not remembered: it is not in the log.
    progress_permille: u32,
}

/// A lease that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    pub lease: Lease,
    pub running: Running,
    pub progress_permille: u32,
    /// For so long, if nobody prolongs it.
    pub left: Duration,
}

impl Leases {
    pub(crate) fn new(length: Duration) -> Self {
        Self {
            length,
            book: Mutex::default(),
        }
    }

    /// Follows what runs: grants new attempts their lease, forgets those that ended.
    pub(crate) fn follow(&self, running: &HashMap<Lease, Running>, now: Instant) {
        let until = now + self.length;
        let mut book = self.book();
        book.held.retain(|lease, _| running.contains_key(lease));
        for (lease, running) in running {
            if book.granted.insert(lease.clone()) {
                let held = Held {
                    running: running.clone(),
                    until,
                    progress_permille: 0,
                };
                book.held.insert(lease.clone(), held);
            }
        }
    }

    /// Whether the lease stands; if so it is prolonged.
    pub(crate) fn prolong(&self, lease: &Lease, now: Instant) -> bool {
        let until = now + self.length;
        let mut book = self.book();
        let Some(held) = book.held.get_mut(lease) else {
            return false;
        };
        held.until = until;
        true
    }

    /// The same for a heartbeat, which says who beats and how far it is.
    pub(crate) fn beat(
        &self,
        lease: &Lease,
        worker: &str,
        progress_permille: u32,
        now: Instant,
    ) -> bool {
        let until = now + self.length;
        let mut book = self.book();
        match book.held.get_mut(lease) {
            Some(held) if held.running.worker == worker => {
                held.until = until;
                held.progress_permille = progress_permille;
                true
            }
            Some(_) | None => false,
        }
    }

    pub(crate) fn holds(&self, lease: &Lease) -> bool {
        self.book().held.contains_key(lease)
    }

    /// Strikes out what was not kept alive.
    pub(crate) fn expire(&self, now: Instant) {
        self.book().held.retain(|lease, held| {
            let stands = held.until > now;
            if !stands {
                tracing::warn!(
                    task.id = %lease.task,
                    attempt = lease.attempt,
                    worker = held.running.worker,
                    progress_permille = held.progress_permille,
                    "worker {} lost its lease on attempt {} of {}",
                    held.running.worker,
                    lease.attempt,
                    lease.task,
                );
            }
            stands
        });
    }

    /// When the next lease runs out, if nobody prolongs it.
    pub(crate) fn next_end(&self) -> Option<Instant> {
        self.book().held.values().map(|held| held.until).min()
    }

    /// All that stand.
    pub(crate) fn standing(&self, now: Instant) -> Vec<Standing> {
        let book = self.book();
        let standing = book.held.iter().map(|(lease, held)| Standing {
            lease: lease.clone(),
            running: held.running.clone(),
            progress_permille: held.progress_permille,
            left: held.until.saturating_duration_since(now),
        });
        standing.collect()
    }

    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        // Each change is complete in itself, so a panic elsewhere leaves nothing half done.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use domain::id::TaskId;

    use super::*;

    const LENGTH: Duration = Duration::from_secs(10);

    #[test]
    fn a_heartbeat_keeps_a_lease_and_silence_loses_it_for_good() {
        let leases = Leases::new(LENGTH);
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        leases.follow(&running(), at(0));
        assert!(leases.beat(&lease(1), "ada", 300, at(9)));
        let standing = leases.standing(at(12)).remove(0);
        assert_eq!(standing.progress_permille, 300);
        assert_eq!(standing.left, Duration::from_secs(7));
        leases.expire(at(18));
        assert!(leases.holds(&lease(1)));
        assert_eq!(leases.next_end(), Some(at(19)));

        leases.expire(at(19));
        assert!(!leases.beat(&lease(1), "ada", 400, at(19)));
        leases.follow(&running(), at(19));
        assert!(!leases.holds(&lease(1)), "a lost lease must not come back");
    }

    #[test]
    fn only_the_holder_beats() {
        let leases = Leases::new(LENGTH);
        let now = Instant::now();
        leases.follow(&running(), now);
        assert!(!leases.beat(&lease(1), "bob", 0, now));
        assert!(!leases.beat(&lease(2), "ada", 0, now));
        assert!(leases.beat(&lease(1), "ada", 0, now));
    }

    #[test]
    fn an_attempt_that_ended_is_forgotten() {
        let leases = Leases::new(LENGTH);
        let now = Instant::now();
        leases.follow(&running(), now);
        leases.follow(&HashMap::new(), now);
        assert!(!leases.prolong(&lease(1), now));
        assert_eq!(leases.next_end(), None);
    }

    fn running() -> HashMap<Lease, Running> {
        let running = Running {
            worker: "ada".to_owned(),
            kind: "encode",
            since_ms: 7,
        };
        HashMap::from([(lease(1), running)])
    }

    fn lease(attempt: u32) -> Lease {
        Lease {
            task: TaskId("encode".to_owned()),
            attempt,
        }
    }
}
