//! The readers' side of the log: pages of events, and being told of new ones.
//!
//! # Invariants
//!
//! * The index is locked for one bounded page at a time, never while a file is read, so
//!   a reader never makes the writer wait for a disk or a filter.
//! * Every record is checked when it is read; a damaged one is an error, never an answer.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::{Semaphore, watch};

use crate::figures::Figures;
use crate::index::{Entry, Fresh, Index, Segment, Spot};
use crate::limits::{PAGE_BYTES_MAX, PAGE_EVENTS_MAX, PAGES_IN_FLIGHT_MAX};
use crate::metadata;
use crate::record::{self, Damage, Record};

pub(crate) struct Store {
    index: RwLock<Index>,
    /// The last durable position.
    head: watch::Sender<u64>,
    pages: Semaphore,
    pub(crate) figures: Figures,
}

/// Why a page could not be read. It has been logged.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the record at offset {offset} of {file} cannot be read: {why}")]
pub(crate) struct Unreadable {
    file: Arc<str>,
    offset: u64,
    why: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Forwards,
    Backwards,
}

/// A stream, and one page of it.
pub(crate) enum StreamPage {
    Missing,
    Tombstoned,
    Found {
        first: u64,
        last: u64,
        spots: Vec<Spot>,
        /// Where the next page begins, if there is one.
        next: Option<u64>,
    },
}

impl Store {
    pub(crate) fn new(index: Index) -> Self {
        Self {
            head: watch::Sender::new(index.last_position()),
            index: RwLock::new(index),
            pages: Semaphore::new(PAGES_IN_FLIGHT_MAX),
            figures: Figures::default(),
        }
    }

    pub(crate) fn head(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }

