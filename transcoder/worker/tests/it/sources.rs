//! Sources as cameras and older programs make them: probed first, then encoded as found.

use axum::body::Bytes;
use protocol::task::Spec;

use crate::encode::{audio, encode, encoded, film as played, samples, target};
use crate::media::{self, decoded, mp4, picture, turned};
use crate::probe::probed;
use crate::worker::Run;

/// Encodes the pictures of a source the way its own probe describes them.
async fn made(source: &Bytes, width: u32, height: u32) -> Vec<u8> {
    let found = probed(source.clone()).await;
    let target = target("made", width, height, "30/1");
    let Spec::Encode(mut spec) = encode(found.duration_ms, &[target]) else {
        panic!("not an encode");
    };
    spec.source = found.video;
    let mut run = Run::begin(Spec::Encode(spec), source.clone()).await;
    encoded(&mut run).await;
    played(&run, "made")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_film_of_a_turned_camera_is_made_upright() {
    // White on the left, black on the right; turned clockwise, white is on top.
    let halves = "videotestsrc num-buffers=30 pattern=white ! \
        video/x-raw,format=I420,width=160,height=180,framerate=30/1 ! \
        videobox right=-160 ! video/x-raw,width=320 ! \
        x264enc speed-preset=ultrafast ! h264parse ! mux. ";
    let made = made(&turned(&mp4(halves)), 180, 320).await;
    assert_eq!(decoded(&made), (30, 0));
    let shown = picture(&made, 15);
    assert_eq!((shown.width, shown.rows.len()), (180, 320));
    let (top, bottom) = (shown.mean(0..150), shown.mean(170..320));
    assert!(top > 200 && bottom < 40, "{top} above {bottom}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_film_made_to_a_third_of_its_size_is_as_bright_as_before() {
    let grey = "videotestsrc num-buffers=30 pattern=solid-color foreground-color=0xffb4b4b4 ! \
        video/x-raw,format=I420,width=960,height=540,framerate=30/1 ! \
        x264enc speed-preset=ultrafast ! h264parse ! mux. ";
    let source = mp4(grey);
    let before = picture(&source, 5).mean(0..540);
    let shown = picture(&made(&source, 320, 180).await, 5);
    assert_eq!((shown.width, shown.rows.len()), (320, 180));
    let after = shown.mean(0..180);
    assert!(after.abs_diff(before) <= 1, "{before} became {after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interlaced_film_is_made_without_combs() {
    // Upright bars that move sideways: rows differ only where two fields are woven.
    let woven = "videotestsrc num-buffers=120 pattern=smpte horizontal-speed=6 ! \
        video/x-raw,format=I420,width=320,height=240,framerate=60/1 ! \
        interlace field-pattern=1:1 top-field-first=true ! \
        x264enc speed-preset=ultrafast interlaced=true ! h264parse ! mux. ";
    let source = mp4(woven);
    let combed = picture(&source, 30).roughness(20..120);
    let made = made(&source, 320, 240).await;
    assert_eq!(decoded(&made), (60, 0));
    let smooth = picture(&made, 30).roughness(20..120);
    assert!(combed > 300, "the source has combs: {combed}");
    assert!(smooth * 3 < combed, "{smooth} of {combed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_avi_file_has_its_pictures_and_its_sound() {
    let source = media::film(
        "videotestsrc num-buffers=60 pattern=ball ! \
         video/x-raw,format=I420,width=160,height=90,framerate=30/1 ! avenc_mpeg4 ! queue ! mux. \
         audiotestsrc num-buffers=94 samplesperbuffer=1024 ! audio/x-raw,rate=48000,channels=2 ! \
         audioconvert ! lamemp3enc ! queue ! mux. \
         avimux name=mux ! filesink name=out",
    );
    let found = probed(source.clone()).await;
    assert_eq!(found.container, "video/x-msvideo");
    assert_eq!(found.audio.as_ref().unwrap().sample_rate, 48_000);
    assert_eq!(decoded(&made(&source, 160, 90).await), (60, 0));

    let mut run = Run::begin(audio(found.duration_ms), source).await;
    encoded(&mut run).await;
    let samples = samples(&run.segments("audio"));
    assert!((92..=98).contains(&samples), "{samples}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_mp3_file_is_sound_without_pictures() {
    let source = media::film(
        "audiotestsrc num-buffers=94 samplesperbuffer=1024 ! audio/x-raw,rate=48000,channels=2 ! \
         audioconvert ! lamemp3enc ! xingmux ! filesink name=out",
    );
    let found = probed(source.clone()).await;
    assert!(found.video.is_none());
    assert!(
        (1950..2150).contains(&found.duration_ms),
        "{}",
        found.duration_ms
    );
    let mut run = Run::begin(audio(found.duration_ms), source).await;
    encoded(&mut run).await;
    let samples = samples(&run.segments("audio"));
    assert!((92..=99).contains(&samples), "{samples}");
}
