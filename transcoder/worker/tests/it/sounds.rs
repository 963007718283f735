//! What is heard: how loud each channel of a source is on either side.

use axum::body::Bytes;

use crate::encode::{audio, encoded, film as played};
use crate::judge;
use crate::media::painted;
use crate::probe::probed;
use crate::worker::Run;

/// Six channels, of which these sound at full scale: each a sine of its own frequency, so that
/// they do not cancel each other out.
fn surround(loud: &[u16], encoder: &str) -> Bytes {
    let sample = |at: u32, channel: u16| {
        let frequency = f64::from(400 + 130 * channel);
        let turn = f64::from(at) * frequency / 48_000.0;
        let value = (turn * std::f64::consts::TAU).sin();
        let value = if loud.contains(&channel) { value } else { 0.0 };
        ((value * 32_767.0) as i16).to_le_bytes()
    };
    let buffer = |number: u32| {
        let samples = number * 960..(number + 1) * 960;
        samples
            .flat_map(|at| (0..6).flat_map(move |channel| sample(at, channel)))
            .collect()
    };
    let buffers: Vec<_> = (0..50u32)
        .map(|number| (u64::from(number) * 20, buffer(number)))
        .collect();
    // 0x3f: front left and right, centre, low, back left and right.
    painted(
        &format!(
            "appsrc name=in caps=audio/x-raw,format=S16LE,layout=interleaved,rate=48000,channels=6,\
             channel-mask=(bitmask)0x3f ! audioconvert ! {encoder} ! matroskamux ! filesink name=out"
        ),
        &buffers,
    )
}

/// The loudness of the left and of the right, where 1 is a sine of full scale.
async fn heard(source: Bytes) -> [f64; 2] {
    let found = probed(source.clone()).await;
    assert_eq!(found.audio.unwrap().channels, 6);
    let mut run = Run::begin(audio(found.duration_ms), source).await;
    encoded(&mut run).await;
    loudness(&played(&run, "audio"))
}

fn loudness(film: &[u8]) -> [f64; 2] {
    let samples = judge::decoded(
        film,
        "qtdemux ! aacparse ! avdec_aac ! audioconvert ! \
         audio/x-raw,format=F32LE,layout=interleaved,channels=2 ! appsink name=out sync=false",
    );
    let (mut sums, mut count, mut highest) = ([0.0; 2], 0u32, 0f32);
    // The first frames and the last fade.
    for sample in &samples[4..samples.len() - 4] {
        let map = sample.buffer().unwrap().map_readable().unwrap();
        for pair in map.chunks_exact(8) {
            for side in 0..2 {
                let value = f32::from_le_bytes(pair[4 * side..4 * side + 4].try_into().unwrap());
                highest = highest.max(value.abs());
                sums[side] += f64::from(value * value);
            }
            count += 1;
        }
    }
    assert!(highest < 1.05, "it clips: {highest}");
    sums.map(|sum| (2.0 * sum / f64::from(count)).sqrt())
}

const FLAC: &str = "flacenc";
/// 1 / (1 + 2 / sqrt 2): the front; and 3 dB less.
const FRONT: f64 = 0.4142;
const BESIDE: f64 = 0.2929;

fn near(heard: [f64; 2], expected: [f64; 2]) {
    for side in 0..2 {
        let wrong = (heard[side] - expected[side]).abs();
        assert!(wrong < 0.02, "{heard:?} instead of {expected:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_centre_and_the_surrounds_are_heard() {
    near(heard(surround(&[0], FLAC)).await, [FRONT, 0.0]);
    near(heard(surround(&[2], FLAC)).await, [BESIDE, BESIDE]);
    near(heard(surround(&[4], FLAC)).await, [BESIDE, 0.0]);
    near(heard(surround(&[5], FLAC)).await, [0.0, BESIDE]);
    near(heard(surround(&[3], FLAC)).await, [0.0, 0.0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn six_channels_at_full_scale_do_not_clip() {
    let all = heard(surround(&[0, 1, 2, 3, 4, 5], FLAC)).await;
    let power = (FRONT * FRONT + 2.0 * BESIDE * BESIDE).sqrt();
    // An encoder has its limits with that.
    for side in all {
        assert!((0.9 * power..1.02 * power).contains(&side), "{all:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_channels_of_ac_3_are_where_they_belong() {
    let ac3 = "avenc_ac3 bitrate=448000";
    near(heard(surround(&[2], ac3)).await, [BESIDE, BESIDE]);
    // The converter in front of this encoder turns the back down before it calls it the sides.
    let [left, right] = heard(surround(&[5], ac3)).await;
    assert!(left < 0.01 && right > 0.2, "{left} {right}");
}
