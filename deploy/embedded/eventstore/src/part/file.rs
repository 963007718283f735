//! A part in its file.
//!
//! # Invariants
//!
//! * A page is verified whenever it is read; a damaged one is an error, never an answer,
//!   and marks the part for being made again.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use super::encode::{
    ENTRY_BYTES, FLAG_MAX_AGE, FLAG_MAX_COUNT, FLAG_PRESENT, FLAG_TOMBSTONED, ITEM_BYTES,
    KIND_BYTES, Layout, MAGIC, ROW_BYTES, RULES_BYTES, VERSION, mark, slot_of,
};
use super::memory::Extent;
use super::pages::{self, PAGE_BYTES, PAYLOAD_BYTES, PagedFile, Section, per_page};
use super::{Entry, Item, Key, Row, Spot, State, bloom};
use crate::disk::DiskFile;
use crate::limits::FILTERS_BYTES_MAX;
use crate::little_endian::{u16_at, u32_at, u64_at};
use crate::metadata::Rules;
use crate::unreadable::Unreadable;

/// Rows looked at once while looking for a stream: most are found in the first.
const PROBE_ROWS: u32 = 8;

pub(crate) struct PartFile {
    paged: PagedFile,
    extent: Extent,
    pub(super) layout: Layout,
    filter: OnceLock<Filter>,
    damaged: AtomicBool,
    given_up: AtomicBool,
}

/// A part's filter in memory.
struct Filter {
    bytes: Vec<u8>,
    _room: Room,
}

/// A share of the memory for filters, given back when it is dropped.
struct Room(usize);

static FILTER_BYTES: AtomicUsize = AtomicUsize::new(0);

impl Room {
    fn take(bytes: usize) -> Option<Self> {
        let room = Self(bytes);
        // Taken first and given back by the drop if it was too much.
        let before = FILTER_BYTES.fetch_add(bytes, Ordering::Relaxed);
        (before + bytes <= FILTERS_BYTES_MAX).then_some(room)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        FILTER_BYTES.fetch_sub(self.0, Ordering::Relaxed);
    }
}

impl Filter {
    fn block(&self, number: u32) -> &[u8] {
        &self.bytes[number as usize * bloom::BLOCK_BYTES..][..bloom::BLOCK_BYTES]
    }
}

impl PartFile {
    /// `None` if this is not the whole, intact file of a part.
    pub(crate) fn open(name: &str, file: Arc<dyn DiskFile>) -> io::Result<Option<Self>> {
        if file.len()? < PAGE_BYTES as u64 {
            return Ok(None);
        }
        let mut raw = [0; PAGE_BYTES];
        file.read_exact_at(&mut raw, 0)?;
        let Some((extent, layout)) = header(&raw) else {
            return Ok(None);
        };
        if file.len()? != u64::from(layout.pages) * PAGE_BYTES as u64 {
            return Ok(None);
        }
        let paged = PagedFile {
            name: name.into(),
            file,
            mark: mark(&extent),
        };
        let intact = pages::is_intact(&raw, 0, paged.mark);
        Ok(intact.then_some(Self {
            paged,
            extent,
            layout,
            filter: OnceLock::new(),
            damaged: AtomicBool::new(false),
            given_up: AtomicBool::new(false),
        }))
    }

    pub(crate) fn extent(&self) -> &Extent {
        &self.extent
    }

    pub(crate) fn name(&self) -> &str {
        &self.paged.name
    }

