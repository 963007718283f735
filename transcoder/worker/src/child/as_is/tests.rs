use super::super::made::{Film, link};
use super::*;

fn cut(film: &Film) -> Vec<u64> {
    cuts_us(&link(film.file()), &film.index()).unwrap()
}

#[test]
fn cuts_are_key_frames_at_least_two_seconds_apart() {
    assert_eq!(cut(&Film::closed(&[60, 60, 60])), [0, 2_000_000, 4_000_000]);
    assert_eq!(
        cut(&Film::closed(&[30, 45, 15, 50, 70])),
        [0, 2_500_000, 4_666_667],
        "the next after 2 s, whatever is between"
    );
    assert_eq!(cut(&Film::closed(&[90])), [0]);
}

#[test]
fn a_short_last_piece_stays_with_the_one_before() {
    assert_eq!(cut(&Film::closed(&[60, 14])), [0]);
    assert_eq!(cut(&Film::closed(&[60, 15])), [0, 2_000_000]);
    assert_eq!(
        cut(&Film::closed(&[300, 14])),
        [0, 10_000_000],
        "unless that would be too long"
    );
}

#[test]
fn a_segment_longer_than_ten_seconds_and_a_picture_is_none() {
    assert_eq!(cut(&Film::closed(&[301])), [0]);
    assert!(cut(&Film::closed(&[302])).is_empty());
    assert!(cut(&Film::closed(&[60, 302, 60])).is_empty());
    let mut film = Film::closed(&[60, 60]);
    film.frames = vec![1024; 600];
    assert!(cut(&film).is_empty(), "the sound would go on for 10.8 s");
    film.frames.truncate(560);
    assert_eq!(cut(&film), [0, 2_000_000]);
}

#[test]
fn a_group_that_is_open_is_not_cut() {
    let mut film = Film::closed(&[60, 60, 60]);
    // A picture behind the second key frame is shown before it.
    film.pictures[62].1 = -2000;
    assert_eq!(cut(&film), [0, 4_000_000]);
    // One before the third key frame is shown behind it.
    film.pictures[118].1 = 5000;
    assert_eq!(cut(&film), [0]);
}

#[test]
fn a_rate_is_constant_but_for_rounding_and_the_end() {
    let timed = |timescale: u32, times: [u32; 3]| {
        let mut film = Film::closed(&[60, 60]);
        film.timescale = timescale;
        for (number, picture) in film.pictures.iter_mut().enumerate() {
            picture.0 = times[number % 3];
            picture.1 = 0;
        }
        film.edit = None;
        film
    };
    assert_eq!(cut(&timed(1000, [33, 33, 34])), [0, 2_000_000]);
    assert!(cut(&timed(1000, [33, 33, 35])).is_empty());
    assert!(cut(&timed(60, [1, 2, 1])).is_empty(), "that is half of it");
    assert!(cut(&timed(1000, [16, 16, 16])).is_empty(), "62.5 a second");
    assert_eq!(cut(&timed(1000, [17, 16, 17])), [0], "rounded 60");
    let mut film = timed(1000, [33, 33, 34]);
    film.pictures.last_mut().unwrap().0 = 500;
    assert_eq!(cut(&film), [0, 2_000_000], "the last picture stays");
}

#[test]
fn an_edit_shows_all_pictures_or_the_film_is_encoded() {
    let edited = |edit: Option<(u32, i32)>| {
        let mut film = Film::closed(&[60, 60]);
        film.edit = edit;
        film
    };
    assert_eq!(cut(&edited(Some((4000, 1000)))).len(), 2);
    assert_eq!(cut(&edited(Some((3967, 1000)))).len(), 2, "rounded");
    assert!(
        cut(&edited(Some((3900, 1000)))).is_empty(),
        "its end is cut off"
    );
    assert!(cut(&edited(Some((4000, 2000)))).is_empty(), "its start is");
    assert!(cut(&edited(Some((4000, -1)))).is_empty(), "it begins late");
    assert!(cut(&edited(None)).is_empty(), "the first picture is late");
}

#[test]
fn a_segment_too_large_for_the_socket_is_none() {
    let mut film = Film::closed(&[60, 60]);
    film.size = 1 << 20;
    assert_eq!(cut(&film).len(), 2, "60 MiB each");
    film.size += 1 << 16;
    assert!(cut(&film).is_empty(), "64 MiB each");
}

#[test]
fn a_key_frame_that_is_none_is_seen() {
    let film = Film::closed(&[60, 60, 60]);
    let mut file = film.file();
    let key = film.index().video.unwrap().samples.walk().nth(60).unwrap();
    file[key.offset as usize + 4] = 0x41;
    assert!(cuts_us(&link(file), &film.index()).unwrap().is_empty());
}

#[test]
fn a_sample_behind_the_end_is_missing() {
    let mut film = Film::closed(&[60, 60]);
    film.frames = vec![1024; 188];
    let whole = film.file();
    let at = whole.windows(4).position(|kind| kind == b"mdat").unwrap();
    let cut_off = link(whole[..at + 4 + 60 * 16].to_vec());
    let failure = cuts_us(&cut_off, &film.index()).unwrap_err();
    assert_eq!(
        failure.message,
        "the file is incomplete: declared 4.0 s, found 2.0 s"
    );
    let failure = is_sound(&cut_off, &film.index()).unwrap_err();
    assert_eq!(
        failure.message,
        "the file is incomplete: declared 4.0 s, found 0.0 s"
    );
}

#[test]
fn sound_passes_without_gaps_and_almost_whole() {
    let heard = |frames: Vec<u32>, edit: Option<(u32, i32)>| {
        let mut film = Film::closed(&[]);
        film.frames = frames;
        film.sound_edit = edit;
        is_sound(&link(film.file()), &film.index()).unwrap()
    };
    let even = || vec![1024; 100];
    assert!(heard(even(), None));
    assert!(heard(even(), Some((2112, 1024))));
    assert!(heard([vec![1024; 100], vec![300]].concat(), None));
    assert!(heard([vec![1020, 1030], even()].concat(), None));
    assert!(!heard([vec![1024, 9000], even()].concat(), None), "a gap");
    assert!(!heard([even(), vec![9000]].concat(), None), "a long end");
    assert!(!heard(even(), Some((1000, 0))), "half of it is cut off");
    assert!(!heard(even(), Some((2000, -1))), "it begins late");
}
