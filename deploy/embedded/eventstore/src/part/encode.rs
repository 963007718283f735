//! Writing a part to its file.
//!
//! # Invariants
//!
//! * Page 0 is written last, after everything else is durable: a file whose first page is
//!   intact is whole.

use std::collections::HashMap;
use std::io;

use super::memory::{Extent, Memory};
use super::pages::{self, Section, Sections};
use super::{Key, bloom, key};
use crate::disk::{Disk, DiskFile};
use crate::metadata::Rules;

pub(super) const MAGIC: [u8; 8] = *b"KLOGINDX";
pub(super) const VERSION: u16 = 1;

pub(super) const ROW_BYTES: usize = 52;
pub(super) const ITEM_BYTES: usize = 16;
pub(super) const ENTRY_BYTES: usize = 16;
pub(super) const KIND_BYTES: usize = 4;
pub(super) const RULES_BYTES: usize = 28;

pub(super) const FLAG_PRESENT: u8 = 1;
pub(super) const FLAG_TOMBSTONED: u8 = 2;
pub(super) const FLAG_MAX_COUNT: u32 = 1;
pub(super) const FLAG_MAX_AGE: u32 = 2;

/// Rows to a slot: as in `bloom`, the price of asking for a stream against its space.
const SLOTS_PER_4_ROWS: usize = 5;

/// Where everything is. In the order of the fields of page 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) names: Section,
    pub(super) filter: Section,
    pub(super) rows: Section,
    /// The slots that a key may begin at; keys that find theirs taken go behind.
    pub(super) slots: u32,
    pub(super) items: Section,
    pub(super) entries: Section,
    pub(super) kinds: Section,
    pub(super) rules: Section,
    pub(super) pages: u32,
}

/// The name of a part's file.
pub(crate) fn file_name(extent: &Extent) -> String {
    let Extent {
        segment, from, to, ..
    } = extent;
    format!("index-{segment:010}-{from:010}-{to:010}.idx")
}

/// Segment and offsets that a file name of a part says, `None` for any other name.
pub(crate) fn covered_by(file_name: &str) -> Option<(u32, u64, u64)> {
    let numbers = file_name.strip_prefix("index-")?.strip_suffix(".idx")?;
    let (segment, offsets) = numbers.split_once('-')?;
    let (from, to) = offsets.split_once('-')?;
    let extent = Extent {
        segment: segment.parse().ok()?,
        from: from.parse().ok()?,
        to: to.parse().ok()?,
        ..Extent::default()
    };
    let ours = self::file_name(&extent) == file_name;
    ours.then_some((extent.segment, extent.from, extent.to))
}

/// Writes the file of a part, durably, and returns it. One that cannot be finished is
/// removed again.
pub(crate) fn write(disk: &dyn Disk, memory: &Memory) -> io::Result<std::sync::Arc<dyn DiskFile>> {
    let name = file_name(&memory.extent);
    let file = disk.create(&name)?;
    if let Err(error) = fill(&*file, memory) {
        // It is not whole and will be seen as such; what matters is why.
        let _ = disk.remove(&name);
        return Err(error);
    }
    Ok(file)
}

fn fill(file: &dyn DiskFile, memory: &Memory) -> io::Result<()> {
    let mark = mark(&memory.extent);
    let layout = contents(file, memory, mark)?;
    file.sync_data()?;
    let first = pages::page(&header(&memory.extent, &layout), 0, mark);
    file.write_all_at(&first, 0)?;
    file.sync_data()
}

/// What tells the pages of this part from those of any other, also one with the same end.
pub(super) fn mark(extent: &Extent) -> u64 {
    let chain = u64::from_le_bytes(*extent.chain.first_chunk().expect("8 is less than 32"));
    chain ^ extent.from
}

