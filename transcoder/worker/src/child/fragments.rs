//! From the muxer to the parent: each fragment is read, placed in time and sent.
//!
//! # Invariants
//!
//! * Segment `n` begins exactly at the planned boundary `n`, counted in samples, in every
//!   rendition alike. A rendition that drifts from the plan is refused, not published.
//! * Decode times are those of the whole film and follow each other without a gap, also from
//!   one chunk to the next: a picture is a whole number of ticks.
//! * The init segments of all chunks of a rendition are the same, byte for byte.

use std::sync::atomic::{AtomicUsize, Ordering};
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
    /// The sample each segment begins with, ascending; samples of the whole film.
    starts: Vec<u64>,
    /// The number of the first of them in the whole film.
    first: u32,
    /// Segments sent.
    sent: u32,
    /// The sample that comes next.
    sample: u64,
    time: u64,
    /// Pictures have a constant duration; of sound the muxer's own is taken.
    picture: Option<Picture>,
}

/// What all pictures of a rendition have in common, in ticks of its timescale.
#[derive(Clone, Copy)]
pub(crate) struct Picture {
    pub(crate) ticks: u32,
    /// How long after decoding a picture is shown.
    pub(crate) delay: u32,
}

impl Rendition {
    /// Sound: one piece, from the beginning.
    pub(crate) fn sound(name: &str, starts: Vec<u64>) -> Arc<Mutex<Self>> {
        Rendition::new(name, starts, 0, None)
    }

    /// Pictures: the segments from number `first` on.
    pub(crate) fn pictures(
        name: &str,
        starts: &[u64],
        first: u32,
        picture: Picture,
    ) -> Arc<Mutex<Self>> {
        Rendition::new(name, starts.to_vec(), first, Some(picture))
    }

    fn new(name: &str, starts: Vec<u64>, first: u32, picture: Option<Picture>) -> Arc<Mutex<Self>> {
        let sample = starts.first().copied().unwrap_or(0);
        let ticks = picture.map_or(0, |picture| u64::from(picture.ticks));
        Arc::new(Mutex::new(Rendition {
            name: name.to_owned(),
            starts,
            first,
            sent: 0,
            sample,
            time: sample * ticks,
            picture,
        }))
    }

    fn delay(&self) -> u32 {
        self.picture.map_or(0, |picture| picture.delay)
    }

    /// How many samples were sent.
    pub(crate) fn samples(&self) -> u64 {
        self.sample - self.starts.first().copied().unwrap_or(0)
    }

    /// How many segments were sent.
    pub(crate) fn segments(&self) -> u32 {
        self.sent
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
        let mut bytes = fragment::with_delay(bytes, self.delay()).ok_or_else(unusable)?;
        fragment::undate(&mut bytes).ok_or_else(unusable)?;
        let head = Head::Init {
            rendition: self.name.clone(),
            codec: init.codec,
            timescale: init.timescale,
        };
        output.send(&head, &bytes).map_err(|_| gone())
    }

    fn send_segment(&mut self, mut bytes: Vec<u8>, output: &Output) -> Result<(), Failure> {
        let index = self.first + self.sent;
        if self.starts.get(self.sent as usize) != Some(&self.sample) {
            return Err(off_plan(
                "begin where it was not planned",
                index,
                &self.name,
            ));
        }
        let placed = fragment::place(&mut bytes, self.time, self.delay()).ok_or_else(unusable)?;
        if self
            .picture
            .is_some_and(|picture| !fragment::is_constant(&bytes, picture.ticks))
        {
            return Err(off_plan("last longer than its pictures", index, &self.name));
        }
        let head = Head::Segment {
            rendition: self.name.clone(),
            index,
            time: placed.time,
            duration: placed.duration,
            samples: placed.samples,
        };
        self.sent += 1;
        self.time += placed.duration;
        self.sample += u64::from(placed.samples);
        output.send(&head, &bytes).map_err(|_| gone())
    }
}

fn off_plan(what: &str, index: u32, name: &str) -> Failure {
    Failure::new(
        Code::ProcessingCrashed,
        format!("the worker made segment {index} of {name} {what}"),
    )
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

/// The name of the message that says that every rendition is out.
const ALL_OUT: &str = "kinolog-all-out";

/// Whether this message says that nothing more is to be sent.
pub(crate) fn are_all_out(told: &gst::StructureRef) -> bool {
    told.name() == ALL_OUT
}

/// How many renditions are not out yet.
#[derive(Clone)]
pub(crate) struct Open(Arc<AtomicUsize>);

impl Open {
    pub(crate) fn renditions(count: usize) -> Self {
        Open(Arc::new(AtomicUsize::new(count)))
    }

    fn one_less(&self, sink: &gst_app::AppSink) {
        if self.0.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        let told = gst::Structure::new_empty(ALL_OUT);
        let told = gst::message::Application::builder(told).src(sink).build();
        // Without a bus the pipeline is being stopped, and nobody waits for this.
        let _stopping = sink.post_message(told);
    }
}

/// Sends every fragment of this sink to the parent, on the sink's own thread.
pub(crate) fn send_all(
    sink: &gst_app::AppSink,
    rendition: Arc<Mutex<Rendition>>,
    output: Arc<Output>,
    trouble: Trouble,
    open: Open,
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
        .eos(move |sink| open.one_less(sink))
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