    /// Whether a page was found damaged, and is worth making again.
    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed) && !self.given_up.load(Ordering::Relaxed)
    }

    /// Says that it cannot be made again.
    pub(crate) fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }

    /// Where the last record is.
    pub(crate) fn last_spot(&self) -> Result<Option<Spot>, Unreadable> {
        let from = self.len().saturating_sub(1);
        Ok(self
            .entries(from..self.len())?
            .pop()
            .map(|entry| entry.spot))
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> u32 {
        self.layout.entries.items
    }

    pub(super) fn row(&self, key: &Key) -> Result<Option<Row>, Unreadable> {
        let layout = &self.layout;
        if layout.filter.items == 0 || !self.may_have(key)? {
            return Ok(None);
        }
        let mut slot = slot_of(key, layout.slots);
        while slot < layout.rows.items {
            let end = slot.saturating_add(PROBE_ROWS).min(layout.rows.items);
            let rows = self.read(layout.rows, ROW_BYTES, slot..end)?;
            for row in rows.chunks_exact(ROW_BYTES) {
                if !is_present(row) || row[..16] > key[..] {
                    return Ok(None);
                }
                if row[..16] == key[..] {
                    return self.decode_row(row).map(Some);
                }
            }
            slot = end;
        }
        Ok(None)
    }

    /// Asks the filter; in memory, as long as there is room for it there.
    fn may_have(&self, key: &Key) -> Result<bool, Unreadable> {
        let blocks = self.layout.filter.items;
        let block = bloom::block_of(key, blocks);
        if let Some(filter) = self.filter.get() {
            return Ok(bloom::may_have(filter.block(block), key));
        }
        let Some(room) = Room::take(blocks as usize * bloom::BLOCK_BYTES) else {
            let block = self.read(self.layout.filter, bloom::BLOCK_BYTES, block..block + 1)?;
            return Ok(bloom::may_have(&block, key));
        };
        let bytes = self.read(self.layout.filter, bloom::BLOCK_BYTES, 0..blocks)?;
        // Another thread may have been first: its filter is the same.
        let filter = self.filter.get_or_init(|| Filter { bytes, _room: room });
        Ok(bloom::may_have(filter.block(block), key))
    }

    pub(super) fn decode_row(&self, row: &[u8]) -> Result<Row, Unreadable> {
        let before = u64_at(row, 24);
        let last = match u32_at(row, 32) {
            0 => before,
            delta => self.position(delta),
        };
        let flags = u32_at(row, 48);
        Ok(Row {
            first: u64_at(row, 16),
            count: u32_at(row, 36),
            before,
            last,
            state: State {
                tombstoned: flags & u32::from(FLAG_TOMBSTONED) != 0,
                rules: self.rules(flags >> 8)?,
            },
            settled: true,
            start: u32_at(row, 40),
        })
    }

    fn rules(&self, place: u32) -> Result<Option<Rules>, Unreadable> {
        let Some(at) = place.checked_sub(1) else {
            return Ok(None);
        };
        let bytes = self.one(self.layout.rules, RULES_BYTES, at)?;
        let flags = u32_at(&bytes, 0);
        let if_set = |flag: u32, at: usize| (flags & flag != 0).then(|| u64_at(&bytes, at));
        Ok(Some(Rules {
            truncate_before: u64_at(&bytes, 4),
            max_count: if_set(FLAG_MAX_COUNT, 12),
            max_age_ticks: if_set(FLAG_MAX_AGE, 20),
        }))
    }

    pub(super) fn items(&self, range: Range<u32>) -> Result<Vec<Item>, Unreadable> {
        let bytes = self.read(self.layout.items, ITEM_BYTES, range)?;
        let item = |item: &[u8]| Item {
            spot: Spot {
                position: self.position(u32_at(item, 0)),
                segment: self.extent.segment,
                offset: u32_at(item, 4),
                len: u32_at(item, 8),
            },
            id_hash: u32_at(item, 12),
        };
        Ok(bytes.chunks_exact(ITEM_BYTES).map(item).collect())
    }

    pub(super) fn forward(&self, from: u64, max: usize) -> Result<Vec<Entry>, Unreadable> {
        let begin = self.ordinal(from)?;
        let max = u32::try_from(max).unwrap_or(u32::MAX);
        self.entries(begin..self.len().min(begin.saturating_add(max)))
    }

    pub(super) fn backward(&self, before: u64, max: usize) -> Result<Vec<Entry>, Unreadable> {
        let end = self.ordinal(before)?;
        let max = u32::try_from(max).unwrap_or(u32::MAX);
        self.entries(end.saturating_sub(max)..end)
    }

    /// The ordinal of the first entry at or after this position.
    fn ordinal(&self, position: u64) -> Result<u32, Unreadable> {
        let delta = position.saturating_sub(self.position(1));
        let guess = u32::try_from(delta).unwrap_or(u32::MAX).min(self.len());
        let at = |ordinal: u32| {
            let bytes = self.read(self.layout.entries, ENTRY_BYTES, ordinal..ordinal + 1)?;
            Ok(self.position(u32_at(&bytes, 0)))
        };
        // Positions mostly count up by one, and never by less.
        let (mut low, mut high) = (0, guess);
        if guess == 0 || at(guess - 1)? < position {
            return Ok(guess);
        }
        while low < high {
            let middle = low + (high - low) / 2;
            if at(middle)? < position {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    pub(super) fn entries(&self, range: Range<u32>) -> Result<Vec<Entry>, Unreadable> {
        let count = range.len();
        // One more, since a record ends where the next begins.
        let end = range.end.saturating_add(1).min(self.len()).max(range.end);
        let bytes = self.read(self.layout.entries, ENTRY_BYTES, range.start..end)?;
        let offsets = bytes
            .chunks_exact(ENTRY_BYTES)
            .map(|entry| u32_at(entry, 4));
        let ends = offsets.skip(1).chain(std::iter::once(
            u32::try_from(self.extent.to).unwrap_or(u32::MAX),
        ));
        let entry = |(entry, end): (&[u8], u32)| Entry {
            spot: Spot {
                position: self.position(u32_at(entry, 0)),
                segment: self.extent.segment,
                offset: u32_at(entry, 4),
                len: end.saturating_sub(u32_at(entry, 4)),
            },
            stream: u32_at(entry, 8),
            kind: u32_at(entry, 12),
        };
        let entries = bytes.chunks_exact(ENTRY_BYTES).zip(ends).map(entry);
        Ok(entries.take(count).collect())
    }

    pub(super) fn stream_name(&self, ordinal: u32) -> Result<Arc<str>, Unreadable> {
        let row = self.one(self.layout.rows, ROW_BYTES, ordinal)?;
        self.text(u32_at(&row, 44))
    }

    pub(super) fn kind_name(&self, ordinal: u32) -> Result<Arc<str>, Unreadable> {
        let kind = self.one(self.layout.kinds, KIND_BYTES, ordinal)?;
        self.text(u32_at(&kind, 0))
    }

    /// The name at this address.
    pub(super) fn text(&self, address: u32) -> Result<Arc<str>, Unreadable> {
        let page = (self.layout.names.first_page).saturating_add(address / PAGE_BYTES as u32);
        let at = address as usize % PAGE_BYTES;
        let bytes = self.noticed(self.paged.page(page))?;
        let text = (at + 2 <= PAYLOAD_BYTES)
            .then(|| usize::from(u16_at(&bytes, at)))
            .and_then(|len| bytes.get(at + 2..at + 2 + len))
            .and_then(|bytes| std::str::from_utf8(bytes).ok());
        match text {
            Some(text) => Ok(text.into()),
            None => self.noticed(Err(self.paged.damaged(page, "a name is not a text"))),
        }
    }

    /// All rows of some slots: `None` where a slot is free.
    pub(super) fn slots(&self, range: Range<u32>) -> Result<Vec<Option<(Row, u32)>>, Unreadable> {
        let rows = self.read(self.layout.rows, ROW_BYTES, range)?;
        let row = |row: &[u8]| match is_present(row) {
            true => Ok(Some((self.decode_row(row)?, u32_at(row, 44)))),
            false => Ok(None),
        };
        rows.chunks_exact(ROW_BYTES).map(row).collect()
    }

    fn position(&self, delta: u32) -> u64 {
        self.extent.after.saturating_add(u64::from(delta))
    }

    /// What is wrong with a part whose pages are intact and do not agree.
    pub(super) fn contradiction(&self) -> Unreadable {
        self.damaged.store(true, Ordering::Relaxed);
        self.paged
            .damaged(0, "the sections of the index contradict each other")
    }

    fn one(&self, section: Section, item_bytes: usize, at: u32) -> Result<Vec<u8>, Unreadable> {
        match at.checked_add(1) {
            Some(end) => self.read(section, item_bytes, at..end),
            None => Err(self.contradiction()),
        }
    }

    fn read(
        &self,
        section: Section,
        item_bytes: usize,
        range: Range<u32>,
    ) -> Result<Vec<u8>, Unreadable> {
        self.noticed(self.paged.items(section, item_bytes, range))
    }

    fn noticed<T>(&self, result: Result<T, Unreadable>) -> Result<T, Unreadable> {
        if result.is_err() {
            self.damaged.store(true, Ordering::Relaxed);
        }
        result
    }
}

fn is_present(row: &[u8]) -> bool {
    row[48] & FLAG_PRESENT != 0
}

/// What page 0 says, its checksum not yet compared; `None` if it is of no known version
/// or its sections do not fit the file.
fn header(page: &[u8]) -> Option<(Extent, Layout)> {
    if page[..8] != MAGIC || u16_at(page, 8) != VERSION {
        return None;
    }
    let extent = Extent {
        segment: u32_at(page, 12),
        from: u64_at(page, 16),
        to: u64_at(page, 24),
        after: u64_at(page, 32),
        last: u64_at(page, 40),
        created: u64_at(page, 48),
        chain: page[56..88].try_into().ok()?,
    };
    let section = |at: usize| Section {
        first_page: u32_at(page, 88 + 8 * at),
        items: u32_at(page, 92 + 8 * at),
    };
    let layout = Layout {
        names: section(0),
        filter: section(1),
        rows: section(2),
        items: section(3),
        entries: section(4),
        kinds: section(5),
        rules: section(6),
        slots: u32_at(page, 144),
        pages: u32_at(page, 148),
    };
    let fits = |section: Section, item_bytes: usize| {
        let pages = section.items.div_ceil(per_page(item_bytes));
        section
            .first_page
            .checked_add(pages)
            .is_some_and(|end| end <= layout.pages)
    };
    let fit = fits(layout.filter, bloom::BLOCK_BYTES)
        && fits(layout.rows, ROW_BYTES)
        && fits(layout.items, ITEM_BYTES)
        && fits(layout.entries, ENTRY_BYTES)
        && fits(layout.kinds, KIND_BYTES)
        && fits(layout.rules, RULES_BYTES)
        && extent.after <= extent.last
        && extent.from <= extent.to;
    fit.then_some((extent, layout))
}
