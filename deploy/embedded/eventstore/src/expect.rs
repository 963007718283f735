//! Whether an append may happen: the revision it expects, and whether it already did.
//!
//! # Invariants
//!
//! * With an exact revision or `NoStream`, an append that stands where it would stand is
//!   answered as the first time, however long ago that was.
//! * With `Any` or `StreamExists`, it is recognised by its ids among the stream's recent
//!   events.
//! * An append of which only a part is already there is refused.

use std::iter;
use std::ops::Range;

use uuid::Uuid;

use crate::limits::IDEMPOTENCY_EVENTS;
use crate::metadata::Rules;
use crate::part::{self, Base};
use crate::store::Store;
use crate::unreadable::Unreadable;
use crate::view::{Events, View};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    Exact(u64),
    NoStream,
    Any,
    StreamExists,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Write, the first event at this revision.
    Write {
        first: u64,
    },
    /// It stands there already; its last event at this revision.
    Already {
        last: u64,
    },
    WrongRevision {
        current: Option<u64>,
    },
    Tombstoned,
}

/// A stream as the next append finds it: what is durable, and what the group being
/// written adds.
pub(crate) struct History<'a> {
    store: &'a Store,
    view: &'a View,
    stream: &'a str,
    base: Base,
    pending: Option<&'a Pending>,
    rules: Rules,
}

/// What the group being written adds to one stream.
#[derive(Default)]
pub(crate) struct Pending {
    /// Id and position of each new event.
    pub(crate) events: Vec<(Uuid, u64)>,
    pub(crate) tombstoned: bool,
    /// New rules, if the stream's metadata changes.
    pub(crate) rules: Option<Rules>,
}

impl<'a> History<'a> {
    pub(crate) fn new(
        store: &'a Store,
        view: &'a View,
        stream: &'a str,
        base: Base,
        pending: Option<&'a Pending>,
    ) -> Self {
        let rules = pending
            .and_then(|pending| pending.rules)
            .unwrap_or_else(|| base.state.rules(stream));
        Self {
            store,
            view,
            stream,
            base,
            pending,
            rules,
        }
    }

    pub(crate) fn next(&self) -> u64 {
        let pending = self.pending.map_or(0, |pending| pending.events.len());
        self.base.next_revision + pending as u64
    }

    pub(crate) fn last(&self) -> Option<u64> {
        self.next().checked_sub(1)
    }

    pub(crate) fn tombstoned(&self) -> bool {
        self.base.state.tombstoned || self.pending.is_some_and(|pending| pending.tombstoned)
    }

    pub(crate) fn deleted(&self) -> bool {
        self.rules.deleted()
    }

    pub(crate) fn has_metadata(&self) -> bool {
        self.base.state.rules.is_some() || self.pending.is_some_and(|it| it.rules.is_some())
    }

    /// The position of the event at this revision, 0 if there is none.
    pub(crate) fn position(&self, revision: u64) -> Result<u64, Unreadable> {
        if let Some((_, position)) = self.pending_event(revision) {
            return Ok(position);
        }
        let item = self.durable_events().item(revision)?;
        Ok(item.map_or(0, |item| item.spot.position))
    }

    /// Whether events with these ids may be appended now.
    pub(crate) fn decide(&self, expected: Expected, ids: &[Uuid]) -> Result<Decision, Unreadable> {
        if self.tombstoned() {
            return Ok(Decision::Tombstoned);
        }
        let next = self.next();
        let wrong = Decision::WrongRevision {
            current: self.last(),
        };
        Ok(match expected {
            Expected::Exact(revision) if revision.checked_add(1) == Some(next) => {
                Decision::Write { first: next }
            }
            Expected::Exact(revision) => match revision.checked_add(1) {
                Some(first) if self.stands_at(first, ids)? => already(first, ids),
                Some(_) | None => wrong,
            },
            Expected::NoStream if next == 0 || self.deleted() => Decision::Write { first: next },
            Expected::NoStream => {
                // A stream deleted and begun again begins where it was truncated.
                let again = Some(self.rules.truncate_before).filter(|first| *first > 0);
                for first in iter::once(0).chain(again) {
                    if self.stands_at(first, ids)? {
                        return Ok(already(first, ids));
                    }
                }
                wrong
            }
            // The protocol calls a stream deleted here, whichever way it was.
            Expected::StreamExists if self.deleted() => Decision::Tombstoned,
            Expected::StreamExists if next == 0 && !self.has_metadata() => wrong,
            Expected::StreamExists | Expected::Any => self.recent(ids)?,
        })
    }

