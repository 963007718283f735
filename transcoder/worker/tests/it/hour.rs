//! An hour: sound and picture are together at its start and at its end.

use std::collections::BTreeMap;

use axum::body::Bytes;
use protocol::task::Spec;
use protocol::{AudioSpec, EncodeSpec, ProbeResult};

use crate::encode::encoded;
use crate::media::painted_at;
use crate::planned::{best, chunks, plan};
use crate::probe::probed;
use crate::sync::{heard, seen};
use crate::worker::Run;

const HOUR_S: u64 = 3600;
/// How many seconds at either end have flashes.
const FLASHES: u64 = 12;
/// How far a flash and its beep may be apart.
const APART_MS_MAX: u64 = 10;
/// How far a beep may be from where it is in the source.
const SAMPLES_APART_MAX: u64 = 48;

/// The first picture of NTSC that is shown at this second or after it.
fn picture_at(second: u64) -> u64 {
    (second * 30_000).div_ceil(1001)
}

fn shown_ns(picture: u64) -> u64 {
    picture * 1001 * 1_000_000_000 / 30_000
}

/// An hour of NTSC: a beep with every second, and at either end a flash with every second, for
/// three pictures. Between them a picture comes every ten seconds.
fn film() -> Bytes {
    let grey = |luma: u8| [vec![luma; 64 * 48], vec![128; 2 * 32 * 24]].concat();
    let mut pictures = vec![];
    for second in 0..HOUR_S {
        let first = picture_at(second);
        if (FLASHES..HOUR_S - FLASHES).contains(&second) {
            if second % 10 == 0 {
                pictures.push((shown_ns(first), grey(16)));
            }
            continue;
        }
        for picture in first..picture_at(second + 1) {
            let luma = if picture < first + 3 { 235 } else { 16 };
            pictures.push((shown_ns(picture), grey(luma)));
        }
    }
    painted_at(
        "appsrc name=in caps=video/x-raw,format=I420,width=64,height=48,framerate=30000/1001 ! \
         x264enc speed-preset=ultrafast tune=zerolatency key-int-max=30 ! h264parse ! \
         queue max-size-time=0 ! mux. \
         audiotestsrc num-buffers=3600 samplesperbuffer=48000 wave=ticks ! \
         audio/x-raw,rate=48000,channels=1 ! audioconvert ! flacenc quality=0 ! \
         queue max-size-time=0 max-size-buffers=0 ! mux. \
         matroskamux name=mux ! filesink name=out",
        &pictures,
    )
}

/// Its pictures: of the first chunk and of the last one.
async fn ends_of_pictures(found: &ProbeResult, source: &Bytes) -> Vec<u8> {
    let plan = plan(found);
    let chunks = chunks(&plan);
    let mut stitched = vec![];
    for chunk in [chunks[0], chunks[chunks.len() - 1]] {
        let spec = EncodeSpec {
            boundaries_us: plan.boundaries_us.clone(),
            targets: vec![best(&plan)],
            source: found.video.clone(),
            duration_ms: found.duration_ms,
            first_segment: chunk.first,
            segments: chunk.segments.unwrap_or(0),
        };
        let mut run = Run::begin(Spec::Encode(spec), source.clone()).await;
        encoded(&mut run).await;
        append(&mut stitched, &run, "made", |_| true);
    }
    stitched
}

/// Its sound: made as a whole, of which both ends are looked at.
async fn ends_of_sound(found: &ProbeResult, source: &Bytes) -> Vec<u8> {
    let spec = AudioSpec {
        boundaries_us: plan(found).boundaries_us,
        rendition: "audio".to_owned(),
        bitrate_kbps: 128,
        channels: 2,
        sample_rate: 48_000,
        published: 0,
        source: found.audio.clone(),
        duration_ms: found.duration_ms,
    };
    let mut run = Run::begin(Spec::Audio(spec), source.clone()).await;
    let frames = encoded(&mut run).await.samples;
    // To the sample, but for what fills the last frame.
    assert_eq!(frames, (HOUR_S * 48_000).div_ceil(1024));
    let mut stitched = vec![];
    append(&mut stitched, &run, "audio", |time| {
        let second = time / 48_000;
        // What comes first behind a gap is heard without what it overlaps with.
        second < FLASHES || second + FLASHES + 4 >= HOUR_S
    });
    stitched
}

/// Appends the segments that begin at these times.
fn append(film: &mut Vec<u8>, run: &Run, rendition: &str, wanted: impl Fn(u64) -> bool) {
    if film.is_empty() {
        let init = run.desk.told.lock().unwrap().inits[rendition].name.clone();
        film.extend_from_slice(&run.store.object(&init));
    }
    for segment in run.segments(rendition) {
        if wanted(segment.time) {
            film.extend_from_slice(&run.store.object(&segment.name));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_is_in_sync_at_its_start_and_at_its_end() {
    let source = tokio::task::spawn_blocking(film).await.unwrap();
    let found = probed(source.clone()).await;
    assert!((HOUR_S * 1000..HOUR_S * 1000 + 100).contains(&found.duration_ms));
    let (pictures, sound) = tokio::join!(
        ends_of_pictures(&found, &source),
        ends_of_sound(&found, &source)
    );
    let beeps = heard(&sound, "qtdemux ! aacparse ! avdec_aac");
    // Around a second there is one beep; that at 0 is the encoder's to lose.
    let beeps: BTreeMap<u64, u64> = beeps
        .into_iter()
        .map(|at| ((at + 24_000) / 48_000, at))
        .collect();
    let (mut at_start, mut at_end) = (0, 0);
    for flash_ms in seen(&pictures) {
        let second = (flash_ms + 500) / 1000;
        if second == 0 {
            continue;
        }
        assert_eq!(flash_ms, shown_ns(picture_at(second)) / 1_000_000);
        let beep = beeps[&second];
        assert!(
            beep.abs_diff(second * 48_000) <= SAMPLES_APART_MAX,
            "the beep of second {second} is heard at sample {beep}"
        );
        // In the source the flash comes up to a picture after the beep.
        let meant_ms = shown_ns(picture_at(second)) / 1_000_000 - second * 1000;
        let apart_ms = (flash_ms - beep / 48).abs_diff(meant_ms);
        assert!(apart_ms <= APART_MS_MAX, "second {second}: {apart_ms} ms");
        match second < HOUR_S / 2 {
            true => at_start += 1,
            false => at_end += 1,
        }
    }
    assert!(at_start >= 3, "{at_start} flashes at the start");
    assert_eq!(at_end, FLASHES);
}
