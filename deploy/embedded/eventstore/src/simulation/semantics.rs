//! What EventStoreDB does, in as few words as possible: a list of events and questions
//! to all of it. The node must answer the same.

use std::collections::HashSet;

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::expect::Expected;
use crate::group::{Answer, Refusal, Written};
use crate::record::Draft;
use crate::store::Direction;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) position: u64,
    pub(super) stream: String,
    pub(super) revision: u64,
    pub(super) kind: String,
    pub(super) data: Vec<u8>,
    /// 100 ns since 1970.
    pub(super) created: u64,
    /// `None` where the node draws it.
    pub(super) id: Option<Uuid>,
}

/// An event as a reader gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    /// `None` if it is a link to nothing.
    pub(super) event: Option<Event>,
    /// The link that led to it.
    pub(super) link: Option<Event>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Missing,
    Deleted,
    Events {
        /// Told only to a read that begins a page or more before it.
        first: Option<u64>,
        last: u64,
        events: Vec<Shown>,
    },
}

#[derive(Default)]
pub(super) struct Model {
    pub(super) log: Vec<Event>,
    /// What the clock says, 100 ns since 1970.
    pub(super) now: u64,
    gone: HashSet<String>,
}

const DELETED: u64 = i64::MAX as u64;
const TICKS_PER_SECOND: u64 = 10_000_000;

impl Model {
    pub(super) fn append(&mut self, stream: &str, expected: Expected, drafts: &[Draft]) -> Answer {
        let described = stream.strip_prefix("$$");
        if self.gone.contains(stream) {
            return Err(Refusal::Tombstoned);
        }
        let ids: Vec<Uuid> = drafts.iter().map(|draft| draft.id).collect();
        if let Some(last) = self.expect(stream, expected, &ids)? {
            return Ok(self.written(stream, Some(last)));
        }
        if drafts.is_empty() {
            return Ok(self.written(stream, self.next(stream).checked_sub(1)));
        }
        if self.is_deleted(stream) {
            let old = self.metadata(stream);
            self.describe(stream, old, self.next(stream));
        }
        let returns = described.filter(|it| self.is_deleted(it) && !self.is_gone(it));
        for draft in drafts {
            let data = draft.data.to_vec();
            self.add(stream, &draft.kind, data, Some(draft.id));
        }
        let written = self.written(stream, self.next(stream).checked_sub(1));
        if let Some(described) = returns {
            let next = self.next(described);
            if self.truncated_before(described) < next {
                self.describe(described, self.metadata(described), next);
            }
        }
        Ok(written)
    }

    pub(super) fn delete(&mut self, stream: &str, expected: Expected) -> Answer {
        if self.is_gone(stream) {
            return Err(Refusal::Tombstoned);
        }
        self.expect(stream, expected, &[])?;
        if self.next(stream) == 0 && self.next(&format!("$${stream}")) == 0 {
            return Err(Refusal::WrongRevision { current: None });
        }
        self.describe(stream, self.metadata(stream), DELETED);
        let described = format!("$${stream}");
        Ok(self.written(&described, self.next(&described).checked_sub(1)))
    }

    pub(super) fn tombstone(&mut self, stream: &str, expected: Expected) -> Answer {
        if self.is_gone(stream) {
            return Err(Refusal::Tombstoned);
        }
        self.expect(stream, expected, &[])?;
        self.gone.insert(stream.to_owned());
        let position = self.log.len() as u64 + 1;
        self.log.push(Event {
            position,
            stream: stream.to_owned(),
            revision: DELETED,
            kind: "$streamDeleted".into(),
            data: vec![],
            created: self.created(),
            id: None,
        });
        let revision = Some(DELETED);
        Ok(Written { revision, position })
    }

