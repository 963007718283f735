//! What time it is: when events were made, and how old they are.

use std::time::{SystemTime, UNIX_EPOCH};

/// The system's clock, which a test may set.
#[derive(Default)]
pub(crate) struct Clock {
    #[cfg(test)]
    set: std::sync::atomic::AtomicU64,
}

impl Clock {
    /// 100 ns since 1970.
    #[cfg(not(test))]
    pub(crate) fn now(&self) -> u64 {
        now()
    }

    #[cfg(test)]
    pub(crate) fn now(&self) -> u64 {
        match self.set.load(std::sync::atomic::Ordering::SeqCst) {
            0 => now(),
            set => set,
        }
    }

    /// Stops at this time.
    #[cfg(test)]
    pub(crate) fn set(&self, now: u64) {
        self.set.store(now, std::sync::atomic::Ordering::SeqCst);
    }
}

/// The system's time, 100 ns since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos() / 100).unwrap_or(u64::MAX)
}
