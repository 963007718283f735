//! What of a source is already as players want it, and becomes a rendition without encoding.
//!
//! # Invariants
//!
//! * The worker says what a track is; whether that is good enough is decided here.
//! * Cuts come from a process that has read a stranger's file: they are checked.

use crate::{
    ladder,
    media::{AudioTrack, Kind, Media, Rendition, VideoTrack},
};

/// The longest from one key frame to the next: a segment cannot be shorter than that.
const CUT_US_MAX: u64 = 10_000_000;
/// One frame at the slowest rate, and the rounding of containers.
const SLACK_US: u64 = 100_000;

/// Where the picture is cut, if it is passed through.
pub(super) fn cuts(media: &Media, cuts_us: &[u64]) -> Option<Vec<u64>> {
    let video = media.video.as_ref()?;
    let rate = video.frame_rate?;
    let is_upright = video.rotation == 0
        && (video.width, video.height) == (video.display_width, video.display_height)
        && !video.interlaced;
    let is_a_rung = ladder::of(video).first().is_some_and(|top| {
        matches!(top.kind, Kind::Video { width, height, .. } if (width, height) == (video.width, video.height))
    });
    let is_slow_enough = !ladder::is_faster(rate, ladder::FRAME_RATE_MAX);
    let end_us = media.duration_ms * 1000;
    let ends = cuts_us.iter().skip(1).copied().chain([end_us]);
    let are_close = cuts_us
        .iter()
        .zip(ends)
        .all(|(begin, end)| *begin < end && end - *begin <= CUT_US_MAX + SLACK_US);
    let is_good = is_upright && is_a_rung && is_slow_enough && are_close;
    (is_good && cuts_us.first() == Some(&0)).then(|| cuts_us.to_vec())
}

/// The top of the ladder is the source itself, and nothing below it takes more than it does.
pub(super) fn into_ladder(ladder: &mut [Rendition], video: &VideoTrack) {
    if video.bitrate_kbps == 0 {
        return;
    }
    let Some((top, others)) = ladder.split_first_mut() else {
        return;
    };
    top.bitrate_kbps = video.bitrate_kbps;
    for rendition in others {
        rendition.bitrate_kbps = rendition.bitrate_kbps.min(video.bitrate_kbps);
    }
}

/// The rendition of a sound that is passed through.
pub(super) fn sound(audio: &AudioTrack) -> Option<Rendition> {
    let encoded = ladder::audio();
    audio.as_is.then_some(Rendition {
        id: encoded.id,
        bitrate_kbps: match audio.bitrate_kbps {
            0 => encoded.bitrate_kbps,
            known => known,
        },
        kind: Kind::Audio {
            channels: audio.channels,
            sample_rate: audio.sample_rate,
        },
    })
}
