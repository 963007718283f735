//! From the source to one decoded track: typefind, demux, parse, choose, decode.
//!
//! # Invariants
//!
//! * Only containers on the list are opened; what fetches or refers to other files is not.
//! * The first track of the wanted kind that we have a decoder for is the one, in every
//!   task alike. Its decoder runs in software: a sandbox has no devices.
//! * Every other track is demuxed into nothing, so that its end is known.
//! * The wanted track ends last: who sees its end knows how far the others went.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_base as gst_base;

use super::coverage::Coverage;
use super::ending::Ending;
use super::seek::Seek;
use super::source_element::{ParentSrc, SourceLink};
use super::{Head, Output, decoder, fragments};
use crate::failure::{Code, Failure};

/// How much of the source is looked at to tell what it is, in bytes.
const TYPE_BYTES_MAX: u32 = 256 << 10;
/// How often progress is looked at.
const TICK: gst::ClockTime = gst::ClockTime::from_mseconds(500);
/// What we open. Playlists, images and documents are not here.
const CONTAINERS: &[&str] = &[
    "video/quicktime",
    "audio/x-m4a",
    "application/x-3gp",
    "video/x-matroska",
    "audio/x-matroska",
    "video/x-matroska-3d",
    "video/webm",
    "audio/webm",
    "video/mpegts",
    "video/x-msvideo",
    "application/ogg",
    "video/ogg",
    "audio/ogg",
    "video/x-flv",
    "audio/mpeg",
    "audio/x-wav",
    "audio/x-flac",
    "application/x-id3",
    "application/x-apetag",
];

/// Elements that would look for other files or addresses.
const FETCHING: &[&str] = &[
    "hlsdemux",
    "hlsdemux2",
    "dashdemux",
    "dashdemux2",
    "mssdemux",
    "mssdemux2",
    "sdpdemux",
    "rtspsrc",
    "souphttpsrc",
    "curlhttpsrc",
    "giosrc",
    "filesrc",
    "udpsrc",
    "tcpclientsrc",
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Video,
    Audio,
    Other,
}

impl Kind {
    pub(crate) fn of(caps: &gst::CapsRef) -> Kind {
        match caps.structure(0).map(|s| s.name().as_str()) {
            Some("image/jpeg" | "image/png") => Kind::Video,
            Some(name) if name.starts_with("video/") => Kind::Video,
            Some(name) if name.starts_with("audio/") => Kind::Audio,
            Some(_) | None => Kind::Other,
        }
    }
}

/// Takes everything out of reach that could fetch.
pub(crate) fn forbid_fetching() {
    let registry = gst::Registry::get();
    for name in FETCHING {
        if let Some(feature) = registry.lookup_feature(name) {
            feature.set_rank(gst::Rank::NONE);
        }
    }
}

/// What the first bytes say the source is, if it is something we open.
pub(crate) fn container(link: &SourceLink) -> Result<String, Failure> {
    let start = link.read(0, TYPE_BYTES_MAX).map_err(|_| unreadable())?;
    let not_media = || {
        Failure::new(
            Code::SourceNotMedia,
            "the file is not a video or audio file that we know",
        )
    };
    let (caps, _) =
        gst_base::type_find_helper_for_data(gst::Object::NONE, &start).map_err(|_| not_media())?;
    let structure = caps.structure(0).ok_or_else(not_media)?;
    let name = structure.name().as_str();
    let program_stream =
        name == "video/mpeg" && structure.get::<bool>("systemstream").unwrap_or(false);
    if !program_stream && !CONTAINERS.contains(&name) {
        return Err(not_media());
    }
    Ok(name.to_owned())
}

pub(crate) fn unreadable() -> Failure {
    Failure::new(Code::StorageUnavailable, "the source could not be read")
}

pub(crate) fn is_raw(caps: &gst::CapsRef) -> bool {
    caps.structure(0)
        .is_some_and(|s| matches!(s.name().as_str(), "video/x-raw" | "audio/x-raw"))
}

