//! What one walk over all samples of a track tells.

use super::super::coverage::truncated;
use super::super::index::{Sample, Track};
use crate::failure::Failure;

/// A sample that decoding can begin with: no later one is shown before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) number: u32,
    pub(super) shown: i64,
    pub(super) offset: u64,
    pub(super) size: u32,
    /// How many bytes of samples are before it.
    pub(super) bytes_before: u64,
    /// No earlier one is shown behind it.
    pub(super) is_behind_all: bool,
}

#[derive(Debug)]
pub(super) struct Survey {
    count: u32,
    /// Durations of all but the last sample; of the only one.
    pub(super) shortest: u32,
    pub(super) longest: u32,
    pub(super) last: Sample,
    /// When the track ends, as it is decoded.
    pub(super) end: u64,
    /// When the latest picture is shown, and until when.
    shown_last: i64,
    pub(super) shown_end: i64,
    pub(super) bytes: u64,
    pub(super) is_reordered: bool,
    has_empty: bool,
    /// When the first sample that the file does not have is decoded.
    lost_from: Option<u64>,
    pub(super) keys: Vec<Key>,
}

impl Survey {
    /// `None`: the index contradicts itself. A sample behind the end of the file is a failure.
    pub(super) fn of(track: &Track, file_bytes: u64) -> Result<Option<Survey>, Failure> {
        let mut walk = track.samples.walk();
        let Some(first) = walk.next() else {
            return Ok(None);
        };
        let mut survey = Survey::begin(first);
        survey.add(first, file_bytes);
        for sample in walk.by_ref() {
            survey.shortest = survey.shortest.min(survey.last.duration);
            survey.longest = survey.longest.max(survey.last.duration);
            survey.add(sample, file_bytes);
        }
        if let Some(lost_from) = survey.lost_from {
            let declared_ns = track.to_ns(track.samples.duration());
            return Err(truncated(declared_ns, track.to_ns(lost_from)));
        }
        let is_sane = walk.is_whole() && !survey.has_empty && survey.last.duration > 0;
        Ok(is_sane.then_some(survey))
    }

    fn begin(first: Sample) -> Survey {
        Survey {
            count: 0,
            shortest: first.duration,
            longest: first.duration,
            last: first,
            end: 0,
            shown_last: i64::MIN,
            shown_end: i64::MIN,
            bytes: 0,
            is_reordered: false,
            has_empty: false,
            lost_from: None,
            keys: vec![],
        }
    }

    fn add(&mut self, sample: Sample, file_bytes: u64) {
        let shown = sample.shown();
        while self.keys.last().is_some_and(|key| key.shown >= shown) {
            self.keys.pop();
        }
        if sample.is_key {
            self.keys.push(Key {
                number: self.count,
                shown,
                offset: sample.offset,
                size: sample.size,
                bytes_before: self.bytes,
                is_behind_all: self.shown_last < shown,
            });
        }
        if sample.end() > file_bytes {
            let lost_from = self.lost_from.unwrap_or(sample.time);
            self.lost_from = Some(lost_from.min(sample.time));
        }
        self.count += 1;
        self.last = sample;
        self.end = sample.time + u64::from(sample.duration);
        self.shown_last = self.shown_last.max(shown);
        self.shown_end = self.shown_end.max(shown + i64::from(sample.duration));
        self.bytes += u64::from(sample.size);
        self.is_reordered |= sample.shift != 0;
        self.has_empty |= sample.size == 0;
    }
}
