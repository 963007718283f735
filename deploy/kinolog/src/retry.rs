//! How long something that fails is tried again.
//!
//! # Invariants
//!
//! * It counts from the first failure after a success, never from the start: what took long
//!   before it failed is tried again too.
//! * There is an end: `RETRY_FOR` of failing quickly, or `SLOW_MAX` slow failures.

use std::time::Duration;

use tokio::time::Instant;

/// How long a part may be away while it is being started again.
const RETRY_FOR: Duration = Duration::from_secs(20);
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// Attempts that may break off after they went on for longer than `RETRY_FOR`.
const SLOW_MAX: u32 = 5;

/// The patience for one thing that is to be done.
pub struct Patience {
    attempt_began: Instant,
    failing_since: Option<Instant>,
    slow: u32,
}

impl Patience {
    /// The first attempt begins now.
    pub fn new() -> Self {
        Self {
            attempt_began: Instant::now(),
            failing_since: None,
            slow: 0,
        }
    }

    /// Waits until the next attempt may begin; gives `error` back when there is none.
    pub async fn after(&mut self, error: anyhow::Error) -> anyhow::Result<()> {
        if !self.lasts(Instant::now()) {
            return Err(error);
        }
        tokio::time::sleep(RETRY_PAUSE).await;
        self.attempt_began = Instant::now();
        Ok(())
    }

    /// Whether there is another attempt behind the one that failed `now`.
    fn lasts(&mut self, now: Instant) -> bool {
        if now - self.attempt_began > RETRY_FOR {
            // It was under way for long: what is wrong now began now.
            self.slow += 1;
            self.failing_since = None;
        }
        let failing_for = now - *self.failing_since.get_or_insert(now);
        self.slow <= SLOW_MAX && failing_for <= RETRY_FOR
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often something is tried that fails after `lasting`, and until when.
    fn tried(lasting: Duration) -> (u32, Duration) {
        let mut patience = Patience::new();
        let began = patience.attempt_began;
        for attempts in 1..1_000 {
            let now = patience.attempt_began + lasting;
            if !patience.lasts(now) {
                return (attempts, now - began);
            }
            patience.attempt_began = now + RETRY_PAUSE;
        }
        panic!("it is tried for ever");
    }

    #[test]
    fn a_part_that_is_away_is_waited_for_and_given_up() {
        let (attempts, waited) = tried(Duration::ZERO);
        assert!(attempts > 50, "{attempts}");
        assert!(waited > RETRY_FOR && waited < RETRY_FOR * 2, "{waited:?}");
    }

    #[test]
    fn what_took_long_before_it_failed_is_tried_again_a_few_times() {
        let (attempts, _) = tried(RETRY_FOR * 2);
        assert_eq!(attempts, SLOW_MAX + 1);
    }
}
