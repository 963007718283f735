//! Whether an append may happen: the revision it expects, and whether it already did.
//!
//! # Invariants
//!
//! * With an exact revision or `NoStream`, an append that stands where it would stand is
//!   answered as the first time, however long ago that was.
//! * With `Any` or `StreamExists`, it is recognised by its ids among the stream's recent
//!   events.
//! * An append of which only a part is already there is refused.

use std::collections::HashSet;

use uuid::Uuid;

use crate::index::{Index, StreamIndex};
use crate::limits::IDEMPOTENCY_EVENTS;
use crate::metadata::Rules;

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
    index: &'a Index,
    durable: Option<&'a StreamIndex>,
    pending: Option<&'a Pending>,
    rules: Rules,
    has_metadata: bool,
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
        index: &'a Index,
        stream: &str,
        pending: Option<&'a Pending>,
        has_metadata: bool,
    ) -> Self {
        let durable = index.stream(stream);
        let rules = pending
            .and_then(|pending| pending.rules)
            .or(durable.map(|durable| durable.rules))
            .unwrap_or_else(|| Rules::initial(stream));
        Self {
            index,
            durable,
            pending,
            rules,
            has_metadata,
        }
    }

    pub(crate) fn next(&self) -> u64 {
        self.durable_next()
            + self
                .pending
                .map_or(0, |pending| pending.events.len() as u64)
    }

    pub(crate) fn last(&self) -> Option<u64> {
        self.next().checked_sub(1)
    }

    pub(crate) fn tombstoned(&self) -> bool {
        self.durable.is_some_and(|durable| durable.tombstoned)
            || self.pending.is_some_and(|pending| pending.tombstoned)
    }

    pub(crate) fn deleted(&self) -> bool {
        self.rules.deleted()
    }

    /// Id and position of the event at this revision.
    pub(crate) fn event(&self, revision: u64) -> Option<(Uuid, u64)> {
        match revision.checked_sub(self.durable_next()) {
            None => {
                let entry = self.index.entry(self.durable?, revision)?;
                Some((entry.id, entry.position))
            }
            Some(after) => {
                let after = usize::try_from(after).ok()?;
                self.pending?.events.get(after).copied()
            }
        }
    }

    /// Whether events with these ids may be appended now.
    pub(crate) fn decide(&self, expected: Expected, ids: &[Uuid]) -> Decision {
        if self.tombstoned() {
            return Decision::Tombstoned;
        }
        let next = self.next();
        let wrong = Decision::WrongRevision {
            current: self.last(),
        };
        match expected {
            Expected::Exact(revision) if revision.checked_add(1) == Some(next) => {
                Decision::Write { first: next }
            }
            Expected::Exact(revision) => match revision.checked_add(1) {
                Some(first) if self.stands_at(first, ids) => already(first, ids),
                Some(_) | None => wrong,
            },
            Expected::NoStream if next == 0 || self.deleted() => Decision::Write { first: next },
            Expected::NoStream => {
                // A stream deleted and begun again begins where it was truncated.
                let begins = [0, self.rules.truncate_before];
                let found = begins.into_iter().find(|first| self.stands_at(*first, ids));
                found.map_or(wrong, |first| already(first, ids))
            }
            // The protocol calls a stream deleted here, whichever way it was.
            Expected::StreamExists if self.deleted() => Decision::Tombstoned,
            Expected::StreamExists if next == 0 && !self.has_metadata => wrong,
            Expected::StreamExists | Expected::Any => self.recent(ids),
        }
    }

    fn recent(&self, ids: &[Uuid]) -> Decision {
        let next = self.next();
        let fresh = Decision::Write { first: next };
        let Some(head) = ids.first() else {
            return fresh;
        };
        let window = IDEMPOTENCY_EVENTS.max(ids.len()) as u64;
        let visible = self.rules.truncate_before.min(next);
        let oldest = visible.max(next.saturating_sub(window));
        let wanted: HashSet<&Uuid> = ids.iter().collect();
        let mut seen = false;
        for revision in (oldest..next).rev() {
            let Some((id, _)) = self.event(revision) else {
                continue;
            };
            seen |= wanted.contains(&id);
            if id == *head && self.stands_at(revision, ids) {
                return already(revision, ids);
            }
        }
        if seen {
            return Decision::WrongRevision {
                current: self.last(),
            };
        }
        fresh
    }

    fn stands_at(&self, first: u64, ids: &[Uuid]) -> bool {
        !ids.is_empty()
            && ids
                .iter()
                .zip(first..)
                .all(|(id, revision)| self.event(revision).is_some_and(|(there, _)| there == *id))
    }

    fn durable_next(&self) -> u64 {
        self.durable.map_or(0, StreamIndex::next_revision)
    }
}

fn already(first: u64, ids: &[Uuid]) -> Decision {
    Decision::Already {
        last: first + ids.len() as u64 - 1,
    }
}
