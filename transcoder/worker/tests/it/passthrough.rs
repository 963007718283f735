//! Sources that players play already: probed, and passed through as the probe says.

use axum::body::Bytes;
use kinolog_worker::failure::Code;
use protocol::task::Spec;
use protocol::{EncodeResult, PassthroughSpec, PassthroughTarget, ProbeResult};

use crate::encode::{encoded, film as published, follow_each_other};
use crate::media::{film, mp4, sound, turned};
use crate::played;
use crate::probe::{probe, probed};
use crate::worker::Run;

/// Values of one frame of stereo AAC.
const FRAME_VALUES: usize = 2 * 1024;

fn target(rendition: &str) -> PassthroughTarget {
    PassthroughTarget {
        rendition: rendition.to_owned(),
        published: 0,
    }
}

/// All of it that can be, as it was probed.
pub fn passthrough(found: &ProbeResult) -> PassthroughSpec {
    let has_cuts = !found.cuts_us.is_empty();
    let audio = found.audio.as_ref().filter(|audio| audio.as_is);
    PassthroughSpec {
        boundaries_us: match has_cuts {
            true => found.cuts_us.clone(),
            false => (0..found.duration_ms * 1000).step_by(2_000_000).collect(),
        },
        video: has_cuts.then(|| target("top")),
        audio: audio.map(|_| target("audio")),
        duration_ms: found.duration_ms,
    }
}

/// Pictures in closed groups of 2 s at 30 a second, with B-frames.
fn pictures(count: u32, rate: &str) -> String {
    encoded_by(
        count,
        &format!("format=I420,framerate={rate}"),
        "key-int-max=60 bframes=3 b-adapt=false",
    )
}

fn encoded_by(count: u32, caps: &str, encoder: &str) -> String {
    format!(
        "videotestsrc num-buffers={count} pattern=ball ! video/x-raw,width=160,height=90,{caps} ! \
         x264enc speed-preset=veryfast {encoder} ! h264parse ! queue ! mux. "
    )
}

async fn passed(source: &Bytes) -> (ProbeResult, EncodeResult, Run) {
    let found = probed(source.clone()).await;
    let spec = Spec::Passthrough(passthrough(&found));
    let mut run = Run::begin(spec, source.clone()).await;
    let result = encoded(&mut run).await;
    (found, result, run)
}

