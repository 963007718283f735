//! Which decoder opens a track, and how it is set.
//!
//! # Invariants
//!
//! * It runs in software: a sandbox has no devices.
//! * What it never saw the references of is not shown.

use std::cmp::Reverse;

use gst::prelude::*;
use gstreamer as gst;

/// How decoders are set, where they can be. On more threads they hold more pictures; on one,
/// libav's cannot begin with a key frame whose GOP is open. Pictures whose references were
/// never decoded are let go.
const DECODER_SETTINGS: &[(&str, &str)] = &[
    ("max-threads", "2"),
    ("n-threads", "2"),
    ("threads", "2"),
    ("output-corrupt", "false"),
];

/// The best software decoder for these caps; none for raw media, which needs none.
pub(crate) fn best(caps: &gst::Caps) -> Option<gst::ElementFactory> {
    let kind = gst::ElementFactoryType::DECODER;
    let mut factories: Vec<_> = gst::ElementFactory::factories_with_type(kind, gst::Rank::MARGINAL)
        .into_iter()
        .filter(|factory| factory.can_sink_any_caps(caps))
        .filter(|factory| {
            let klass = factory.metadata("klass");
            !klass.is_some_and(|klass| klass.contains("Hardware"))
        })
        .collect();
    // One that takes them as they are is better than one that may want more of them.
    factories.sort_by_key(|factory| Reverse((factory.can_sink_all_caps(caps), factory.rank())));
    factories.into_iter().next()
}

/// A decoder that is set as ours are.
pub(crate) fn made(factory: &gst::ElementFactory) -> Result<gst::Element, gst::glib::BoolError> {
    let decoder = factory.create().build()?;
    for (name, value) in DECODER_SETTINGS {
        if decoder.find_property(name).is_some() {
            decoder.set_property_from_str(name, value);
        }
    }
    Ok(decoder)
}
