//! Reads the samples of one stretch of the film, wherever in the file they are.
//!
//! # Invariants
//!
//! * Samples that are neighbours in the file are read together, whatever track they are of;
//!   no byte of them is read twice.
//! * Besides the segments themselves, one read is in memory.

use super::super::front_end::unreadable;
use super::super::source_element::SourceLink;
use super::lane::Segment;
use crate::failure::Failure;
use crate::wire::READ_BYTES_MAX;

/// What is read and thrown away rather than asked for apart, in bytes.
const GAP_BYTES_MAX: u64 = 64 << 10;

/// One sample: where it is, and where it goes.
struct Piece {
    offset: u64,
    size: usize,
    body: usize,
    at: usize,
}

impl Piece {
    fn end(&self) -> u64 {
        self.offset + self.size as u64
    }
}

/// The bytes of each of these segments, with their heads in front.
pub(super) fn read<'a>(
    link: &SourceLink,
    segments: impl Iterator<Item = &'a Segment>,
) -> Result<Vec<Vec<u8>>, Failure> {
    let mut bodies: Vec<Vec<u8>> = vec![];
    let mut pieces: Vec<Piece> = vec![];
    for (body, segment) in segments.enumerate() {
        let mut at = segment.head.len();
        for sample in &segment.samples {
            let size = sample.size as usize;
            pieces.push(Piece {
                offset: sample.offset,
                size,
                body,
                at,
            });
            at += size;
        }
        let mut bytes = Vec::with_capacity(at);
        bytes.extend_from_slice(&segment.head);
        bytes.resize(at, 0);
        bodies.push(bytes);
    }
    pieces.sort_unstable_by_key(|piece| piece.offset);

    let mut window = Window::default();
    for run in pieces.chunk_by(|a, b| b.offset <= a.end().saturating_add(GAP_BYTES_MAX)) {
        let end = run.iter().map(Piece::end).max().unwrap_or(0);
        for piece in run {
            let to = &mut bodies[piece.body][piece.at..piece.at + piece.size];
            window.copy(link, piece.offset, to, end)?;
        }
    }
    Ok(bodies)
}

/// What was read last.
#[derive(Default)]
struct Window {
    from: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// Copies from here on, reading what is wanted up to `end` as it gets there.
    fn copy(
        &mut self,
        link: &SourceLink,
        offset: u64,
        to: &mut [u8],
        end: u64,
    ) -> Result<(), Failure> {
        let mut done = 0;
        while done < to.len() {
            let at = offset + done as u64;
            let have = at
                .checked_sub(self.from)
                .and_then(|skip| self.bytes.get(usize::try_from(skip).ok()?..))
                .unwrap_or_default();
            if have.is_empty() {
                let length = (end - at).min(u64::from(READ_BYTES_MAX)) as u32;
                self.bytes = link.read(at, length).map_err(|_| unreadable())?;
                self.from = at;
                if self.bytes.is_empty() {
                    return Err(unreadable());
                }
                continue;
            }
            let part = have.len().min(to.len() - done);
            to[done..done + part].copy_from_slice(&have[..part]);
            done += part;
        }
        Ok(())
    }
}
