//! Making one part of several that follow each other in a segment.

use std::sync::Arc;

use super::file::PartFile;
use super::memory::{Memory, MemoryEntry, MemoryRow};
use crate::unreadable::Unreadable;

/// Entries and rows read from a file at once.
const STEP: u32 = 4096;

impl Memory {
    /// All of these parts as one. They follow each other.
    pub(crate) fn merged(parts: &[Arc<PartFile>]) -> Result<Option<Self>, Unreadable> {
        let Some(first) = parts.first() else {
            return Ok(None);
        };
        let mut merged = Self::begin(*first.extent());
        for part in parts {
            merged.absorb(part)?;
        }
        Ok(Some(merged))
    }

    fn absorb(&mut self, part: &PartFile) -> Result<(), Unreadable> {
        let kinds = (0..part.layout.kinds.items)
            .map(|ordinal| Ok(self.kind(&part.kind_name(ordinal)?)))
            .collect::<Result<Vec<u32>, Unreadable>>()?;
        let rows = self.absorb_rows(part)?;
        let before = self.entries.len();
        for start in (0..part.len()).step_by(STEP as usize) {
            let end = part.len().min(start + STEP);
            for entry in part.entries(start..end)? {
                let stream = rows.get(entry.stream as usize).copied().flatten();
                let kind = kinds.get(entry.kind as usize);
                let (Some((stream, _)), Some(kind)) = (stream, kind) else {
                    return Err(part.contradiction());
                };
                let before = self
                    .entries
                    .last()
                    .map_or(self.extent.after, |it| it.position);
                if entry.spot.position <= before || entry.spot.position > part.extent().last {
                    return Err(part.contradiction());
                }
                self.entries.push(MemoryEntry {
                    position: entry.spot.position,
                    offset: entry.spot.offset,
                    len: entry.spot.len,
                    stream,
                    kind: *kind,
                    id_hash: 0,
                });
            }
        }
        self.absorb_items(part, &rows, before)?;
        let last = part.extent();
        self.extent.to = last.to;
        self.extent.last = last.last;
        self.extent.created = last.created;
        self.extent.chain = last.chain;
        Ok(())
    }

    /// The row here of each slot there that is taken, and how many events that one has.
    fn absorb_rows(&mut self, part: &PartFile) -> Result<Vec<Option<(u32, u32)>>, Unreadable> {
        let slots = part.layout.rows.items;
        let mut taken = Vec::new();
        for start in (0..slots).step_by(STEP as usize) {
            for slot in part.slots(start..slots.min(start + STEP))? {
                let Some((row, name)) = slot else {
                    taken.push(None);
                    continue;
                };
                let name = part.text(name)?;
                let id = match self.row_id(&name) {
                    Some(id) => id,
                    None => self.push(MemoryRow {
                        name,
                        settled: true,
                        first: row.first,
                        before: row.before,
                        state: row.state,
                        events: Vec::new(),
                    }),
                };
                self.rows[id as usize].state = row.state;
                taken.push(Some((id, row.count)));
            }
        }
        Ok(taken)
    }

    /// Gives the entries from `before` on to their streams. A file has the items of its
    /// rows in the order of the rows.
    fn absorb_items(
        &mut self,
        part: &PartFile,
        rows: &[Option<(u32, u32)>],
        before: usize,
    ) -> Result<(), Unreadable> {
        let mut owners = rows
            .iter()
            .flatten()
            .flat_map(|(id, count)| std::iter::repeat_n(*id, *count as usize));
        let count = part.layout.items.items;
        for start in (0..count).step_by(STEP as usize) {
            for item in part.items(start..count.min(start + STEP))? {
                let found = self.entries[before..]
                    .binary_search_by_key(&item.spot.position, |entry| entry.position);
                let (Some(owner), Ok(found)) = (owners.next(), found) else {
                    return Err(part.contradiction());
                };
                let ordinal = before + found;
                self.entries[ordinal].id_hash = item.id_hash;
                let ordinal = u32::try_from(ordinal).expect("events of a segment fit 32 bits");
                self.rows[owner as usize].events.push(ordinal);
            }
        }
        Ok(())
    }
}
