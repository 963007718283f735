//! One track on its way: cut into segments, checked, described.

use protocol::PassthroughTarget;

use super::super::as_is::SEGMENT_BYTES_MAX;
use super::super::cmaf::{self, Medium};
use super::super::coverage::truncated;
use super::super::index::aac::{Aac, FRAME_SAMPLES};
use super::super::index::avc::Avc;
use super::super::index::{Sample, Track, Walk};
use super::{Head, corrupt, unplanned};
use crate::failure::Failure;
use crate::fragment;

/// Frames of sound kept in front of what is to be heard: a decoder needs one, and those that
/// encoders put there are at most so many.
const FRAMES_BEFORE: u64 = 3;

/// The samples of one segment, in the order in which they are decoded.
pub(super) struct Segment {
    pub(super) number: u32,
    pub(super) time: u64,
    pub(super) duration: u64,
    pub(super) samples: Vec<Sample>,
    /// What is in front of their bytes.
    pub(super) head: Vec<u8>,
}

pub(super) struct Lane<'a> {
    pub(super) rendition: String,
    /// Segments that are published already.
    pub(super) published: u32,
    medium: Medium<'a>,
    track: &'a Track,
    file_bytes: u64,
    walk: Walk<'a>,
    /// What the walk is at.
    ahead: Option<Sample>,
    /// What makes every composition offset 0 or more.
    shift: i32,
    /// When, after the first sample's decode time, the film begins.
    begin: u32,
    is_described: bool,
    next: u32,
    time: u64,
    samples: u64,
}

impl<'a> Lane<'a> {
    pub(super) fn picture(
        target: &PassthroughTarget,
        track: &'a Track,
        avc: &'a Avc,
        file_bytes: u64,
    ) -> Result<Self, Failure> {
        let least = track.samples.shift_min().min(0);
        let shift = least.checked_neg().ok_or_else(unplanned)?;
        let lane = Lane::new(target, track, Medium::Picture(avc), file_bytes)?;
        let origin = track.origin().ok_or_else(unplanned)?;
        let begin = origin.checked_add(u64::from(shift.unsigned_abs()));
        Ok(Lane {
            shift,
            begin: begin
                .and_then(|at| u32::try_from(at).ok())
                .ok_or_else(unplanned)?,
            ..lane
        })
    }

    pub(super) fn sound(
        target: &PassthroughTarget,
        track: &'a Track,
        aac: &'a Aac,
        file_bytes: u64,
    ) -> Result<Self, Failure> {
        let mut lane = Lane::new(target, track, Medium::Sound(aac), file_bytes)?;
        let origin = track.origin().ok_or_else(unplanned)?;
        let kept_from = origin.saturating_sub(FRAMES_BEFORE * u64::from(FRAME_SAMPLES));
        while lane.ahead.is_some_and(|sample| sample.time < kept_from) {
            lane.advance()?;
        }
        let first = lane.ahead.ok_or_else(unplanned)?.time;
        // A frame that begins a little late, by a camera's clock, may be the first.
        let begin = u32::try_from(origin.saturating_sub(first));
        lane.begin = begin.map_err(|_| unplanned())?;
        Ok(lane)
    }

    fn new(
        target: &PassthroughTarget,
        track: &'a Track,
        medium: Medium<'a>,
        file_bytes: u64,
    ) -> Result<Self, Failure> {
        let mut lane = Lane {
            rendition: target.rendition.clone(),
            published: target.published,
            medium,
            track,
            file_bytes,
            walk: track.samples.walk(),
            ahead: None,
            shift: 0,
            begin: 0,
            is_described: false,
            next: 0,
            time: 0,
            samples: 0,
        };
        lane.advance()?;
        Ok(lane)
    }

    /// Goes on to the next sample; refuses one that the file does not have.
    fn advance(&mut self) -> Result<(), Failure> {
        self.ahead = self.walk.next();
        match self.ahead {
            Some(sample) if sample.end() > self.file_bytes => {
                let declared_ns = self.track.to_ns(self.track.samples.duration());
                Err(truncated(declared_ns, self.track.to_ns(sample.time)))
            }
            None if !self.walk.is_whole() => Err(corrupt("its index contradicts itself")),
            Some(_) | None => Ok(()),
        }
    }

