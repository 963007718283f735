//! The passthrough task: the source's own samples, cut at its own key frames into CMAF.
//!
//! Nothing is decoded, and GStreamer is not even started: the index says which bytes of the
//! file are which sample, and they are copied. What can be passed through is said in
//! [`super::as_is`]; the plan's boundaries are key frames that the probe named there.
//!
//! # Invariants
//!
//! * A segment of the picture begins with an IDR picture at exactly the planned time, and the
//!   lengths in each of its samples add up: what is damaged is refused, not published.
//! * Sound frames belong to the segment they begin in. In front of the first sound to be heard
//!   stay the frames that a decoder needs to make it; the init segment takes them back.
//! * A sample is known to lie within the file before it is read. That all do is what the probe
//!   has seen: to see it again would make the first segment of a long film wait.
//! * Picture and sound of one stretch of the film are read together, each byte once. Memory:
//!   the index, one segment of each, and one read ([`crate::wire::READ_BYTES_MAX`]).
//! * What is published already is passed over, not read.

mod lane;
mod stretch;

use protocol::{EncodeResult, PassthroughSpec, finish_request};

use super::source_element::SourceLink;
use super::{Finished, Head, Output, as_is, declared};
use crate::failure::{Code, Failure};
use lane::{Lane, Segment};

pub(crate) fn run(link: &SourceLink, spec: &PassthroughSpec, output: &Output) -> Finished {
    let index = declared::movie(link)?.index.ok_or_else(unplanned)?;
    let mut lanes = vec![];
    if let Some(target) = &spec.video {
        let (track, avc) = as_is::picture(&index).ok_or_else(unplanned)?;
        lanes.push(Lane::picture(target, track, avc, link.size)?);
    }
    if let Some(target) = &spec.audio {
        let (track, aac) = as_is::sound(&index).ok_or_else(unplanned)?;
        lanes.push(Lane::sound(target, track, aac, link.size)?);
    }
    if lanes.is_empty() || spec.boundaries_us.first() != Some(&0) {
        return Err(unplanned());
    }
    for number in 0..spec.boundaries_us.len() {
        let until_us = spec.boundaries_us.get(number + 1).copied();
        let mut segments = vec![];
        for lane in &mut lanes {
            segments.push(lane.cut(until_us)?);
        }
        send(link, &mut lanes, segments, output)?;
        let done = (number + 1) * 1000 / spec.boundaries_us.len();
        let progress = Head::Progress {
            units: lanes.iter().map(Lane::samples).sum(),
            permille: done as u32,
        };
        output.send(&progress, &[]).map_err(|_| gone())?;
    }
    let first = lanes.first().ok_or_else(unplanned)?;
    Ok(finish_request::Result::Encode(EncodeResult {
        duration_ms: first.duration_ms(),
        samples: first.samples(),
    }))
}

/// Reads what these segments are made of, and sends them; one or none of each lane.
fn send(
    link: &SourceLink,
    lanes: &mut [Lane],
    segments: Vec<Option<Segment>>,
    output: &Output,
) -> Result<(), Failure> {
    let wanted: Vec<_> = lanes
        .iter_mut()
        .zip(segments)
        .filter_map(|(lane, segment)| Some((lane, segment?)))
        .filter(|(lane, segment)| segment.number >= lane.published)
        .collect();
    let bodies = stretch::read(link, wanted.iter().map(|(_, segment)| segment))?;
    for ((lane, segment), body) in wanted.into_iter().zip(bodies) {
        lane.check(&segment, &body)?;
        if let Some((head, init)) = lane.init()? {
            output.send(&head, &init).map_err(|_| gone())?;
        }
        let head = Head::Segment {
            rendition: lane.rendition.clone(),
            index: segment.number,
            time: segment.time,
            duration: segment.duration,
            samples: segment.samples.len() as u32,
        };
        output.send(&head, &body).map_err(|_| gone())?;
    }
    Ok(())
}

/// The probe of the same file cannot have named what is asked for.
fn unplanned() -> Failure {
    Failure::new(
        Code::ProcessingCrashed,
        "the plan does not fit what the file holds",
    )
}

fn corrupt(what: &str) -> Failure {
    Failure::new(Code::SourceCorrupt, format!("the file is damaged: {what}"))
}

fn gone() -> Failure {
    Failure::new(Code::ProcessingCrashed, "the worker went away")
}

#[cfg(test)]
mod tests;
