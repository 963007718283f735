//! The ladder: which renditions a picture deserves.
//!
//! # Invariants
//!
//! * Nothing is larger than the source; sizes are even; the aspect is kept.
//! * Rungs go by the shorter side of the displayed picture.

use crate::{
    id::RenditionId,
    media::{Kind, Ratio, Rendition, VideoTrack},
};

/// Short side and kb/s at up to 30 fps.
pub const RUNGS: [(u32, u32); 8] = [
    (144, 200),
    (240, 400),
    (360, 800),
    (480, 1400),
    (720, 2800),
    (1080, 5000),
    (1440, 9000),
    (2160, 16000),
];

pub const FRAME_RATE_MAX: u32 = 60;
const AUDIO_KBPS: u32 = 128;
const AUDIO_RATE: u32 = 48_000;
/// A poster's shorter side.
const POSTER_SHORT_SIDE_MAX: u32 = 720;

/// The video renditions of a source, largest first.
pub fn of(video: &VideoTrack) -> Vec<Rendition> {
    let short = even(video.display_width.min(video.display_height));
    let frame_rate = frame_rate(video);
    let mut sides: Vec<u32> = RUNGS
        .iter()
        .map(|(side, _)| *side)
        .filter(|side| *side <= short)
        .collect();
    // A source between two rungs, or under the lowest, is its own top rung.
    let highest = RUNGS[RUNGS.len() - 1].0;
    if short < highest && !sides.contains(&short) {
        sides.push(short);
    }
    sides
        .iter()
        .rev()
        .map(|side| rendition(video, *side, frame_rate))
        .collect()
}

/// What the outputs run at: the source's own rate, at most 60; 30 where it is unknown.
pub fn frame_rate(video: &VideoTrack) -> Ratio {
    let rate = match video.frame_rate {
        Some(rate) if rate.num > 0 && rate.den > 0 => rate,
        Some(_) | None => Ratio { num: 30, den: 1 },
    };
    if is_faster(rate, FRAME_RATE_MAX) {
        return Ratio {
            num: FRAME_RATE_MAX,
            den: 1,
        };
    }
    rate
}

pub fn audio() -> Rendition {
    Rendition {
        id: RenditionId("audio".to_owned()),
        bitrate_kbps: AUDIO_KBPS,
        kind: Kind::Audio {
            channels: 2,
            sample_rate: AUDIO_RATE,
        },
    }
}

pub fn poster_size(video: &VideoTrack) -> (u32, u32) {
    let short = video.display_width.min(video.display_height).max(2);
    scaled(video, short.min(POSTER_SHORT_SIDE_MAX))
}

fn rendition(video: &VideoTrack, side: u32, frame_rate: Ratio) -> Rendition {
    let (width, height) = scaled(video, side);
    let base = bitrate(side);
    let bitrate_kbps = if is_faster(frame_rate, 30) {
        base * 3 / 2
    } else {
        base
    };
    Rendition {
        id: RenditionId(format!("{side}p")),
        bitrate_kbps,
        kind: Kind::Video {
            width,
            height,
            frame_rate,
        },
    }
}

fn even(length: u32) -> u32 {
    (length / 2 * 2).max(2)
}

pub(crate) fn is_faster(rate: Ratio, fps: u32) -> bool {
    u64::from(rate.num) > u64::from(fps) * u64::from(rate.den)
}

/// The picture with `side` as its shorter side, in even sizes.
fn scaled(video: &VideoTrack, side: u32) -> (u32, u32) {
    let (width, height) = (video.display_width.max(1), video.display_height.max(1));
    let short = width.min(height);
    let scale = |length: u32| {
        let exact = f64::from(length) * f64::from(side) / f64::from(short);
        (((exact / 2.0).round() as u32) * 2).max(2)
    };
    // Rounding up must not make it larger than the source.
    (
        scale(width).min(even(width)),
        scale(height).min(even(height)),
    )
}

/// By the rung, or between two rungs in proportion to the side.
fn bitrate(side: u32) -> u32 {
    let above = RUNGS.iter().position(|(rung, _)| *rung >= side);
    match above {
        Some(0) => RUNGS[0].1,
        Some(index) => {
            let (low, high) = (RUNGS[index - 1], RUNGS[index]);
            low.1 + (high.1 - low.1) * (side - low.0) / (high.0 - low.0)
        }
        None => RUNGS[RUNGS.len() - 1].1,
    }
}

#[cfg(test)]
mod tests;
