//! What a probe tells about good sources.

use axum::body::Bytes;
use protocol::task::Spec;
use protocol::{ProbeResult, ProbeSpec, finish_request};

use crate::media::{film, matroska, mp4, pictures, sound, turned};
use crate::worker::Run;

pub fn probe() -> Spec {
    Spec::Probe(ProbeSpec {
        duration_ms_max: 12 * 3_600_000,
        width_max: 8192,
        height_max: 4320,
        tracks_max: 16,
        frame_rate_max: 120,
    })
}

pub async fn probed(source: Bytes) -> ProbeResult {
    let mut run = Run::begin(probe(), source).await;
    match run.finish().await {
        finish_request::Result::Probe(result) => result,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_film_is_described() {
    let found = probed(mp4(&(pictures(60, 320, 180, "30/1") + &sound(94)))).await;
    let video = found.video.unwrap();
    assert_eq!(found.container, "video/quicktime");
    assert_eq!(
        (video.codec.as_str(), video.width, video.height),
        ("video/x-h264", 320, 180)
    );
    assert_eq!((video.frame_rate_num, video.frame_rate_den), (30, 1));
    assert_eq!((video.rotation, video.interlaced), (0, false));
    assert!(
        (1990..2100).contains(&found.duration_ms),
        "{}",
        found.duration_ms
    );
    let audio = found.audio.unwrap();
    assert_eq!((audio.channels, audio.sample_rate), (2, 48_000));
    assert_eq!(found.tracks, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_containers_are_described_too() {
    let found = probed(matroska(&pictures(50, 160, 90, "25/1"))).await;
    assert!(found.audio.is_none());
    assert!(
        (1900..2100).contains(&found.duration_ms),
        "{}",
        found.duration_ms
    );

    let wave = "audiotestsrc num-buffers=100 ! audio/x-raw,rate=44100,channels=1 ! wavenc ! filesink name=out";
    let found = probed(film(wave)).await;
    assert!(found.video.is_none());
    assert_eq!(found.audio.unwrap().channels, 1);
    assert_eq!(found.duration_ms, 2321);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_film_is_described_without_reading_it_all() {
    // Noise is large: 30 MB.
    let noise = "videotestsrc num-buffers=40 pattern=snow ! \
        video/x-raw,format=I420,width=1280,height=720,framerate=10/1 ! jpegenc quality=100 ! \
        queue ! mux. ";
    let sound = sound(187);
    let mov = film(&format!(
        "{noise} {sound} qtmux name=mux faststart=true ! filesink name=out"
    ));
    for source in [mov, matroska(noise)] {
        let size = source.len() as u64;
        let mut run = Run::begin(probe(), source).await;
        let finish_request::Result::Probe(found) = run.finish().await else {
            panic!("no probe");
        };
        assert!(found.duration_ms.abs_diff(4000) < 100, "{found:?}");
        let read = *run.store.read_bytes.lock().unwrap();
        assert!(read * 2 < size, "{read} of {size} bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pixels_that_are_not_square_and_a_turned_camera_are_told() {
    let wide = "videotestsrc num-buffers=30 ! \
        video/x-raw,width=180,height=144,framerate=30/1,pixel-aspect-ratio=2/1 ! \
        x264enc speed-preset=ultrafast ! h264parse ! mux. ";
    let video = probed(turned(&mp4(wide))).await.video.unwrap();
    assert_eq!((video.width, video.height), (180, 144));
    assert_eq!(video.rotation, 90);
    assert_eq!((video.display_width, video.display_height), (144, 360));
}
