//! A film made in chunks is the film made in one piece.

use axum::body::Bytes;
use kinolog_worker::failure::Code;
use protocol::task::Spec;
use protocol::{EncodeSpec, Init, Segment, VideoTarget};

use crate::counted::{self, HEIGHT, Shown, WIDTH, every, shown};
use crate::encode::{encoded, samples, target};
use crate::media::{self, sound};
use crate::worker::Run;

/// How much less like the source a picture at a seam may be than in a single piece, in dB:
/// an encoder that begins anew knows nothing of what came before.
const PSNR_MARGIN_DB: f64 = 1.5;
/// What is more like it than this is not told apart any more, in dB.
const PSNR_ENOUGH_DB: f64 = 45.0;
/// The pictures looked at on either side of a seam.
const AROUND: usize = 2;

/// A source, and how it is to be made.
pub struct Source {
    pub bytes: Bytes,
    pub rate: String,
    pub boundaries_us: Vec<u64>,
    pub duration_ms: u64,
}

impl Source {
    /// Segments of a second.
    fn new(bytes: Bytes, rate: &str, seconds: u64) -> Source {
        Source {
            bytes,
            rate: rate.to_owned(),
            boundaries_us: (0..seconds).map(|second| second * 1_000_000).collect(),
            duration_ms: seconds * 1000,
        }
    }

    fn spec(&self, first_segment: u32, segments: u32) -> EncodeSpec {
        let target = VideoTarget {
            bitrate_kbps: 300,
            ..target("made", WIDTH as u32, HEIGHT as u32, &self.rate)
        };
        EncodeSpec {
            boundaries_us: self.boundaries_us.clone(),
            targets: vec![target],
            source: None,
            duration_ms: self.duration_ms,
            first_segment,
            segments,
        }
    }

    pub async fn made(&self, first_segment: u32, segments: u32) -> Piece {
        let spec = Spec::Encode(self.spec(first_segment, segments));
        let mut run = Run::begin(spec, self.bytes.clone()).await;
        let result = encoded(&mut run).await;
        let segments = run.segments("made");
        assert_eq!(result.samples, u64::from(samples(&segments)));
        let init = run.desk.told.lock().unwrap().inits["made"].clone();
        let bytes = segments
            .iter()
            .flat_map(|segment| run.store.object(&segment.name))
            .collect();
        Piece {
            init_bytes: run.store.object(&init.name),
            init,
            segments,
            bytes,
        }
    }

    /// All of it, in chunks of so many segments.
    async fn in_chunks_of(&self, length: u32) -> Vec<Piece> {
        let count = self.boundaries_us.len() as u32;
        let mut pieces = Vec::new();
        for first in (0..count).step_by(length as usize) {
            pieces.push(self.made(first, length).await);
        }
        pieces
    }

    /// Makes it in one piece and in chunks, and compares. Returns the number of the picture of
    /// the source that each picture is.
    async fn has_no_seams(&self, lengths: &[u32]) -> Vec<u64> {
        let whole = self.made(0, 0).await;
        assert_eq!(whole.segments.len(), self.boundaries_us.len());
        let expected = shown(&[whole.init_bytes.as_ref(), &whole.bytes].concat());
        for length in lengths {
            let pieces = self.in_chunks_of(*length).await;
            compare(&whole, &expected, &pieces);
        }
        expected.iter().map(Shown::number).collect()
    }
}

/// What one task published.
pub struct Piece {
    pub init: Init,
    pub init_bytes: Bytes,
    pub segments: Vec<Segment>,
    pub bytes: Vec<u8>,
}

fn compare(whole: &Piece, expected: &[Shown], pieces: &[Piece]) {
    let mut stitched = whole.init_bytes.to_vec();
    let mut segments: Vec<Segment> = Vec::new();
    for piece in pieces {
        assert_eq!(piece.init, whole.init);
        assert_eq!(piece.init_bytes, whole.init_bytes, "one init serves all");
        stitched.extend_from_slice(&piece.bytes);
        segments.extend_from_slice(&piece.segments);
    }
    let times = |segments: &[Segment]| -> Vec<(String, u64, u64, u32)> {
        let all = segments.iter();
        all.map(|s| (s.name.clone(), s.time, s.duration, s.samples))
            .collect()
    };
    assert_eq!(times(&segments), times(&whole.segments));

    let made = shown(&stitched);
    let numbers = |all: &[Shown]| -> Vec<u64> { all.iter().map(Shown::number).collect() };
    assert_eq!(numbers(&made), numbers(expected));
    let moments = |all: &[Shown]| -> Vec<u64> { all.iter().map(|one| one.at_ns).collect() };
    assert_eq!(moments(&made), moments(expected));

    let mut seam = 0;
    for piece in pieces {
        let around = seam.max(AROUND) - AROUND..(seam + AROUND + 1).min(made.len());
        for picture in around {
            let (chunked, single) = (made[picture].psnr(), expected[picture].psnr());
            assert!(
                chunked + PSNR_MARGIN_DB >= single.min(PSNR_ENOUGH_DB),
                "picture {picture} at the seam before {seam}: {chunked:.2} dB, in one piece {single:.2} dB"
            );
        }
        seam += samples(&piece.segments) as usize;
    }
}

