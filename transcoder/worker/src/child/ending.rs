//! The wanted track ends after all others.
//!
//! # Invariants
//!
//! * Its end is kept back until every other track has ended, and comes once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use gst::prelude::*;
use gstreamer as gst;

/// The tracks that go on.
#[derive(Clone, Default)]
pub(crate) struct Ending(Arc<Mutex<Tracks>>);

#[derive(Default)]
struct Tracks {
    others: u32,
    /// Where the wanted track's end was kept back, and that end.
    kept: Option<(gst::Pad, gst::Event)>,
}

impl Ending {
    /// Another track leaves the demuxer here.
    pub(crate) fn wait_for(&self, pad: &gst::Pad) {
        if let Ok(mut tracks) = self.0.lock() {
            tracks.others += 1;
        }
        let tracks = Arc::clone(&self.0);
        let ended = AtomicBool::new(false);
        let which = gst::PadProbeType::EVENT_DOWNSTREAM | gst::PadProbeType::EVENT_FLUSH;
        pad.add_probe(which, move |_, info| {
            let (Some(event), Ok(mut tracks)) = (info.event(), tracks.lock()) else {
                return gst::PadProbeReturn::Ok;
            };
            match event.type_() {
                gst::EventType::Eos if !ended.swap(true, Ordering::Relaxed) => {
                    tracks.others = tracks.others.saturating_sub(1);
                }
                // Moved somewhere else: it goes on.
                gst::EventType::FlushStop if ended.swap(false, Ordering::Relaxed) => {
                    tracks.others += 1;
                }
                _ => {}
            }
            let kept = match tracks.others {
                0 => tracks.kept.take(),
                _ => None,
            };
            drop(tracks);
            if let Some((sink, end)) = kept {
                sink.send_event(end);
            }
            gst::PadProbeReturn::Ok
        });
    }

    /// The wanted track arrives here, at a sink pad: a source pad that has sent its end once
    /// cannot send it later.
    pub(crate) fn keep_back(&self, sink: &gst::Pad) {
        let tracks = Arc::clone(&self.0);
        sink.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |sink, info| {
            let (Some(event), Ok(mut tracks)) = (info.event(), tracks.lock()) else {
                return gst::PadProbeReturn::Ok;
            };
            if event.type_() != gst::EventType::Eos || tracks.others == 0 {
                return gst::PadProbeReturn::Ok;
            }
            tracks.kept = Some((sink.clone(), event.clone()));
            info.data = None;
            gst::PadProbeReturn::Handled
        });
    }
}
