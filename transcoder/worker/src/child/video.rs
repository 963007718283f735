//! The encode task: one decode, all video renditions of a chunk, the same boundaries in each.
//!
//! # Invariants
//!
//! * Pictures are counted, not timed: behind the grid picture `n` is shown at `n / rate`,
//!   so the same count is the same moment in every rendition and in every chunk.
//! * A key frame is asked for right before the picture a segment begins with, and nowhere
//!   else; the fragment is split right before that key frame.
//! * A chunk ends well with exactly its segments, or not at all.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use protocol::{EncodeResult, EncodeSpec, VideoTarget, finish_request};

use super::chunk::Chunk;
use super::coverage::{Coverage, Part, running_time_ns};
use super::fragments::{self, Open, Picture, Rendition};
use super::front_end::{self, FrontEnd, Kind, Trouble, missing};
use super::grid::{GridElement, ORIGIN, Order};
use super::source_element::SourceLink;
use super::{Finished, Output, lead, seek, video_graph};
use crate::failure::{Code, Failure};

pub(crate) fn run(link: &SourceLink, spec: &EncodeSpec, output: &Arc<Output>) -> Finished {
    let container = front_end::container(link)?;
    let chunk = Chunk::of(spec)?;
    let mut encode = Encode {
        link,
        spec,
        output,
        container: &container,
        chunk: &chunk,
        moved: chunk.begin() > 0 && seek::has_index(&container),
    };
    let late = Arc::new(AtomicBool::new(false));
    let finished = encode.run(&late);
    if !late.load(Ordering::Acquire) {
        return finished;
    }
    // Nothing was made of it yet.
    eprintln!("the decoder cannot begin in the middle of the source; it begins at its beginning");
    encode.moved = false;
    encode.run(&late)
}

/// One chunk on its way.
struct Encode<'a> {
    link: &'a SourceLink,
    spec: &'a EncodeSpec,
    output: &'a Arc<Output>,
    container: &'a str,
    chunk: &'a Chunk,
    /// Reading begins with the key frame before the chunk.
    moved: bool,
}

impl Encode<'_> {
    /// `late` becomes true when the decoder could not begin where it was moved to.
    fn run(&self, late: &Arc<AtomicBool>) -> Finished {
        let Encode { spec, chunk, .. } = self;
        let part = Part {
            from_ns: chunk.begin_ns(),
            until_ns: chunk.end_ns(),
        };
        let coverage = Arc::new(Coverage::of(self.container, part));
        let trouble = Trouble::default();
        let branch = video_graph::build(spec)?;
        let element = |name: &str| branch.by_name(name).ok_or_else(|| missing(name));
        let grid = element("grid")?.downcast::<GridElement>();
        grid.map_err(|_| missing("grid"))?.attach(Order {
            chunk: (*chunk).clone(),
            coverage: Arc::clone(&coverage),
            declared_ms: spec.duration_ms,
            trouble: trouble.clone(),
            moved: self.moved,
            late: Arc::clone(late),
        });
        lead::drop_before(&element("decoded")?, &coverage, chunk.begin_ns())?;
        let renditions = self.renditions(&branch, &trouble)?;

        let begin_ns = self.moved.then(|| chunk.begin_ns());
        let front = FrontEnd::of_part(self.link, Kind::Video, coverage, begin_ns, branch, trouble)?;
        front.run(self.output, spec.duration_ms)?;
        front.coverage.is_decoded(front.is_one_to_one())?;
        if chunk.end().is_none() {
            front.coverage.is_whole(spec.duration_ms)?;
        }
        whole(&renditions, chunk.segments())?;

        let samples = renditions.first().map_or(0, |rendition| samples(rendition));
        Ok(finish_request::Result::Encode(EncodeResult {
            duration_ms: front.coverage.decoded_end_ns() / 1_000_000,
            samples,
        }))
    }

    /// All renditions, each with a way from the graph to the parent.
    fn renditions(
        &self,
        branch: &gst::Bin,
        trouble: &Trouble,
    ) -> Result<Vec<Arc<Mutex<Rendition>>>, Failure> {
        let open = Open::renditions(self.spec.targets.len());
        let mut renditions = Vec::new();
        for (number, target) in self.spec.targets.iter().enumerate() {
            let way = Way {
                branch,
                number,
                chunk: self.chunk,
            };
            let rendition = way.rendition(target)?;
            fragments::send_all(
                &way.sink()?,
                Arc::clone(&rendition),
                Arc::clone(self.output),
                trouble.clone(),
                open.clone(),
            );
            renditions.push(rendition);
        }
        Ok(renditions)
    }
}

