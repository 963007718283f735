//! Files of pages, each with its number and checksum, cut into sections of equal items.
//!
//! # Invariants
//!
//! * Nothing of a page is used before its checksum was compared; a page that stands at
//!   another place, or in another part's file, is damage too.
//! * An item never crosses pages.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::disk::DiskFile;
use crate::little_endian::{u32_at, u64_at};
use crate::record::crc32;
use crate::unreadable::Unreadable;

pub(super) const PAGE_BYTES: usize = 4096;
pub(super) const PAYLOAD_BYTES: usize = 4080;
const CHECKSUM_AT: usize = PAGE_BYTES - 4;
/// Pages written at once.
const WRITE_PAGES: usize = 256;

/// A run of items of the same length, on pages of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) first_page: u32,
    pub(super) items: u32,
}

pub(super) struct PagedFile {
    pub(super) name: Arc<str>,
    pub(super) file: Arc<dyn DiskFile>,
    /// What every page of this file says besides its number.
    pub(super) mark: u64,
}

impl PagedFile {
    /// The payload of one page.
    pub(super) fn page(&self, number: u32) -> Result<Vec<u8>, Unreadable> {
        let mut page = vec![0; PAGE_BYTES];
        self.read(&mut page, number)?;
        page.truncate(PAYLOAD_BYTES);
        Ok(page)
    }

    /// These items of a section, one behind the other.
    pub(super) fn items(
        &self,
        section: Section,
        item_bytes: usize,
        range: Range<u32>,
    ) -> Result<Vec<u8>, Unreadable> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let per_page = per_page(item_bytes);
        let (first, last) = (range.start / per_page, (range.end - 1) / per_page);
        if range.end > section.items {
            let why = "the index points behind the end of a section";
            return Err(self.damaged(section.first_page + last, why));
        }
        let mut pages = vec![0; (last - first + 1) as usize * PAGE_BYTES];
        self.read(&mut pages, section.first_page + first)?;
        let begin = (range.start % per_page) as usize * item_bytes;
        if first == last {
            pages.copy_within(begin..begin + range.len() * item_bytes, 0);
            pages.truncate(range.len() * item_bytes);
            return Ok(pages);
        }
        let full = per_page as usize * item_bytes;
        let mut items = Vec::with_capacity(pages.len());
        for page in pages.chunks_exact(PAGE_BYTES) {
            items.extend_from_slice(&page[..full]);
        }
        items.drain(..begin);
        items.truncate(range.len() * item_bytes);
        Ok(items)
    }

    fn read(&self, pages: &mut [u8], first: u32) -> Result<(), Unreadable> {
        self.file
            .read_exact_at(pages, u64::from(first) * PAGE_BYTES as u64)
            .map_err(|error| self.damaged(first, &error.to_string()))?;
        for (page, number) in pages.chunks_exact(PAGE_BYTES).zip(first..) {
            check(page, number, self.mark).map_err(|why| self.damaged(number, why))?;
        }
        Ok(())
    }

    pub(super) fn damaged(&self, page: u32, why: &str) -> Unreadable {
        Unreadable::page(&self.name, u64::from(page) * PAGE_BYTES as u64, why)
    }
}

/// How many items of this length a page has room for.
pub(super) fn per_page(item_bytes: usize) -> u32 {
    u32::try_from(PAYLOAD_BYTES / item_bytes).expect("a page has less than 2^32 bytes")
}

/// Whether this is page `number` of the file with this mark, as it was written.
pub(super) fn is_intact(page: &[u8], number: u32, mark: u64) -> bool {
    check(page, number, mark).is_ok()
}

fn check(page: &[u8], number: u32, mark: u64) -> Result<(), &'static str> {
    if crc32(&[&page[..CHECKSUM_AT]]) != u32_at(page, CHECKSUM_AT) {
        return Err("the page's checksum does not match");
    }
    if u32_at(page, PAYLOAD_BYTES) != number || u64_at(page, PAYLOAD_BYTES + 4) != mark {
        return Err("the page belongs elsewhere");
    }
    Ok(())
}

/// A whole page with this payload.
pub(super) fn page(payload: &[u8], number: u32, mark: u64) -> [u8; PAGE_BYTES] {
    let mut page = [0; PAGE_BYTES];
    page[..payload.len()].copy_from_slice(payload);
    page[PAYLOAD_BYTES..PAYLOAD_BYTES + 4].copy_from_slice(&number.to_le_bytes());
    page[PAYLOAD_BYTES + 4..CHECKSUM_AT].copy_from_slice(&mark.to_le_bytes());
    let checksum = crc32(&[&page[..CHECKSUM_AT]]);
    page[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
    page
}

/// Writes sections from page 1 on; page 0 is written last, by the caller.
pub(super) struct Sections<'a> {
    file: &'a dyn DiskFile,
    mark: u64,
    /// Whole pages that are not written yet.
    waiting: Vec<u8>,
    written: u32,
    payload: Vec<u8>,
}

impl<'a> Sections<'a> {
    pub(super) fn new(file: &'a dyn DiskFile, mark: u64) -> Self {
        Self {
            file,
            mark,
            waiting: Vec::with_capacity(WRITE_PAGES * PAGE_BYTES),
            written: 1,
            payload: Vec::with_capacity(PAYLOAD_BYTES),
        }
    }

    /// A section of these items.
    pub(super) fn section<const N: usize>(
        &mut self,
        items: impl Iterator<Item = [u8; N]>,
    ) -> io::Result<Section> {
        let first_page = self.next_page();
        let mut count = 0;
        for item in items {
            self.item(&item)?;
            count += 1;
        }
        self.end_page()?;
        Ok(Section {
            first_page,
            items: count,
        })
    }

    /// Items of any length that a page has room for.
    pub(super) fn item(&mut self, item: &[u8]) -> io::Result<()> {
        if self.payload.len() + item.len() > PAYLOAD_BYTES {
            self.end_page()?;
        }
        self.payload.extend_from_slice(item);
        Ok(())
    }

    pub(super) fn next_page(&self) -> u32 {
        let waiting = self.waiting.len() / PAGE_BYTES;
        self.written + u32::try_from(waiting).expect("few pages wait")
    }

    pub(super) fn end_page(&mut self) -> io::Result<()> {
        if self.payload.is_empty() {
            return Ok(());
        }
        let page = page(&self.payload, self.next_page(), self.mark);
        self.waiting.extend_from_slice(&page);
        self.payload.clear();
        if self.waiting.len() >= WRITE_PAGES * PAGE_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let at = u64::from(self.written) * PAGE_BYTES as u64;
        self.file.write_all_at(&self.waiting, at)?;
        self.written = self.next_page();
        self.waiting.clear();
        Ok(())
    }

    /// Writes what waits; the number of pages, page 0 included.
    pub(super) fn finish(mut self) -> io::Result<u32> {
        self.end_page()?;
        self.flush()?;
        Ok(self.written)
    }
}
