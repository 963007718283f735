//! From the muxer to the parent: each fragment is read, placed in time and sent.
//!
//! # Invariants
//!
//! * Segment `n` begins exactly at the planned boundary `n`, counted in samples, in every
//!   rendition alike. A rendition that drifts from the plan is refused, not published.
//! * Decode times begin at 0 and follow each other without a gap.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;

use super::front_end::Trouble;
use super::{Head, Output};
use crate::failure::{Code, Failure};
use crate::fragment;

/// One rendition on its way out.
pub(crate) struct Rendition {
    name: String,
    /// The sample each segment begins with, ascending, the first is 0.
    starts: Arc<Vec<u64>>,
    next: u32,
    time: u64,
    samples: u64,
    /// How long after decoding a picture is shown: the reordering of the encoder.
    delay_ns: Arc<AtomicU64>,
    timescale: u32,
}

impl Rendition {
    pub(crate) fn new(name: &str, starts: Arc<Vec<u64>>) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Rendition {
            name: name.to_owned(),
            starts,
            next: 0,
            time: 0,
            samples: 0,
            delay_ns: Arc::default(),
            timescale: 0,
        }))
    }

    /// Where the encoder's delay is noted before its first picture gets to the muxer.
    pub(crate) fn delay_ns(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.delay_ns)
    }

    fn delay(&self) -> u32 {
        let ns = u128::from(self.delay_ns.load(Ordering::Acquire));
        let ticks = (ns * u128::from(self.timescale) + 500_000_000) / 1_000_000_000;
        u32::try_from(ticks).unwrap_or(0)
    }

    pub(crate) fn samples(&self) -> u64 {
        self.samples
    }

    pub(crate) fn segments(&self) -> u32 {
        self.next
    }

    fn send(&mut self, sample: &gst::Sample, output: &Output) -> Result<(), Failure> {
        let buffers: Vec<&gst::BufferRef> = match (sample.buffer_list(), sample.buffer()) {
            (Some(list), _) => list.iter().collect(),
            (None, Some(buffer)) => vec![buffer],
            (None, None) => return Ok(()),
        };
        let mut fragment = Vec::new();
        for buffer in buffers {
            let map = buffer.map_readable().map_err(|_| unusable())?;
            let init = gst::BufferFlags::HEADER | gst::BufferFlags::DISCONT;
            if buffer.flags().contains(init) {
                self.send_init(&map, output)?;
            } else {
                fragment.extend_from_slice(&map);
            }
        }
        if fragment.is_empty() {
            return Ok(());
        }
        self.send_segment(fragment, output)
    }

    fn send_init(&mut self, bytes: &[u8], output: &Output) -> Result<(), Failure> {
        let init = fragment::read_init(bytes).ok_or_else(unusable)?;
        self.timescale = init.timescale;
        let bytes = fragment::with_delay(bytes, self.delay()).ok_or_else(unusable)?;
        let head = Head::Init {
            rendition: self.name.clone(),
            codec: init.codec,
            timescale: init.timescale,
        };
        output.send(&head, &bytes).map_err(|_| gone())
    }

    fn send_segment(&mut self, mut bytes: Vec<u8>, output: &Output) -> Result<(), Failure> {
        if self.starts.get(self.next as usize) != Some(&self.samples) {
            return Err(Failure::new(
                Code::ProcessingCrashed,
                format!(
                    "the worker made segment {} of {} begin where it was not planned",
                    self.next, self.name
                ),
            ));
        }
        let placed = fragment::place(&mut bytes, self.time, self.delay()).ok_or_else(unusable)?;
        let head = Head::Segment {
            rendition: self.name.clone(),
            index: self.next,
            time: placed.time,
            duration: placed.duration,
            samples: placed.samples,
        };
        self.next += 1;
        self.time += placed.duration;
        self.samples += u64::from(placed.samples);
        output.send(&head, &bytes).map_err(|_| gone())
    }
}

fn unusable() -> Failure {
    Failure::new(
        Code::ProcessingCrashed,
        "the worker's muxer made a fragment that cannot be read",
    )
}

fn gone() -> Failure {
    Failure::new(Code::ProcessingCrashed, "the worker went away")
}

/// Sends every fragment of this sink to the parent, on the sink's own thread.
pub(crate) fn send_all(
    sink: &gst_app::AppSink,
    rendition: Arc<Mutex<Rendition>>,
    output: Arc<Output>,
    trouble: Trouble,
) {
    let callbacks = gst_app::AppSinkCallbacks::builder()
        .new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            let mut rendition = rendition.lock().map_err(|_| gst::FlowError::Error)?;
            rendition.send(&sample, &output).map_err(|failure| {
                trouble.note(failure);
                gst::FlowError::Error
            })?;
            Ok(gst::FlowSuccess::Ok)
        })
        .build();
    sink.set_callbacks(callbacks);
}

/// Splits a fragment off before the next buffer on this pad.
pub(crate) fn split_before_next(pad: &gst::Pad) {
    let split = gst::Structure::builder("FMP4MuxSplitNow")
        .field("chunk", false)
        .build();
    pad.push_event(gst::event::CustomDownstream::new(split));
}

/// Passes every event but tags: those carry a rotation that was already applied, and the
/// muxer would ask players to apply it again.
pub(crate) fn without_tags(info: &mut gst::PadProbeInfo) -> gst::PadProbeReturn {
    if info
        .event()
        .is_none_or(|event| event.type_() != gst::EventType::Tag)
    {
        return gst::PadProbeReturn::Ok;
    }
    // Taken and let go here: "drop" would make the library let go of it once more.
    info.data = None;
    gst::PadProbeReturn::Handled
}
