use super::super::cmaf::{boxed, full, numbers};
use super::super::made::Film;
use super::*;

fn walked(film: &Film) -> Vec<Sample> {
    film.index().video.unwrap().samples.walk().collect()
}

#[test]
fn every_sample_has_its_place_its_time_and_its_turn() {
    let mut film = Film::closed(&[4, 2]);
    film.pictures[5].0 = 7;
    let walked = walked(&film);
    let times: Vec<u64> = walked.iter().map(|sample| sample.time).collect();
    assert_eq!(times, [0, 1000, 2000, 3000, 4000, 5000]);
    let shown: Vec<i64> = walked.iter().map(Sample::shown).collect();
    assert_eq!(shown, [1000, 3000, 2000, 4000, 5000, 6000]);
    let keys: Vec<bool> = walked.iter().map(|sample| sample.is_key).collect();
    assert_eq!(keys, [true, false, false, false, true, false]);
    assert_eq!(walked[5].duration, 7);
    let file = film.file();
    for sample in &walked {
        let bytes = &file[sample.offset as usize..sample.end() as usize];
        assert_eq!(
            bytes[..5],
            [0, 0, 0, 12, if sample.is_key { 0x65 } else { 0x41 }]
        );
    }
}

#[test]
fn chunks_change_their_length_on_their_way() {
    // Two chunks of two samples, then chunks of one.
    let mut stbl = vec![];
    full(&mut stbl, b"stts", 0, |out| numbers(out, &[1, 6, 10]));
    full(&mut stbl, b"stsz", 0, |out| {
        numbers(out, &[0, 6, 1, 2, 3, 4, 5, 6]);
    });
    full(&mut stbl, b"stsc", 0, |out| {
        numbers(out, &[2, 1, 2, 1, 3, 1, 1]);
    });
    full(&mut stbl, b"co64", 0, |out| {
        numbers(out, &[4, 0, 100, 0, 200, 1, 0, 0, 400]);
    });
    let stbl = Bytes::from(stbl);
    let samples = Samples::read(&stbl, &stbl).unwrap();
    let places: Vec<u64> = samples.walk().map(|sample| sample.offset).collect();
    assert_eq!(places, [100, 101, 200, 203, 1 << 32, 400]);
    assert_eq!((samples.bytes(), samples.duration()), (21, 60));
    assert!(
        samples.walk().all(|sample| sample.is_key),
        "no table: all are"
    );
}

#[test]
fn a_table_that_ends_early_ends_the_walk() {
    let mut film = Film::closed(&[6]);
    let index = film.index();
    let samples = &index.video.as_ref().unwrap().samples;
    let mut walk = samples.walk();
    assert_eq!(walk.by_ref().count(), 6);
    assert!(walk.is_whole());

    film.frames = vec![1024; 3];
    let mut file = film.file();
    // More samples in the table of sizes than in any other.
    let at = file.windows(4).position(|kind| kind == b"stsz").unwrap() + 12;
    file[at..at + 4].copy_from_slice(&9u32.to_be_bytes());
    let file = Bytes::from(file);
    let index = Index::read(&file.slice_ref(child(&file, b"moov").unwrap())).unwrap();
    let mut walk = index.video.as_ref().unwrap().samples.walk();
    assert_eq!(walk.by_ref().count(), 6);
    assert!(!walk.is_whole());
    assert_eq!(index.audio.unwrap().samples.walk().count(), 3);
}

#[test]
fn a_fragmented_file_has_no_table() {
    let mut moov = Film::closed(&[6]).file();
    boxed(&mut moov, b"mvex", |_| {});
    assert!(Index::read(&Bytes::from(moov)).is_none());
}

/// Whether a decoder configured so is told.
fn is_told(change: impl FnOnce(&mut Vec<u8>)) -> bool {
    let mut film = Film::closed(&[6]);
    change(&mut film.sequence);
    matches!(film.index().video.unwrap().entry, Entry::Avc(_))
}

#[test]
fn only_what_players_play_is_told() {
    assert!(is_told(|_| {}));
    assert!(!is_told(|set| set[1] = 110), "more than 8 bits");
    assert!(!is_told(|set| set[3] = 60), "level 6");
    assert!(!is_told(|set| set.truncate(8)), "cut short");
    assert!(
        !is_told(|set| set[0] = 0x68),
        "not a sequence parameter set"
    );
}
