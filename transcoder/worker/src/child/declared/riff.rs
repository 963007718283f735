//! AVI and WAVE: chunks with their lengths in front.
//!
//! # Invariants
//!
//! * Only the file's beginning is read.

use super::super::coverage::truncated;
use super::super::front_end::unreadable;
use super::super::source_element::SourceLink;
use super::cut_off;
use crate::failure::Failure;

/// Headers are in front of all media; some writers leave much room behind them.
const HEAD_BYTES: u32 = 256 << 10;

/// Refuses a file that ends before its outermost chunk does; 0 and the maximum mean "written live".
pub(super) fn check(link: &SourceLink) -> Result<(), Failure> {
    let head = link.read(0, HEAD_BYTES).map_err(|_| unreadable())?;
    let Some(size) = le32(&head, 4).map(u64::from) else {
        return Ok(());
    };
    let end = size + 8;
    let live = size == 0 || size == u64::from(u32::MAX);
    // An odd last chunk may lack its padding.
    if live || end <= link.size + 1 {
        return Ok(());
    }
    let media = match head.get(8..12) {
        Some(b"AVI ") => film(&head),
        Some(b"WAVE") => sound(&head),
        Some(_) | None => None,
    };
    Err(media.map_or_else(
        || cut_off(end, link.size),
        |media| truncated(media.declared_ns, media.found_ns(link.size)),
    ))
}

/// The chunk that holds all media, and how long they are.
struct Media {
    begin: u64,
    size: u64,
    declared_ns: u64,
}

impl Media {
    /// By the share of the bytes that are there: nothing in them says when it is shown.
    fn found_ns(&self, file_bytes: u64) -> u64 {
        let there = file_bytes.saturating_sub(self.begin).min(self.size);
        let ns = u128::from(self.declared_ns) * u128::from(there) / u128::from(self.size.max(1));
        u64::try_from(ns).unwrap_or(self.declared_ns)
    }
}

fn film(head: &[u8]) -> Option<Media> {
    // Within its list of headers, the first.
    let (at, size) = chunk(head, 12, b"LIST", Some(b"hdrl"))?;
    let (header, _) = chunk(head.get(..at.checked_add(size)?)?, at + 4, b"avih", None)?;
    let per_picture_us = u64::from(le32(head, header)?);
    let pictures = u64::from(le32(head, header + 16)?);
    let (begin, size) = chunk(head, 12, b"LIST", Some(b"movi"))?;
    Some(Media {
        begin: begin as u64,
        size: size as u64,
        declared_ns: per_picture_us.checked_mul(pictures)?.checked_mul(1000)?,
    })
}

fn sound(head: &[u8]) -> Option<Media> {
    let (format, _) = chunk(head, 12, b"fmt ", None)?;
    let per_second = u128::from(le32(head, format + 8)?).max(1);
    let (begin, size) = chunk(head, 12, b"data", None)?;
    let declared_ns = size as u128 * 1_000_000_000 / per_second;
    Some(Media {
        begin: begin as u64,
        size: size as u64,
        declared_ns: u64::try_from(declared_ns).ok()?,
    })
}

/// Where the content of the first such chunk begins, and its size; of a list also its kind.
fn chunk(
    bytes: &[u8],
    mut at: usize,
    name: &[u8; 4],
    list: Option<&[u8; 4]>,
) -> Option<(usize, usize)> {
    loop {
        let size = le32(bytes, at + 4)? as usize;
        let begin = at + 8;
        let is_list = list.is_none_or(|kind| bytes.get(begin..begin + 4) == Some(kind));
        if bytes.get(at..at + 4)? == name && is_list {
            return Some((begin, size));
        }
        // Onwards at least by a header: it ends with the bytes.
        at = begin.checked_add(size)?.checked_add(size % 2)?;
    }
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(four.try_into().ok()?))
}