fn contents(file: &dyn DiskFile, memory: &Memory, mark: u64) -> io::Result<Layout> {
    let mut keys: Vec<(Key, u32)> = memory
        .rows
        .iter()
        .zip(0..)
        .map(|(row, id)| (key(&row.name), id))
        .collect();
    keys.sort_unstable();
    let (slots, taken) = spread(&keys);
    let mut slot_of = vec![0; memory.rows.len()];
    for (slot, place) in (0..).zip(&taken) {
        if let Some(at) = place {
            slot_of[keys[*at as usize].1 as usize] = slot;
        }
    }

    let mut out = Sections::new(file, mark);
    let mut names = Names::begin(&out);
    let stream_names = keys
        .iter()
        .map(|(_, id)| names.add(&mut out, &memory.rows[*id as usize].name))
        .collect::<io::Result<Vec<u32>>>()?;
    let kind_names = memory
        .kinds
        .iter()
        .map(|name| names.add(&mut out, name))
        .collect::<io::Result<Vec<u32>>>()?;
    let names = names.end(&mut out)?;
    let filter = out.section(bloom::build(keys.iter().map(|(key, _)| key)).into_iter())?;

    let mut rules = RulesTable::default();
    let mut start = 0;
    let rows = out.section(taken.iter().map(|place| {
        let Some(at) = *place else {
            return [0; ROW_BYTES];
        };
        let (key, id) = &keys[at as usize];
        let row = row(
            memory,
            *id,
            key,
            stream_names[at as usize],
            start,
            &mut rules,
        );
        start += count(memory, *id);
        row
    }))?;
    let events = keys
        .iter()
        .flat_map(|(_, id)| &memory.rows[*id as usize].events);
    let items = out.section(events.map(|ordinal| item(memory, *ordinal)))?;
    let entries = out.section(memory.entries.iter().map(|entry| {
        let mut bytes = [0; ENTRY_BYTES];
        put(&mut bytes, 0, delta(memory, entry.position));
        put(&mut bytes, 4, entry.offset);
        put(&mut bytes, 8, slot_of[entry.stream as usize]);
        put(&mut bytes, 12, entry.kind);
        bytes
    }))?;
    let kinds = out.section(kind_names.into_iter().map(u32::to_le_bytes))?;
    let rules = out.section(rules.list.iter().map(rules_bytes))?;
    Ok(Layout {
        names,
        filter,
        rows,
        slots,
        items,
        entries,
        kinds,
        rules,
        pages: out.finish()?,
    })
}

/// Gives each key, in order, the slot its value stands at, or the next one that is free:
/// looking for a key then begins at its slot and ends at the first free one.
fn spread(keys: &[(Key, u32)]) -> (u32, Vec<Option<u32>>) {
    let slots = u32::try_from(keys.len() * SLOTS_PER_4_ROWS / 4 + 1)
        .expect("there are fewer streams than twice the events");
    let mut taken: Vec<Option<u32>> = Vec::with_capacity(slots as usize + 16);
    for ((key, _), at) in keys.iter().zip(0..) {
        let slot = (slot_of(key, slots) as usize).max(taken.len());
        taken.resize(slot, None);
        taken.push(Some(at));
    }
    (slots, taken)
}

pub(super) fn slot_of(key: &Key, slots: u32) -> u32 {
    let high = u64::from_be_bytes(*key.first_chunk().expect("a key has 16 bytes"));
    let scaled = (u128::from(high) * u128::from(slots)) >> 64;
    u32::try_from(scaled).expect("it is less than the number of slots")
}

/// Names as they are written: address by address.
struct Names {
    first_page: u32,
    /// How much of the page is taken.
    used: usize,
    count: u32,
}

impl Names {
    fn begin(out: &Sections) -> Self {
        Self {
            first_page: out.next_page(),
            used: 0,
            count: 0,
        }
    }

    /// Writes a name and returns where it is.
    fn add(&mut self, out: &mut Sections, name: &str) -> io::Result<u32> {
        let mut item = Vec::with_capacity(2 + name.len());
        let len = u16::try_from(name.len()).expect("names are limited far below 16 bits");
        item.extend_from_slice(&len.to_le_bytes());
        item.extend_from_slice(name.as_bytes());
        if self.used + item.len() > pages::PAYLOAD_BYTES {
            out.end_page()?;
            self.used = 0;
        }
        let page = (out.next_page() - self.first_page) as usize;
        let address = page * pages::PAGE_BYTES + self.used;
        out.item(&item)?;
        self.used += item.len();
        self.count += 1;
        u32::try_from(address).map_err(|_| io::Error::other("the names do not fit a part's file"))
    }

