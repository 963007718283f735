//! Sound and picture stay together, whatever the times of the pictures are.

use axum::body::Bytes;
use protocol::task::Spec;

use crate::encode::{audio, encode, encoded, film as played, target};
use crate::judge;
use crate::media::{film, painted};
use crate::probe::probed;
use crate::worker::Run;

/// How far a flash and its beep may be apart.
const APART_MS_MAX: u64 = 10;

/// A beep a second, ten seconds long.
const BEEPS: &str = "audiotestsrc num-buffers=480 samplesperbuffer=1000 wave=ticks ! \
                     audio/x-raw,rate=48000,channels=1 ! audioconvert ! flacenc ! ";

/// Ten seconds: with each a flash begins, and a beep. Pictures between are shown for 100 to
/// 300 ms.
fn flashes() -> Bytes {
    let mut pictures = Vec::new();
    for second in 0..10 {
        for (ms, luma) in [
            (0, 235),
            (100, 16),
            (300, 16),
            (400, 16),
            (700, 16),
            (900, 16),
        ] {
            let planes = [vec![luma; 64 * 48], vec![128; 2 * 32 * 24]].concat();
            pictures.push((second * 1000 + ms, planes));
        }
    }
    painted(
        &format!(
            "appsrc name=in caps=video/x-raw,format=I420,width=64,height=48,framerate=0/1 ! \
             x264enc speed-preset=ultrafast bframes=0 ! h264parse ! queue ! mux. \
             {BEEPS} queue ! mux. \
             matroskamux name=mux ! filesink name=out"
        ),
        &pictures,
    )
}

/// When flashes begin, in ms.
pub fn seen(film: &[u8]) -> Vec<u64> {
    let pictures = judge::pictures(film).seen;
    let mut begins = Vec::new();
    let mut was_bright = false;
    for picture in pictures {
        let bright = picture.luma > 125.0;
        if bright && !was_bright {
            begins.push(picture.at_ns / 1_000_000);
        }
        was_bright = bright;
    }
    begins
}

/// When beeps begin, in samples: the first sound after half a second of silence.
pub fn heard(film: &[u8], decoder: &str) -> Vec<u64> {
    let samples = judge::decoded(
        film,
        &format!(
            "{decoder} ! audioconvert ! \
             audio/x-raw,format=S16LE,layout=interleaved,channels=1 ! appsink name=out sync=false"
        ),
    );
    let (mut begins, mut loud_at) = (Vec::new(), None);
    for sample in samples {
        // A decoder need not begin with the first frame, and not all frames need be there.
        let first = (judge::running_time_ns(&sample) * 48 + 500_000) / 1_000_000;
        let map = sample.buffer().unwrap().map_readable().unwrap();
        for (at, value) in (first..).zip(map.chunks_exact(2)) {
            if i16::from_le_bytes([value[0], value[1]]).unsigned_abs() > 4000 {
                if loud_at.is_none_or(|loud_at| at - loud_at > 24_000) {
                    begins.push(at);
                }
                loud_at = Some(at);
            }
        }
    }
    begins
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_rate_is_in_sync_at_its_start_and_at_its_end() {
    let source = flashes();
    let found = probed(source.clone()).await;
    let Spec::Encode(mut spec) = encode(found.duration_ms, &[target("made", 64, 48, "30/1")])
    else {
        panic!("not an encode");
    };
    spec.source = found.video;
    let mut run = Run::begin(Spec::Encode(spec), source.clone()).await;
    encoded(&mut run).await;
    let seen = seen(&played(&run, "made"));

    let mut run = Run::begin(audio(found.duration_ms), source).await;
    encoded(&mut run).await;
    let heard = heard(&played(&run, "audio"), "qtdemux ! aacparse ! avdec_aac");

    // The beep at 0 is the encoder's to lose.
    let last_nine = |begins: &[u64]| begins[begins.len() - 9..].to_vec();
    let in_ms = |samples: &[u64]| -> Vec<u64> { samples.iter().map(|at| at / 48).collect() };
    let apart = |made: &[u64], source: &[u64]| {
        let pairs = made.iter().zip(source);
        pairs.map(|(made, source)| made.abs_diff(*source)).max()
    };
    let flashes: Vec<u64> = (1..10).map(|second| second * 1000).collect();
    let beeps = film(&format!("{BEEPS} filesink name=out"));
    let beeps = last_nine(&in_ms(&self::heard(&beeps, "flacparse ! flacdec")));
    let (seen, heard) = (last_nine(&seen), last_nine(&in_ms(&heard)));
    let worst = (apart(&seen, &flashes), apart(&heard, &beeps));
    assert!(
        worst.0 <= Some(APART_MS_MAX / 2) && worst.1 <= Some(APART_MS_MAX / 2),
        "{seen:?} {heard:?} {beeps:?}"
    );
}
