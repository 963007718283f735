//! Whether all of the source came out.
//!
//! GStreamer ends a truncated file as it ends a whole one, so what came out is measured
//! and compared with what was declared.
//!
//! # Invariants
//!
//! * A task never ends well with less than the source had.
//! * The container's duration is that of its longest track; a shorter track is no loss.

use std::sync::atomic::{AtomicU64, Ordering};

use gst::prelude::*;
use gstreamer as gst;

use super::timeline::Clock;
use crate::failure::{Code, Failure};

/// How far the demuxer got, on any track and on the one that is decoded.
#[derive(Default)]
pub(crate) struct Coverage {
    clock: Clock,
    any_end_ns: AtomicU64,
    chosen_end_ns: AtomicU64,
    chosen_samples: AtomicU64,
    decoded_end_ns: AtomicU64,
    decoded_samples: AtomicU64,
}

impl Coverage {
    pub(crate) fn new(clock: Clock) -> Self {
        Coverage {
            clock,
            ..Coverage::default()
        }
    }

    /// When this buffer ends; nothing outside of what is to be shown.
    fn end_ns(&self, pad: &gst::Pad, buffer: &gst::BufferRef) -> Option<u64> {
        let start = self.clock.at(pad, buffer)?;
        let duration = buffer.duration().unwrap_or(gst::ClockTime::ZERO);
        Some((start + duration).nseconds())
    }

    /// Notes a buffer that left the demuxer.
    pub(crate) fn demuxed(&self, pad: &gst::Pad, buffer: &gst::BufferRef, chosen: bool) {
        let Some(end_ns) = self.end_ns(pad, buffer) else {
            return;
        };
        self.any_end_ns.fetch_max(end_ns, Ordering::Relaxed);
        if chosen {
            self.chosen_end_ns.fetch_max(end_ns, Ordering::Relaxed);
            self.chosen_samples.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Notes a buffer that left the decoder.
    pub(crate) fn decoded(&self, pad: &gst::Pad, buffer: &gst::BufferRef) {
        if let Some(end_ns) = self.end_ns(pad, buffer) {
            self.decoded_end_ns.fetch_max(end_ns, Ordering::Relaxed);
        }
        self.decoded_samples.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn decoded_samples(&self) -> u64 {
        self.decoded_samples.load(Ordering::Relaxed)
    }

    pub(crate) fn decoded_end_ns(&self) -> u64 {
        self.decoded_end_ns.load(Ordering::Relaxed)
    }

    pub(crate) fn demuxed_end_ns(&self) -> u64 {
        self.any_end_ns.load(Ordering::Relaxed)
    }

    /// Refuses less than the source had.
    pub(crate) fn verdict(&self, declared_ms: u64, one_to_one: bool) -> Result<(), Failure> {
        let declared_ns = declared_ms.saturating_mul(1_000_000);
        let found_ns = self.any_end_ns.load(Ordering::Relaxed);
        if found_ns + tolerance(declared_ns) < declared_ns {
            return Err(truncated(declared_ns, found_ns));
        }
        let chosen_ns = self.chosen_end_ns.load(Ordering::Relaxed);
        let decoded_ns = self.decoded_end_ns();
        let chosen = self.chosen_samples.load(Ordering::Relaxed);
        let decoded = self.decoded_samples();
        let ended_early = decoded_ns + tolerance(chosen_ns) < chosen_ns;
        // A tenth of the frames lost in the middle is more than a scratch.
        let lost = one_to_one && decoded.saturating_mul(10) < chosen.saturating_mul(9);
        if decoded == 0 || ended_early || lost {
            let message = format!(
                "the file is damaged: only {decoded} of {chosen} pieces could be decoded, up to {:.1} s of {:.1} s",
                seconds(decoded_ns),
                seconds(chosen_ns),
            );
            return Err(Failure::new(Code::SourceCorrupt, message));
        }
        Ok(())
    }
}

/// The refusal of a source that holds less than it says.
pub(crate) fn truncated(declared_ns: u64, found_ns: u64) -> Failure {
    let message = format!(
        "the file is incomplete: declared {:.1} s, found {:.1} s",
        seconds(declared_ns),
        seconds(found_ns),
    );
    Failure::new(Code::SourceTruncated, message)
}

/// Containers round, and players' clocks differ: a second, or 2 % of longer ones.
pub(crate) fn tolerance(declared_ns: u64) -> u64 {
    (declared_ns / 50).max(1_000_000_000)
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// The running time of a buffer on this pad.
pub(crate) fn running_time_ns(pad: &gst::Pad, buffer: &gst::BufferRef) -> Option<u64> {
    let event = pad.sticky_event::<gst::event::Segment>(0)?;
    let segment = event.segment().downcast_ref::<gst::ClockTime>()?;
    let at = buffer.pts().or(buffer.dts())?;
    segment.to_running_time(at).map(gst::ClockTime::nseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coverage(any: u64, chosen: u64, decoded: u64) -> Coverage {
        let coverage = Coverage::default();
        coverage.any_end_ns.store(any, Ordering::Relaxed);
        coverage.chosen_end_ns.store(chosen, Ordering::Relaxed);
        coverage.decoded_end_ns.store(decoded, Ordering::Relaxed);
        coverage.chosen_samples.store(100, Ordering::Relaxed);
        coverage.decoded_samples.store(100, Ordering::Relaxed);
        coverage
    }

    const S: u64 = 1_000_000_000;

    #[test]
    fn less_than_declared_is_truncated() {
        let failure = coverage(3 * S, 3 * S, 3 * S)
            .verdict(36_000_000, true)
            .unwrap_err();
        assert_eq!(failure.code, Code::SourceTruncated);
        assert!(failure.message.contains("declared 36000.0 s, found 3.0 s"));
    }

    #[test]
    fn a_track_shorter_than_the_longest_is_no_loss() {
        assert_eq!(coverage(10 * S, 5 * S, 5 * S).verdict(10_000, true), Ok(()));
    }

    #[test]
    fn a_decoder_that_stops_early_is_a_corrupt_source() {
        let failure = coverage(10 * S, 10 * S, 5 * S)
            .verdict(10_000, true)
            .unwrap_err();
        assert_eq!(failure.code, Code::SourceCorrupt);
    }
}
