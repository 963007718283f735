//! One timeline for all tracks, from 0 on, in one segment.
//!
//! Some demuxers begin with one segment and correct it later; then the running time jumps,
//! and sound and picture disagree about 0. Their stream time is right. Broadcast streams
//! begin anywhere, and it is their running time that begins with 0.
//!
//! # Invariants
//!
//! * Downstream sees one segment that begins at 0, whatever the demuxer sends.
//! * What lies outside of what is to be shown (before an edit begins) is let go.

use std::sync::atomic::{AtomicBool, Ordering};

use gst::prelude::*;
use gstreamer as gst;

/// Which of GStreamer's times begins with 0 when the film does.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum Clock {
    #[default]
    Stream,
    Running,
}

impl Clock {
    pub(crate) fn of(container: &str) -> Clock {
        match container {
            "video/mpegts" | "video/mpeg" => Clock::Running,
            _ => Clock::Stream,
        }
    }

    /// When this buffer is to be shown; nothing outside of what is to be shown.
    pub(crate) fn at(self, pad: &gst::Pad, buffer: &gst::BufferRef) -> Option<gst::ClockTime> {
        let event = pad.sticky_event::<gst::event::Segment>(0)?;
        let segment = event.segment().downcast_ref::<gst::ClockTime>()?;
        let at = buffer.pts().or(buffer.dts())?;
        match self {
            Clock::Stream => segment.to_stream_time(at),
            Clock::Running => segment.to_running_time(at),
        }
    }
}

/// What the first buffer of a track is shown from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum First {
    /// From 0: `videorate` would count from its own time on, and pictures would no longer
    /// stand for times.
    FromZero,
    /// From its own time; what is missing before becomes silence.
    AsItIs,
}

/// Stamps everything that leaves this pad with its time on this clock.
pub(crate) fn restamp(pad: &gst::Pad, clock: Clock, first: First) {
    let segment_sent = AtomicBool::new(false);
    let untouched = AtomicBool::new(first == First::FromZero);
    let which = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
    pad.add_probe(which, move |pad, info| {
        if let Some(event) = info.event() {
            if event.type_() != gst::EventType::Segment {
                return gst::PadProbeReturn::Ok;
            }
            if segment_sent.swap(true, Ordering::Relaxed) {
                info.data = None;
                return gst::PadProbeReturn::Handled;
            }
            let plain = gst::FormattedSegment::<gst::ClockTime>::new();
            let plain = gst::event::Segment::builder(&plain)
                .seqnum(event.seqnum())
                .build();
            info.data = Some(gst::PadProbeData::Event(plain));
            return gst::PadProbeReturn::Ok;
        }
        let Some(at) = info.buffer().and_then(|buffer| clock.at(pad, buffer)) else {
            info.data = None;
            info.flow_res = Ok(gst::FlowSuccess::Ok);
            return gst::PadProbeReturn::Handled;
        };
        if let Some(buffer) = info.buffer_mut() {
            let buffer = buffer.make_mut();
            buffer.set_dts(None);
            buffer.set_pts(at);
            if untouched.swap(false, Ordering::Relaxed) {
                buffer.set_duration(buffer.duration().map(|duration| duration + at));
                buffer.set_pts(gst::ClockTime::ZERO);
            }
        }
        gst::PadProbeReturn::Ok
    });
}
