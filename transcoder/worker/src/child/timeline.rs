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

    /// The same for what was sought in, also where that is before the place that was sought.
    pub(crate) fn at_of_film(
        self,
        pad: &gst::Pad,
        buffer: &gst::BufferRef,
    ) -> Option<gst::ClockTime> {
        match self {
            Clock::Stream => stream_time_of_film(pad, buffer),
            Clock::Running => self.at(pad, buffer),
        }
    }
}

/// Stamps everything that leaves this pad with its time on this clock.
pub(crate) fn restamp(pad: &gst::Pad, clock: Clock) {
    let segment_sent = AtomicBool::new(false);
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
        }
        gst::PadProbeReturn::Ok
    });
}

/// Lets everything on this pad have its time on the film's clock: after a seek a segment
/// begins where it was sought, and what is decoded before that would have none.
pub(crate) fn widen(pad: &gst::Pad) {
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, |_, info| {
        let wide = info.event().and_then(|event| match event.view() {
            gst::EventView::Segment(segment) => {
                let wide = widened(segment.segment())?;
                let wide = gst::event::Segment::builder(&wide).seqnum(event.seqnum());
                Some(wide.build())
            }
            _ => None,
        });
        if let Some(wide) = wide {
            info.data = Some(gst::PadProbeData::Event(wide));
        }
        gst::PadProbeReturn::Ok
    });
}

/// When a buffer on a pad that is not widened yet is shown.
pub(crate) fn stream_time_of_film(
    pad: &gst::Pad,
    buffer: &gst::BufferRef,
) -> Option<gst::ClockTime> {
    let event = pad.sticky_event::<gst::event::Segment>(0)?;
    let at = buffer.pts().or(buffer.dts())?;
    widened(event.segment())?.to_stream_time(at)
}

/// The same times, from the beginning of the film on.
fn widened(segment: &gst::Segment) -> Option<gst::FormattedSegment<gst::ClockTime>> {
    let mut wide = segment.downcast_ref::<gst::ClockTime>()?.clone();
    let (start, time) = (wide.start()?, wide.time()?);
    let shift = start.min(time);
    wide.set_start(start - shift);
    wide.set_time(time - shift);
    wide.set_position(start - shift);
    Some(wide)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_widened_segment_has_the_same_times_and_earlier_ones() {
        gst::init().unwrap();
        // An edit that begins 80 ms into the media, sought at 4 s.
        let ms = gst::ClockTime::from_mseconds;
        let mut sought = gst::FormattedSegment::<gst::ClockTime>::new();
        sought.set_start(ms(4080));
        sought.set_time(ms(4000));
        assert_eq!(sought.to_stream_time(ms(3080)), None);

        let wide = widened(sought.upcast_ref()).unwrap();
        assert_eq!(wide.to_stream_time(ms(5080)), Some(ms(5000)));
        assert_eq!(wide.to_stream_time(ms(3080)), Some(ms(3000)));
        // What the edit does not show is not shown now either.
        assert_eq!(wide.to_stream_time(ms(40)), None);
    }
}