/// A pipeline whose source is open and whose one wanted track goes to `branch`.
pub(crate) struct FrontEnd {
    pub(crate) pipeline: gst::Pipeline,
    pub(crate) coverage: Arc<Coverage>,
    wanted: Kind,
    trouble: Trouble,
    connected: Arc<AtomicBool>,
    codec: Arc<Mutex<String>>,
    begin_ns: Option<u64>,
    seek: Arc<Mutex<Option<Seek>>>,
}

/// The first refusal of a streaming thread.
#[derive(Clone, Default)]
pub(crate) struct Trouble(Arc<Mutex<Option<Failure>>>);

impl Trouble {
    pub(crate) fn note(&self, failure: Failure) {
        if let Ok(mut slot) = self.0.lock() {
            slot.get_or_insert(failure);
        }
    }

    fn take(&self) -> Option<Failure> {
        self.0.lock().ok().and_then(|mut slot| slot.take())
    }
}

impl FrontEnd {
    /// `branch` is a bin with one sink pad that takes decoded media.
    pub(crate) fn new(
        link: &SourceLink,
        wanted: Kind,
        container: &str,
        branch: gst::Bin,
        trouble: Trouble,
    ) -> Result<Self, Failure> {
        let coverage = Arc::new(Coverage::new(container));
        FrontEnd::of_part(link, wanted, coverage, None, branch, trouble)
    }

    /// For a part of the film: reading begins with the key frame before `begin_ns`.
    pub(crate) fn of_part(
        link: &SourceLink,
        wanted: Kind,
        coverage: Arc<Coverage>,
        begin_ns: Option<u64>,
        branch: gst::Bin,
        trouble: Trouble,
    ) -> Result<Self, Failure> {
        let pipeline = gst::Pipeline::new();
        // Nothing plays: as fast as it goes.
        pipeline.use_clock(None::<&gst::Clock>);
        let source = ParentSrc::new(link.clone());
        let parse = made("parsebin")?;
        pipeline
            .add_many([source.upcast_ref(), &parse])
            .and_then(|()| source.link(&parse))
            .map_err(|_| missing("parsebin"))?;

        let front = FrontEnd {
            pipeline,
            coverage,
            wanted,
            trouble,
            connected: Arc::default(),
            codec: Arc::default(),
            begin_ns,
            seek: Arc::default(),
        };
        front.connect_tracks(&parse, wanted, branch);
        Ok(front)
    }

    fn connect_tracks(&self, parse: &gst::Element, wanted: Kind, branch: gst::Bin) {
        let pipeline = self.pipeline.downgrade();
        let coverage = Arc::clone(&self.coverage);
        let connected = Arc::clone(&self.connected);
        let codec = Arc::clone(&self.codec);
        let trouble = self.trouble.clone();
        let (begin_ns, seek) = (self.begin_ns, Arc::clone(&self.seek));
        let ending = Ending::default();
        parse.connect_pad_added(move |_, pad| {
            let Some(pipeline) = pipeline.upgrade() else {
                return;
            };
            let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
            let suits =
                Kind::of(&caps) == wanted && (is_raw(&caps) || decoder::best(&caps).is_some());
            let chosen = suits && !connected.swap(true, Ordering::SeqCst);
            measure(pad, &coverage, chosen);
            let linked = if chosen {
                if let (Some(begin_ns), Ok(mut seek)) = (begin_ns, seek.lock()) {
                    *seek = Seek::hold(&pipeline, pad, begin_ns);
                }
                if let (Ok(mut codec), Some(s)) = (codec.lock(), caps.structure(0)) {
                    *codec = s.name().to_string();
                }
                decode(&pipeline, pad, &caps, &branch, &coverage, &ending)
            } else {
                ending.wait_for(pad);
                discard(&pipeline, pad)
            };
            if linked.is_err() {
                trouble.note(Failure::new(
                    Code::SourceUnsupported,
                    "a track of the file could not be opened",
                ));
                gst::element_error!(pipeline, gst::StreamError::CodecNotFound, ["not linked"]);
            }
        });
    }