/// Whoever watches gets the same pictures and the same sound, each at the same time.
fn is_the_same(run: &Run, source: &[u8]) {
    let inits: Vec<String> = run
        .desk
        .told
        .lock()
        .unwrap()
        .inits
        .keys()
        .cloned()
        .collect();
    assert!(!inits.is_empty());
    for rendition in inits {
        follow_each_other(&run.segments(&rendition));
        let film = published(run, &rendition);
        if rendition == "top" {
            assert_eq!(played::pictures(source), played::pictures(&film));
            continue;
        }
        let (before, after) = (played::sound(source), played::sound(&film));
        assert_eq!(before.0, after.0, "it begins at the same time");
        // What an edit cuts off the end of the last frame, in units of another clock, stays.
        let longer = after.1.len() - before.1.len();
        assert!(longer <= 2 * FRAME_VALUES, "{longer} values more");
        assert!(
            after.1.starts_with(&before.1),
            "of {} values",
            before.1.len()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_in_comes_out() {
    let source = mp4(&(pictures(200, "30/1") + &sound(312)));
    let (found, result, run) = passed(&source).await;
    assert_eq!(found.cuts_us, [0, 2_000_000, 4_000_000, 6_000_000]);
    assert!(found.audio.unwrap().as_is);
    assert_eq!((result.samples, result.duration_ms), (200, 6666));
    is_the_same(&run, &source);

    let top = run.segments("top");
    let samples: Vec<u32> = top.iter().map(|segment| segment.samples).collect();
    assert_eq!(samples, [60, 60, 60, 20]);
    let told = run.desk.told.lock().unwrap();
    assert!(
        told.inits["top"].codec.starts_with("avc1.64"),
        "{:?}",
        told.inits
    );
    let audio = &told.inits["audio"];
    assert_eq!(
        (audio.codec.as_str(), audio.timescale),
        ("mp4a.40.2", 48_000)
    );
    drop(told);
    let read = *run.store.read_bytes.lock().unwrap();
    assert!(
        read <= source.len() as u64,
        "{read} of {} bytes",
        source.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn other_rates_profiles_and_an_index_at_the_end_are_passed_through() {
    for (rate, profile, settings) in [
        ("30000/1001", "high", "movie-timescale=600"),
        ("25/1", "main", "faststart=true"),
        ("24000/1001", "high", "movie-timescale=1000"),
        ("60/1", "constrained-baseline", "movie-timescale=90000"),
    ] {
        let caps = format!("! h264parse ! video/x-h264,profile={profile} !");
        let pictures = pictures(140, rate).replace("! h264parse !", &caps);
        let tracks = pictures + &sound(120);
        let source = film(&format!(
            "{tracks} mp4mux name=mux {settings} ! filesink name=out"
        ));
        let (found, result, run) = passed(&source).await;
        assert!(!found.cuts_us.is_empty(), "{rate}");
        assert_eq!(result.samples, 140, "{rate}");
        is_the_same(&run, &source);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_alone_and_sound_alone_are_passed_through() {
    let source = mp4(&pictures(90, "30/1"));
    let (_, result, run) = passed(&source).await;
    assert_eq!(result.samples, 90);
    is_the_same(&run, &source);

    let source = mp4(&sound(235));
    let (found, result, run) = passed(&source).await;
    assert!(found.cuts_us.is_empty());
    assert!(
        result.duration_ms.abs_diff(found.duration_ms) < 100,
        "{result:?} {found:?}"
    );
    assert_eq!(run.segments("audio").len(), 3);
    is_the_same(&run, &source);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_players_would_stumble_over_is_encoded() {
    let pictures = |caps: &str, encoder: &str| mp4(&encoded_by(450, caps, encoder));
    let thirty = "format=I420,framerate=30/1";
    let closed = "key-int-max=60 bframes=2";
    let varying = format!(
        "videotestsrc num-buffers=450 ! video/x-raw,width=160,height=90,{thirty} ! \
         identity drop-probability=0.3 ! x264enc speed-preset=veryfast {closed} ! h264parse ! mux. "
    );
    let woven = format!(
        "videotestsrc num-buffers=450 ! video/x-raw,format=I420,width=160,height=96,framerate=60/1 ! \
         interlace field-pattern=1:1 ! x264enc speed-preset=veryfast {closed} interlaced=true ! \
         h264parse ! mux. "
    );
    for (what, source) in [
        (
            "open groups",
            pictures(thirty, "key-int-max=60 bframes=2 option-string=open-gop=1"),
        ),
        (
            "long groups",
            pictures(thirty, "key-int-max=450 option-string=scenecut=0"),
        ),
        (
            "10 bits",
            pictures("format=I420_10LE,framerate=30/1", closed),
        ),
        ("4:2:2", pictures("format=Y42B,framerate=30/1", closed)),
        (
            "HDR",
            pictures(&format!("colorimetry=bt2100-pq,{thirty}"), closed),
        ),
        (
            "wide pixels",
            pictures(&format!("pixel-aspect-ratio=2/1,{thirty}"), closed),
        ),
        (
            "fast pictures",
            pictures("format=I420,framerate=120/1", closed),
        ),
        ("varying rate", mp4(&varying)),
        ("fields", mp4(&woven)),
        ("a turned camera", turned(&pictures(thirty, closed))),
    ] {
        let found = probed(source).await;
        assert!(found.video.is_some(), "{what}");
        assert_eq!(found.cuts_us, Vec::<u64>::new(), "{what}");
    }
    let found = probed(pictures(thirty, closed)).await;
    assert_eq!(
        found.cuts_us.len(),
        8,
        "all of these are for one reason: {found:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_that_is_not_what_players_play_is_encoded() {
    let source = |rate: u32, channels: u32, encoder: &str| {
        mp4(&format!(
            "audiotestsrc num-buffers=200 samplesperbuffer=1024 ! \
             audio/x-raw,rate={rate},channels={channels} ! audioconvert ! {encoder} ! queue ! mux. "
        ))
    };
    for (expected, rate, channels, encoder) in [
        (true, 44_100, 1, "avenc_aac ! aacparse"),
        (false, 32_000, 2, "avenc_aac ! aacparse"),
        (false, 48_000, 6, "avenc_aac ! aacparse"),
        (false, 48_000, 2, "lamemp3enc ! mpegaudioparse"),
    ] {
        let found = probed(source(rate, channels, encoder)).await;
        let audio = found.audio.unwrap();
        assert_eq!(audio.as_is, expected, "{rate} {channels} {encoder}");
        assert!(audio.bitrate_kbps > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_already_is_not_made_again() {
    let source = mp4(&(pictures(300, "30/1") + &sound(469)));
    let mut spec = passthrough(&probed(source.clone()).await);
    spec.video.as_mut().unwrap().published = 4;
    spec.audio.as_mut().unwrap().published = 3;
    let mut run = Run::begin(Spec::Passthrough(spec), source).await;
    assert_eq!(encoded(&mut run).await.samples, 300, "of the whole film");
    let names = |rendition: &str| -> Vec<String> {
        run.segments(rendition)
            .into_iter()
            .map(|segment| segment.name)
            .collect()
    };
    assert_eq!(names("top"), ["top-00004.m4s"]);
    assert_eq!(names("audio"), ["audio-00003.m4s", "audio-00004.m4s"]);
    assert_eq!(run.segments("top")[0].samples, 60);
    let time = run.segments("audio")[0].time;
    assert!(
        (282 * 1024..=283 * 1024).contains(&time),
        "6 s and what was in front: {time}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_its_last_samples_is_truncated() {
    let whole = mp4(&(pictures(300, "30/1") + &sound(469)));
    let spec = Spec::Passthrough(passthrough(&probed(whole.clone()).await));
    // A file whose last box has no length is whole to whoever only looks at boxes.
    let mut bytes = whole.to_vec();
    let mdat = bytes.windows(4).rposition(|kind| kind == b"mdat").unwrap();
    bytes[mdat - 4..mdat].fill(0);
    bytes.truncate(bytes.len() * 2 / 3);
    for spec in [probe(), spec] {
        let failure = Run::begin(spec, Bytes::from(bytes.clone()))
            .await
            .failure()
            .await;
        assert_eq!(failure.code, Code::SourceTruncated.as_str());
        assert!(
            failure.message.contains("declared 10.0 s, found "),
            "{}",
            failure.message
        );
        assert!(failure.source_fault);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_picture_is_corrupt_and_what_is_before_it_is_published() {
    let whole = mp4(&pictures(300, "30/1"));
    let spec = passthrough(&probed(whole.clone()).await);
    let mut bytes = whole.to_vec();
    let mdat = bytes.windows(4).rposition(|kind| kind == b"mdat").unwrap();
    let middle = mdat + (bytes.len() - mdat) / 2;
    bytes[middle..middle + 4000].fill(0xff);
    let mut run = Run::begin(Spec::Passthrough(spec), bytes.into()).await;
    let failure = run.failure().await;
    assert_eq!(failure.code, Code::SourceCorrupt.as_str());
    assert!(
        failure.message.contains("the picture at "),
        "{}",
        failure.message
    );
    assert_eq!(run.segments("top").len(), 2);
}
