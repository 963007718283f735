//! The index of a part of the log: a run of records within one segment.
//!
//! The part being written is in memory. When it is long enough it is frozen, written to a
//! file (`encode`) and from then on read from there (`file`), so that memory grows with
//! what is being written and not with history. All parts of a finished segment are
//! merged into one file (`merge`).
//!
//! # Invariants
//!
//! * Parts follow each other without gaps: one begins where the one before it ends, in
//!   positions and within a segment in bytes.
//! * A part says of a stream only what happened in it, and what was true at its end; so a
//!   part never changes once a later one has begun.
//! * A part's file is derived from the log: losing it costs time only.

mod bloom;
pub(crate) mod encode;
pub(crate) mod file;
pub(crate) mod memory;
mod merge;
mod pages;

use std::cell::OnceCell;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::metadata::{self, Rules};
use crate::unreadable::Unreadable;
use file::PartFile;
use memory::Memory;

/// Where the bytes of a record are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    /// Of the record that is there.
    pub(crate) position: u64,
    pub(crate) segment: u32,
    pub(crate) offset: u32,
    pub(crate) len: u32,
}

/// An event as the log has it. Stream and type are ordinals of this part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) spot: Spot,
    pub(crate) stream: u32,
    pub(crate) kind: u32,
}

/// An event as its stream has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) spot: Spot,
    /// Of its id: another hash means another id.
    pub(crate) id_hash: u32,
}

/// What is true of a stream at some point of the log, apart from its events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) tombstoned: bool,
    /// What its metadata says, if it was ever given any.
    pub(crate) rules: Option<Rules>,
}

/// A stream at some point of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Base {
    pub(crate) next_revision: u64,
    /// The position of its last event, 0 if it has none.
    pub(crate) last_position: u64,
    pub(crate) state: State,
}

/// A stream in one part: the events from revision `first` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) first: u64,
    pub(crate) count: u32,
    /// The position of its last event before this part, 0 if there is none.
    pub(crate) before: u64,
    /// The position of its last event up to the end of this part.
    pub(crate) last: u64,
    pub(crate) state: State,
    /// Whether it says what was before this part.
    pub(crate) settled: bool,
    /// Where the part has its events.
    start: u32,
}

/// A stream's name, and what it is looked up by in a file.
pub(crate) struct Name<'a> {
    pub(crate) text: &'a str,
    key: OnceCell<Key>,
}

/// The first half of the SHA-256 of a name: nobody finds two names with the same.
pub(crate) type Key = [u8; 16];

#[derive(Clone)]
pub(crate) struct Part {
    /// Tells parts apart that cover the same records.
    pub(crate) id: u64,
    pub(crate) segment: u32,
    /// The last position before it.
    pub(crate) after: u64,
    pub(crate) body: Body,
}

#[derive(Clone)]
pub(crate) enum Body {
    Memory(Arc<RwLock<Memory>>),
    File(Arc<PartFile>),
}

impl State {
    pub(crate) fn rules(&self, stream: &str) -> Rules {
        self.rules.unwrap_or_else(|| Rules::initial(stream))
    }
}

impl Row {
    pub(crate) fn base(&self) -> Base {
        Base {
            next_revision: self.next_revision(),
            last_position: self.last,
            state: self.state,
        }
    }

    pub(crate) fn next_revision(&self) -> u64 {
        self.first.saturating_add(u64::from(self.count))
    }
}

impl<'a> Name<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self {
            text,
            key: OnceCell::new(),
        }
    }

    pub(crate) fn key(&self) -> &Key {
        self.key.get_or_init(|| key(self.text))
    }
}

fn key(name: &str) -> Key {
    let hash: [u8; 32] = Sha256::digest(name).into();
    *hash.first_chunk().expect("16 is less than 32")
}

pub(crate) fn id_hash(id: &Uuid) -> u32 {
    let (high, low) = id.as_u64_pair();
    let folded = high ^ low.rotate_left(17);
    // The halves of both: ids that count up differ in a few bits only.
    u32::try_from((folded.wrapping_mul(0x9e37_79b9_7f4a_7c15)) >> 32).expect("32 bits are left")
}