fn h264(options: &str, mux: &str) -> String {
    format!("x264enc {options} ! h264parse ! queue ! mux. {mux} name=mux")
}

/// Half a second of pictures between key frames, with B-frames that refer to others.
const CAMERA: &str = "key-int-max=15 bframes=3 b-pyramid=true speed-preset=veryfast bitrate=3000";

fn all_in_order(numbers: &[u64], count: u64) {
    assert_eq!(numbers, (0..count).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_film_of_30_pictures_a_second_has_no_seams() {
    let film = counted::film(&every(180, 30, 1), "30/1", &h264(CAMERA, "mp4mux"));
    let numbers = Source::new(film, "30/1", 6).has_no_seams(&[1, 4]).await;
    all_in_order(&numbers, 180);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_film_of_ntsc_has_no_seams() {
    let times = every(150, 30_000, 1001);
    let film = counted::film(&times, "30000/1001", &h264(CAMERA, "mp4mux"));
    let source = Source::new(film, "30000/1001", 5);
    all_in_order(&source.has_no_seams(&[2]).await, 150);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_matroska_film_of_25_pictures_a_second_has_no_seams() {
    let film = counted::film(&every(125, 25, 1), "25/1", &h264(CAMERA, "matroskamux"));
    let source = Source::new(film, "25/1", 5);
    all_in_order(&source.has_no_seams(&[2]).await, 125);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webm_film_of_24_pictures_a_second_has_no_seams() {
    let vp8 = "vp8enc deadline=1 cpu-used=8 target-bitrate=3000000 keyframe-max-dist=20 ! \
        queue ! mux. webmmux name=mux";
    let film = counted::film(&every(120, 24, 1), "24/1", vp8);
    let source = Source::new(film, "24/1", 5);
    all_in_order(&source.has_no_seams(&[2]).await, 120);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_film_of_60_pictures_a_second_has_no_seams() {
    let film = counted::film(&every(240, 60, 1), "60/1", &h264(CAMERA, "mp4mux"));
    let source = Source::new(film, "60/1", 4);
    all_in_order(&source.has_no_seams(&[3]).await, 240);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_film_of_120_pictures_a_second_has_no_seams_at_60() {
    let film = counted::film(&every(360, 120, 1), "120/1", &h264(CAMERA, "mp4mux"));
    let numbers = Source::new(film, "60/1", 3).has_no_seams(&[1]).await;
    assert_eq!(numbers, (0..360).step_by(2).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_film_of_a_variable_rate_has_no_seams() {
    // Long pictures and short ones, some across boundaries.
    let steps = [10, 33, 7, 120, 33, 34, 400, 15, 15, 33, 1300, 33, 5];
    let mut at_ms = 0;
    let mut times = Vec::new();
    for step in steps.iter().cycle() {
        times.push(at_ms * 1_000_000);
        at_ms += step;
        if at_ms > 5_900 {
            break;
        }
    }
    let film = counted::film(&times, "0/1", &h264(CAMERA, "matroskamux"));
    let mut source = Source::new(film, "30/1", 5);
    source.duration_ms = times.last().unwrap() / 1_000_000;
    let numbers = source.has_no_seams(&[1, 2]).await;
    // Each is the nearest one of those that are due within half a picture.
    const MS: u64 = 1_000_000;
    for (picture, number) in numbers.iter().enumerate().take(150) {
        let at = picture as u64 * 1_000_000_000 / 30;
        let due = at + 500_000_000 / 30;
        let distance = |time: &u64| time.abs_diff(at);
        let others = times.iter().filter(|time| **time + MS <= due);
        let nearest = others.map(distance).min().unwrap();
        let time = times[*number as usize];
        assert!(
            time <= due + MS && distance(&time) <= nearest + MS,
            "picture {picture} is number {number}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_film_of_one_key_frame_has_no_seams() {
    let options = "key-int-max=1000 bframes=3 option-string=scenecut=0 bitrate=3000";
    let film = counted::film(&every(150, 30, 1), "30/1", &h264(options, "mp4mux"));
    let source = Source::new(film, "30/1", 5);
    all_in_order(&source.has_no_seams(&[2]).await, 150);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_film_of_open_gops_has_no_seams() {
    let options = "key-int-max=20 bframes=3 option-string=open-gop=1 bitrate=3000";
    let film = counted::film(&every(150, 30, 1), "30/1", &h264(options, "mp4mux"));
    let source = Source::new(film, "30/1", 5);
    all_in_order(&source.has_no_seams(&[2]).await, 150);
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_that_begin_after_the_sound_have_no_seams() {
    // An edit shows nothing for half a second; the first picture is held there.
    let late: Vec<u64> = every(135, 30, 1)
        .iter()
        .map(|at| at + 500_000_000)
        .collect();
    let film = counted::film(&late, "30/1", &(h264(CAMERA, "mp4mux") + " " + &sound(235)));
    let numbers = Source::new(film, "30/1", 5).has_no_seams(&[2]).await;
    let held = std::iter::repeat_n(0, 15);
    assert_eq!(numbers, held.chain(0..135).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fragmented_film_has_no_seams() {
    let mux = "mp4mux fragment-duration=700";
    let film = counted::film(&every(150, 30, 1), "30/1", &h264(CAMERA, mux));
    let numbers = Source::new(film, "30/1", 5).has_no_seams(&[2]).await;
    // It says that its first picture is shown as late as it is reordered.
    assert_eq!(numbers[..5], [0, 0, 0, 1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_film_without_an_index_is_read_from_its_beginning() {
    let film = counted::film(&every(150, 30, 1), "30/1", &h264(CAMERA, "mpegtsmux"));
    let source = Source::new(film, "30/1", 5);
    all_in_order(&source.has_no_seams(&[2]).await, 150);

    let live = "matroskamux streamable=true";
    let film = counted::film(&every(150, 30, 1), "30/1", &h264(CAMERA, live));
    let source = Source::new(film, "30/1", 5);
    all_in_order(&source.has_no_seams(&[3]).await, 150);
}

#[tokio::test(flavor = "multi_thread")]
async fn boundaries_of_a_source_are_those_of_its_chunks() {
    // Key frames of the source, not whole seconds, and a last piece of two pictures.
    let film = counted::film(&every(152, 30, 1), "30/1", &h264(CAMERA, "mp4mux"));
    let mut source = Source::new(film, "30/1", 5);
    source.boundaries_us = vec![0, 500_000, 2_500_000, 3_000_000, 5_000_000];
    source.duration_ms = 5067;
    all_in_order(&source.has_no_seams(&[1, 2]).await, 152);
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_that_end_before_the_sound_are_held_in_every_chunk() {
    let film = counted::film(
        &every(75, 30, 1),
        "30/1",
        &(h264(CAMERA, "mp4mux") + " " + &sound(235)),
    );
    let numbers = Source::new(film, "30/1", 5).has_no_seams(&[2]).await;
    let held = std::iter::repeat_n(74, 75);
    assert_eq!(numbers, (0..75).chain(held).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_runs_dry_in_a_chunk_is_incomplete() {
    let film = counted::film(&every(75, 30, 1), "30/1", &h264(CAMERA, "matroskamux"));
    let source = Source::new(film, "30/1", 20);
    let spec = Spec::Encode(source.spec(1, 4));
    let mut run = Run::begin(spec, source.bytes.clone()).await;
    let failure = run.failure().await;
    assert_eq!(failure.code, Code::SourceTruncated.as_str());
    assert!(
        failure.message.contains("declared 20.0 s, found 2.5 s"),
        "{}",
        failure.message
    );
    let made = samples(&run.segments("made"));
    assert!(made <= 45, "no picture was held: {made}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_tried_again_goes_on_after_what_is_published() {
    let film = counted::film(&every(150, 30, 1), "30/1", &h264(CAMERA, "mp4mux"));
    let source = Source::new(film, "30/1", 5);
    let mut spec = source.spec(1, 3);
    spec.targets[0].published = 2;
    let mut run = Run::begin(Spec::Encode(spec), source.bytes.clone()).await;
    assert_eq!(encoded(&mut run).await.samples, 90, "all of it was encoded");
    let names: Vec<String> = run.segments("made").into_iter().map(|s| s.name).collect();
    assert_eq!(names, ["made-00003.m4s"]);
    assert_eq!(run.desk.told.lock().unwrap().from["made"], 3);
    let objects = run.store.objects.lock().unwrap();
    let stored: Vec<&String> = objects.keys().collect();
    assert_eq!(stored, ["made-00003.m4s", "made-init.mp4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_reads_its_part_of_the_source() {
    // Noise that is hardly compressed: the worker reads a few MiB ahead.
    let film = media::mp4(
        "videotestsrc num-buffers=240 pattern=snow ! \
         video/x-raw,format=I420,width=640,height=360,framerate=30/1 ! \
         x264enc speed-preset=ultrafast pass=quant quantizer=4 key-int-max=15 ! h264parse ! \
         queue ! mux. ",
    );
    let size = film.len() as u64;
    assert!(size > 40 << 20, "{size} bytes");
    let source = Source::new(film, "30/1", 8);
    let spec = Spec::Encode(source.spec(3, 1));
    let mut run = Run::begin(spec, source.bytes.clone()).await;
    assert_eq!(encoded(&mut run).await.samples, 30);
    let read = *run.store.read_bytes.lock().unwrap();
    assert!(read < size / 2, "{read} of {size} bytes");
}
