//! How much memory the child of a task is expected to need at most.
//!
//! The estimate decides how many tasks a worker runs at once. It is made from the task alone, so
//! that it is known before anything was read:
//!
//! * every child: [`CHILD_MIB`], for the program, its libraries and what it reads ahead;
//! * one that decodes pictures: [`FRAMES_DECODED`] frames of the source;
//! * for each rendition it encodes: [`FRAMES_ENCODED`] frames of that.
//!
//! A frame is 1.5 bytes per pixel, 3 where the codec may have more than 8 bits per sample.
//!
//! Beside peaks that were measured (`VmHWM` of children, H.264 in, 20 s at 30 fps, the whole ladder
//! in each chunk), in MiB:
//!
//! | source | chunk: estimate | measured | poster: estimate | measured | probe: measured |
//! | --- | --- | --- | --- | --- | --- |
//! | 640×360 | 139 | 134 | 107 | 83 | – |
//! | 1920×1080 | 642 | 479 | 318 | 197 | 24 |
//! | 3840×2160 | 2382 | 1332 | 1030 | 563 | 21 |
//!
//! The chunks of 2160p were looked at while they ran (a minute of film, every 100 ms), with the look-ahead
//! of today; the other numbers are older.
//! At 2160p the estimate is for more than 8 bits per sample, which H.264 may have and rarely has.

use domain::{
    id::RenditionId,
    job::Job,
    media::{Kind, VideoTrack},
    plan::Spec,
};

const CHILD_MIB: u64 = 80;
/// The decoder's reference frames and threads, and the queues behind it.
const FRAMES_DECODED: u64 = 40;
/// The queue before the encoder, its look-ahead and its references.
const FRAMES_ENCODED: u64 = 60;

pub(crate) fn mib(job: &Job, spec: &Spec) -> u32 {
    let source = job.media.as_ref().and_then(|media| media.video.as_ref());
    let decoded = FRAMES_DECODED * source.map_or(0, frame_bytes);
    let bytes = match spec {
        Spec::Probe | Spec::Passthrough { .. } | Spec::Audio { .. } | Spec::Finish => 0,
        Spec::Poster { .. } => decoded,
        Spec::Encode { renditions, .. } => {
            let encoded = renditions.iter().map(|id| pixels(job, id) * 3 / 2);
            decoded + FRAMES_ENCODED * encoded.sum::<u64>()
        }
    };
    u32::try_from(CHILD_MIB + bytes.div_ceil(1 << 20)).unwrap_or(u32::MAX)
}

fn frame_bytes(video: &VideoTrack) -> u64 {
    let pixels = u64::from(video.width) * u64::from(video.height);
    let has_only_8_bits = ["video/mpeg", "video/x-h263", "image/jpeg"];
    match has_only_8_bits.contains(&video.codec.as_str()) {
        true => pixels * 3 / 2,
        false => pixels * 3,
    }
}

fn pixels(job: &Job, id: &RenditionId) -> u64 {
    let rendition = job.renditions.get(id).map(|published| &published.rendition);
    match rendition.map(|rendition| &rendition.kind) {
        Some(Kind::Video { width, height, .. }) => u64::from(*width) * u64::from(*height),
        Some(Kind::Audio { .. }) | None => 0,
    }
}
