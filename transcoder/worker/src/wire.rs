//! What parent and child say to each other over the inherited descriptors.
//!
//! The child is not trusted: a decoder in it may have been taken over by the file it
//! reads. The parent therefore checks every length before it allocates.
//!
//! # Invariants
//!
//! * A frame is `u32 head length, u32 body length, head (JSON), body`, little endian.
//! * A read is asked as `u64 offset, u32 length` and answered as `u32 status, u32 length,
//!   bytes`; an answer is shorter than asked only at the end of the source.
//! * Nothing larger than the stated maxima crosses.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// Where the child finds its descriptors.
pub const SOURCE_FD: i32 = 3;
pub const OUTPUT_FD: i32 = 4;

/// One read of the source, in bytes.
pub const READ_BYTES_MAX: u32 = 4 << 20;
/// One fragment, init segment or picture, in bytes.
pub const BODY_BYTES_MAX: u32 = 64 << 20;
/// The JSON in front of it, in bytes.
pub const HEAD_BYTES_MAX: u32 = 64 << 10;
/// The task as the child gets it, in bytes.
pub const SPEC_BYTES_MAX: u64 = 4 << 20;

pub const READ_OK: u32 = 0;
pub const READ_FAILED: u32 = 1;

/// What the child reports; the body belongs to `Init`, `Segment`, `Poster` and `Done`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Head {
    /// Work goes on: `units` only ever grows, `permille` is for people.
    Progress {
        units: u64,
        permille: u32,
    },
    /// The init segment of a rendition, before its first segment.
    Init {
        rendition: String,
        codec: String,
        timescale: u32,
    },
    Segment {
        rendition: String,
        index: u32,
        time: u64,
        duration: u64,
        samples: u32,
    },
    Poster {
        width: u32,
        height: u32,
    },
    /// The body is a `FinishRequest` without its lease.
    Done,
    Failed {
        failure: Failure,
    },
    /// The findings of the self-test of the sandbox.
    Findings {
        findings: Vec<Finding>,
        /// What the sandbox lacks on this machine, and what to do about it.
        missing: Option<String>,
    },
}

/// One attempt of the self-test to break out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub attempt: String,
    /// The error number, 0 when the attempt succeeded.
    pub errno: i32,
}

/// Writes one frame; blocks while the parent is behind.
pub fn write_frame(out: &mut impl Write, head: &Head, body: &[u8]) -> io::Result<()> {
    let head = serde_json::to_vec(head)?;
    let too_large = || io::Error::new(io::ErrorKind::InvalidInput, "the frame is too large");
    let head_len = u32::try_from(head.len()).map_err(|_| too_large())?;
    let body_len = u32::try_from(body.len()).map_err(|_| too_large())?;
    if head_len > HEAD_BYTES_MAX || body_len > BODY_BYTES_MAX {
        return Err(too_large());
    }

    let mut start = Vec::with_capacity(8 + head.len());
    start.extend_from_slice(&head_len.to_le_bytes());
    start.extend_from_slice(&body_len.to_le_bytes());
    start.extend_from_slice(&head);
    out.write_all(&start)?;
    out.write_all(body)?;
    out.flush()
}

/// The child's side of a read: asks, waits, returns what came.
pub fn read_source<S: Read + Write>(link: &mut S, offset: u64, length: u32) -> io::Result<Vec<u8>> {
    let mut ask = [0u8; 12];
    ask[..8].copy_from_slice(&offset.to_le_bytes());
    ask[8..].copy_from_slice(&length.to_le_bytes());
    link.write_all(&ask)?;

    let mut answer = [0u8; 8];
    link.read_exact(&mut answer)?;
    let (status, got) = split_pair(answer);
    if status != READ_OK || got > length {
        return Err(io::Error::other("the source could not be read"));
    }
    let mut bytes = vec![0u8; got as usize];
    link.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Two little-endian numbers.
pub fn split_pair(bytes: [u8; 8]) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = bytes;
    (
        u32::from_le_bytes([a, b, c, d]),
        u32::from_le_bytes([e, f, g, h]),
    )
}