    fn end(self, out: &mut Sections) -> io::Result<Section> {
        out.end_page()?;
        Ok(Section {
            first_page: self.first_page,
            items: self.count,
        })
    }
}

#[derive(Default)]
struct RulesTable {
    list: Vec<Rules>,
    places: HashMap<Rules, u32>,
}

impl RulesTable {
    /// One more than the place of these rules: 0 stands for none.
    fn place(&mut self, rules: Option<Rules>) -> u32 {
        let Some(rules) = rules else {
            return 0;
        };
        *self.places.entry(rules).or_insert_with(|| {
            self.list.push(rules);
            u32::try_from(self.list.len()).expect("there are fewer rules than events")
        })
    }
}

fn row(
    memory: &Memory,
    id: u32,
    key: &Key,
    name: u32,
    start: u32,
    rules: &mut RulesTable,
) -> [u8; ROW_BYTES] {
    let row = &memory.rows[id as usize];
    let last = row.events.last().map_or(0, |ordinal| {
        delta(memory, memory.entries[*ordinal as usize].position)
    });
    let mut flags = FLAG_PRESENT;
    if row.state.tombstoned {
        flags |= FLAG_TOMBSTONED;
    }
    let mut bytes = [0; ROW_BYTES];
    bytes[..16].copy_from_slice(key);
    bytes[16..24].copy_from_slice(&row.first.to_le_bytes());
    bytes[24..32].copy_from_slice(&row.before.to_le_bytes());
    put(&mut bytes, 32, last);
    put(&mut bytes, 36, count(memory, id));
    put(&mut bytes, 40, start);
    put(&mut bytes, 44, name);
    put(
        &mut bytes,
        48,
        rules.place(row.state.rules) << 8 | u32::from(flags),
    );
    bytes
}

fn count(memory: &Memory, id: u32) -> u32 {
    u32::try_from(memory.rows[id as usize].events.len()).expect("events of a part fit 32 bits")
}

fn item(memory: &Memory, ordinal: u32) -> [u8; ITEM_BYTES] {
    let entry = &memory.entries[ordinal as usize];
    let mut bytes = [0; ITEM_BYTES];
    put(&mut bytes, 0, delta(memory, entry.position));
    put(&mut bytes, 4, entry.offset);
    put(&mut bytes, 8, entry.len);
    put(&mut bytes, 12, entry.id_hash);
    bytes
}

fn rules_bytes(rules: &Rules) -> [u8; RULES_BYTES] {
    let mut flags = 0;
    if rules.max_count.is_some() {
        flags |= FLAG_MAX_COUNT;
    }
    if rules.max_age_ticks.is_some() {
        flags |= FLAG_MAX_AGE;
    }
    let mut bytes = [0; RULES_BYTES];
    put(&mut bytes, 0, flags);
    bytes[4..12].copy_from_slice(&rules.truncate_before.to_le_bytes());
    bytes[12..20].copy_from_slice(&rules.max_count.unwrap_or(0).to_le_bytes());
    bytes[20..28].copy_from_slice(&rules.max_age_ticks.unwrap_or(0).to_le_bytes());
    bytes
}

/// A position, counted from the part's beginning: a part has less than 2^32 records.
fn delta(memory: &Memory, position: u64) -> u32 {
    u32::try_from(position - memory.extent.after).expect("a segment has less than 2^32 records")
}

fn put(bytes: &mut [u8], at: usize, number: u32) {
    bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
}

fn header(extent: &Extent, layout: &Layout) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(pages::PAYLOAD_BYTES);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&[0; 2]);
    bytes.extend_from_slice(&extent.segment.to_le_bytes());
    for number in [
        extent.from,
        extent.to,
        extent.after,
        extent.last,
        extent.created,
    ] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(&extent.chain);
    for section in [
        layout.names,
        layout.filter,
        layout.rows,
        layout.items,
        layout.entries,
        layout.kinds,
        layout.rules,
    ] {
        bytes.extend_from_slice(&section.first_page.to_le_bytes());
        bytes.extend_from_slice(&section.items.to_le_bytes());
    }
    bytes.extend_from_slice(&layout.slots.to_le_bytes());
    bytes.extend_from_slice(&layout.pages.to_le_bytes());
    bytes
}
