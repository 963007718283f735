//! What a crash or a bad disk does to the files of a log.
//!
//! The format is the one of the README, read here anew: a mistake in the node's own reader
//! must not be made here too.

use std::ops::Range;
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngCore};

use crate::storage::segments;

const SEGMENT_HEADER_BYTES: usize = 68;
const RECORD_HEADER_BYTES: usize = 152;

/// A record, whole or cut short by the end of the file.
struct Frame {
    bytes: Range<usize>,
    durable: u64,
    position: u64,
}

/// Leaves the end of the log as a crash may leave it: only what was never told to anybody,
/// which is what is behind this position, is changed. Says what it did.
pub fn tail(dir: &Path, told: u64, random: &mut StdRng) -> &'static str {
    let Some(path) = segments(dir).pop() else {
        return "nothing: there is no log yet";
    };
    let mut bytes = std::fs::read(&path).unwrap();
    let frames = frames(&bytes);
    let known = frames.iter().rfind(|it| it.position <= told);
    let free = known
        .map_or(SEGMENT_HEADER_BYTES, |it| it.bytes.end)
        .max(indexed(&path))
        .min(bytes.len());
    // Whatever is in front of a later group was synced before that was written.
    let durable = frames.last().map(|it| it.durable);
    let group = frames.iter().find(|it| Some(it.durable) == durable);
    let group = group
        .map_or(free, |it| it.bytes.start)
        .max(free)
        .min(bytes.len());
    let done = match random.random_range(0..8) {
        0 => "nothing",
        1 => {
            bytes.truncate(random.random_range(free..=bytes.len()));
            "the tail is cut"
        }
        2 => {
            let from = random.random_range(group..=bytes.len());
            bytes[from..].fill(0);
            "the tail is zero"
        }
        3 => {
            let more = random.random_range(1..9000);
            bytes.resize(bytes.len() + more, 0);
            "zeros follow"
        }
        4 => {
            let mut garbage = vec![0; random.random_range(1..9000)];
            random.fill_bytes(&mut garbage);
            bytes.extend(garbage);
            "garbage follows"
        }
        5 => {
            for _ in 0..random.random_range(1..9) {
                flip(&mut bytes, group, random);
            }
            "bits of the tail are flipped"
        }
        6 => {
            let Some(stale) = frames.choose(random) else {
                return "nothing: there is no record to find again";
            };
            let stale = bytes[stale.bytes.start..stale.bytes.end.min(bytes.len())].to_vec();
            bytes.extend(&stale[..random.random_range(1..=stale.len())]);
            "an old record follows, whole or in part"
        }
        _ if !begun(&bytes) => "nothing: the last segment is not there yet",
        _ => {
            begin_next(&path, &bytes, random);
            "a next segment is begun"
        }
    };
    std::fs::write(&path, bytes).unwrap();
    done
}

/// Where the index files of a segment end: what they cover was synced before they were made.
fn indexed(segment: &Path) -> usize {
    let number = &segment.file_stem().unwrap().to_str().unwrap()["segment-".len()..];
    let prefix = format!("index-{number}-");
    let files = std::fs::read_dir(segment.parent().unwrap()).unwrap();
    let ends = files.filter_map(|file| {
        let name = file.unwrap().file_name().into_string().unwrap();
        let range = name.strip_prefix(&prefix)?.strip_suffix(".idx")?;
        Some(range.split_once('-')?.1.parse().unwrap())
    });
    ends.max().unwrap_or(0)
}

/// Leaves one index file in three as a crash may leave one that was not finished: its first
/// page is written when all others are durable.
pub fn indexes(dir: &Path, random: &mut StdRng) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|it| it != "idx") || random.random_ratio(2, 3) {
            continue;
        }
        let mut bytes = std::fs::read(&path).unwrap();
        match random.random_range(0..3) {
            0 => {
                std::fs::remove_file(&path).unwrap();
                continue;
            }
            1 => bytes.truncate(random.random_range(0..=bytes.len())),
            _ => bytes.iter_mut().take(512).for_each(|byte| *byte = 0),
        }
        std::fs::write(&path, bytes).unwrap();
    }
}

/// Whether there is an intact header, without which no later segment is ever begun.
fn begun(bytes: &[u8]) -> bool {
    let header = bytes.get(..SEGMENT_HEADER_BYTES);
    header.is_some_and(|it| crc32fast::hash(&it[..64]).to_le_bytes() == it[64..])
}

/// A part of a next segment's header; the rest was not written, or reads as zeros.
fn begin_next(last: &Path, bytes: &[u8], random: &mut StdRng) {
    let number: u32 = last.file_stem().unwrap().to_str().unwrap()["segment-".len()..]
        .parse()
        .unwrap();
    let mut header = bytes[..SEGMENT_HEADER_BYTES.min(bytes.len())].to_vec();
    header.truncate(random.random_range(0..SEGMENT_HEADER_BYTES));
    if random.random() {
        header.resize(random.random_range(header.len()..5000), 0);
    }
    let next = last.with_file_name(format!("segment-{:010}.log", number + 1));
    std::fs::write(next, header).unwrap();
}

fn flip(bytes: &mut [u8], from: usize, random: &mut StdRng) {
    if from < bytes.len() {
        let at = random.random_range(from..bytes.len());
        bytes[at] ^= 1 << random.random_range(0..8);
    }
}

/// A bit that was flipped among what was acknowledged.
#[derive(Debug)]
pub struct Damaged {
    path: PathBuf,
    at: usize,
    bit: u8,
    /// Where what it is a part of begins.
    offset: usize,
    /// The position of the record, or of the first behind the header.
    pub position: usize,
}

/// Flips one bit in front of the last group: damage there cannot be told from a torn tail.
pub fn anywhere(dir: &Path, random: &mut StdRng) -> Damaged {
    let segments = segments(dir);
    let path = segments.choose(random).unwrap().clone();
    let mut bytes = std::fs::read(&path).unwrap();
    let mut frames = frames(&bytes);
    let first = usize::try_from(frames[0].position).unwrap();
    if path == *segments.last().unwrap() {
        frames.pop();
    }
    let end = frames
        .last()
        .map_or(SEGMENT_HEADER_BYTES, |it| it.bytes.end);
    let at = random.random_range(0..end);
    let bit = 1 << random.random_range(0..8);
    bytes[at] ^= bit;
    std::fs::write(&path, bytes).unwrap();
    let frame = frames.iter().find(|it| it.bytes.contains(&at));
    let (offset, position) = frame.map_or((0, first), |it| {
        (it.bytes.start, usize::try_from(it.position).unwrap())
    });
    Damaged {
        path,
        at,
        bit,
        offset,
        position,
    }
}

impl Damaged {
    /// What an error about it must say.
    pub fn names(&self) -> [String; 2] {
        let file = self.path.file_name().unwrap().to_str().unwrap();
        [file.to_owned(), format!("offset {}", self.offset)]
    }

    pub fn repair(self) {
        let mut bytes = std::fs::read(&self.path).unwrap();
        bytes[self.at] ^= self.bit;
        std::fs::write(&self.path, bytes).unwrap();
    }
}

fn frames(bytes: &[u8]) -> Vec<Frame> {
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let mut found = vec![];
    let mut at = SEGMENT_HEADER_BYTES;
    while at + RECORD_HEADER_BYTES <= bytes.len() && bytes[at..].starts_with(b"KREC") {
        let len = u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize;
        found.push(Frame {
            bytes: at..at + len,
            durable: number(at + 12),
            position: number(at + 20),
        });
        at += len.max(RECORD_HEADER_BYTES);
    }
    found
}
