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

/// 1080p, and what is shaped otherwise.
const LONG_LOOK_AHEAD_PIXELS_MAX: u64 = 2048 * 1152;
/// In pictures, instead of the preset's 10.
const LARGE_LOOK_AHEAD: u32 = 3;

/// How full a player's buffer is taken to be where a chunk begins in the middle of a film. Encoders
/// begin with 0.9, and leave it emptier: what is between is spent as bits, up to 5 % of a film in
/// chunks of 8 s. With as little as they leave, the first pictures of a chunk would show it.
const LATER_BUFFER: f64 = 0.81;

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
    let mut before: Option<&VideoTarget> = None;
    for (number, target) in spec.targets.iter().enumerate() {
        let from = match before {
            Some(before) if holds(before, target) => format!("sized{}", number - 1),
            Some(_) | None => "tee".to_owned(),
        };
        text.push_str(&branch(&from, number, target, &options(spec, target)));
        before = Some(target);
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

/// Whether a picture is at least as large as another, both ways.
fn holds(larger: &VideoTarget, smaller: &VideoTarget) -> bool {
    larger.width >= smaller.width && larger.height >= smaller.height
}

/// A rendition, from the pictures of the tee `from`; its own come out of one, too, for a smaller
/// rendition costs less and looks no worse when it is made of these.
fn branch(from: &str, number: usize, target: &VideoTarget, options: &str) -> String {
    format!(
        " {from}. ! queue max-size-buffers=4 max-size-bytes=0 max-size-time=0 ! \
         {} ! video/x-raw,format=I420,width={},height={},pixel-aspect-ratio=1/1 ! \
         tee name=sized{number} sized{number}. ! identity name=raw{number} ! \
         x264enc speed-preset=veryfast pass=cbr bitrate={} vbv-buf-capacity=2000 \
         key-int-max={KEY_FRAME_DISTANCE_MAX} threads=1 option-string={options} ! \
         video/x-h264,profile=high,stream-format=avc,alignment=au ! h264parse name=parse{number} ! \
         cmafmux name=mux{number} manual-split=true send-force-keyunit=false ! \
         appsink name=out{number} buffer-list=true sync=false async=false max-buffers=2",
        resize::NAME,
        target.width,
        target.height,
        target.bitrate_kbps,
    )
}

/// What x264 has by other names than its element, or by none.
fn options(spec: &EncodeSpec, target: &VideoTarget) -> String {
    let mut options = "scenecut=0:open-gop=0".to_owned();
    if spec.first_segment > 0 {
        options.push_str(&format!(":vbv-init={LATER_BUFFER}"));
    }
    // The preset's would keep half a gigabyte of pictures.
    let pixels = u64::from(target.width) * u64::from(target.height);
    if pixels > LONG_LOOK_AHEAD_PIXELS_MAX {
        options.push_str(&format!(":rc-lookahead={LARGE_LOOK_AHEAD}"));
    }
    options
}

/// The rate the conductor asked for; 30 when it did not know.
pub(crate) fn frame_rate(target: &VideoTarget) -> Rate {
    match (target.frame_rate_num, target.frame_rate_den) {
        (0, _) | (_, 0) => Rate { num: 30, den: 1 },
        (num, den) => Rate { num, den },
    }
}