    pub(super) fn samples(&self) -> u64 {
        self.samples
    }

    /// How long what was cut so far is to be seen or heard.
    pub(super) fn duration_ms(&self) -> u64 {
        let begin = match self.medium {
            // The last picture is shown as much later as the first one.
            Medium::Picture(_) => 0,
            Medium::Sound(_) => u64::from(self.begin),
        };
        self.track.to_ns(self.time.saturating_sub(begin)) / 1_000_000
    }

    /// The segment that ends at this time, or with the track. `None`: the sound has ended.
    pub(super) fn cut(&mut self, until_us: Option<u64>) -> Result<Option<Segment>, Failure> {
        let mut samples: Vec<Sample> = vec![];
        let mut bytes = 0u64;
        while let Some(sample) = self.ahead {
            if !samples.is_empty() && self.is_next(&sample, until_us)? {
                break;
            }
            bytes += u64::from(sample.size);
            samples.push(sample);
            self.advance()?;
            if bytes > SEGMENT_BYTES_MAX {
                return Err(unplanned());
            }
        }
        if samples.is_empty() {
            return match self.medium {
                Medium::Picture(_) => Err(unplanned()),
                Medium::Sound(_) => Ok(None),
            };
        }
        let duration = samples.iter().map(|sample| u64::from(sample.duration));
        let segment = Segment {
            number: self.next,
            time: self.time,
            duration: duration.sum(),
            head: cmaf::segment_head(self.next + 1, self.time, &samples, self.shift),
            samples,
        };
        self.next += 1;
        self.time += segment.duration;
        self.samples += segment.samples.len() as u64;
        Ok(Some(segment))
    }

    /// Whether this sample begins the segment behind the boundary.
    fn is_next(&self, sample: &Sample, until_us: Option<u64>) -> Result<bool, Failure> {
        let Some(until_us) = until_us else {
            return Ok(false);
        };
        let us = self.track.us(sample.shown());
        match self.medium {
            Medium::Sound(_) => Ok(us >= Some(until_us)),
            Medium::Picture(_) if us == Some(until_us) && sample.is_key => Ok(true),
            // No key frame was where the boundary is.
            Medium::Picture(_) if us > Some(until_us) && sample.is_key => Err(unplanned()),
            Medium::Picture(_) => Ok(false),
        }
    }

    /// Refuses a segment of which a sample is not what it should be.
    pub(super) fn check(&self, segment: &Segment, body: &[u8]) -> Result<(), Failure> {
        let Medium::Picture(avc) = self.medium else {
            return Ok(());
        };
        let mut rest = body.get(segment.head.len()..).unwrap_or_default();
        for (number, sample) in segment.samples.iter().enumerate() {
            let Some((bytes, behind)) = rest.split_at_checked(sample.size as usize) else {
                return Err(unplanned());
            };
            rest = behind;
            if avc.units(bytes).any(|unit| unit.is_err()) {
                return Err(self.damaged(sample));
            }
            if number == 0 && !avc.begins_with_idr(bytes) {
                return Err(self.damaged(sample));
            }
        }
        Ok(())
    }

    fn damaged(&self, sample: &Sample) -> Failure {
        let ms = self.track.us(sample.shown()).unwrap_or(0) / 1000;
        let seconds = ms as f64 / 1000.0;
        corrupt(&format!(
            "the picture at {seconds:.1} s is not what it should be"
        ))
    }

    /// The init segment, once.
    pub(super) fn init(&mut self) -> Result<Option<(Head, Vec<u8>)>, Failure> {
        if self.is_described {
            return Ok(None);
        }
        self.is_described = true;
        let bytes = cmaf::init(self.medium, self.track.timescale, self.begin);
        let bytes = bytes.ok_or_else(unplanned)?;
        let told = fragment::read_init(&bytes).ok_or_else(unplanned)?;
        let head = Head::Init {
            rendition: self.rendition.clone(),
            codec: told.codec,
            timescale: told.timescale,
        };
        Ok(Some((head, bytes)))
    }
}
