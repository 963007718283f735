//! A segment file: its name, its header, and reading it from one end to the other.
//!
//! # Invariants
//!
//! * A header is written and synced, and its name too, before any record behind it.
//! * It repeats the chain hash and the position before it, so that a missing or foreign
//!   segment is noticed.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::DiskFile;
use crate::little_endian::{u16_at, u32_at, u64_at};
use crate::record::{self, Damage, Hash, crc32};

pub(crate) const HEADER_BYTES: usize = 68;
const MAGIC: [u8; 8] = *b"KSEGMENT";
const VERSION: u16 = 1;
/// What is read from a file at once while scanning it.
const WINDOW_BYTES: usize = 1024 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) number: u32,
    /// The last position before this segment.
    pub(crate) after: u64,
    /// 100 ns since 1970.
    pub(crate) created: u64,
    /// The chain hash before this segment.
    pub(crate) chain: Hash,
}

pub(crate) fn name(number: u32) -> String {
    format!("segment-{number:010}.log")
}

/// The number of a segment's file, `None` for any other file.
pub(crate) fn number(file_name: &str) -> Option<u32> {
    let digits = file_name.strip_prefix("segment-")?.strip_suffix(".log")?;
    let number = digits.parse().ok()?;
    (name(number) == file_name).then_some(number)
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0u8; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.after.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.created.to_le_bytes());
        bytes[32..64].copy_from_slice(&self.chain);
        let checksum = crc32(&[&bytes[..64]]);
        bytes[64..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// `None` if these bytes are not a whole, intact header of a known version.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < HEADER_BYTES
            || bytes[..8] != MAGIC
            || u16_at(bytes, 8) != VERSION
            || crc32(&[&bytes[..64]]) != u32_at(bytes, 64)
        {
            return None;
        }
        Some(Self {
            number: u32_at(bytes, 12),
            after: u64_at(bytes, 16),
            created: u64_at(bytes, 24),
            chain: bytes[32..64].try_into().ok()?,
        })
    }
}

/// A file seen through a window that moves forward.
pub(crate) struct Scan {
    file: Arc<dyn DiskFile>,
    pub(crate) len: u64,
    window: Bytes,
    window_at: u64,
}

impl Scan {
    pub(crate) fn new(file: Arc<dyn DiskFile>) -> io::Result<Self> {
        Ok(Self {
            len: file.len()?,
            file,
            window: Bytes::new(),
            window_at: 0,
        })
    }

    /// The header, if it is intact.
    pub(crate) fn header(&self) -> io::Result<Option<Header>> {
        let mut bytes = [0; HEADER_BYTES];
        match self.file.read_exact_at(&mut bytes, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            read => read.map(|()| Header::decode(&bytes)),
        }
    }

    /// The bytes at `offset`, as many as asked for unless the file ends before.
    pub(crate) fn bytes(&mut self, offset: u64, len: usize) -> io::Result<Bytes> {
        let len = len.min(usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX));
        let within = offset
            .checked_sub(self.window_at)
            .and_then(|at| usize::try_from(at).ok())
            .filter(|at| at + len <= self.window.len());
        if let Some(at) = within {
            return Ok(self.window.slice(at..at + len));
        }
        let rest = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut window = vec![0; rest.min(len.max(WINDOW_BYTES))];
        self.file.read_exact_at(&mut window, offset)?;
        self.window = window.into();
        self.window_at = offset;
        Ok(self.window.slice(..len))
    }

    /// The frame that begins at `offset`, not yet verified.
    pub(crate) fn frame(&mut self, offset: u64) -> io::Result<Result<Bytes, Damage>> {
        let header = self.bytes(offset, record::HEADER_BYTES)?;
        let len = match record::frame_len(&header) {
            Ok(len) => len,
            Err(damage) => return Ok(Err(damage)),
        };
        let frame = self.bytes(offset, len)?;
        if frame.len() < len {
            return Ok(Err(Damage::Short));
        }
        Ok(Ok(frame))
    }

    /// Where, after `offset`, a record stands that was written when `position` was
    /// already durable. If there is one, damage at `offset` is not a torn tail.
    pub(crate) fn proof_of_durability(
        &mut self,
        offset: u64,
        position: u64,
    ) -> io::Result<Option<u64>> {
        let mut at = offset;
        while at + (record::HEADER_BYTES as u64) <= self.len {
            let window = self.bytes(at, WINDOW_BYTES)?;
            let starts = window
                .windows(record::MAGIC.len())
                .enumerate()
                .filter(|(_, bytes)| *bytes == record::MAGIC)
                .map(|(start, _)| at + start as u64)
                .collect::<Vec<_>>();
            for start in starts {
                let bytes = self.bytes(start, record::NAMED_HEADER_BYTES_MAX)?;
                if record::intact_place(&bytes).is_some_and(|place| place.durable >= position) {
                    return Ok(Some(start));
                }
            }
            at += (window.len() - (record::MAGIC.len() - 1)) as u64;
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back_and_a_flipped_bit_is_found() {
        let header = Header {
            number: 3,
            after: 77,
            created: 5,
            chain: [9; 32],
        };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Some(header));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&damaged), None, "bit {bit}");
        }
    }

    #[test]
    fn only_our_own_names_are_segments() {
        assert_eq!(number(&name(12)), Some(12));
        for other in [
            "lock",
            "segment-1.log",
            "segment-00000000012.log",
            "segment-0000000012.tmp",
        ] {
            assert_eq!(number(other), None, "{other}");
        }
    }
}
