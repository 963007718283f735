//! How long the writer waits for more appends before it syncs a group.
//!
//! Appenders that wait for their answers come back together, shortly after they got them.
//! A group that begins with whoever is back first leaves the others waiting for its sync,
//! and then every append takes two.
//!
//! # Invariants
//!
//! * A group waits only if it is smaller than what was lately in flight: one appender
//!   alone never waits for anybody.
//! * It never waits longer than a sync takes, which is what waiting may save; and not at
//!   all where that is little.
//! * Waiting in vain is tried ever more rarely.

use std::time::Duration;

use crate::limits::{GATHER_MAX, GATHER_SKIPS_MAX, GATHER_SYNC_MIN};

#[derive(Default)]
pub(crate) struct Patience {
    /// Answered with the last group, or waiting already by then.
    in_flight: usize,
    /// How long the last sync took.
    sync: Duration,
    /// Groups that do not wait, after one that did in vain.
    skips: u32,
    skips_left: u32,
}

impl Patience {
    /// A sync took this long.
    pub(crate) fn synced(&mut self, took: Duration) {
        self.sync = took;
    }

    /// So many appends were answered, or are waiting now that they are.
    pub(crate) fn answered(&mut self, in_flight: usize) {
        self.in_flight = in_flight;
    }

    /// Whether all are there who may come soon.
    pub(crate) fn content(&self, taken: usize) -> bool {
        taken >= self.in_flight
    }

    /// How long a group of so many appends waits at most.
    pub(crate) fn longest(&mut self, taken: usize) -> Duration {
        if self.content(taken) || self.sync < GATHER_SYNC_MIN {
            return Duration::ZERO;
        }
        if self.skips_left > 0 {
            self.skips_left -= 1;
            return Duration::ZERO;
        }
        self.sync.min(GATHER_MAX)
    }

    /// A group waited, and is this large now.
    pub(crate) fn waited(&mut self, taken: usize) {
        self.skips = match self.content(taken) {
            true => 0,
            false => (self.skips * 2).clamp(1, GATHER_SKIPS_MAX),
        };
        self.skips_left = self.skips;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYNC: Duration = Duration::from_micros(1700);

    #[test]
    fn one_appender_alone_never_waits() {
        let mut patience = patience(1);
        assert_eq!(patience.longest(1), Duration::ZERO);
    }

    #[test]
    fn whoever_is_back_first_waits_for_the_others_as_long_as_a_sync_takes() {
        let mut patience = patience(64);
        assert_eq!(patience.longest(1), SYNC);
        assert_eq!(patience.longest(64), Duration::ZERO);
        patience.synced(Duration::from_secs(1));
        assert_eq!(patience.longest(1), GATHER_MAX);
    }

    #[test]
    fn on_a_fast_disk_nobody_is_waited_for() {
        let mut patience = patience(64);
        patience.synced(Duration::from_micros(300));
        assert_eq!(patience.longest(1), Duration::ZERO);
    }

    #[test]
    fn waiting_in_vain_is_tried_ever_more_rarely_until_it_is_worth_it_again() {
        let mut patience = patience(2);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            patience.waited(1);
            pauses.push((0..).take_while(|_| patience.longest(1).is_zero()).count());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 32, 32]);
        patience.waited(2);
        assert_eq!(patience.longest(1), SYNC);
    }

    fn patience(in_flight: usize) -> Patience {
        let mut patience = Patience::default();
        patience.synced(SYNC);
        patience.answered(in_flight);
        patience
    }
}
