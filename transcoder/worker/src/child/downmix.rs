//! More than two channels as two.
//!
//! ITU-R BS.775: each side hears its own front channel, the centre and its own surround at
//! -3 dB; low-frequency effects are left out. The sum is turned down as far as it takes to never
//! clip: 5.1 by 7.7 dB.
//!
//! # Invariants
//!
//! * No channel but that of low-frequency effects goes unheard.
//! * Full scale on every channel at once is full scale, not more.

use std::f64::consts::FRAC_1_SQRT_2;

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_audio::{AudioChannelPosition as Position, AudioInfo};

/// Tells `convert` how to mix, when it becomes known on `pad`, which is upstream of it, what
/// there is to be mixed.
pub(crate) fn to_stereo(pad: &gst::Pad, convert: &gst::Element) {
    let convert = convert.downgrade();
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        if let Some(gst::EventView::Caps(caps)) = info.event().map(|event| event.view())
            && let Ok(info) = AudioInfo::from_caps(caps.caps())
            && let Some(convert) = convert.upgrade()
        {
            let matrix = matrix(info.channels(), info.positions());
            if matrix.is_empty() {
                return gst::PadProbeReturn::Ok;
            }
            let rows = matrix
                .iter()
                .map(|row| gst::Array::new(row.iter().map(|share| *share as f32)).to_send_value());
            convert.set_property("mix-matrix", gst::Array::from_values(rows));
        }
        gst::PadProbeReturn::Ok
    });
}

/// What the left and the right get of each channel; nothing when the channels are ordinary.
fn matrix(channels: u32, positions: Option<&[Position]>) -> Vec<Vec<f64>> {
    if channels <= 2 {
        return vec![];
    }
    let shares: Vec<[f64; 2]> = match positions {
        Some(positions) => positions.iter().copied().map(share).collect(),
        // Nobody says what they are: by turns left and right.
        None => (0..channels)
            .map(|channel| {
                if channel % 2 == 0 {
                    [1.0, 0.0]
                } else {
                    [0.0, 1.0]
                }
            })
            .collect(),
    };
    let sum = |side: usize| shares.iter().map(|share| share[side]).sum::<f64>();
    let loudest = sum(0).max(sum(1)).max(1.0);
    [0, 1]
        .map(|side| shares.iter().map(|share| share[side] / loudest).collect())
        .into()
}

fn share(position: Position) -> [f64; 2] {
    const NEAR: f64 = FRAC_1_SQRT_2;
    match position {
        Position::FrontLeft => [1.0, 0.0],
        Position::FrontRight => [0.0, 1.0],
        Position::Lfe1 | Position::Lfe2 => [0.0, 0.0],
        Position::RearLeft
        | Position::SideLeft
        | Position::SurroundLeft
        | Position::FrontLeftOfCenter
        | Position::WideLeft
        | Position::TopFrontLeft
        | Position::TopRearLeft
        | Position::TopSideLeft
        | Position::BottomFrontLeft => [NEAR, 0.0],
        Position::RearRight
        | Position::SideRight
        | Position::SurroundRight
        | Position::FrontRightOfCenter
        | Position::WideRight
        | Position::TopFrontRight
        | Position::TopRearRight
        | Position::TopSideRight
        | Position::BottomFrontRight => [0.0, NEAR],
        Position::RearCenter | Position::TopRearCenter => [0.5, 0.5],
        // The centre, and whatever has no side.
        _ => [NEAR, NEAR],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIX: [Position; 6] = [
        Position::FrontLeft,
        Position::FrontRight,
        Position::FrontCenter,
        Position::Lfe1,
        Position::RearLeft,
        Position::RearRight,
    ];

    #[test]
    fn five_channels_are_mixed_as_bs_775_says() {
        let matrix = matrix(6, Some(&SIX));
        let down = 1.0 + 2.0 * FRAC_1_SQRT_2;
        let left = [1.0, 0.0, FRAC_1_SQRT_2, 0.0, FRAC_1_SQRT_2, 0.0].map(|share| share / down);
        let right = [0.0, 1.0, FRAC_1_SQRT_2, 0.0, 0.0, FRAC_1_SQRT_2].map(|share| share / down);
        assert_eq!(matrix, [left, right]);
    }

    #[test]
    fn full_scale_on_every_channel_is_full_scale() {
        for (channels, positions) in [(6, Some(SIX.as_slice())), (3, None), (4, None)] {
            for side in matrix(channels, positions) {
                let sum: f64 = side.iter().sum();
                assert!(sum <= 1.0 + 1e-9, "{channels}: {sum}");
            }
        }
    }

    #[test]
    fn one_channel_and_two_are_left_as_they_are() {
        assert!(matrix(1, None).is_empty());
        assert!(matrix(2, None).is_empty());
    }

    #[test]
    fn no_channel_goes_unheard_when_nobody_says_what_they_are() {
        let matrix = matrix(4, None);
        for (left, right) in matrix[0].iter().zip(&matrix[1]) {
            assert!(left + right > 0.0, "{matrix:?}");
        }
    }
}
