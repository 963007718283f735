//! What an encode publishes.

use kinolog_worker::fragment;
use protocol::task::Spec;
use protocol::{AudioSpec, EncodeResult, EncodeSpec, Segment, VideoTarget, finish_request};

use crate::media::{decoded, matroska, mp4, pictures, sound};
use crate::worker::Run;

pub fn target(rendition: &str, width: u32, height: u32, fps: &str) -> VideoTarget {
    let (num, den) = fps.split_once('/').unwrap();
    VideoTarget {
        rendition: rendition.to_owned(),
        width,
        height,
        bitrate_kbps: 200,
        frame_rate_num: num.parse().unwrap(),
        frame_rate_den: den.parse().unwrap(),
        published: 0,
    }
}

/// Segments of 2 s; a last piece that is shorter than half a second stays with the one before.
pub fn encode(duration_ms: u64, targets: &[VideoTarget]) -> Spec {
    Spec::Encode(EncodeSpec {
        boundaries_us: boundaries(duration_ms),
        targets: targets.to_vec(),
        source: None,
        duration_ms,
        first_segment: 0,
        segments: 0,
    })
}

fn boundaries(duration_ms: u64) -> Vec<u64> {
    (0..duration_ms.max(1))
        .step_by(2000)
        .filter(|ms| *ms == 0 || ms + 500 < duration_ms)
        .map(|ms| ms * 1000)
        .collect()
}

pub fn audio(duration_ms: u64) -> Spec {
    Spec::Audio(AudioSpec {
        boundaries_us: boundaries(duration_ms),
        rendition: "audio".to_owned(),
        bitrate_kbps: 128,
        channels: 2,
        sample_rate: 48_000,
        published: 0,
        source: None,
        duration_ms,
    })
}

pub async fn encoded(run: &mut Run) -> EncodeResult {
    match run.finish().await {
        finish_request::Result::Encode(result) => result,
        other => panic!("{other:?}"),
    }
}

pub fn follow_each_other(segments: &[Segment]) {
    let mut time = segments[0].time;
    for segment in segments {
        assert_eq!(segment.time, time, "{segments:?}");
        time += segment.duration;
    }
}

/// What a player gets: the init segment and all others behind it.
pub fn film(run: &Run, rendition: &str) -> Vec<u8> {
    let init = run.desk.told.lock().unwrap().inits[rendition].name.clone();
    let mut bytes = run.store.object(&init).to_vec();
    for segment in run.segments(rendition) {
        bytes.extend_from_slice(&run.store.object(&segment.name));
    }
    bytes
}

pub fn samples(segments: &[Segment]) -> u32 {
    segments.iter().map(|segment| segment.samples).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_renditions_begin_their_segments_at_the_same_pictures() {
    let source = mp4(&(pictures(150, 320, 180, "30/1") + &sound(235)));
    let targets = [
        target("180p", 320, 180, "30/1"),
        target("90p", 160, 90, "30/1"),
    ];
    let mut run = Run::begin(encode(5013, &targets), source).await;
    let result = encoded(&mut run).await;
    assert_eq!(result.samples, 150);
    assert!((4990..5040).contains(&result.duration_ms), "{result:?}");

    for target in &targets {
        let segments = run.segments(&target.rendition);
        let begins: Vec<(u64, u32)> = segments.iter().map(|s| (s.time, s.samples)).collect();
        assert_eq!(
            begins,
            [(0, 60), (6000, 60), (12_000, 30)],
            "{}",
            target.rendition
        );
        follow_each_other(&segments);
        let told = run.desk.told.lock().unwrap();
        let init = told.inits[&target.rendition].clone();
        drop(told);
        assert_eq!(init.timescale, 3000);
        assert!(init.codec.starts_with("avc1.6400"), "{}", init.codec);
        assert_eq!(decoded(&film(&run, &target.rendition)), (150, 0));
        // What was told is what was stored.
        let stored = fragment::read_init(&run.store.object(&init.name)).unwrap();
        assert_eq!(stored.codec, init.codec);
        for segment in &segments {
            let mut bytes = run.store.object(&segment.name).to_vec();
            assert_eq!(bytes.len() as u64, segment.size_bytes);
            let untouched = bytes.clone();
            let placed = fragment::place(&mut bytes, segment.time, 0).unwrap();
            assert_eq!(
                (placed.duration, placed.samples),
                (segment.duration, segment.samples)
            );
            assert_eq!(
                bytes, untouched,
                "the stored decode time is the published one"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rates_that_do_not_divide_leave_no_gap() {
    let source = matroska(&pictures(150, 160, 90, "30000/1001"));
    let mut run = Run::begin(
        encode(5005, &[target("90p", 160, 90, "30000/1001")]),
        source,
    )
    .await;
    encoded(&mut run).await;
    let segments = run.segments("90p");
    assert_eq!(samples(&segments), 150);
    follow_each_other(&segments);
    assert_eq!(segments[1].time, 60 * 1001);
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_sizes_and_a_slower_rate_are_made() {
    let source = matroska(&pictures(120, 322, 182, "60/1"));
    let mut run = Run::begin(encode(2000, &[target("top", 160, 90, "30/1")]), source).await;
    encoded(&mut run).await;
    let made = samples(&run.segments("top"));
    assert!((59..=61).contains(&made), "{made}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_is_cut_near_the_boundaries_and_complete() {
    let source = mp4(&(pictures(150, 160, 90, "30/1") + &sound(235)));
    let mut run = Run::begin(audio(5013), source).await;
    let result = encoded(&mut run).await;
    let segments = run.segments("audio");
    follow_each_other(&segments);
    assert_eq!(segments[0].time, 0);
    assert_eq!(segments[1].time, 94 * 1024);
    assert_eq!(segments.len(), 3);
    assert!(
        (234..=237).contains(&samples(&segments)),
        "{}",
        samples(&segments)
    );
    assert_eq!(u64::from(samples(&segments)), result.samples);
    let init = run.desk.told.lock().unwrap().inits["audio"].clone();
    assert_eq!((init.codec.as_str(), init.timescale), ("mp4a.40.2", 48_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_without_pictures_is_enough() {
    let source = mp4(&sound(100));
    let mut run = Run::begin(audio(2133), source).await;
    encoded(&mut run).await;
    assert!((99..=102).contains(&samples(&run.segments("audio"))));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_already_is_not_published_again() {
    let source = mp4(&pictures(180, 160, 90, "30/1"));
    let mut resumed = target("90p", 160, 90, "30/1");
    resumed.published = 2;
    let mut run = Run::begin(encode(6000, &[resumed]), source).await;
    let result = encoded(&mut run).await;
    assert_eq!(result.samples, 180, "all of it was encoded");
    let names: Vec<String> = run.segments("90p").into_iter().map(|s| s.name).collect();
    assert_eq!(names, ["90p-00002.m4s"]);
    assert_eq!(run.desk.told.lock().unwrap().from["90p"], 2);
    let objects = run.store.objects.lock().unwrap();
    let stored: Vec<&String> = objects.keys().collect();
    assert_eq!(stored, ["90p-00002.m4s", "90p-init.mp4"]);
}