fn samples(rendition: &Mutex<Rendition>) -> u64 {
    rendition.lock().map_or(0, |rendition| rendition.samples())
}

/// Every rendition has all segments of the chunk.
fn whole(renditions: &[Arc<Mutex<Rendition>>], segments: u32) -> Result<(), Failure> {
    let made = |rendition: &Arc<Mutex<Rendition>>| {
        rendition.lock().map_or(0, |rendition| rendition.segments())
    };
    if renditions.iter().any(|one| made(one) != segments) {
        return Err(Failure::new(
            Code::ProcessingCrashed,
            "the worker did not make all segments of its chunk",
        ));
    }
    Ok(())
}

/// One rendition's part of the graph.
struct Way<'a> {
    branch: &'a gst::Bin,
    number: usize,
    chunk: &'a Chunk,
}

impl Way<'_> {
    fn element(&self, kind: &str) -> Result<gst::Element, Failure> {
        let name = format!("{kind}{}", self.number);
        self.branch.by_name(&name).ok_or_else(|| missing(&name))
    }

    fn pad(&self, kind: &str, name: &str) -> Result<gst::Pad, Failure> {
        let pad = self.element(kind)?.static_pad(name);
        pad.ok_or_else(|| missing(kind))
    }

    fn sink(&self) -> Result<gst_app::AppSink, Failure> {
        let sink = self.element("out")?;
        sink.downcast().map_err(|_| missing("appsink"))
    }

    /// Key frames into the encoder, splits into the muxer.
    fn rendition(&self, target: &VideoTarget) -> Result<Arc<Mutex<Rendition>>, Failure> {
        let chunk = self.chunk;
        let (timescale, ticks) = video_graph::timescale(chunk.rate);
        let muxer = self.pad("mux", "sink")?;
        muxer.set_property("trak-timescale", timescale);
        // In pictures from the chunk's first on, which is a key frame anyway.
        let later = chunk.starts().iter().skip(1);
        let key_units: HashSet<u64> = later.map(|start| start - chunk.begin()).collect();
        force_key_units(&self.pad("raw", "src")?, key_units.clone());
        split_at_key_units(&self.pad("parse", "src")?, key_units, chunk);
        let picture = Picture {
            ticks,
            delay: ticks * video_graph::REORDERED_PICTURES,
        };
        Ok(Rendition::pictures(
            &target.rendition,
            chunk.starts(),
            chunk.first_segment(),
            picture,
        ))
    }
}

fn force_key_units(pad: &gst::Pad, key_units: HashSet<u64>) {
    let count = AtomicU64::new(0);
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let picture = count.fetch_add(1, Ordering::Relaxed);
        if key_units.contains(&picture) {
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

fn split_at_key_units(pad: &gst::Pad, key_units: HashSet<u64>, chunk: &Chunk) {
    let rate = chunk.rate;
    let which = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
    pad.add_probe(which, move |pad, info| {
        if let Some(event) = info.event() {
            if event.type_() == gst::EventType::Segment {
                info.data = Some(gst::PadProbeData::Event(from_origin(event)));
            }
            return fragments::without_tags(info);
        }
        let Some(buffer) = info.buffer() else {
            return gst::PadProbeReturn::Ok;
        };
        if !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT) {
            let since = |at: u64| at.saturating_sub(ORIGIN.nseconds());
            let picture = running_time_ns(pad, buffer).map(|at| rate.nearest(since(at)));
            if picture.is_some_and(|picture| key_units.contains(&picture)) {
                fragments::split_before_next(pad);
            }
        }
        gst::PadProbeReturn::Ok
    });
}

/// The segment for the muxer: what is shown at the origin is at its time 0.
fn from_origin(event: &gst::EventRef) -> gst::Event {
    let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
    segment.set_start(ORIGIN);
    let event = gst::event::Segment::builder(&segment).seqnum(event.seqnum());
    event.build()
}
