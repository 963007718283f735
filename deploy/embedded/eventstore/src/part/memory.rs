//! A part in memory: the one being written, or one that has no file yet.
//!
//! # Invariants
//!
//! * `entries` is sorted by position; a stream's `events` by revision, without gaps.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use uuid::Uuid;

use super::{Base, Entry, Item, Row, Spot, State, id_hash, is_tombstone};
use crate::metadata::{self, Rules};
use crate::record::{Damage, Hash};

/// Which records a part covers, and the log at their end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) segment: u32,
    /// Offsets in the segment: of the first record, and behind the last.
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// The last position before it.
    pub(crate) after: u64,
    /// Its last position; `after` if it is empty.
    pub(crate) last: u64,
    /// When the newest event up to its end was made, 100 ns since 1970.
    pub(crate) created: u64,
    /// The chain hash at its end.
    pub(crate) chain: Hash,
}

pub(crate) struct Memory {
    pub(crate) extent: Extent,
    pub(super) entries: Vec<MemoryEntry>,
    pub(super) rows: Vec<MemoryRow>,
    row_ids: HashMap<Arc<str>, u32>,
    pub(super) kinds: Vec<Arc<str>>,
    kind_ids: HashMap<Arc<str>, u32>,
}

#[derive(Clone, Copy)]
pub(super) struct MemoryEntry {
    pub(super) position: u64,
    pub(super) offset: u32,
    pub(super) len: u32,
    pub(super) stream: u32,
    pub(super) kind: u32,
    pub(super) id_hash: u32,
}

pub(super) struct MemoryRow {
    pub(super) name: Arc<str>,
    /// Whether what older parts have of the stream is in here already. Opening leaves that
    /// until somebody asks: most streams of the log's end nobody will ask for soon.
    pub(super) settled: bool,
    pub(super) first: u64,
    pub(super) before: u64,
    pub(super) state: State,
    /// The entry of each revision.
    pub(super) events: Vec<u32>,
}

/// One event that has become durable.
pub(crate) struct Fresh {
    pub(crate) stream: String,
    pub(crate) kind: String,
    pub(crate) id: Uuid,
    pub(crate) revision: u64,
    pub(crate) spot: Spot,
    /// What older parts have of its stream, if that is known.
    pub(crate) base: Option<Base>,
    /// If its stream is the metadata of another: what the metadata says, and what older
    /// parts have of that other stream, if that is known.
    pub(crate) described: Option<(Rules, Option<Base>)>,
}

impl Memory {
    /// An empty part.
    pub(crate) fn begin(extent: Extent) -> Self {
        Self {
            extent,
            entries: Vec::new(),
            rows: Vec::new(),
            row_ids: HashMap::new(),
            kinds: Vec::new(),
            kind_ids: HashMap::new(),
        }
    }

    /// Adds one event, if it follows what is there.
    pub(crate) fn add(&mut self, fresh: Fresh) -> Result<(), Damage> {
        let stream = self.met(&fresh.stream, fresh.base);
        let kind = self.kind(&fresh.kind);
        let ordinal = u32::try_from(self.entries.len()).map_err(|_| Damage::Position)?;
        let row = &mut self.rows[stream as usize];
        if is_tombstone(&fresh.kind, fresh.revision) {
            row.state.tombstoned = true;
        } else {
            if !row.settled && row.events.is_empty() {
                row.first = fresh.revision;
            }
            if fresh.revision != row.first + row.events.len() as u64 {
                return Err(Damage::Revision);
            }
            row.events.push(ordinal);
        }
        self.entries.push(MemoryEntry {
            position: fresh.spot.position,
            offset: fresh.spot.offset,
            len: fresh.spot.len,
            stream,
            kind,
            id_hash: id_hash(&fresh.id),
        });
        let described = metadata::described_by(&fresh.stream);
        if let (Some(described), Some((rules, base))) = (described, fresh.described) {
            let described = self.met(described, base);
            self.rows[described as usize].state.rules = Some(rules);
        }
        Ok(())
    }

