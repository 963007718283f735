//! Up to where the log is durable, told to other processes by the one that has the folder.
//!
//! It stands in the lock's file: 16 bytes that no two lives of a folder share, the position
//! (8), and the CRC-32 of both (4). The node itself never reads it.
//!
//! # Invariants
//!
//! * A mark moves only after the sync of what it names, so it never says too much.
//! * Whoever takes the folder wipes the mark before changing anything. So what is read while
//!   a mark's life goes on, up to the mark's position, is durable and stays as it is.
//! * It is never synced: what a power cut leaves of it is wiped before it can mean anything.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use uuid::Uuid;

use crate::little_endian::{u32_at, u64_at};
use crate::record::crc32;

pub(crate) const BYTES: usize = 28;
/// How often a mark is read that is just being written.
const READS_MAX: usize = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Drawn whenever the folder is taken.
    pub(crate) life: Uuid,
    /// The last durable position.
    pub(crate) position: u64,
}

impl Mark {
    pub(crate) fn encode(self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[..16].copy_from_slice(self.life.as_bytes());
        bytes[16..24].copy_from_slice(&self.position.to_le_bytes());
        let checksum = crc32(&[&bytes[..24]]);
        bytes[24..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; BYTES]) -> Option<Self> {
        let (life, _) = bytes.split_first_chunk()?;
        (crc32(&[&bytes[..24]]) == u32_at(bytes, 24)).then(|| Self {
            life: Uuid::from_bytes(*life),
            position: u64_at(bytes, 16),
        })
    }
}

/// Forgets what was said in an earlier life.
pub(crate) fn wipe(lock: &File) -> io::Result<()> {
    // Overwritten, so that the mark has its room even when the disk is full by then.
    lock.write_all_at(&[0; BYTES], 0)
        .or_else(|_| lock.set_len(0))
}

/// What the lock's file says, `None` if nothing was said in its present life.
pub(crate) fn read(lock: &Path) -> io::Result<Option<Mark>> {
    let file = match File::open(lock) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    for _ in 0..READS_MAX {
        let mut bytes = [0; BYTES];
        match file.read_exact_at(&mut bytes, 0) {
            Ok(()) if bytes == [0; BYTES] => return Ok(None),
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        if let Some(mark) = Mark::decode(&bytes) {
            return Ok(Some(mark));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_until_it_is_wiped_and_never_with_a_flipped_bit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        assert_eq!(read(&path).unwrap(), None);
        let file = File::create(&path).unwrap();
        assert_eq!(read(&path).unwrap(), None);

        let mark = Mark {
            life: Uuid::from_u128(7),
            position: 9,
        };
        file.write_all_at(&mark.encode(), 0).unwrap();
        assert_eq!(read(&path).unwrap(), Some(mark));
        for bit in 0..BYTES * 8 {
            let mut bytes = mark.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Mark::decode(&bytes), None, "bit {bit}");
        }
        wipe(&file).unwrap();
        assert_eq!(read(&path).unwrap(), None);
    }
}