    /// Plays to the end. Progress goes to the parent as the decoder moves on.
    pub(crate) fn run(&self, output: &Output, duration_ms: u64) -> Result<(), Failure> {
        let stop = StopOnDrop(&self.pipeline);
        self.pipeline
            .set_state(gst::State::Playing)
            .map_err(|_| self.trouble.take().unwrap_or_else(no_decoder))?;
        let bus = self.pipeline.bus().ok_or_else(|| missing("bus"))?;
        let mut reported = 0;
        loop {
            let kinds = [
                gst::MessageType::Eos,
                gst::MessageType::Error,
                gst::MessageType::Application,
            ];
            let message = bus.timed_pop_filtered(TICK, &kinds);
            match message.as_ref().map(|message| message.view()) {
                Some(gst::MessageView::Error(error)) => {
                    return Err(self.trouble.take().unwrap_or_else(|| failure_of(error)));
                }
                Some(gst::MessageView::Application(told)) => {
                    let Some(told) = told.structure() else {
                        continue;
                    };
                    if fragments::are_all_out(told) {
                        break;
                    }
                    self.arrived(told)?;
                }
                Some(_) => break,
                None => {}
            }
            if self.wanted == Kind::Video {
                self.coverage.is_bounded(duration_ms)?;
            }
            let units = self.coverage.passed();
            if units > reported {
                reported = units;
                let permille = self.coverage.permille(duration_ms);
                output
                    .send(&Head::Progress { units, permille }, &[])
                    .map_err(|_| Failure::new(Code::ProcessingCrashed, "the worker went away"))?;
            }
        }
        drop(stop);
        if self.wanted == Kind::Video {
            self.coverage.is_bounded(duration_ms)?;
        }
        if let Some(failure) = self.trouble.take() {
            return Err(failure);
        }
        if !self.connected.load(Ordering::SeqCst) {
            return Err(no_decoder());
        }
        Ok(())
    }

    /// Moves on to where the part begins.
    fn arrived(&self, told: &gst::StructureRef) -> Result<(), Failure> {
        if !Seek::is_about(told) {
            return Ok(());
        }
        let seek = self.seek.lock().ok().and_then(|mut seek| seek.take());
        let Some(seek) = seek else { return Ok(()) };
        // Not under the lock: the seek waits for the thread that looks for tracks.
        let left = seek.arrived(told)?;
        if let Ok(mut seek) = self.seek.lock() {
            *seek = left;
        }
        Ok(())
    }

    /// Whether each access unit decodes to one picture.
    pub(crate) fn is_one_to_one(&self) -> bool {
        self.codec
            .lock()
            .is_ok_and(|codec| matches!(codec.as_str(), "video/x-h264" | "video/x-h265"))
    }
}

struct StopOnDrop<'a>(&'a gst::Pipeline);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        if self.0.set_state(gst::State::Null).is_err() {
            eprintln!("the pipeline did not stop");
        }
    }
}

/// Notes how far the demuxer gets on this pad.
fn measure(pad: &gst::Pad, coverage: &Arc<Coverage>, chosen: bool) {
    let coverage = Arc::clone(coverage);
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        if let Some(buffer) = info.buffer() {
            coverage.demuxed(pad, buffer, chosen);
        }
        gst::PadProbeReturn::Ok
    });
}

/// Lets go of all media before it gets to a sink, which would hold up the demuxer while
/// the pipeline is paused.
fn discard(pipeline: &gst::Pipeline, pad: &gst::Pad) -> Result<(), gst::glib::BoolError> {
    let which = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
    pad.add_probe(which, |_, info| {
        let gap = info
            .event()
            .is_some_and(|event| event.type_() == gst::EventType::Gap);
        if info.buffer().is_none() && !gap {
            return gst::PadProbeReturn::Ok;
        }
        info.data = None;
        info.flow_res = Ok(gst::FlowSuccess::Ok);
        gst::PadProbeReturn::Handled
    });
    let sink = gst::ElementFactory::make("fakesink")
        .property("sync", false)
        .property("async", false)
        .build()?;
    pipeline.add(&sink)?;
    sink.sync_state_with_parent()?;
    link_to(pad, &sink)
}

