//! Where every event is: in memory, rebuilt from the segments on opening.
//!
//! # Invariants
//!
//! * It holds durable events only: the writer adds a group after its sync. So whatever
//!   a reader finds here may be served.
//! * `entries` is sorted by position; a stream's `events` by revision, without gaps.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use crate::disk::DiskFile;
use crate::metadata::{self, Rules, TOMBSTONE_KIND, TOMBSTONE_REVISION};
use crate::record::Damage;

#[derive(Default)]
pub(crate) struct Index {
    entries: Vec<Entry>,
    streams: Vec<StreamIndex>,
    stream_ids: HashMap<Arc<str>, u32>,
    kinds: Vec<Arc<str>>,
    kind_ids: HashMap<Arc<str>, u32>,
    pub(crate) segments: Vec<Segment>,
}

/// A file of the log.
#[derive(Clone)]
pub(crate) struct Segment {
    pub(crate) name: Arc<str>,
    pub(crate) file: Arc<dyn DiskFile>,
}

#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) position: u64,
    pub(crate) created: u64,
    pub(crate) id: Uuid,
    pub(crate) spot: Spot,
    pub(crate) stream: u32,
    pub(crate) kind: u32,
}

/// Where the bytes of a record are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
    pub(crate) len: u32,
}

pub(crate) struct StreamIndex {
    name: Arc<str>,
    /// The entry of each revision, from 0.
    events: Vec<u32>,
    pub(crate) tombstoned: bool,
    pub(crate) rules: Rules,
}

/// One event that has become durable.
pub(crate) struct Fresh {
    pub(crate) stream: String,
    pub(crate) kind: String,
    pub(crate) id: Uuid,
    pub(crate) position: u64,
    pub(crate) revision: u64,
    pub(crate) created: u64,
    pub(crate) spot: Spot,
    /// The data, if the stream is a metadata stream.
    pub(crate) rules: Option<Rules>,
}

/// Events that fit an index; the writer refuses to go beyond.
pub(crate) const EVENTS_MAX: usize = (u32::MAX / 2) as usize;

impl Index {
    /// Adds one event, if it follows what is there.
    pub(crate) fn add(&mut self, fresh: Fresh) -> Result<(), Damage> {
        let stream = self.stream_id(&fresh.stream);
        let kind = self.kind_id(&fresh.kind);
        let ordinal = u32::try_from(self.entries.len()).map_err(|_| Damage::Position)?;
        let state = &mut self.streams[stream as usize];
        if is_tombstone(&fresh.kind, fresh.revision) {
            state.tombstoned = true;
        } else {
            if fresh.revision != state.next_revision() {
                return Err(Damage::Revision);
            }
            state.events.push(ordinal);
        }
        self.entries.push(Entry {
            position: fresh.position,
            created: fresh.created,
            id: fresh.id,
            spot: fresh.spot,
            stream,
            kind,
        });
        if let (Some(described), Some(rules)) = (metadata::described_by(&fresh.stream), fresh.rules)
        {
            let described = self.stream_id(described);
            self.streams[described as usize].rules = rules;
        }
        Ok(())
    }

    pub(crate) fn last_position(&self) -> u64 {
        self.entries.last().map_or(0, |entry| entry.position)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn stream(&self, name: &str) -> Option<&StreamIndex> {
        let id = self.stream_ids.get(name)?;
        Some(&self.streams[*id as usize])
    }

    pub(crate) fn stream_name(&self, id: u32) -> Arc<str> {
        self.streams[id as usize].name.clone()
    }

    pub(crate) fn kind_name(&self, id: u32) -> Arc<str> {
        self.kinds[id as usize].clone()
    }

    pub(crate) fn entry(&self, stream: &StreamIndex, revision: u64) -> Option<&Entry> {
        let ordinal = stream.events.get(usize::try_from(revision).ok()?)?;
        Some(&self.entries[*ordinal as usize])
    }

    /// The entries at and after this position, at most `max`.
    pub(crate) fn forward(&self, from: u64, max: usize) -> &[Entry] {
        let begin = self.entries.partition_point(|entry| entry.position < from);
        let end = self.entries.len().min(begin.saturating_add(max));
        &self.entries[begin..end]
    }

    /// The entries before this position, the latest `max` of them, in log order.
    pub(crate) fn backward(&self, before: u64, max: usize) -> &[Entry] {
        let end = self
            .entries
            .partition_point(|entry| entry.position < before);
        &self.entries[end.saturating_sub(max)..end]
    }

    /// The first revision of the stream that may be seen, at most one past its last.
    pub(crate) fn first_visible(&self, stream: &StreamIndex, now: u64) -> u64 {
        let next = stream.next_revision();
        let rules = &stream.rules;
        let mut first = rules.truncate_before.min(next);
        if let Some(count) = rules.max_count {
            first = first.max(next.saturating_sub(count));
        }
        if let Some(age) = rules.max_age_ticks {
            let oldest = now.saturating_sub(age);
            let young = stream
                .events
                .partition_point(|ordinal| self.entries[*ordinal as usize].created < oldest);
            first = first.max(young as u64);
        }
        first
    }

    fn stream_id(&mut self, name: &str) -> u32 {
        if let Some(id) = self.stream_ids.get(name) {
            return *id;
        }
        let id = u32::try_from(self.streams.len())
            .expect("there are fewer streams than twice the events, which are counted");
        let name: Arc<str> = name.into();
        self.streams.push(StreamIndex {
            rules: Rules::initial(&name),
            name: name.clone(),
            events: Vec::new(),
            tombstoned: false,
        });
        self.stream_ids.insert(name, id);
        id
    }

    fn kind_id(&mut self, name: &str) -> u32 {
        if let Some(id) = self.kind_ids.get(name) {
            return *id;
        }
        let id = u32::try_from(self.kinds.len()).expect("there are fewer types than events");
        let name: Arc<str> = name.into();
        self.kinds.push(name.clone());
        self.kind_ids.insert(name, id);
        id
    }
}

impl StreamIndex {
    pub(crate) fn next_revision(&self) -> u64 {
        self.events.len() as u64
    }
}

pub(crate) fn is_tombstone(kind: &str, revision: u64) -> bool {
    revision == TOMBSTONE_REVISION && kind == TOMBSTONE_KIND
}