/// Whether this is what ends a stream for ever.
pub(crate) fn is_tombstone(kind: &str, revision: u64) -> bool {
    revision == metadata::TOMBSTONE_REVISION && kind == metadata::TOMBSTONE_KIND
}

impl Part {
    pub(crate) fn in_memory(memory: Memory) -> Self {
        Self {
            id: next_id(),
            segment: memory.extent.segment,
            after: memory.extent.after,
            body: Body::Memory(Arc::new(RwLock::new(memory))),
        }
    }

    pub(crate) fn in_file(file: PartFile) -> Self {
        Self {
            id: next_id(),
            segment: file.extent().segment,
            after: file.extent().after,
            body: Body::File(Arc::new(file)),
        }
    }

    /// The offset of its first record.
    pub(crate) fn from(&self) -> u64 {
        match &self.body {
            Body::Memory(memory) => read(memory).extent.from,
            Body::File(file) => file.extent().from,
        }
    }

    /// What this part alone knows of a stream.
    pub(crate) fn row(&self, name: &Name) -> Result<Option<Row>, Unreadable> {
        match &self.body {
            Body::Memory(memory) => Ok(read(memory).row(name.text)),
            Body::File(file) => file.row(name.key()),
        }
    }

    /// Completes a row with what older parts have of the stream.
    pub(crate) fn settle(&self, name: &Name, older: Base) -> Result<(), Unreadable> {
        let Body::Memory(memory) = &self.body else {
            return Ok(());
        };
        let mut memory = memory.write().unwrap_or_else(PoisonError::into_inner);
        match memory.settle(name.text, older) {
            true => Ok(()),
            false => Err(self.contradiction()),
        }
    }

    /// These revisions of a stream, all of which the row has.
    pub(crate) fn items(&self, row: &Row, revisions: Range<u64>) -> Result<Vec<Item>, Unreadable> {
        let within = |revision: u64| {
            u32::try_from(revision - row.first).expect("a row has less than 2^32 events")
        };
        let range = within(revisions.start)..within(revisions.end);
        match &self.body {
            Body::Memory(memory) => Ok(read(memory).items(row.start, range)),
            Body::File(file) => {
                let start = |at: u32| row.start.saturating_add(at);
                file.items(start(range.start)..start(range.end))
            }
        }
    }

    /// The entries at and after this position, at most `max`.
    pub(crate) fn forward(&self, from: u64, max: usize) -> Result<Vec<Entry>, Unreadable> {
        match &self.body {
            Body::Memory(memory) => Ok(read(memory).forward(from, max)),
            Body::File(file) => file.forward(from, max),
        }
    }

    /// The entries before this position, the last `max` of them, in log order.
    pub(crate) fn backward(&self, before: u64, max: usize) -> Result<Vec<Entry>, Unreadable> {
        match &self.body {
            Body::Memory(memory) => Ok(read(memory).backward(before, max)),
            Body::File(file) => file.backward(before, max),
        }
    }

    pub(crate) fn stream_name(&self, ordinal: u32) -> Result<Arc<str>, Unreadable> {
        match &self.body {
            Body::Memory(memory) => Ok(read(memory).stream_name(ordinal)),
            Body::File(file) => file.stream_name(ordinal),
        }
    }

    pub(crate) fn kind_name(&self, ordinal: u32) -> Result<Arc<str>, Unreadable> {
        match &self.body {
            Body::Memory(memory) => Ok(read(memory).kind_name(ordinal)),
            Body::File(file) => file.kind_name(ordinal),
        }
    }

    /// An index whose pages are intact and do not agree.
    pub(crate) fn contradiction(&self) -> Unreadable {
        match &self.body {
            Body::Memory(_) => {
                let name = "the index in memory".into();
                Unreadable::page(&name, 0, "it contradicts the part behind it")
            }
            Body::File(file) => file.contradiction(),
        }
    }
}

/// A panic in another thread cannot leave a part half changed in a way a reader would
/// notice before the node stops, so a poisoned lock is used on.
pub(crate) fn read(memory: &RwLock<Memory>) -> RwLockReadGuard<'_, Memory> {
    memory.read().unwrap_or_else(PoisonError::into_inner)
}

fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