    pub(super) fn read(
        &self,
        stream: &str,
        from: u64,
        direction: Direction,
        count: u64,
        resolve_links: bool,
    ) -> Found {
        if self.is_gone(stream) {
            return Found::Deleted;
        }
        let next = self.next(stream);
        if next == 0 || self.is_deleted(stream) {
            return Found::Missing;
        }
        let visible = self.visible(stream);
        let events = match direction {
            Direction::Forwards => some(visible.filter(|it| it.revision >= from), count),
            Direction::Backwards => some(visible.filter(|it| it.revision <= from).rev(), count),
        };
        let first = self.visible(stream).next().map_or(next, |it| it.revision);
        let page = count.clamp(1, 32);
        let skips = direction == Direction::Forwards && from.saturating_add(page) <= first;
        Found::Events {
            first: skips.then_some(first),
            last: next - 1,
            events: self.shown(events, resolve_links),
        }
    }

    pub(super) fn read_all(
        &self,
        from: u64,
        direction: Direction,
        count: u64,
        wanted: impl Fn(&Event) -> bool,
        resolve_links: bool,
    ) -> Vec<Shown> {
        let log = self.log.iter().filter(|it| wanted(it));
        let events = match direction {
            Direction::Forwards => some(log.filter(|it| it.position >= from), count),
            Direction::Backwards => some(log.filter(|it| it.position < from).rev(), count),
        };
        self.shown(events, resolve_links)
    }

    /// What a subscription to the stream has to be sent now, from this revision on; `None`
    /// if the stream is gone for ever.
    pub(super) fn news(&self, stream: &str, from: u64, resolve_links: bool) -> Option<Vec<Shown>> {
        match self.read(stream, from, Direction::Forwards, u64::MAX, resolve_links) {
            Found::Missing => Some(vec![]),
            Found::Deleted => None,
            Found::Events { events, .. } => Some(events),
        }
    }

    fn shown(&self, events: Vec<Event>, resolve_links: bool) -> Vec<Shown> {
        let shown = |event: Event| match resolve_links && event.kind == "$>" {
            true => Shown {
                event: self.target(&event.data),
                link: Some(event),
            },
            false => Shown {
                event: Some(event),
                link: None,
            },
        };
        events.into_iter().map(shown).collect()
    }

    /// The event that a link leads to: who may not read it there may not read it here.
    fn target(&self, link: &[u8]) -> Option<Event> {
        let (revision, stream) = std::str::from_utf8(link).ok()?.split_once('@')?;
        let revision: u64 = revision.parse().ok()?;
        if self.is_gone(stream) || self.is_deleted(stream) {
            return None;
        }
        let mut visible = self.visible(stream);
        visible.find(|it| it.revision == revision).cloned()
    }

    fn visible(&self, stream: &str) -> impl DoubleEndedIterator<Item = &Event> {
        let next = self.next(stream);
        let kept = match stream.starts_with("$$") {
            true => Some(1),
            false => self.number(stream, "$maxCount"),
        };
        let first = self
            .truncated_before(stream)
            .max(next.saturating_sub(kept.unwrap_or(u64::MAX)));
        let age = self.number(stream, "$maxAge").unwrap_or(u64::MAX);
        let oldest = self
            .now
            .saturating_sub(age.saturating_mul(TICKS_PER_SECOND));
        self.events(stream)
            .filter(move |it| it.revision >= first && it.created >= oldest)
    }

    /// Whether it can be read, even if none of its events can.
    pub(super) fn is_there(&self, stream: &str) -> bool {
        self.next(stream) > 0 && !self.is_deleted(stream) && !self.is_gone(stream)
    }

    pub(super) fn next(&self, stream: &str) -> u64 {
        self.events(stream).count() as u64
    }

