//! HDR, wide gamuts, ten bits and full range come out as 8-bit SDR that says what it is.

use axum::body::Bytes;
use protocol::task::Spec;
use protocol::{PosterSpec, finish_request};

use crate::encode::{encode, encoded, film as played, target};
use crate::judge::{self, Picture, Pictures};
use crate::media::{mp4, painted};
use crate::probe::probed;
use crate::worker::Run;

/// A second of one colour: its luma and chroma in 10 bits, and what they are said to mean.
fn patch(colorimetry: &str, [luma, blue, red]: [u16; 3]) -> Bytes {
    let plane = |code: u16, count| std::iter::repeat_n(code.to_le_bytes(), count).flatten();
    let picture: Vec<u8> = plane(luma, 64 * 48)
        .chain(plane(blue, 32 * 24))
        .chain(plane(red, 32 * 24))
        .collect();
    let pictures: Vec<_> = (0..5).map(|n| (200 * n, picture.clone())).collect();
    let description = format!(
        "appsrc name=in caps=video/x-raw,format=I420_10LE,width=64,height=48,framerate=5/1,\
         colorimetry={colorimetry} ! \
         x265enc speed-preset=ultrafast option-string=qp=4 ! h265parse ! mp4mux ! filesink name=out"
    );
    painted(&description, &pictures)
}

/// Luma and chroma of red, green and blue signals, for these weights of red and blue.
fn coded([kr, kb]: [f64; 2], [r, g, b]: [f64; 3]) -> [u16; 3] {
    let luma = kr * r + (1.0 - kr - kb) * g + kb * b;
    let chroma = |c: f64, k: f64| (512.0 + 896.0 * (c - luma) / (2.0 * (1.0 - k))) as u16;
    [
        (64.0 + 876.0 * luma).round() as u16,
        chroma(b, kb),
        chroma(r, kr),
    ]
}

const BT2020: [f64; 2] = [0.2627, 0.0593];
const BT709: [f64; 2] = [0.2126, 0.0722];

async fn made(source: &Bytes) -> Pictures {
    let found = probed(source.clone()).await;
    let Spec::Encode(mut spec) = encode(found.duration_ms, &[target("made", 64, 48, "5/1")]) else {
        panic!("not an encode");
    };
    spec.source = found.video;
    let mut run = Run::begin(Spec::Encode(spec), source.clone()).await;
    encoded(&mut run).await;
    let made = judge::pictures(&played(&run, "made"));
    assert_eq!((made.width, made.height, made.seen.len()), (64, 48, 5));
    assert_eq!(made.seen[1].at_ns, 200_000_000);
    made
}

/// What a patch becomes; the tags are checked on the way.
async fn shown(colorimetry: &str, code: [u16; 3]) -> Picture {
    let mut made = made(&patch(colorimetry, code)).await;
    assert_eq!(made.colorimetry, "bt709", "{colorimetry}");
    let caps = made.caps.to_string();
    for left in ["mastering-display-info", "content-light-level"] {
        assert!(!caps.contains(left), "{caps}");
    }
    made.seen.swap_remove(2)
}

fn grey(signal: f64) -> [u16; 3] {
    coded(BT2020, [signal; 3])
}

/// A signal of BT.709, from 0 to 1.
fn signal(picture: &Picture) -> f64 {
    (picture.luma - 16.0) / 219.0
}

fn is_grey(picture: &Picture) -> bool {
    (picture.blue - 128.0).abs() < 1.5 && (picture.red - 128.0).abs() < 1.5
}

#[tokio::test(flavor = "multi_thread")]
async fn the_white_of_pq_and_of_hlg_is_the_white_of_sdr() {
    // 203 nits are 58 % of PQ and 75 % of HLG.
    let pq = shown("bt2100-pq", grey(0.58)).await;
    let hlg = shown("bt2100-hlg", grey(0.75)).await;
    for white in [&pq, &hlg] {
        assert!(is_grey(white));
        assert!((0.88..0.95).contains(&signal(white)), "{}", signal(white));
    }
    let brightest = shown("bt2100-pq", grey(1.0)).await;
    assert!(
        is_grey(&brightest) && signal(&brightest) > 0.98,
        "{}",
        signal(&brightest)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn colours_outside_of_bt709_are_the_nearest_inside() {
    let green = shown("bt2100-hlg", coded(BT2020, [0.0, 0.75, 0.0])).await;
    assert!(
        green.blue < 120.0 && green.red < 60.0,
        "{} {}",
        green.blue,
        green.red
    );
    assert!((0.5..0.95).contains(&signal(&green)), "{}", signal(&green));
    let red = shown("bt2020-10", coded(BT2020, [1.0, 0.0, 0.0])).await;
    assert!(
        red.red > 200.0 && red.blue < 128.0,
        "{} {}",
        red.blue,
        red.red
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_bits_of_sdr_become_eight_of_the_same_colour() {
    let teal = shown("bt709", coded(BT709, [0.125, 0.5, 0.5])).await;
    // 0.2126 * 0x20 + 0.7874 * 0x80 of 255.
    assert!((signal(&teal) - 0.4219).abs() < 0.01, "{}", signal(&teal));
    assert!((teal.blue - 137.6).abs() < 2.0, "{}", teal.blue);
    assert!((teal.red - 86.0).abs() < 2.0, "{}", teal.red);
}

#[tokio::test(flavor = "multi_thread")]
async fn colours_of_standard_television_keep_their_tags() {
    let source = mp4(
        "videotestsrc num-buffers=5 pattern=solid-color foreground-color=0xff208080 ! \
         video/x-raw,format=I420,width=64,height=48,framerate=5/1,colorimetry=bt601 ! \
         x264enc speed-preset=ultrafast ! h264parse ! mux. ",
    );
    let made = made(&source).await;
    assert_eq!(made.colorimetry, "bt601");
    let teal = &made.seen[2];
    // 0.299 * 0x20 + 0.701 * 0x80 of 255.
    assert!((signal(teal) - 0.3894).abs() < 0.01, "{}", signal(teal));
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_of_full_range_come_out_in_the_range_of_television() {
    let white: Vec<u8> = [vec![255; 64 * 48], vec![128; 2 * 32 * 24]].concat();
    let pictures: Vec<_> = (0..5).map(|n| (200 * n, white.clone())).collect();
    let source = painted(
        "appsrc name=in caps=video/x-raw,format=I420,width=64,height=48,framerate=5/1,\
         colorimetry=1:3:5:1 ! x264enc option-string=fullrange=on ! h264parse ! mpegtsmux ! filesink name=out",
        &pictures,
    );
    let made = made(&source).await;
    assert_eq!(made.colorimetry, "bt709");
    let white = &made.seen[2];
    assert!((white.luma - 235.0).abs() < 2.0, "{}", white.luma);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_poster_of_hdr_is_as_bright_as_its_film() {
    let source = patch("bt2100-pq", grey(0.58));
    let found = probed(source.clone()).await;
    let spec = Spec::Poster(PosterSpec {
        at_ms: 200,
        width: 64,
        height: 48,
        source: found.video,
    });
    let mut run = Run::begin(spec, source).await;
    assert!(matches!(
        run.finish().await,
        finish_request::Result::Poster(_)
    ));
    let picture = judge::jpeg(&run.store.object("poster.jpg"));
    // 0.91 of 255: JPEG uses all of the range.
    for value in picture {
        assert!((225..240).contains(&value), "{value}");
    }
}