    /// The row of a stream; a new one goes on from `base`.
    fn met(&mut self, name: &str, base: Option<Base>) -> u32 {
        if let Some(id) = self.row_ids.get(name) {
            return *id;
        }
        let settled = base.is_some();
        let base = base.unwrap_or_default();
        self.push(MemoryRow {
            name: name.into(),
            settled,
            first: base.next_revision,
            before: base.last_position,
            state: base.state,
            events: Vec::new(),
        })
    }

    /// Completes a row; false if it does not go on from there.
    pub(super) fn settle(&mut self, name: &str, older: Base) -> bool {
        let Some(id) = self.row_id(name) else {
            return false;
        };
        let row = &mut self.rows[id as usize];
        if row.settled {
            return true;
        }
        if row.events.is_empty() {
            row.first = older.next_revision;
        }
        row.settled = row.first == older.next_revision;
        row.before = older.last_position;
        row.state.tombstoned |= older.state.tombstoned;
        row.state.rules = row.state.rules.or(older.state.rules);
        row.settled
    }

    /// The streams whose rows are not complete.
    pub(crate) fn unsettled(&self) -> Vec<Arc<str>> {
        let rows = self.rows.iter().filter(|row| !row.settled);
        rows.map(|row| row.name.clone()).collect()
    }

    pub(super) fn push(&mut self, row: MemoryRow) -> u32 {
        let id = u32::try_from(self.rows.len())
            .expect("there are fewer streams than twice the events, which fit a segment");
        self.row_ids.insert(row.name.clone(), id);
        self.rows.push(row);
        id
    }

    pub(super) fn row_id(&self, name: &str) -> Option<u32> {
        self.row_ids.get(name).copied()
    }

    pub(super) fn kind(&mut self, name: &str) -> u32 {
        if let Some(id) = self.kind_ids.get(name) {
            return *id;
        }
        let id = u32::try_from(self.kinds.len()).expect("there are fewer types than events");
        let name: Arc<str> = name.into();
        self.kinds.push(name.clone());
        self.kind_ids.insert(name, id);
        id
    }

    pub(super) fn row(&self, name: &str) -> Option<Row> {
        let start = self.row_id(name)?;
        let row = &self.rows[start as usize];
        let last = row.events.last();
        Some(Row {
            first: row.first,
            count: u32::try_from(row.events.len()).expect("events of a part fit 32 bits"),
            before: row.before,
            last: last.map_or(row.before, |it| self.entries[*it as usize].position),
            state: row.state,
            settled: row.settled,
            start,
        })
    }

    pub(super) fn items(&self, row: u32, range: Range<u32>) -> Vec<Item> {
        let events = &self.rows[row as usize].events[range.start as usize..range.end as usize];
        let item = |ordinal: &u32| {
            let entry = &self.entries[*ordinal as usize];
            Item {
                spot: self.spot(entry),
                id_hash: entry.id_hash,
            }
        };
        events.iter().map(item).collect()
    }

    pub(super) fn forward(&self, from: u64, max: usize) -> Vec<Entry> {
        let begin = self.entries.partition_point(|entry| entry.position < from);
        let end = self.entries.len().min(begin.saturating_add(max));
        self.range(begin..end)
    }

    pub(super) fn backward(&self, before: u64, max: usize) -> Vec<Entry> {
        let end = self
            .entries
            .partition_point(|entry| entry.position < before);
        self.range(end.saturating_sub(max)..end)
    }

    fn range(&self, range: Range<usize>) -> Vec<Entry> {
        let entry = |entry: &MemoryEntry| Entry {
            spot: self.spot(entry),
            stream: entry.stream,
            kind: entry.kind,
        };
        self.entries[range].iter().map(entry).collect()
    }

    pub(super) fn stream_name(&self, ordinal: u32) -> Arc<str> {
        self.rows[ordinal as usize].name.clone()
    }

    pub(super) fn kind_name(&self, ordinal: u32) -> Arc<str> {
        self.kinds[ordinal as usize].clone()
    }

    fn spot(&self, entry: &MemoryEntry) -> Spot {
        Spot {
            position: entry.position,
            segment: self.extent.segment,
            offset: entry.offset,
            len: entry.len,
        }
    }
}
