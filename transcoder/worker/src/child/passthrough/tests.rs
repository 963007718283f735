use proptest::prelude::*;
use protocol::{PassthroughTarget, finish_request};

use super::super::made::{Film, link, nowhere};
use super::*;
use crate::fragment::{Boxes, be32, path};

fn film() -> Film {
    let mut film = Film::closed(&[60, 75, 60]);
    film.frames = vec![1024; 305];
    film.sound_edit = Some((0, 2112));
    film
}

fn spec(boundaries_us: &[u64]) -> PassthroughSpec {
    let target = |rendition: &str| PassthroughTarget {
        rendition: rendition.to_owned(),
        published: 0,
    };
    PassthroughSpec {
        boundaries_us: boundaries_us.to_vec(),
        video: Some(target("top")),
        audio: Some(target("audio")),
        duration_ms: 6500,
    }
}

fn lanes<'a>(index: &'a super::super::index::Index, spec: &PassthroughSpec) -> [Lane<'a>; 2] {
    let (track, avc) = as_is::picture(index).unwrap();
    let picture = Lane::picture(spec.video.as_ref().unwrap(), track, avc, u64::MAX);
    let (track, aac) = as_is::sound(index).unwrap();
    let sound = Lane::sound(spec.audio.as_ref().unwrap(), track, aac, u64::MAX);
    [picture.unwrap(), sound.unwrap()]
}

#[test]
fn segments_follow_each_other_and_hold_everything_once() {
    let film = film();
    let index = film.index();
    let spec = spec(&[0, 2_000_000, 4_500_000]);
    let ends = [Some(2_000_000), Some(4_500_000), None];
    let [mut picture, mut sound] = lanes(&index, &spec);
    let cut = |lane: &mut Lane| -> Vec<(u64, u64, usize)> {
        let segments = ends.iter().map(|end| lane.cut(*end).unwrap().unwrap());
        segments
            .map(|it| (it.time, it.duration, it.samples.len()))
            .collect()
    };
    assert_eq!(
        cut(&mut picture),
        [(0, 60_000, 60), (60_000, 75_000, 75), (135_000, 60_000, 60)]
    );
    // The first frames are not heard: sound of 2 s ends 2112 samples behind them.
    let frames = |seconds: f64| ((seconds * 48_000.0 + 2112.0) / 1024.0).ceil() as usize;
    let (first, second) = (frames(2.0), frames(4.5));
    let lengths: Vec<usize> = cut(&mut sound).iter().map(|it| it.2).collect();
    assert_eq!(lengths, [first, second - first, 305 - second]);
    assert!(sound.cut(None).unwrap().is_none(), "there is no more");
    assert_eq!(picture.duration_ms(), 6500);
}

#[test]
fn the_init_segment_takes_back_what_is_in_front() {
    let mut film = film();
    // QuickTime's way to have B-frames: shown before they are decoded.
    for picture in &mut film.pictures {
        picture.1 -= 1000;
    }
    film.edit = None;
    let index = film.index();
    let spec = spec(&[0]);
    let begins = lanes(&index, &spec).map(|mut lane| {
        let (head, init) = lane.init().unwrap().unwrap();
        assert!(lane.init().unwrap().is_none(), "it is sent once");
        let elst = path(&init, &[b"moov", b"trak", b"edts", b"elst"]).unwrap();
        let Head::Init { codec, .. } = head else {
            panic!("{head:?}");
        };
        (codec, be32(elst, 12).unwrap())
    });
    assert_eq!(
        begins,
        [
            ("avc1.640028".to_owned(), 1000),
            ("mp4a.40.2".to_owned(), 2112)
        ]
    );
    let [mut picture, _] = lanes(&index, &spec);
    let head = picture.cut(None).unwrap().unwrap().head;
    let trun = path(&head, &[b"moof", b"traf", b"trun"]).unwrap();
    let flags = be32(trun, 0).unwrap();
    assert_eq!(flags, 0x0100_0f01, "version 1, all four columns");
    let shifts: Vec<u32> = (0..4)
        .map(|row| be32(trun, 12 + row * 16 + 12).unwrap())
        .collect();
    assert_eq!(shifts, [1000, 2000, 0, 2000]);
    let boxes: Vec<[u8; 4]> = Boxes(&head).map(|(kind, _)| kind).collect();
    assert_eq!(boxes, [*b"moof"], "the data is what follows");
    assert_eq!(
        be32(trun, 8),
        Some(head.len() as u32),
        "and its offset says so"
    );
}

#[test]
fn sound_that_is_cut_off_at_its_start_is_not_carried_along() {
    let mut film = film();
    film.sound_edit = Some((0, 48_000));
    let index = film.index();
    let [_, mut sound] = lanes(&index, &spec(&[0]));
    let (_, init) = sound.init().unwrap().unwrap();
    let elst = path(&init, &[b"moov", b"trak", b"edts", b"elst"]).unwrap();
    let begin = be32(elst, 12).unwrap();
    assert!((2048..=3072).contains(&begin), "{begin}");
    let segment = sound.cut(None).unwrap().unwrap();
    assert_eq!(
        (segment.time, segment.samples[0].time + u64::from(begin)),
        (0, 48_000)
    );
}

#[test]
fn a_boundary_without_a_key_frame_is_refused() {
    let film = film();
    let file = film.file();
    let refused = |boundaries_us: &[u64]| {
        let refused = run(&link(file.clone()), &spec(boundaries_us), &nowhere());
        refused.unwrap_err().code
    };
    assert_eq!(refused(&[0, 2_000_001]), Code::ProcessingCrashed);
    assert_eq!(refused(&[0, 2_000_000, 9_000_000]), Code::ProcessingCrashed);
    assert_eq!(refused(&[1]), Code::ProcessingCrashed);
    assert_eq!(refused(&[]), Code::ProcessingCrashed);
}

#[test]
fn all_of_it_is_told_at_the_end() {
    let whole = run(&link(film().file()), &spec(&[0, 2_000_000]), &nowhere()).unwrap();
    let finish_request::Result::Encode(result) = whole else {
        panic!("{whole:?}");
    };
    assert_eq!((result.samples, result.duration_ms), (195, 6500));
}

proptest! {
    /// Whatever stands in a file, it is refused or passed through; the child lives.
    #[test]
    fn no_file_is_too_broken(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut_off in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut film = Film::closed(&[4, 6]);
        film.frames = vec![1024; 20];
        let mut file = film.file();
        // Damage in the index is what is interesting: the samples are in front of it.
        let moov = file.windows(4).position(|kind| kind == b"moov").unwrap() - 4;
        for (place, byte) in changes {
            let at = moov + place.index(file.len() - moov);
            file[at] = byte;
        }
        if let Some(place) = cut_off {
            file.truncate(place.index(file.len()));
        }
        let link = link(file);
        if let Ok(declared::Movie { index: Some(index), .. }) = declared::movie(&link) {
            let _cuts = as_is::cuts_us(&link, &index);
            let _sound = as_is::is_sound(&link, &index);
            for track in [&index.video, &index.audio].into_iter().flatten() {
                let _rate = track.bitrate_kbps();
            }
        }
        let _passed = run(&link, &spec(&[0, 133_333]), &nowhere());
    }

    #[test]
    fn no_parameter_set_is_too_broken(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let mut film = Film::closed(&[4]);
        film.sequence = [&film.sequence[..4], &bytes].concat();
        let index = film.index();
        prop_assert!(index.video.is_some());
    }
}
