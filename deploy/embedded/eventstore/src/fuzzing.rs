//! What reads bytes that others wrote, for a fuzzer to throw bytes at. Not in a usual build.
//!
//! `cargo xtask fuzz` runs these on new bytes; the test below on those of the corpora.
//!
//! # Invariants
//!
//! * Any bytes end in a value or an error. A panic is a bug; so is memory that the bytes
//!   ask for and do not bring, which the allocator of the fuzz package refuses.

mod index;
mod log;
mod memory;
mod request;

use bytes::Bytes;

use crate::filter::{Filter, Names};
use crate::grpc;
use crate::little_endian::{u16_at, u32_at};
use crate::metadata::{DELETED, Rules, truncated_before};
use crate::record::{self, CHECKSUM_BYTES, Damage, HEADER_BYTES, crc32};

pub use index::index;
pub use log::log;
pub use request::request;

/// Names an expression is tried on.
const NAMES_MAX: usize = 8;

/// Decodes the bytes as a record, as they are and with lengths and checksums put right: a
/// fuzzer guesses everything but those.
pub fn record(bytes: &[u8]) {
    let _ = record::intact_place(bytes);
    let as_they_are = Bytes::copy_from_slice(bytes);
    if record::decode(&as_they_are).is_ok() {
        reads_back(&as_they_are);
    }
    if let Some(sealed) = sealed(bytes) {
        let sealed = Bytes::from(sealed);
        match record::decode(&sealed) {
            Ok(_) => reads_back(&sealed),
            Err(damage) => assert!(matches!(damage, Damage::Name | Damage::Place)),
        }
    }
}

/// The first line is an expression, the second prefixes with commas, the others are names.
pub fn filter(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let mut lines = text.split('\n');
    let expression = lines.next().unwrap_or_default();
    let prefixes = lines.next().unwrap_or_default().split(',');
    let prefixes = prefixes.filter(|it| !it.is_empty()).map(str::to_owned);
    let Ok(filter) = Filter::new(Names::Kind, expression, prefixes.collect(), None, 1) else {
        return;
    };
    for name in lines.take(NAMES_MAX) {
        let _ = filter.matches(name);
    }
}

/// Reads the bytes as a stream's metadata, and writes it again with another `$tb`.
pub fn metadata(bytes: &[u8]) {
    let rules = Rules::of(bytes);
    assert!(rules.truncate_before <= DELETED);
    let again = Rules::of(&truncated_before(bytes, 7));
    assert_eq!(
        again,
        Rules {
            truncate_before: 7,
            ..rules
        }
    );
}

/// Reads the bytes as what a link points at.
pub fn link(bytes: &[u8]) {
    if let Some((revision, stream)) = grpc::link_target(bytes) {
        let written = format!("{revision}@{stream}");
        let again = grpc::link_target(written.as_bytes());
        assert_eq!(again, Some((revision, stream)));
    }
}

fn reads_back(frame: &Bytes) {
    let read = record::decode(frame).expect("it was decoded before");
    let _ = record::expected_chain(frame, &[7; 32]);
    assert!(read.erased || frame.len() >= record::frame_bytes(&read.stream, &read.draft));
    let mut written = vec![];
    let chain = record::encode(
        &mut written,
        &read.stream,
        &read.draft,
        read.place,
        &[7; 32],
    );
    let again = record::decode(&written.into()).expect("what is written can be read");
    assert_eq!((again.place, &again.stream), (read.place, &read.stream));
    assert_eq!((&again.draft, again.chain), (&read.draft, chain));
}

/// The bytes as a record whose lengths and checksums are right.
fn sealed(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut room = bytes.len().checked_sub(HEADER_BYTES + CHECKSUM_BYTES)?;
    let mut frame = bytes.to_vec();
    frame[..4].copy_from_slice(&record::MAGIC);
    let erased = frame[6] & 1;
    frame[4..8].copy_from_slice(&[1, 0, erased, 0]);
    let mut names = 0;
    for at in [68, 70, 72] {
        let len = u16_at(&frame, at).min(u16::try_from(room).unwrap_or(u16::MAX));
        frame[at..at + 2].copy_from_slice(&len.to_le_bytes());
        room -= usize::from(len);
        names += usize::from(len);
    }
    let mut len = HEADER_BYTES + names + CHECKSUM_BYTES;
    if erased == 0 {
        let payload = u32::try_from(room).ok()?;
        let metadata = u32_at(&frame, 76).min(payload);
        frame[76..80].copy_from_slice(&metadata.to_le_bytes());
        frame[80..84].copy_from_slice(&(payload - metadata).to_le_bytes());
        len += room;
    }
    if len > record::FRAME_BYTES_MAX {
        return None;
    }
    frame.truncate(len);
    frame[8..12].copy_from_slice(&u32::try_from(len).ok()?.to_le_bytes());
    let names_end = HEADER_BYTES + names;
    let header = crc32(&[&frame[..148], &frame[HEADER_BYTES..names_end]]);
    frame[148..152].copy_from_slice(&header.to_le_bytes());
    let payload = crc32(&[&frame[names_end..len - CHECKSUM_BYTES]]);
    frame[len - CHECKSUM_BYTES..].copy_from_slice(&payload.to_le_bytes());
    Some(frame)
}

/// Bytes taken from the front; zeros when there are no more.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or_default()
    }

    fn number(&mut self) -> u64 {
        let mut number = [0; 8];
        let taken = self.bytes(8);
        number[..taken.len()].copy_from_slice(taken);
        u64::from_le_bytes(number)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    type Target = fn(&[u8]);

    #[test]
    fn all_bytes_of_the_corpora_end_in_a_value_or_an_error() {
        let targets: [(&str, Target); 7] = [
            ("record", super::record),
            ("log", super::log),
            ("index", super::index),
            ("filter", super::filter),
            ("request", super::request),
            ("metadata", super::metadata),
            ("link", super::link),
        ];
        let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        let mut folders: Vec<_> = std::fs::read_dir(&corpora)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        folders.sort();
        let mut names = targets.map(|(name, _)| name);
        names.sort_unstable();
        assert_eq!(folders, names);
        for (name, target) in targets {
            let files = std::fs::read_dir(corpora.join(name)).unwrap();
            let files: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
            assert!(files.len() > 1, "{name}");
            for file in files {
                println!("{}", file.display());
                target(&std::fs::read(file).unwrap());
            }
        }
    }
}