fn decode(
    pipeline: &gst::Pipeline,
    pad: &gst::Pad,
    caps: &gst::Caps,
    branch: &gst::Bin,
    coverage: &Arc<Coverage>,
    ending: &Ending,
) -> Result<(), gst::glib::BoolError> {
    let queue = gst::ElementFactory::make("queue").build()?;
    let decoder = match decoder::best(caps) {
        Some(factory) if !is_raw(caps) => decoder::made(&factory)?,
        Some(_) | None => gst::ElementFactory::make("identity").build()?,
    };
    pipeline.add_many([&queue, &decoder, branch.upcast_ref()])?;
    gst::Element::link_many([&queue, &decoder, branch.upcast_ref()])?;

    let decoded = decoder
        .static_pad("src")
        .ok_or_else(|| gst::glib::bool_error!("the decoder has no source pad"))?;
    let coverage = Arc::clone(coverage);
    decoded.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        if let Some(buffer) = info.buffer() {
            coverage.decoded(pad, buffer);
        }
        gst::PadProbeReturn::Ok
    });

    branch.sync_state_with_parent()?;
    decoder.sync_state_with_parent()?;
    queue.sync_state_with_parent()?;
    if let Some(sink) = queue.static_pad("sink") {
        ending.keep_back(&sink);
    }
    link_to(pad, &queue)
}

fn link_to(pad: &gst::Pad, element: &gst::Element) -> Result<(), gst::glib::BoolError> {
    let sink = element
        .static_pad("sink")
        .ok_or_else(|| gst::glib::bool_error!("no sink pad"))?;
    pad.link(&sink)
        .map(|_| ())
        .map_err(|_| gst::glib::bool_error!("the pads do not link"))
}

pub(crate) fn made(name: &str) -> Result<gst::Element, Failure> {
    gst::ElementFactory::make(name)
        .build()
        .map_err(|_| missing(name))
}

/// This machine lacks something; `kinolog-worker check` names the package.
pub(crate) fn missing(name: &str) -> Failure {
    Failure::new(
        Code::ProcessingCrashed,
        format!("the worker cannot use its element {name}"),
    )
}

pub(crate) fn no_decoder() -> Failure {
    Failure::new(
        Code::SourceUnsupported,
        "the file has no track that we can decode",
    )
}

/// What an error on the bus means for the uploader.
pub(crate) fn failure_of(error: &gst::message::Error) -> Failure {
    let from = error
        .src()
        .map(|src| src.name().to_string())
        .unwrap_or_default();
    let cause = error.error();
    eprintln!(
        "gstreamer: {from}: {cause} ({})",
        error.debug().unwrap_or_default()
    );
    if cause.is::<gst::ResourceError>() {
        return match cause.kind::<gst::ResourceError>() {
            Some(gst::ResourceError::NoSpaceLeft) => Failure::new(
                Code::ProcessingOutOfResources,
                "the worker ran out of memory",
            ),
            _ => unreadable(),
        };
    }
    match cause.kind::<gst::StreamError>() {
        Some(gst::StreamError::CodecNotFound) => no_decoder(),
        Some(gst::StreamError::TypeNotFound | gst::StreamError::WrongType) => Failure::new(
            Code::SourceNotMedia,
            "the file is not a video or audio file that we know",
        ),
        Some(gst::StreamError::Decrypt | gst::StreamError::DecryptNokey) => {
            Failure::new(Code::SourceUnsupported, "the file is encrypted")
        }
        Some(gst::StreamError::Encode | gst::StreamError::Mux) => Failure::new(
            Code::ProcessingCrashed,
            "the worker could not encode the file",
        ),
        Some(_) => Failure::new(
            Code::SourceCorrupt,
            "the file is damaged: it could not be read to its end",
        ),
        None if cause.kind::<gst::CoreError>() == Some(gst::CoreError::MissingPlugin) => {
            no_decoder()
        }
        None => Failure::new(
            Code::ProcessingCrashed,
            "the worker failed inside GStreamer",
        ),
    }
}