    /// A panic in another thread cannot leave the index half changed in a way a reader
    /// would notice before the node stops, so a poisoned lock is used on.
    pub(crate) fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes durable events visible.
    pub(crate) fn publish(&self, events: Vec<Fresh>) -> Result<(), Damage> {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            index.add(event)?;
        }
        let head = index.last_position();
        drop(index);
        self.head.send_replace(head);
        Ok(())
    }

    pub(crate) fn begin_segment(&self, segment: Segment) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        index.segments.push(segment);
    }

    /// Runs work that reads files, away from the async threads and not too much at once.
    pub(crate) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Store) -> T + Send + 'static,
    ) -> T {
        let _permit = self
            .pages
            .acquire()
            .await
            .expect("nobody closes this semaphore");
        let store = self.clone();
        match tokio::task::spawn_blocking(move || work(&store)).await {
            Ok(done) => done,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// The spots of one page of a stream from this revision on.
    pub(crate) fn stream_page(
        &self,
        name: &str,
        from: u64,
        direction: Direction,
        max: u64,
    ) -> StreamPage {
        let index = self.index();
        // The metadata of a stream that is gone for ever is gone with it.
        let described = metadata::described_by(name).and_then(|name| index.stream(name));
        if described.is_some_and(|described| described.tombstoned) {
            return StreamPage::Tombstoned;
        }
        let Some(stream) = index.stream(name) else {
            return StreamPage::Missing;
        };
        if stream.tombstoned {
            return StreamPage::Tombstoned;
        }
        let next = stream.next_revision();
        if next == 0 || stream.rules.deleted() {
            return StreamPage::Missing;
        }
        let first = index.first_visible(stream, now());
        let mut page = Page::new(max);
        let mut at = match direction {
            Direction::Forwards => from.max(first),
            Direction::Backwards => from.min(next - 1),
        };
        let more = loop {
            if at < first || at >= next {
                break false;
            }
            let Some(entry) = index.entry(stream, at) else {
                break false;
            };
            if !page.take(entry) {
                break true;
            }
            at = match direction {
                Direction::Forwards => at + 1,
                Direction::Backwards if at == 0 => break false,
                Direction::Backwards => at - 1,
            };
        };
        StreamPage::Found {
            first,
            last: next - 1,
            spots: page.spots,
            next: more.then_some(at),
        }
    }

    /// Where the event of a link stands, if it may still be seen.
    pub(crate) fn spot(&self, stream: &str, revision: u64) -> Option<Spot> {
        let index = self.index();
        let stream = index.stream(stream)?;
        let visible = !stream.tombstoned
            && !stream.rules.deleted()
            && revision >= index.first_visible(stream, now());
        let entry = index.entry(stream, revision)?;
        visible.then_some(entry.spot)
    }

    /// The last event of a stream, whatever its rules hide.
    pub(crate) fn last_spot(&self, stream: &str) -> Option<Spot> {
        let index = self.index();
        let stream = index.stream(stream)?;
        let last = stream.next_revision().checked_sub(1)?;
        Some(index.entry(stream, last)?.spot)
    }

    /// Up to `max` entries of the log: at and after `from`, or before it and backwards.
    pub(crate) fn entries(&self, from: u64, direction: Direction, max: usize) -> Vec<Entry> {
        let index = self.index();
        match direction {
            Direction::Forwards => index.forward(from, max).to_vec(),
            Direction::Backwards => index.backward(from, max).iter().rev().copied().collect(),
        }
    }

    /// Reads these records. Neighbours are read at once.
    pub(crate) fn load(&self, spots: &[Spot]) -> Result<Vec<Record>, Unreadable> {
        let mut records = Vec::with_capacity(spots.len());
        let mut rest = spots;
        while let Some(first) = rest.first() {
            let neighbours = rest
                .windows(2)
                .take_while(|pair| follows(pair[0], pair[1]))
                .count();
            let (run, after) = rest.split_at(neighbours + 1);
            rest = after;
            let segment = self.index().segments[first.segment as usize].clone();
            let bytes = read(&segment, run)?;
            let mut at = 0;
            for spot in run {
                let frame = bytes.slice(at..at + spot.len as usize);
                at += spot.len as usize;
                let record = record::decode(&frame)
                    .map_err(|damage| unreadable(&segment, spot, &damage.to_string()))?;
                records.push(record);
            }
        }
        self.figures.read(records.len());
        Ok(records)
    }
}

/// Spots until a page is full.
pub(crate) struct Page {
    pub(crate) spots: Vec<Spot>,
    bytes: usize,
    max: u64,
}

impl Page {
    pub(crate) fn new(max: u64) -> Self {
        Self {
            spots: Vec::new(),
            bytes: 0,
            max: max.min(PAGE_EVENTS_MAX as u64),
        }
    }

    /// Whether there was room.
    pub(crate) fn take(&mut self, entry: &Entry) -> bool {
        let bytes = self.bytes + entry.spot.len as usize;
        let full = self.spots.len() as u64 >= self.max;
        if full || (bytes > PAGE_BYTES_MAX && !self.spots.is_empty()) {
            return false;
        }
        self.bytes = bytes;
        self.spots.push(entry.spot);
        true
    }
}

/// 100 ns since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos() / 100).unwrap_or(u64::MAX)
}

fn follows(first: Spot, second: Spot) -> bool {
    first.segment == second.segment && first.offset.checked_add(first.len) == Some(second.offset)
}

fn read(segment: &Segment, run: &[Spot]) -> Result<Bytes, Unreadable> {
    let len = run.iter().map(|spot| spot.len as usize).sum();
    let mut bytes = vec![0; len];
    segment
        .file
        .read_exact_at(&mut bytes, u64::from(run[0].offset))
        .map_err(|error| unreadable(segment, &run[0], &error.to_string()))?;
    Ok(bytes.into())
}

fn unreadable(segment: &Segment, spot: &Spot, why: &str) -> Unreadable {
    let unreadable = Unreadable {
        file: segment.name.clone(),
        offset: u64::from(spot.offset),
        why: why.to_owned(),
    };
    tracing::error!(file = %unreadable.file, offset = unreadable.offset, "{unreadable}");
    unreadable
}
