//! The encode task: one decode, all video renditions, the same boundaries in each.
//!
//! # Invariants
//!
//! * Pictures are counted, not timed: after `videorate` picture `n` is shown at `n / rate`,
//!   so the same count is the same moment in every rendition.
//! * A key frame is asked for right before the picture a segment begins with, and nowhere
//!   else; the fragment is split right before that key frame.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use protocol::{EncodeResult, EncodeSpec, VideoTarget, finish_request};

use super::coverage::running_time_ns;
use super::fragments::{self, Rendition};
use super::front_end::{self, FrontEnd, Kind, Trouble, missing};
use super::source_element::SourceLink;
use super::timeline::Clock;
use super::{Finished, Output, video_graph};
use crate::failure::{Code, Failure};

pub(crate) fn run(link: &SourceLink, spec: &EncodeSpec, output: &Arc<Output>) -> Finished {
    let clock = Clock::of(&front_end::container(link)?);
    let trouble = Trouble::default();
    let branch = video_graph::build(spec, clock)?;
    let mut renditions = Vec::new();
    for (number, target) in spec.targets.iter().enumerate() {
        renditions.push(connect(&branch, number, target, spec, output, &trouble)?);
    }

    let front = FrontEnd::new(link, Kind::Video, clock, branch, trouble)?;
    front.run(output, spec.duration_ms)?;
    front
        .coverage
        .verdict(spec.duration_ms, front.is_one_to_one())?;
    whole(&renditions)?;

    let samples = renditions.first().map_or(0, |rendition| samples(rendition));
    Ok(finish_request::Result::Encode(EncodeResult {
        duration_ms: front.coverage.decoded_end_ns() / 1_000_000,
        samples,
    }))
}

fn samples(rendition: &Mutex<Rendition>) -> u64 {
    rendition.lock().map_or(0, |rendition| rendition.samples())
}

/// Every rendition has the same number of segments, and some.
fn whole(renditions: &[Arc<Mutex<Rendition>>]) -> Result<(), Failure> {
    let counts: HashSet<u32> = renditions
        .iter()
        .map(|rendition| rendition.lock().map_or(0, |rendition| rendition.segments()))
        .collect();
    if counts.len() != 1 || counts.contains(&0) {
        return Err(Failure::new(
            Code::ProcessingCrashed,
            "the worker made renditions of different length",
        ));
    }
    Ok(())
}

/// Key frames into the encoder, splits into the muxer, fragments out of it.
fn connect(
    branch: &gst::Bin,
    number: usize,
    target: &VideoTarget,
    spec: &EncodeSpec,
    output: &Arc<Output>,
    trouble: &Trouble,
) -> Result<Arc<Mutex<Rendition>>, Failure> {
    let rate = Rate::of(target);
    let starts: Arc<Vec<u64>> = Arc::new(rate.pictures_at(&spec.boundaries_us));
    let element = |name: String| branch.by_name(&name).ok_or_else(|| missing(&name));

    let raw = element(format!("raw{number}"))?;
    let raw = raw.static_pad("src").ok_or_else(|| missing("raw"))?;
    force_key_units(&raw, &starts);

    let sink = element(format!("out{number}"))?
        .downcast::<gst_app::AppSink>()
        .map_err(|_| missing("appsink"))?;
    let rendition = Rendition::new(&target.rendition, Arc::clone(&starts));
    let delay_ns = rendition.lock().map(|rendition| rendition.delay_ns());
    let delay_ns = delay_ns.map_err(|_| missing("appsink"))?;
    fragments::send_all(
        &sink,
        Arc::clone(&rendition),
        Arc::clone(output),
        trouble.clone(),
    );

    let parsed = element(format!("parse{number}"))?;
    let parsed = parsed.static_pad("src").ok_or_else(|| missing("parse"))?;
    split_at_key_units(&parsed, &starts, rate, delay_ns);
    Ok(rendition)
}

/// Pictures per second.
#[derive(Clone, Copy)]
struct Rate {
    num: u64,
    den: u64,
}

impl Rate {
    fn of(target: &VideoTarget) -> Rate {
        let (num, den) = video_graph::frame_rate(target);
        Rate {
            num: u64::from(num),
            den: u64::from(den),
        }
    }

    /// The pictures that segments begin with; boundaries closer than a picture fall together.
    fn pictures_at(self, boundaries_us: &[u64]) -> Vec<u64> {
        let mut pictures: Vec<u64> = boundaries_us
            .iter()
            .map(|us| self.nearest(us.saturating_mul(1000)))
            .collect();
        pictures.dedup();
        pictures
    }

    fn nearest(self, ns: u64) -> u64 {
        let scaled = u128::from(ns) * u128::from(self.num);
        let unit = u128::from(self.den) * 1_000_000_000;
        ((scaled + unit / 2) / unit) as u64
    }
}

fn force_key_units(pad: &gst::Pad, starts: &Arc<Vec<u64>>) {
    let starts: HashSet<u64> = starts.iter().copied().collect();
    let count = AtomicU64::new(0);
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let picture = count.fetch_add(1, Ordering::Relaxed);
        if picture > 0 && starts.contains(&picture) {
            let at = info
                .buffer()
                .and_then(|buffer| running_time_ns(pad, buffer));
            let event = gst_video::DownstreamForceKeyUnitEvent::builder()
                .running_time(at.map(gst::ClockTime::from_nseconds))
                .all_headers(false)
                .build();
            pad.push_event(event);
        }
        gst::PadProbeReturn::Ok
    });
}

fn split_at_key_units(
    pad: &gst::Pad,
    starts: &Arc<Vec<u64>>,
    rate: Rate,
    delay_ns: Arc<AtomicU64>,
) {
    let first = AtomicBool::new(true);
    let starts: HashSet<u64> = starts.iter().copied().collect();
    let which = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
    pad.add_probe(which, move |pad, info| {
        if info.event().is_some() {
            return fragments::without_tags(info);
        }
        let Some(buffer) = info.buffer() else {
            return gst::PadProbeReturn::Ok;
        };
        // The first picture is a key frame: it is shown so much after it is decoded.
        if first.swap(false, Ordering::Relaxed)
            && let (Some(shown), Some(decoded)) = (buffer.pts(), buffer.dts())
        {
            let delay = shown.saturating_sub(decoded).nseconds();
            delay_ns.store(delay, Ordering::Release);
        }
        if !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT) {
            let picture = running_time_ns(pad, buffer).map(|ns| rate.nearest(ns));
            if picture.is_some_and(|picture| picture > 0 && starts.contains(&picture)) {
                fragments::split_before_next(pad);
            }
        }
        gst::PadProbeReturn::Ok
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boundary_is_the_nearest_picture() {
        let ntsc = Rate {
            num: 30_000,
            den: 1001,
        };
        assert_eq!(ntsc.pictures_at(&[0, 2_002_000, 4_004_000]), [0, 60, 120]);
        let film = Rate { num: 25, den: 1 };
        assert_eq!(film.pictures_at(&[0, 10, 2_000_000]), [0, 50]);
    }
}
