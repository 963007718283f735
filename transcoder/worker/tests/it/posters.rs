//! A poster shows something, where anything is shown.

use axum::body::Bytes;
use protocol::task::Spec;
use protocol::{PosterSpec, finish_request};

use crate::judge;
use crate::media::{film, mp4, painted};
use crate::worker::Run;

/// Scenes of two seconds each, in one film.
fn scenes(patterns: &[&str]) -> Bytes {
    let mut text = String::new();
    for pattern in patterns {
        text.push_str(&format!(
            "videotestsrc num-buffers=20 pattern={pattern} ! \
             video/x-raw,format=I420,width=160,height=90,framerate=10/1 ! queue ! scenes. "
        ));
    }
    mp4(&format!(
        "{text} concat name=scenes ! x264enc speed-preset=ultrafast key-int-max=10 ! h264parse ! mux. "
    ))
}

/// The poster of this film, half a second into it, as red, green and blue.
async fn poster(source: Bytes) -> Vec<u8> {
    let spec = Spec::Poster(PosterSpec {
        at_ms: 500,
        width: 160,
        height: 90,
        source: None,
    });
    let mut run = Run::begin(spec, source).await;
    let finish_request::Result::Poster(poster) = run.finish().await else {
        panic!("no poster");
    };
    assert_eq!(
        (poster.name.as_str(), poster.width, poster.height),
        ("poster.jpg", 160, 90)
    );
    let jpeg = run.store.object("poster.jpg");
    assert_eq!(jpeg.len() as u64, poster.size_bytes);
    judge::jpeg(&jpeg)
}

/// A film three times as large as the poster, from a dark side to a bright one.
fn gradient() -> Bytes {
    const WIDTH: usize = 480;
    const HEIGHT: usize = 270;
    let row: Vec<u8> = (0..WIDTH).map(|x| (56 + x * 160 / WIDTH) as u8).collect();
    let picture = [row.repeat(HEIGHT), vec![128; WIDTH * HEIGHT / 2]].concat();
    let pictures: Vec<(u64, Vec<u8>)> = (0..8).map(|n| (n * 100, picture.clone())).collect();
    painted(
        &format!(
            "appsrc name=in caps=video/x-raw,format=I420,width={WIDTH},height={HEIGHT},framerate=10/1 ! \
             x264enc pass=quant quantizer=10 ! h264parse ! mp4mux ! filesink name=out"
        ),
        &pictures,
    )
}

fn spread(picture: &[u8]) -> u8 {
    picture.iter().max().unwrap() - picture.iter().min().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_film_that_begins_black_has_a_poster_of_a_later_scene() {
    let picture = poster(scenes(&["black", "smpte"])).await;
    assert!(spread(&picture) > 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_flat_colour_is_no_poster_while_there_is_another() {
    let picture = poster(scenes(&["red", "white", "smpte", "blue"])).await;
    assert!(spread(&picture) > 200);
    // Red is the first of the scenes that are passed over: the poster has every colour.
    let mean = picture.iter().map(|value| u64::from(*value)).sum::<u64>() / picture.len() as u64;
    assert!((60..200).contains(&mean), "{mean}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_film_that_shows_nothing_has_a_poster_all_the_same() {
    let picture = poster(scenes(&["black"])).await;
    assert!(
        picture.iter().all(|value| *value < 10),
        "{:?}",
        &picture[..9]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_film_of_one_picture_has_it_as_its_poster() {
    let one = film(
        "videotestsrc num-buffers=1 pattern=smpte ! \
         video/x-raw,format=I420,width=160,height=90,framerate=10/1 ! \
         x264enc speed-preset=ultrafast ! h264parse ! matroskamux ! filesink name=out",
    );
    assert!(spread(&poster(one).await) > 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poster_at_a_third_of_the_size_is_as_bright_as_the_film() {
    let picture = poster(gradient()).await;
    // The mean of a few columns, and what television's level there is in full range.
    let column = |x: usize| {
        let pixels = picture
            .chunks_exact(3 * 160)
            .flat_map(|row| &row[3 * x..3 * x + 12]);
        let values: Vec<f64> = pixels.map(|value| f64::from(*value)).collect();
        values.iter().sum::<f64>() / values.len() as f64
    };
    for x in [2, 40, 80, 120, 154] {
        let level = 56.0 + (3 * x + 6) as f64 * 160.0 / 480.0;
        let bright = (level - 16.0) * 255.0 / 219.0;
        let found = column(x);
        assert!(
            (found - bright).abs() < 1.5,
            "{found} instead of {bright} at {x}"
        );
    }
}
