//! Whether all of the source came out.
//!
//! GStreamer ends a truncated file as it ends a whole one, so what came out is measured
//! and compared with what was declared.
//!
//! # Invariants
//!
//! * A task never ends well with less than the source had.
//! * The container's duration is that of its longest track; a shorter track is no loss.
//! * Some containers do not say how long their last picture stays. It may stay up to the
//!   declared end, within a bound: whether bytes are missing is known from the container's own
//!   lengths (see [`super::declared`]).

use std::sync::atomic::{AtomicU64, Ordering};

use gst::prelude::*;
use gstreamer as gst;

use super::timeline::Clock;
use crate::failure::{Code, Failure};

/// The part of the film that a task makes.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    pub(crate) from_ns: u64,
    /// None: to the end.
    pub(crate) until_ns: Option<u64>,
}

impl Part {
    const WHOLE: Part = Part {
        from_ns: 0,
        until_ns: None,
    };

    fn has(&self, at_ns: u64) -> bool {
        at_ns >= self.from_ns && self.until_ns.is_none_or(|until_ns| at_ns < until_ns)
    }
}

impl Default for Part {
    fn default() -> Self {
        Part::WHOLE
    }
}

/// The fastest film that is taken, and how much longer than declared it may be.
const PICTURES_PER_SECOND_MAX: u64 = 120;
const PICTURES_SLACK_S: u64 = 10;

/// How long a last picture may stay of which it is not said, in ns.
const LAST_PICTURE_NS_MAX: u64 = 10_000_000_000;

/// How far the demuxer got, on any track and on the one that is decoded.
#[derive(Default)]
pub(crate) struct Coverage {
    clock: Clock,
    part: Part,
    /// How long the last picture may stay beyond what is known of it.
    held_ns_max: u64,
    any_end_ns: AtomicU64,
    chosen_end_ns: AtomicU64,
    chosen_samples: AtomicU64,
    decoded_end_ns: AtomicU64,
    decoded_samples: AtomicU64,
    /// Pictures or sound decoded at all, also in front of the part.
    passed: AtomicU64,
}

impl Coverage {
    pub(crate) fn new(container: &str) -> Self {
        Coverage::of(container, Part::WHOLE)
    }

    /// Of a task that makes a part of the film: what lies outside of it is not counted.
    pub(crate) fn of(container: &str, part: Part) -> Self {
        let held_ns_max = match container {
            "video/x-matroska" | "video/webm" => LAST_PICTURE_NS_MAX,
            _ => 0,
        };
        Coverage {
            clock: Clock::of(container),
            part,
            held_ns_max,
            ..Coverage::default()
        }
    }

    /// When this buffer is to be shown; nothing outside of what is to be shown.
    pub(crate) fn at(&self, pad: &gst::Pad, buffer: &gst::BufferRef) -> Option<gst::ClockTime> {
        self.clock.at(pad, buffer)
    }

