//! `kinolog-worker clip OUT`: a clip to try things with: a moving test picture, and a tick every second.

use std::path::Path;

use anyhow::Context;
use gstreamer as gst;
use gstreamer::prelude::*;

use crate::count::until_end;

const FRAMES_PER_SECOND: u32 = 30;
const SAMPLES_PER_SECOND: u32 = 48_000;

/// Writes `seconds` of 1280×720 at 30 frames a second, with stereo sound, as an MP4 that can
/// be read from its beginning.
pub fn make(file: &Path, seconds: u32) -> anyhow::Result<()> {
    gst::init().context("failed to start GStreamer")?;
    let frames = seconds * FRAMES_PER_SECOND;
    // As many buffers of sound as frames: both end together.
    let samples = SAMPLES_PER_SECOND / FRAMES_PER_SECOND;
    let description = format!(
        "mp4mux name=mux faststart=true ! filesink name=file \
         videotestsrc num-buffers={frames} pattern=smpte horizontal-speed=3 \
         ! video/x-raw,width=1280,height=720,framerate={FRAMES_PER_SECOND}/1 \
         ! x264enc speed-preset=ultrafast key-int-max=60 \
         ! h264parse ! queue ! mux. \
         audiotestsrc num-buffers={frames} samplesperbuffer={samples} wave=ticks \
         ! audio/x-raw,rate={SAMPLES_PER_SECOND},channels=2 \
         ! avenc_aac bitrate=128000 ! aacparse ! queue ! mux."
    );
    let pipeline = gst::parse::launch(&description)?
        .downcast::<gst::Pipeline>()
        .map_err(|_| anyhow::anyhow!("the description is no pipeline"))?;
    let sink = pipeline.by_name("file").context("the sink has a name")?;
    sink.set_property("location", file);
    let ended = until_end(&pipeline);
    pipeline.set_state(gst::State::Null)?;
    ended.with_context(|| format!("failed to write {}", file.display()))
}
