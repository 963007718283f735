//! The elements between the decoder and the fragments.
//!
//! # Invariants
//!
//! * Pictures are 8-bit 4:2:0, square-pixelled, upright, progressive and at a constant
//!   rate before they are scaled.
//! * Queues hold at most a few pictures: memory stays bounded by the ladder.

use gst::prelude::*;
use gstreamer as gst;
use protocol::{EncodeSpec, Video, VideoTarget};

use super::colour;
use super::front_end::missing;
use super::timeline::{self, Clock, First};
use crate::failure::Failure;

/// Above any segment that is planned, so that only asked-for key frames appear.
const KEY_FRAME_DISTANCE_MAX: u32 = 2_000;

/// The branch for these targets, as a bin with one sink pad.
pub(crate) fn build(spec: &EncodeSpec, clock: Clock) -> Result<gst::Bin, Failure> {
    let source = spec.source.clone().unwrap_or_default();
    let rate = spec
        .targets
        .iter()
        .map(frame_rate)
        .max_by(|a, b| compare(*a, *b))
        .unwrap_or((30, 1));
    let mut text = format!(
        "queue max-size-buffers=4 max-size-bytes=0 max-size-time=0 ! {} ! \
         identity name=first silent=true ! videorate ! \
         video/x-raw,framerate={}/{} ! tee name=tee",
        upright(&source),
        rate.0,
        rate.1
    );
    for (number, target) in spec.targets.iter().enumerate() {
        text.push_str(&branch(number, target, rate));
    }
    let bin = gst::parse::bin_from_description(&text, true).map_err(|error| {
        eprintln!("the video graph was refused: {error}");
        missing("x264enc")
    })?;
    let first = bin
        .by_name("first")
        .and_then(|first| first.static_pad("src"));
    timeline::restamp(
        &first.ok_or_else(|| missing("identity"))?,
        clock,
        First::FromZero,
    );
    Ok(bin)
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

fn branch(number: usize, target: &VideoTarget, rate: (u32, u32)) -> String {
    let (num, den) = frame_rate(target);
    let slower = if (num, den) == rate {
        String::new()
    } else {
        format!("videorate ! video/x-raw,framerate={num}/{den} ! ")
    };
    format!(
        " tee. ! queue max-size-buffers=4 max-size-bytes=0 max-size-time=0 ! {slower}\
         videoconvertscale method=catrom add-borders=false ! \
         video/x-raw,format=I420,width={},height={},pixel-aspect-ratio=1/1 ! \
         queue name=raw{number} max-size-buffers=4 max-size-bytes=0 max-size-time=0 ! \
         x264enc speed-preset=veryfast pass=cbr bitrate={} vbv-buf-capacity=2000 \
         key-int-max={KEY_FRAME_DISTANCE_MAX} threads=0 option-string=scenecut=0:open-gop=0 ! \
         video/x-h264,profile=high,stream-format=avc,alignment=au ! h264parse name=parse{number} ! \
         cmafmux manual-split=true send-force-keyunit=false ! \
         appsink name=out{number} buffer-list=true sync=false async=false max-buffers=2",
        target.width, target.height, target.bitrate_kbps,
    )
}

/// The rate the conductor asked for; 30 when it did not know.
pub(crate) fn frame_rate(target: &VideoTarget) -> (u32, u32) {
    match (target.frame_rate_num, target.frame_rate_den) {
        (0, _) | (_, 0) => (30, 1),
        rate => rate,
    }
}

fn compare(a: (u32, u32), b: (u32, u32)) -> std::cmp::Ordering {
    (u64::from(a.0) * u64::from(b.1)).cmp(&(u64::from(b.0) * u64::from(a.1)))
}
