//! `kinolog-worker count FILE`: decodes a whole file, or standard input as it comes (`-`), and
//! counts what comes out.
//!
//! For judging, from outside, what was made of a source. It runs without a sandbox: for files
//! of one's own.
//!
//! # Invariants
//!
//! * Only the first video and the first audio track count; a decoding error is a failure,
//!   never a smaller number.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, bail};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_audio::AudioInfo;
use gstreamer_video::VideoInfo;
use serde_json::{Value, json};

/// What came out of one decoder.
#[derive(Debug, Default)]
struct Track {
    buffers: u64,
    bytes: u64,
    /// In ns.
    begin: Option<u64>,
    end: u64,
    caps: Option<gst::Caps>,
}

#[derive(Default)]
struct Tracks {
    video: Option<Arc<Mutex<Track>>>,
    audio: Option<Arc<Mutex<Track>>>,
}

/// Decodes `file` to its end, and says in JSON what that gave.
pub fn run(file: &Path) -> anyhow::Result<Value> {
    gst::init().context("failed to start GStreamer")?;
    let pipeline = gst::Pipeline::new();
    let source = match file.to_str() {
        Some("-") => gst::ElementFactory::make("fdsrc").property("fd", 0),
        Some(_) | None => gst::ElementFactory::make("filesrc").property("location", file),
    };
    let source = source.build()?;
    let decoder = gst::ElementFactory::make("decodebin").build()?;
    pipeline.add_many([&source, &decoder])?;
    source.link(&decoder)?;

    let tracks = Arc::new(Mutex::new(Tracks::default()));
    let (weak, found) = (pipeline.downgrade(), Arc::clone(&tracks));
    decoder.connect_pad_added(move |_, pad| {
        let Some(pipeline) = weak.upgrade() else {
            return;
        };
        if let Err(error) = attach(&pipeline, pad, &found) {
            gst::element_error!(pipeline, gst::CoreError::Pad, ["{error:#}"]);
        }
    });
    let ended = until_end(&pipeline);
    pipeline.set_state(gst::State::Null)?;
    ended?;
    let tracks = tracks.lock().unwrap_or_else(PoisonError::into_inner);
    report(&tracks)
}

/// Gives a decoder's pad a place to flow to, and counts what does.
fn attach(pipeline: &gst::Pipeline, pad: &gst::Pad, tracks: &Mutex<Tracks>) -> anyhow::Result<()> {
    let queue = gst::ElementFactory::make("queue").build()?;
    let sink = gst::ElementFactory::make("fakesink")
        .property("sync", false)
        .property("async", false)
        .build()?;
    pipeline.add_many([&queue, &sink])?;
    queue.link(&sink)?;
    queue.sync_state_with_parent()?;
    sink.sync_state_with_parent()?;

    let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
    let name = caps.structure(0).map(|one| one.name().to_string());
    let name = name.unwrap_or_default();
    let mut tracks = tracks.lock().unwrap_or_else(PoisonError::into_inner);
    let slot = match name.split('/').next() {
        Some("video") => Some(&mut tracks.video),
        Some("audio") => Some(&mut tracks.audio),
        Some(_) | None => None,
    };
    if let Some(slot @ None) = slot {
        let track = Arc::new(Mutex::new(Track::default()));
        *slot = Some(Arc::clone(&track));
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            if let Some(buffer) = info.buffer() {
                let mut track = track.lock().unwrap_or_else(PoisonError::into_inner);
                track.take(buffer, pad);
            }
            gst::PadProbeReturn::Ok
        });
    }
    drop(tracks);
    let to = queue.static_pad("sink").context("a queue has a pad")?;
    pad.link(&to)?;
    Ok(())
}

impl Track {
    fn take(&mut self, buffer: &gst::BufferRef, pad: &gst::Pad) {
        self.buffers += 1;
        self.bytes += buffer.size() as u64;
        if self.caps.is_none() {
            self.caps = pad.current_caps();
        }
        if let Some(begin) = buffer.pts().map(gst::ClockTime::nseconds) {
            let duration = buffer.duration().map_or(0, gst::ClockTime::nseconds);
            self.begin = Some(self.begin.map_or(begin, |first| first.min(begin)));
            self.end = self.end.max(begin + duration);
        }
    }

    fn length_ms(&self) -> u64 {
        let length = self.end.saturating_sub(self.begin.unwrap_or(0));
        (length + 500_000) / 1_000_000
    }
}

/// Plays a pipeline until all has flowed through it.
pub(crate) fn until_end(pipeline: &gst::Pipeline) -> anyhow::Result<()> {
    pipeline.set_state(gst::State::Playing)?;
    let bus = pipeline.bus().context("a pipeline has a bus")?;
    for message in bus.iter_timed(gst::ClockTime::NONE) {
        match message.view() {
            gst::MessageView::Eos(_) => return Ok(()),
            gst::MessageView::Error(error) => bail!("{} ({:?})", error.error(), error.debug()),
            _ => {}
        }
    }
    bail!("the pipeline ended without saying so")
}

fn report(tracks: &Tracks) -> anyhow::Result<Value> {
    let mut report = json!({ "frames": 0, "audio_samples": 0, "duration_ms": 0 });
    if let Some(track) = &tracks.audio {
        let track = track.lock().unwrap_or_else(PoisonError::into_inner);
        let caps = track.caps.as_ref().context("no sound was decoded")?;
        let info = AudioInfo::from_caps(caps)?;
        report["audio_samples"] = json!(track.bytes / u64::from(info.bpf()));
        report["audio"] = json!({
            "sample_rate": info.rate(),
            "channels": info.channels(),
            "duration_ms": track.length_ms(),
        });
        report["duration_ms"] = json!(track.length_ms());
    }
    if let Some(track) = &tracks.video {
        let track = track.lock().unwrap_or_else(PoisonError::into_inner);
        let caps = track.caps.as_ref().context("no picture was decoded")?;
        let info = VideoInfo::from_caps(caps)?;
        report["frames"] = json!(track.buffers);
        report["video"] = json!({
            "width": info.width(),
            "height": info.height(),
            "duration_ms": track.length_ms(),
        });
        report["duration_ms"] = json!(track.length_ms());
    }
    if tracks.video.is_none() && tracks.audio.is_none() {
        bail!("there is neither a picture nor sound in it");
    }
    Ok(report)
}
