//! The elements between the decoder and the fragments.
//!
//! # Invariants
//!
//! * Pictures are 8-bit 4:2:0, square-pixelled, upright, progressive and at a constant
//!   rate before they are scaled.
//! * Queues hold at most a few pictures: memory stays bounded by the ladder.
//! * An encoder runs on one thread: tasks run side by side, and threads of one encoder cost
//!   quality and time of others.

use gstreamer as gst;
use protocol::{EncodeSpec, Video, VideoTarget};

use super::chunk::Rate;
use super::colour;
use super::front_end::missing;
use super::{grid, resize};
use crate::failure::Failure;

/// Above any segment that is planned, so that only asked-for key frames appear.
const KEY_FRAME_DISTANCE_MAX: u32 = 2_000;

/// How many pictures the encoder may decode before it shows the first, with the references
/// among B-frames that the preset below asks for.
pub(crate) const REORDERED_PICTURES: u32 = 2;

/// A timescale in which a picture is a whole number of ticks, and that number.
pub(crate) fn timescale(rate: Rate) -> (u32, u32) {
    // Fine enough to cut sound and pictures alike, where the rate alone is coarse.
    let finer = if rate.num < 1000 { 100 } else { 1 };
    (rate.num * finer, rate.den.saturating_mul(finer))
}

/// The branch for these targets, as a bin with one sink pad.
pub(crate) fn build(spec: &EncodeSpec) -> Result<gst::Bin, Failure> {
    let source = spec.source.clone().unwrap_or_default();
    let mut text = format!(
        "queue name=decoded max-size-buffers=4 max-size-bytes=0 max-size-time=0 ! {} ! \
         {} name=grid ! tee name=tee",
        upright(&source),
        grid::NAME,
    );
    for (number, target) in spec.targets.iter().enumerate() {
        text.push_str(&branch(number, target));
    }
    gst::parse::bin_from_description(&text, true).map_err(|error| {
        eprintln!("the video graph was refused: {error}");
        missing("x264enc")
    })
}

/// 8-bit SDR, deinterlaced and turned; cheap when there is nothing to do.
pub(crate) fn upright(source: &Video) -> String {
    // Only the decoder knows for every codec: a probe sees no fields in H.264.
    let mut text = format!(
        "videoconvert ! {} ! deinterlace mode=auto fields=top",
        colour::NAME
    );
    // Its older property `method` is taken, and does nothing.
    let turn = match source.rotation {
        90 => Some("90r"),
        180 => Some("180"),
        270 => Some("90l"),
        _ => None,
    };
    if let Some(turn) = turn {
        text.push_str(" ! videoconvert ! video/x-raw,format=I420 ! videoflip video-direction=");
        text.push_str(turn);
    }
    text
}

fn branch(number: usize, target: &VideoTarget) -> String {
    format!(
        " tee. ! queue max-size-buffers=4 max-size-bytes=0 max-size-time=0 ! \
         {} ! \
         capsfilter name=raw{number} \
         caps=video/x-raw,format=I420,width={},height={},pixel-aspect-ratio=1/1 ! \
         x264enc speed-preset=veryfast pass=cbr bitrate={} vbv-buf-capacity=2000 \
         key-int-max={KEY_FRAME_DISTANCE_MAX} threads=1 option-string=scenecut=0:open-gop=0 ! \
         video/x-h264,profile=high,stream-format=avc,alignment=au ! h264parse name=parse{number} ! \
         cmafmux name=mux{number} manual-split=true send-force-keyunit=false ! \
         appsink name=out{number} buffer-list=true sync=false async=false max-buffers=2",
        resize::NAME,
        target.width,
        target.height,
        target.bitrate_kbps,
    )
}

/// The rate the conductor asked for; 30 when it did not know.
pub(crate) fn frame_rate(target: &VideoTarget) -> Rate {
    match (target.frame_rate_num, target.frame_rate_den) {
        (0, _) | (_, 0) => Rate { num: 30, den: 1 },
        (num, den) => Rate { num, den },
    }
}
