//! The readers' side of the log: pages of events, and being told of new ones.
//!
//! # Invariants
//!
//! * What is seen is durable: the writer adds a group after its sync, all of it at once.
//! * No lock is held while a file is read or a filter runs, so a reader never makes the
//!   writer wait for a disk.
//! * Every record is checked when it is read; a damaged one is an error, never an answer.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::{Semaphore, watch};

use crate::clock::Clock;
use crate::figures::Figures;
use crate::lately::{Found, Lately, RecentIds};
use crate::limits::{
    PAGE_BYTES_MAX, PAGE_EVENTS_MAX, PAGES_IN_FLIGHT_MAX, STREAMS_KNOWN_BYTES_MAX,
    STREAMS_KNOWN_MAX, STREAMS_RECENT_MAX,
};
use crate::metadata::{self, Rules};
use crate::part::memory::Fresh;
use crate::part::{Base, Body, Name, Part, Spot};
use crate::record::{Damage, Record};
use crate::recovery::Tail;
use crate::unreadable::Unreadable;
use crate::view::{Events, Run, Segment, View};

pub(crate) struct Store {
    view: RwLock<Arc<View>>,
    known: Mutex<Lately<Found>>,
    /// Of streams that are appended to without an exact revision.
    recent_ids: Mutex<Lately<RecentIds>>,
    /// The last durable position.
    head: watch::Sender<u64>,
    pages: Semaphore,
    pub(crate) figures: Figures,
    pub(crate) clock: Clock,
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
    pub(crate) fn new(view: View) -> Self {
        Self {
            view: RwLock::new(Arc::new(view)),
            known: Mutex::new(Lately::new(STREAMS_KNOWN_MAX, STREAMS_KNOWN_BYTES_MAX)),
            recent_ids: Mutex::new(Lately::new(STREAMS_RECENT_MAX, STREAMS_KNOWN_BYTES_MAX)),
            head: watch::Sender::new(0),
            pages: Semaphore::new(PAGES_IN_FLIGHT_MAX),
            figures: Figures::default(),
            clock: Clock::default(),
        }
    }

    pub(crate) fn head(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }

    /// All there is at this moment. Later events of the part being written show up in it.
    pub(crate) fn view(&self) -> Arc<View> {
        // Replaced as a whole, so that a poisoned lock has a whole view too.
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        view.clone()
    }

