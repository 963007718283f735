//! Films whose pictures stay for long: made as they are planned, in segments of two seconds.
//! What is longer than twelve seconds is made in chunks.

use axum::body::Bytes;

use crate::counted::{self, Shown, every};
use crate::planned::{chunks, plan};
use crate::probe::probed;
use crate::seams::Source;

const S: u64 = 1_000_000_000;
/// Containers round to a millisecond.
const ROUNDING_NS: u64 = 1_000_000;

/// Makes all of a film as it is planned, and looks whether every picture is the one that is
/// on the screen then. Returns the rate and how many there are.
async fn made_as_planned(film: Bytes, times: &[u64]) -> ((u32, u32), usize) {
    let found = probed(film.clone()).await;
    let plan = plan(&found);
    let domain::media::Kind::Video { frame_rate, .. } = plan.renditions[0].kind else {
        panic!("no pictures in the plan");
    };
    let source = Source {
        bytes: film,
        rate: format!("{}/{}", frame_rate.num, frame_rate.den),
        boundaries_us: plan.boundaries_us.clone(),
        duration_ms: found.duration_ms,
    };
    let mut stitched = vec![];
    let mut begins = vec![];
    for chunk in chunks(&plan) {
        let piece = source.made(chunk.first, chunk.segments.unwrap_or(0)).await;
        if stitched.is_empty() {
            stitched.extend_from_slice(&piece.init_bytes);
        }
        stitched.extend_from_slice(&piece.bytes);
        let timescale = u64::from(piece.init.timescale);
        let at_us = |time: u64| time * 1_000_000 / timescale;
        begins.extend(piece.segments.iter().map(|segment| at_us(segment.time)));
    }
    assert_eq!(begins, plan.boundaries_us);

    let shown = counted::shown(&stitched);
    let half_ns = S * u64::from(frame_rate.den) / u64::from(frame_rate.num) / 2;
    for picture in &shown {
        is_on_screen(picture, times, half_ns + ROUNDING_NS);
    }
    ((frame_rate.num, frame_rate.den), shown.len())
}

fn is_on_screen(picture: &Shown, times: &[u64], margin_ns: u64) {
    let (at_ns, number) = (picture.at_ns, picture.number() as usize);
    let until_ns = times.get(number + 1).copied().unwrap_or(u64::MAX);
    assert!(
        times[number] <= at_ns + margin_ns && at_ns <= until_ns.saturating_add(margin_ns),
        "at {at_ns} it is picture {number}, shown from {} to {until_ns}",
        times[number]
    );
}

const H264: &str = "x264enc key-int-max=15 bframes=3 speed-preset=veryfast ! h264parse ! \
                    queue ! mux. ";
/// Not even the last picture loses how long it stays.
const JPEG: &str = "jpegenc ! queue ! mux. ";
const VP9: &str = "vp9enc deadline=1 cpu-used=8 keyframe-max-dist=10 ! queue ! mux. ";

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_a_second_is_made_in_segments_of_two() {
    for graph in [
        H264.to_owned() + "mp4mux name=mux",
        VP9.to_owned() + "webmmux name=mux",
        "avenc_mpeg4 ! queue ! mux. avimux name=mux".to_owned(),
    ] {
        let times = every(30, 1, 1);
        let film = counted::film(&times, "1/1", &graph);
        assert_eq!(made_as_planned(film, &times).await, ((1, 1), 30), "{graph}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_minutes_of_a_picture_a_second_are_made_in_chunks_of_many_segments() {
    let times = every(120, 1, 1);
    let film = counted::film(&times, "1/1", &(H264.to_owned() + "matroskamux name=mux"));
    assert_eq!(made_as_planned(film, &times).await, ((1, 1), 120));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_every_two_seconds_is_a_segment() {
    let times = every(30, 1, 2);
    let film = counted::film(&times, "1/2", &(H264.to_owned() + "mp4mux name=mux"));
    assert_eq!(made_as_planned(film, &times).await, ((1, 2), 30));
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_that_stay_for_whole_segments_are_in_each_of_them() {
    let times: Vec<u64> = [0, 5, 10, 15, 21, 22].map(|s| s * S).into();
    for mux in ["qtmux name=mux", "matroskamux name=mux"] {
        let film = counted::film_until(&times, 27 * S, "0/1", &(JPEG.to_owned() + mux));
        let made = made_as_planned(film, &times).await;
        assert_eq!(made.0, (30, 1), "nobody can tell a rate");
        assert!((27 * 30 - 2..=27 * 30 + 2).contains(&made.1), "{made:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_that_move_now_and_then_keep_their_rate() {
    // Three seconds that move, four pictures that stay, and three seconds more.
    let mut times = every(90, 30, 1);
    times.extend([4, 8, 11, 17].map(|s| s * S));
    times.extend(every(90, 30, 1).iter().map(|at| 20 * S + at));
    let film = counted::film(&times, "0/1", &(JPEG.to_owned() + "qtmux name=mux"));
    let made = made_as_planned(film, &times).await;
    assert_eq!(made.0, (30, 1));
    assert!((23 * 30 - 3..=23 * 30 + 3).contains(&made.1), "{made:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_picture_stays_for_as_long_as_the_film_says() {
    let times: Vec<u64> = (0..=10).map(|s| s * S).collect();
    let mov = JPEG.to_owned() + "qtmux name=mux";
    // It says how long the film is, but not how long its last picture.
    let webm = VP9.to_owned() + "webmmux name=mux";
    for graph in [mov, webm] {
        let film = counted::film_until(&times, 17 * S, "0/1", &graph);
        let (rate, pictures) = made_as_planned(film, &times).await;
        let seconds = pictures as u64 * u64::from(rate.1) / u64::from(rate.0);
        assert_eq!(seconds, 17, "{graph}: {pictures} at {rate:?}");
    }
}
