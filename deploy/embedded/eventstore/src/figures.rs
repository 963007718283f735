//! What the node counts of its own work, for `Monitoring`.
//!
//! # Invariants
//!
//! * Counting takes no lock and waits for nobody: a reader may see one number a moment
//!   older than the next.
//! * Every number is counted where the thing happens; none is estimated.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

#[derive(Default)]
pub(crate) struct Figures {
    requests: AtomicU64,
    requests_waiting_peak: AtomicU64,
    busy_us: AtomicU64,
    flushes: AtomicU64,
    flush_bytes: AtomicU64,
    flush_bytes_last: AtomicU64,
    flush_bytes_max: AtomicU64,
    flush_us: AtomicU64,
    flush_us_last: AtomicU64,
    flush_us_max: AtomicU64,
    records_read: AtomicU64,
}

/// The figures at one moment, since the node began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Appends and deletes the writer has answered, and the longest its queue has been.
    pub(crate) requests: u64,
    pub(crate) requests_waiting_peak: u64,
    /// How long the writer worked on them.
    pub(crate) busy: Duration,
    /// Groups written and synced: how many, their bytes, how long that took.
    pub(crate) flushes: u64,
    pub(crate) flush_bytes: u64,
    pub(crate) flush_bytes_last: u64,
    pub(crate) flush_bytes_max: u64,
    pub(crate) flush_time: Duration,
    pub(crate) flush_time_last: Duration,
    pub(crate) flush_time_max: Duration,
    /// Records read from files for whoever asked.
    pub(crate) records_read: u64,
}

impl Figures {
    /// The writer has answered so many requests, `left` of which more were waiting.
    pub(crate) fn worked(&self, requests: usize, left: usize, took: Duration) {
        self.requests.fetch_add(requests as u64, Relaxed);
        self.requests_waiting_peak
            .fetch_max((requests + left) as u64, Relaxed);
        self.busy_us.fetch_add(micros(took), Relaxed);
    }

    /// So many bytes are durable after so long.
    pub(crate) fn flushed(&self, bytes: usize, took: Duration) {
        self.flushes.fetch_add(1, Relaxed);
        self.flush_bytes.fetch_add(bytes as u64, Relaxed);
        self.flush_bytes_last.store(bytes as u64, Relaxed);
        self.flush_bytes_max.fetch_max(bytes as u64, Relaxed);
        self.flush_us.fetch_add(micros(took), Relaxed);
        self.flush_us_last.store(micros(took), Relaxed);
        self.flush_us_max.fetch_max(micros(took), Relaxed);
    }

    pub(crate) fn read(&self, records: usize) {
        self.records_read.fetch_add(records as u64, Relaxed);
    }

    pub(crate) fn sample(&self) -> Sample {
        let time = |figure: &AtomicU64| Duration::from_micros(figure.load(Relaxed));
        Sample {
            requests: self.requests.load(Relaxed),
            requests_waiting_peak: self.requests_waiting_peak.load(Relaxed),
            busy: time(&self.busy_us),
            flushes: self.flushes.load(Relaxed),
            flush_bytes: self.flush_bytes.load(Relaxed),
            flush_bytes_last: self.flush_bytes_last.load(Relaxed),
            flush_bytes_max: self.flush_bytes_max.load(Relaxed),
            flush_time: time(&self.flush_us),
            flush_time_last: time(&self.flush_us_last),
            flush_time_max: time(&self.flush_us_max),
            records_read: self.records_read.load(Relaxed),
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