    /// Puts another view in the place of this one.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut View) -> T) -> T {
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        let mut changed = View::clone(&view);
        let result = change(&mut changed);
        *view = Arc::new(changed);
        result
    }

    /// Makes durable events visible. They end at `tail`.
    pub(crate) fn publish(&self, events: Vec<Fresh>, tail: &Tail) -> Result<(), Damage> {
        let view = self.view();
        if let Body::Memory(active) = &view.active().body {
            let mut active = active.write().unwrap_or_else(PoisonError::into_inner);
            for event in events {
                active.add(event)?;
            }
            let extent = &mut active.extent;
            (extent.to, extent.last) = (tail.offset, tail.position);
            (extent.created, extent.chain) = (tail.created, tail.chain);
        }
        self.head.send_replace(tail.position);
        Ok(())
    }

    /// Begins a part here; the one before it is not written to any more.
    pub(crate) fn begin_part(&self, tail: &Tail) {
        self.change(|view| view.begin_part(tail.extent()));
    }

    pub(crate) fn begin_segment(&self, segment: Segment, tail: &Tail) {
        self.change(|view| {
            view.segments.push(segment);
            view.begin_part(tail.extent());
        });
    }

    /// Puts a part that ends at `tail` behind the others.
    pub(crate) fn adopt(&self, part: Part, tail: &Tail) {
        self.change(|view| {
            // The one being written is empty: this one stands in its place.
            view.parts.pop();
            view.parts.push(part);
            view.begin_part(tail.extent());
        });
        self.head.send_replace(tail.position);
    }

    /// How many pages are being read.
    #[cfg(test)]
    pub(crate) fn pages_in_flight(&self) -> usize {
        PAGES_IN_FLIGHT_MAX - self.pages.available_permits()
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

    /// What there is of a stream in this view, `None` if nothing ever was.
    pub(crate) fn base(&self, view: &View, stream: &str) -> Result<Option<Base>, Unreadable> {
        let name = Name::new(stream);
        if let Some(row) = view.active_row(&name)? {
            return Ok(Some(row.base()));
        }
        let up_to = view.active().after;
        let lock = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lock().get(stream).copied();
        // One that was learned from a newer view must not be used for an older one.
        let known = known.filter(|known| known.up_to <= up_to);
        let base = match known {
            Some(known) if known.up_to == up_to => return Ok(known.base),
            Some(known) => match view.newest_row(&name, known.up_to)? {
                Some(row) => Some(row.base()),
                None => known.base,
            },
            None => view.newest_row(&name, 0)?.map(|row| row.base()),
        };
        let mut known = lock();
        let newer = known.get(stream).is_some_and(|known| known.up_to > up_to);
        let forgotten = (!newer).then(|| known.put(stream, Found { up_to, base }));
        drop(known);
        // Not under the lock, which the writer may want.
        drop(forgotten);
        Ok(base)
    }

    /// The revisions among these last ones of a stream whose id has one of these hashes.
    pub(crate) fn recent(
        &self,
        stream: &str,
        events: &mut Events,
        revisions: &Range<u64>,
        hashes: &[u32],
    ) -> Result<Vec<u64>, Unreadable> {
        let lock = || {
            self.recent_ids
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        let mut ids = lock().take(stream).unwrap_or_default();
        for item in events.items(ids.missing(revisions))? {
            ids.add(item.id_hash);
        }
        let found = ids.with(hashes, revisions.start);
        let forgotten = lock().put(stream, ids);
        drop(forgotten);
        Ok(found)
    }

    /// The spots of one page of a stream from this revision on.
    pub(crate) fn stream_page(
        &self,
        name: &str,
        from: u64,
        direction: Direction,
        max: u64,
    ) -> Result<StreamPage, Unreadable> {
        let view = self.view();
        let base = self.base(&view, name)?.unwrap_or_default();
        if base.state.tombstoned || self.is_described_gone(&view, name)? {
            return Ok(StreamPage::Tombstoned);
        }
        let next = base.next_revision;
        let rules = base.state.rules(name);
        if next == 0 || rules.deleted() {
            return Ok(StreamPage::Missing);
        }
        let mut events = Events::new(&view, name, base);
        let first = first_visible(&view, &mut events, &rules, self.clock.now())?;
        let max = max.min(PAGE_EVENTS_MAX as u64);
        let range = match direction {
            Direction::Forwards => {
                let at = from.max(first).min(next);
                at..next.min(at.saturating_add(max))
            }
            Direction::Backwards => {
                let end = from.min(next - 1) + 1;
                first.max(end.saturating_sub(max)).min(end)..end
            }
        };
        let mut items = events.items(range.clone())?;
        if direction == Direction::Backwards {
            items.reverse();
        }
        let mut page = Page::new(max);
        let taken = items.iter().take_while(|item| page.take(item.spot)).count() as u64;
        let next_at = match direction {
            Direction::Forwards => Some(range.start + taken).filter(|at| *at < next),
            Direction::Backwards => (range.end - taken).checked_sub(1).filter(|at| *at >= first),
        };
        Ok(StreamPage::Found {
            first,
            last: next - 1,
            spots: page.spots,
            next: next_at.filter(|_| !range.is_empty()),
        })
    }

    /// Whether this is the metadata of a stream that is gone for ever: it is gone with it.
    fn is_described_gone(&self, view: &View, stream: &str) -> Result<bool, Unreadable> {
        let Some(described) = metadata::described_by(stream) else {
            return Ok(false);
        };
        let described = self.base(view, described)?;
        Ok(described.is_some_and(|it| it.state.tombstoned))
    }

    /// The revision that the next event of a stream will have.
    pub(crate) fn next_revision(&self, stream: &str) -> Result<u64, Unreadable> {
        let base = self.base(&self.view(), stream)?;
        Ok(base.map_or(0, |base| base.next_revision))
    }

    /// Where the event of a link stands, if it may still be seen.
    pub(crate) fn spot(&self, stream: &str, revision: u64) -> Result<Option<Spot>, Unreadable> {
        let view = self.view();
        let Some(base) = self.base(&view, stream)? else {
            return Ok(None);
        };
        let rules = base.state.rules(stream);
        let gone = base.state.tombstoned || self.is_described_gone(&view, stream)?;
        if gone || rules.deleted() {
            return Ok(None);
        }
        let mut events = Events::new(&view, stream, base);
        if revision < first_visible(&view, &mut events, &rules, self.clock.now())? {
            return Ok(None);
        }
        Ok(events.item(revision)?.map(|item| item.spot))
    }

    /// The last event of a stream, whatever its rules hide.
    pub(crate) fn last_record(&self, stream: &str) -> Result<Option<Record>, Unreadable> {
        let view = self.view();
        let base = self.base(&view, stream)?.unwrap_or_default();
        let Some(last) = base.next_revision.checked_sub(1) else {
            return Ok(None);
        };
        let Some(item) = Events::new(&view, stream, base).item(last)? else {
            return Ok(None);
        };
        Ok(view.load(&[item.spot])?.pop())
    }

    /// Up to `max` entries of the log: at and after `from`, or before it and backwards.
    pub(crate) fn entries(
        &self,
        from: u64,
        direction: Direction,
        max: usize,
    ) -> Result<Vec<Run>, Unreadable> {
        let view = self.view();
        match direction {
            Direction::Forwards => view.forward(from, max),
            Direction::Backwards => view.backward(from, max),
        }
    }

    /// Reads these records. Neighbours are read at once.
    pub(crate) fn load(&self, spots: &[Spot]) -> Result<Vec<Record>, Unreadable> {
        let records = self.view().load(spots)?;
        self.figures.read(records.len());
        Ok(records)
    }
}

/// The first revision of a stream that may be seen, at most one past its last.
fn first_visible(
    view: &View,
    events: &mut Events,
    rules: &Rules,
    now: u64,
) -> Result<u64, Unreadable> {
    let next = events.next_revision();
    let mut first = rules.truncate_before.min(next);
    if let Some(count) = rules.max_count {
        first = first.max(next.saturating_sub(count));
    }
    let Some(age) = rules.max_age_ticks else {
        return Ok(first);
    };
    let oldest = now.saturating_sub(age);
    let mut end = next;
    while first < end {
        let middle = first + (end - first) / 2;
        let Some(item) = events.item(middle)? else {
            break;
        };
        if view.identity(item.spot)?.0.created < oldest {
            first = middle + 1;
        } else {
            end = middle;
        }
    }
    Ok(first)
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
    pub(crate) fn take(&mut self, spot: Spot) -> bool {
        let bytes = self.bytes + spot.len as usize;
        let full = self.spots.len() as u64 >= self.max;
        if full || (bytes > PAGE_BYTES_MAX && !self.spots.is_empty()) {
            return false;
        }
        self.bytes = bytes;
        self.spots.push(spot);
        true
    }
}