    /// Notes a buffer that left the demuxer.
    pub(crate) fn demuxed(&self, pad: &gst::Pad, buffer: &gst::BufferRef, chosen: bool) {
        // Its segment may begin where was sought, a little behind the picture that is there.
        let Some((at_ns, end_ns)) = span_ns(self.clock.at_of_film(pad, buffer), buffer) else {
            return;
        };
        self.any_end_ns.fetch_max(end_ns, Ordering::Relaxed);
        if chosen && self.part.has(at_ns) {
            self.chosen_end_ns.fetch_max(end_ns, Ordering::Relaxed);
            self.chosen_samples.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Notes a buffer that left the decoder.
    pub(crate) fn decoded(&self, pad: &gst::Pad, buffer: &gst::BufferRef) {
        self.passed.fetch_add(1, Ordering::Relaxed);
        match span_ns(self.at(pad, buffer), buffer) {
            Some((at_ns, end_ns)) if self.part.has(at_ns) => {
                self.decoded_end_ns.fetch_max(end_ns, Ordering::Relaxed);
                self.decoded_samples.fetch_add(1, Ordering::Relaxed);
            }
            // Without a time, or before an edit begins: it was decoded all the same.
            None => {
                self.decoded_samples.fetch_add(1, Ordering::Relaxed);
            }
            Some(_) => {}
        }
    }

    /// Grows as long as anything comes out of the decoder.
    pub(crate) fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }

    /// Refuses to go on with more pictures than any film of this length has: a small file can
    /// hold enough of them to be decoded for ever.
    pub(crate) fn is_bounded(&self, declared_ms: u64) -> Result<(), Failure> {
        let seconds = declared_ms.div_ceil(1000).saturating_add(PICTURES_SLACK_S);
        let pictures = self.passed();
        if pictures <= seconds.saturating_mul(PICTURES_PER_SECOND_MAX) {
            return Ok(());
        }
        let message = format!(
            "the file is damaged: more than {pictures} pictures in {:.1} s",
            declared_ms as f64 / 1000.0
        );
        Err(Failure::new(Code::SourceCorrupt, message))
    }

    /// How much of the part is decoded, of a film that lasts so long.
    pub(crate) fn permille(&self, duration_ms: u64) -> u32 {
        let until_ns = self
            .part
            .until_ns
            .unwrap_or(duration_ms.saturating_mul(1_000_000));
        let done_ns = self.decoded_end_ns().saturating_sub(self.part.from_ns);
        let all_ns = until_ns.saturating_sub(self.part.from_ns).max(1);
        (done_ns.saturating_mul(1000) / all_ns).min(999) as u32
    }

    pub(crate) fn decoded_end_ns(&self) -> u64 {
        self.decoded_end_ns.load(Ordering::Relaxed)
    }

    pub(crate) fn demuxed_end_ns(&self) -> u64 {
        self.any_end_ns.load(Ordering::Relaxed)
    }

    /// Refuses a source that ended before it should: for who has seen its end.
    pub(crate) fn is_whole(&self, declared_ms: u64) -> Result<(), Failure> {
        let declared_ns = declared_ms.saturating_mul(1_000_000);
        let found_ns = self.demuxed_end_ns();
        if found_ns + tolerance(declared_ns).max(self.held_ns_max) < declared_ns {
            return Err(truncated(declared_ns, found_ns));
        }
        Ok(())
    }

    /// When the last picture of a track is over that seems to end here: it stays until the film
    /// ends, where nobody says how long it stays, and no other track goes on.
    pub(crate) fn last_picture_end_ns(&self, end_ns: u64, declared_ms: u64) -> u64 {
        if self.held_ns_max == 0 || self.demuxed_end_ns() > end_ns {
            return end_ns;
        }
        end_ns.max(declared_ms.saturating_mul(1_000_000))
    }

    /// Refuses less than the part of the source had.
    pub(crate) fn is_decoded(&self, one_to_one: bool) -> Result<(), Failure> {
        let chosen_ns = self.chosen_end_ns.load(Ordering::Relaxed);
        let decoded_ns = self.decoded_end_ns();
        let chosen = self.chosen_samples.load(Ordering::Relaxed);
        let decoded = self.decoded_samples.load(Ordering::Relaxed);
        let length_ns = chosen_ns.saturating_sub(self.part.from_ns);
        let ended_early = decoded_ns + tolerance(length_ns) < chosen_ns;
        // A tenth of the frames lost in the middle is more than a scratch.
        let lost = one_to_one && decoded.saturating_mul(10) < chosen.saturating_mul(9);
        // A part may lie within one long picture that begins before it.
        let nothing = self.passed() == 0 || (decoded == 0 && chosen > 0);
        if nothing || ended_early || lost {
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

/// When a buffer that begins here begins and ends.
fn span_ns(start: Option<gst::ClockTime>, buffer: &gst::BufferRef) -> Option<(u64, u64)> {
    let start = start?;
    let duration = buffer.duration().unwrap_or(gst::ClockTime::ZERO);
    Some((start.nseconds(), (start + duration).nseconds()))
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

/// Containers round, and players' clocks differ: a second, or 2 % of longer ones, but no
/// more than anybody would take for rounding.
pub(crate) fn tolerance(declared_ns: u64) -> u64 {
    (declared_ns / 50).clamp(1_000_000_000, 5_000_000_000)
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
        coverage.passed.store(100, Ordering::Relaxed);
        coverage
    }

    const S: u64 = 1_000_000_000;

    #[test]
    fn more_pictures_than_a_film_of_that_length_has_are_refused() {
        let coverage = coverage(S, S, S);
        coverage.passed.store(11 * 120, Ordering::Relaxed);
        assert_eq!(coverage.is_bounded(1000), Ok(()));
        coverage.passed.store(11 * 120 + 1, Ordering::Relaxed);
        let failure = coverage.is_bounded(1000).unwrap_err();
        assert_eq!(failure.code, Code::SourceCorrupt);
    }

    #[test]
    fn less_than_declared_is_truncated() {
        let failure = coverage(3 * S, 3 * S, 3 * S)
            .is_whole(36_000_000)
            .unwrap_err();
        assert_eq!(failure.code, Code::SourceTruncated);
        assert!(failure.message.contains("declared 36000.0 s, found 3.0 s"));
    }

    #[test]
    fn an_hour_may_not_lack_more_than_seconds() {
        let hour = coverage(3594 * S, 0, 0);
        assert_eq!(hour.is_whole(3_599_000), Ok(()));
        assert!(hour.is_whole(3_600_000).is_err());
    }

    #[test]
    fn a_last_picture_of_unknown_length_stays_until_the_end() {
        let webm = Coverage::of("video/webm", Part::WHOLE);
        webm.any_end_ns.store(20 * S, Ordering::Relaxed);
        assert_eq!(webm.is_whole(30_000), Ok(()));
        assert!(webm.is_whole(30_001).is_err());
        assert_eq!(webm.last_picture_end_ns(20 * S, 30_000), 30 * S);

        let with_sound = Coverage::of("video/webm", Part::WHOLE);
        with_sound.any_end_ns.store(29 * S, Ordering::Relaxed);
        assert_eq!(with_sound.last_picture_end_ns(20 * S, 30_000), 20 * S);
    }

    #[test]
    fn a_last_picture_of_known_length_stays_no_longer() {
        let mp4 = Coverage::of("video/quicktime", Part::WHOLE);
        mp4.any_end_ns.store(20 * S, Ordering::Relaxed);
        assert!(mp4.is_whole(30_000).is_err());
        assert_eq!(mp4.last_picture_end_ns(20 * S, 20_500), 20 * S);
    }

    #[test]
    fn a_track_shorter_than_the_longest_is_no_loss() {
        let shorter = coverage(10 * S, 5 * S, 5 * S);
        assert_eq!(shorter.is_whole(10_000), Ok(()));
        assert_eq!(shorter.is_decoded(true), Ok(()));
    }

    #[test]
    fn a_decoder_that_stops_early_is_a_corrupt_source() {
        let failure = coverage(10 * S, 10 * S, 5 * S)
            .is_decoded(true)
            .unwrap_err();
        assert_eq!(failure.code, Code::SourceCorrupt);
    }

    #[test]
    fn a_decoder_that_stops_within_a_part_is_a_corrupt_source() {
        let part = Part {
            from_ns: 3600 * S,
            until_ns: Some(3612 * S),
        };
        let mut late = coverage(3612 * S, 3612 * S, 3606 * S);
        late.part = part;
        assert!(late.is_decoded(false).is_err());
    }

    #[test]
    fn a_part_within_one_long_picture_is_no_loss() {
        let still = coverage(10 * S, 0, 0);
        still.chosen_samples.store(0, Ordering::Relaxed);
        still.decoded_samples.store(0, Ordering::Relaxed);
        assert_eq!(still.is_decoded(true), Ok(()));
        still.passed.store(0, Ordering::Relaxed);
        assert!(still.is_decoded(true).is_err());
    }

    #[test]
    fn progress_is_that_of_the_part() {
        let mut half = coverage(0, 0, 15 * S);
        half.part = Part {
            from_ns: 10 * S,
            until_ns: Some(20 * S),
        };
        assert_eq!(half.permille(60_000), 500);
        half.part.until_ns = None;
        assert_eq!(half.permille(60_000), 100);
    }
}
