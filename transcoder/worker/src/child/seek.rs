//! Moves a demuxer to the key frame before a chunk begins.
//!
//! # Invariants
//!
//! * What comes after a seek is believed only if it is a key frame that is shown no later
//!   than the chunk begins; otherwise an earlier one is sought, at last the beginning.
//! * Nothing passes the track's pad before it stands where it should: no element behind it
//!   ever sees a flush.
//! * Times stay those of the whole film: pictures in front of the chunk have theirs too.

use gst::prelude::*;
use gstreamer as gst;

use super::timeline;
use crate::failure::{Code, Failure};

/// The name of the message about what stands at the pad.
const ARRIVED: &str = "kinolog-arrived";
/// Containers round times to a millisecond.
pub(crate) const ROUNDING_NS: u64 = 1_000_000;
/// How much earlier it is tried when an index is wrong, in ns.
const EARLIER_NS: [u64; 2] = [2_000_000_000, 12_000_000_000];

/// Containers whose index says where key frames are.
pub(crate) fn has_index(container: &str) -> bool {
    matches!(
        container,
        "video/quicktime" | "video/x-matroska" | "video/webm"
    )
}

/// A pad whose data is held until it is that of the chunk.
pub(crate) struct Seek {
    pad: gst::Pad,
    held: gst::PadProbeId,
    begin_ns: u64,
    /// Places still to be tried, the next one last.
    places_ns: Vec<u64>,
    moved: bool,
}

impl Seek {
    /// Holds the pad; tells the pipeline's bus what arrives at it.
    pub(crate) fn hold(pipeline: &gst::Pipeline, pad: &gst::Pad, begin_ns: u64) -> Option<Seek> {
        timeline::widen(pad);
        without_flushes(pad);
        let pipeline = pipeline.downgrade();
        let which = gst::PadProbeType::BLOCK
            | gst::PadProbeType::BUFFER
            | gst::PadProbeType::EVENT_DOWNSTREAM;
        let held = pad.add_probe(which, move |pad, info| {
            let ended = info
                .event()
                .map(|event| event.type_() == gst::EventType::Eos);
            if ended == Some(false) {
                return gst::PadProbeReturn::Pass;
            }
            let arrived = Arrived::of(pad, info.buffer());
            if let Some(pipeline) = pipeline.upgrade() {
                let message = gst::message::Application::builder(arrived.into_structure());
                // A bus that takes no messages belongs to a pipeline that is being stopped.
                let _stopping = pipeline.post_message(message.build());
            }
            gst::PadProbeReturn::Ok
        })?;
        let mut places_ns = vec![0];
        places_ns.extend(
            EARLIER_NS
                .iter()
                .rev()
                .map(|ns| begin_ns.saturating_sub(*ns)),
        );
        places_ns.push(begin_ns + ROUNDING_NS);
        Some(Seek {
            pad: pad.clone(),
            held,
            begin_ns,
            places_ns,
            moved: false,
        })
    }

    /// Whether this message is about a held pad.
    pub(crate) fn is_about(structure: &gst::StructureRef) -> bool {
        structure.name() == ARRIVED
    }

    /// Moves on if need be; gives the pad free once it stands where it should.
    pub(crate) fn arrived(
        mut self,
        structure: &gst::StructureRef,
    ) -> Result<Option<Seek>, Failure> {
        let stands = Arrived::from_structure(structure);
        let is_there = self.moved && stands.suits(self.begin_ns + ROUNDING_NS);
        let Some(place_ns) = self.places_ns.pop().filter(|_| !is_there) else {
            self.pad.remove_probe(self.held);
            return Ok(None);
        };
        let seek = gst::event::Seek::new(
            1.0,
            gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE,
            gst::SeekType::Set,
            gst::ClockTime::from_nseconds(place_ns),
            gst::SeekType::End,
            gst::ClockTime::ZERO,
        );
        if self.pad.send_event(seek) {
            self.moved = true;
            return Ok(Some(self));
        }
        if self.moved {
            let message = "the worker could not move to a chunk of the file";
            return Err(Failure::new(Code::ProcessingCrashed, message));
        }
        // Not every file can be moved in: then all before the chunk is decoded and let go.
        eprintln!("the source cannot be moved in; it is read from its beginning");
        self.pad.remove_probe(self.held);
        Ok(None)
    }
}

/// What stands at the pad.
struct Arrived {
    key: bool,
    /// None: the track has ended, or what came has no time.
    at_ns: Option<u64>,
}

impl Arrived {
    fn of(pad: &gst::Pad, buffer: Option<&gst::Buffer>) -> Arrived {
        Arrived {
            key: buffer
                .is_some_and(|buffer| !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT)),
            at_ns: buffer
                .and_then(|buffer| timeline::stream_time_of_film(pad, buffer))
                .map(gst::ClockTime::nseconds),
        }
    }

    fn suits(&self, begin_ns: u64) -> bool {
        self.key && self.at_ns.is_some_and(|at_ns| at_ns <= begin_ns)
    }

    fn into_structure(self) -> gst::Structure {
        gst::Structure::builder(ARRIVED)
            .field("key", self.key)
            .field_if_some("at", self.at_ns)
            .build()
    }

    fn from_structure(structure: &gst::StructureRef) -> Arrived {
        Arrived {
            key: structure.get("key").unwrap_or(false),
            at_ns: structure.get("at").ok(),
        }
    }
}

/// What is behind the pad has seen nothing that could be flushed.
fn without_flushes(pad: &gst::Pad) {
    pad.add_probe(gst::PadProbeType::EVENT_FLUSH, |_, info| {
        info.data = None;
        gst::PadProbeReturn::Handled
    });
}