    /// `None` to write; a revision if it stands there already.
    fn expect(
        &self,
        stream: &str,
        expected: Expected,
        ids: &[Uuid],
    ) -> Result<Option<u64>, Refusal> {
        let next = self.next(stream);
        let current = next.checked_sub(1);
        let wrong = Err(Refusal::WrongRevision { current });
        let stands = |first: u64| {
            let there = self.events(stream).filter(|it| it.revision >= first);
            let same = there
                .zip(ids)
                .filter(|(it, id)| it.id == Some(**id))
                .count();
            !ids.is_empty() && same == ids.len()
        };
        let last = |first: u64| Ok(Some(first + ids.len() as u64 - 1));
        let begin = self.truncated_before(stream);
        let deleted = self.is_deleted(stream);
        match expected {
            Expected::Exact(revision) if Some(revision) == current => Ok(None),
            Expected::Exact(revision) if stands(revision + 1) => last(revision + 1),
            Expected::Exact(_) => wrong,
            Expected::NoStream if next == 0 || deleted => Ok(None),
            Expected::NoStream if stands(0) => last(0),
            Expected::NoStream if stands(begin) => last(begin),
            Expected::NoStream => wrong,
            Expected::StreamExists if deleted => Err(Refusal::Tombstoned),
            Expected::StreamExists if next == 0 && self.next(&format!("$${stream}")) == 0 => wrong,
            Expected::StreamExists | Expected::Any => {
                if let Some(first) = (begin..next).rev().find(|first| stands(*first)) {
                    let last = ids.iter().position(|id| Some(id) == ids.last());
                    return Ok(last.map(|at| first + at as u64));
                }
                let mut visible = self.events(stream).filter(|it| it.revision >= begin);
                match visible.any(|it| it.id.is_some_and(|id| ids.contains(&id))) {
                    true => wrong,
                    false => Ok(None),
                }
            }
        }
    }

    fn written(&self, stream: &str, revision: Option<u64>) -> Written {
        let position = self
            .events(stream)
            .find(|it| Some(it.revision) == revision)
            .map_or(0, |it| it.position);
        Written { revision, position }
    }

    fn describe(&mut self, stream: &str, mut fields: Map<String, Value>, begin: u64) {
        fields.insert("$tb".into(), begin.into());
        let data = Value::Object(fields).to_string().into_bytes();
        self.add(&format!("$${stream}"), "$metadata", data, None);
    }

    fn add(&mut self, stream: &str, kind: &str, data: Vec<u8>, id: Option<Uuid>) {
        let event = Event {
            position: self.log.len() as u64 + 1,
            stream: stream.to_owned(),
            revision: self.next(stream),
            kind: kind.to_owned(),
            data,
            created: self.created(),
            id,
        };
        self.log.push(event);
    }

    /// Never before the event before it, whatever the clock says.
    fn created(&self) -> u64 {
        self.log
            .last()
            .map_or(self.now, |it| it.created.max(self.now))
    }

    fn events(&self, stream: &str) -> impl DoubleEndedIterator<Item = &Event> {
        let events = self.log.iter().filter(move |it| it.stream == stream);
        events.filter(|it| it.kind != "$streamDeleted")
    }

    fn metadata(&self, stream: &str) -> Map<String, Value> {
        let described = format!("$${stream}");
        let Some(last) = self.events(&described).next_back() else {
            return Map::new();
        };
        serde_json::from_slice(&last.data).unwrap_or_default()
    }

    fn number(&self, stream: &str, key: &str) -> Option<u64> {
        self.metadata(stream).get(key)?.as_u64()
    }

    fn truncated_before(&self, stream: &str) -> u64 {
        self.number(stream, "$tb").unwrap_or(0)
    }

    fn is_deleted(&self, stream: &str) -> bool {
        self.truncated_before(stream) == DELETED
    }

    fn is_gone(&self, stream: &str) -> bool {
        let described = stream.strip_prefix("$$");
        self.gone.contains(stream) || described.is_some_and(|it| self.gone.contains(it))
    }
}

fn some<'a>(events: impl Iterator<Item = &'a Event>, count: u64) -> Vec<Event> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    events.take(count).cloned().collect()
}
