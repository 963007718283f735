//! How much memory a child really uses, and the most it may.
//!
//! Limits on addresses (the cell's own) are wide, for libraries and thread stacks reserve much
//! and touch little. What counts is resident memory: it is looked at a few times a second.
//!
//! # Invariants
//!
//! * A child has no processes of its own, its cell forbids them: it alone is looked at.
//! * A child that grows past the limit is ended within a quarter of a second, well before its
//!   address limit and before the machine has to choose whom to end.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

/// Resident memory of one child: twice what a ladder from 2160p may take.
pub const RESIDENT_BYTES_MAX: u64 = 3 << 30;
/// Four times a second.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Resolves with the bytes this process uses, once those are more than `bytes_max`.
pub(crate) async fn exceeded(process: u32, bytes_max: u64) -> u64 {
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        // A process that has ended uses nothing; others see its end.
        let used = resident_bytes(process).unwrap_or(0);
        if used > bytes_max {
            return used;
        }
    }
}

fn resident_bytes(process: u32) -> Option<u64> {
    let counters = std::fs::read_to_string(format!("/proc/{process}/statm")).ok()?;
    let pages: u64 = counters.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages.saturating_mul(page_bytes()))
}

fn page_bytes() -> u64 {
    let told = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
    told.ok()
        .flatten()
        .and_then(|bytes| u64::try_from(bytes).ok())
        .unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_some_memory_and_nobody_uses_none() {
        let own = resident_bytes(std::process::id()).unwrap();
        assert!((1 << 20..1 << 40).contains(&own), "{own}");
        assert_eq!(resident_bytes(u32::MAX), None);
    }
}
