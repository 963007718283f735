//! Pictures in front of a chunk are decoded, for others refer to them, and let go at once.
//!
//! # Invariants
//!
//! * The last picture before the chunk stays: it may be the nearest to the chunk's first.
//! * What has no time is not held against it: it passes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use gst::prelude::*;
use gstreamer as gst;

use super::coverage::Coverage;
use super::front_end::missing;
use crate::failure::Failure;

/// Lets go, behind this queue, of what is shown before the chunk: nothing is converted in vain.
pub(crate) fn drop_before(
    queue: &gst::Element,
    coverage: &Arc<Coverage>,
    from_ns: u64,
) -> Result<(), Failure> {
    if from_ns == 0 {
        return Ok(());
    }
    let pad = queue.static_pad("src").ok_or_else(|| missing("queue"))?;
    let coverage = Arc::clone(coverage);
    let last: Mutex<Option<gst::Buffer>> = Mutex::default();
    let through = AtomicBool::new(false);
    let which = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
    pad.add_probe(which, move |pad, info| {
        let ends = info
            .event()
            .is_some_and(|event| event.type_() == gst::EventType::Eos);
        if through.load(Ordering::Relaxed) || (info.buffer().is_none() && !ends) {
            return gst::PadProbeReturn::Ok;
        }
        let Ok(mut last) = last.lock() else {
            return gst::PadProbeReturn::Ok;
        };
        let is_early = |buffer: &&gst::Buffer| {
            let at = coverage.at(pad, buffer);
            at.is_some_and(|at| at.nseconds() < from_ns)
        };
        if let Some(early) = info.buffer().filter(is_early).cloned() {
            *last = Some(early);
            info.data = None;
            info.flow_res = Ok(gst::FlowSuccess::Ok);
            return gst::PadProbeReturn::Handled;
        }
        through.store(true, Ordering::Relaxed);
        let before = last.take();
        drop(last);
        if let (Some(before), Some(next)) = (before, pad.peer()) {
            // To the next pad itself: one that is about to send its end sends nothing else.
            // What is wrong with it is wrong with the picture that comes now, which tells.
            let _as_the_next = next.chain(before);
        }
        gst::PadProbeReturn::Ok
    });
    Ok(())
}