    fn recent(&self, ids: &[Uuid]) -> Result<Decision, Unreadable> {
        let next = self.next();
        let fresh = Decision::Write { first: next };
        let Some(head) = ids.first() else {
            return Ok(fresh);
        };
        let window = IDEMPOTENCY_EVENTS.max(ids.len()) as u64;
        let visible = self.rules.truncate_before.min(next);
        let oldest = visible.max(next.saturating_sub(window));
        // Sorted, not hashed: most appends have one event and are compared with a thousand.
        let wanted = sorted(ids.iter().copied());

        let mut seen: Vec<(u64, Uuid)> = Vec::new();
        let durable = oldest.min(self.base.next_revision)..self.base.next_revision;
        let mut events = self.durable_events();
        for revision in self.with_hashes_of(ids, &durable)? {
            if let Some(item) = events.item(revision)? {
                seen.push((revision, self.view.identity(item.spot)?.1));
            }
        }
        let pending = self.pending.iter().flat_map(|pending| &pending.events);
        seen.extend((self.base.next_revision..).zip(pending.map(|(id, _)| *id)));
        seen.retain(|(revision, id)| *revision >= oldest && wanted.binary_search(id).is_ok());
        for (revision, id) in seen.iter().rev() {
            if id == head && self.stands_at(*revision, ids)? {
                // An id that is there more than once stands where it is first.
                let last = ids.iter().position(|id| ids.last() == Some(id));
                return Ok(already(*revision, &ids[..=last.unwrap_or(0)]));
            }
        }
        Ok(match seen.is_empty() {
            true => fresh,
            false => Decision::WrongRevision {
                current: self.last(),
            },
        })
    }

    /// The revisions among these whose id may be one of these ids.
    fn with_hashes_of(&self, ids: &[Uuid], among: &Range<u64>) -> Result<Vec<u64>, Unreadable> {
        let hashes = sorted(ids.iter().map(part::id_hash));
        let mut events = self.durable_events();
        if among.end - among.start <= IDEMPOTENCY_EVENTS as u64 {
            return self.store.recent(self.stream, &mut events, among, &hashes);
        }
        let items = events.items(among.clone())?;
        let with_revisions = items.iter().zip(among.clone());
        let found = with_revisions.filter(|(it, _)| hashes.binary_search(&it.id_hash).is_ok());
        Ok(found.map(|(_, revision)| revision).collect())
    }

    /// Whether events with these ids stand at these revisions.
    fn stands_at(&self, first: u64, ids: &[Uuid]) -> Result<bool, Unreadable> {
        let durable_next = self.base.next_revision;
        let Some(end) = first.checked_add(ids.len() as u64) else {
            return Ok(false);
        };
        if ids.is_empty() || end > self.next() {
            return Ok(false);
        }
        let durable = first.min(durable_next)..end.min(durable_next);
        let (in_files, in_group) = ids.split_at(durable.clone().count());
        let pending = (durable.end.max(first)..).zip(in_group);
        for (revision, id) in pending {
            if self.pending_event(revision).map(|(there, _)| there) != Some(*id) {
                return Ok(false);
            }
        }
        let items = self.durable_events().items(durable)?;
        for (item, id) in items.iter().zip(in_files) {
            let same = item.id_hash == part::id_hash(id);
            if !same || self.view.identity(item.spot)?.1 != *id {
                return Ok(false);
            }
        }
        Ok(items.len() == in_files.len())
    }

    fn pending_event(&self, revision: u64) -> Option<(Uuid, u64)> {
        let after = revision.checked_sub(self.base.next_revision)?;
        let after = usize::try_from(after).ok()?;
        self.pending?.events.get(after).copied()
    }

    fn durable_events(&self) -> Events<'a> {
        Events::new(self.view, self.stream, self.base)
    }
}

fn sorted<T: Ord>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    values
}

fn already(first: u64, ids: &[Uuid]) -> Decision {
    Decision::Already {
        last: first + ids.len() as u64 - 1,
    }
}
