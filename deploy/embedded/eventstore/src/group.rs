//! A group: the appends that become durable with one sync.
//!
//! # Invariants
//!
//! * Appends are decided one after the other, each on top of those before it, durable or
//!   in this group.
//! * Nobody is answered before the group's end, refusals included: a refusal may rest on
//!   an event that is not durable yet.

use std::collections::HashMap;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use uuid::Uuid;

use crate::expect::{Decision, Expected, History, Pending};
use crate::metadata::{self, METADATA_KIND, Rules, TOMBSTONE_KIND, TOMBSTONE_REVISION};
use crate::part::memory::Fresh;
use crate::part::{self, Base, Spot};
use crate::record::{self, Draft, Place};
use crate::recovery::Tail;
use crate::store::Store;
use crate::unreadable::Unreadable;
use crate::view::View;

/// What a client asks the writer for.
pub(crate) struct Request {
    pub(crate) command: Command,
    pub(crate) answer: oneshot::Sender<Answer>,
    /// The memory it was promised, given back when it is answered.
    pub(crate) memory: Option<OwnedSemaphorePermit>,
}

pub(crate) enum Command {
    Append {
        stream: String,
        expected: Expected,
        drafts: Vec<Draft>,
    },
    /// Soft: the stream may begin again.
    Delete { stream: String, expected: Expected },
    /// For ever.
    Tombstone { stream: String, expected: Expected },
}

pub(crate) type Answer = Result<Written, Refusal>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// The last revision of the append, `None` if it was empty and so is the stream.
    pub(crate) revision: Option<u64>,
    /// The position of the last event, 0 if there is none.
    pub(crate) position: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the stream is at another revision than expected")]
    WrongRevision { current: Option<u64> },
    #[error("the stream is deleted for ever")]
    Tombstoned,
    #[error("{0}")]
    Unavailable(String),
}

impl From<Unreadable> for Refusal {
    /// What an append rests on cannot be read: nothing was written.
    fn from(unreadable: Unreadable) -> Self {
        Self::Unavailable(unreadable.to_string())
    }
}

/// The records to write for one request: stream and draft, in log order.
pub(crate) struct Plan {
    pub(crate) batch: Vec<(String, Draft)>,
    pub(crate) bytes: usize,
    /// The record the answer is about.
    answer_at: usize,
    tombstone: bool,
}

pub(crate) enum Planned {
    Write(Plan),
    Answer(Answer),
}

pub(crate) struct Group {
    pub(crate) bytes: Vec<u8>,
    pub(crate) events: Vec<Fresh>,
    pub(crate) tail: Tail,
    pub(crate) answers: Vec<(
        oneshot::Sender<Answer>,
        Answer,
        Option<OwnedSemaphorePermit>,
    )>,
    durable: u64,
    /// What is durable of the streams met so far: it does not change within a group.
    bases: HashMap<String, Base>,
    pending: HashMap<String, Pending>,
    /// The newest metadata of a stream, if it is written in this group.
    metadata: HashMap<String, Bytes>,
}

impl Group {
    pub(crate) fn after(tail: &Tail) -> Self {
        Self {
            bytes: Vec::new(),
            events: Vec::new(),
            tail: tail.clone(),
            answers: Vec::new(),
            durable: tail.position,
            bases: HashMap::new(),
            pending: HashMap::new(),
            metadata: HashMap::new(),
        }
    }

    /// What this command means now.
    pub(crate) fn plan(&mut self, store: &Store, command: Command) -> Result<Planned, Unreadable> {
        let (stream, expected, drafts) = match command {
            Command::Append {
                stream,
                expected,
                drafts,
            } => (stream, expected, Some(drafts)),
            Command::Delete { stream, expected } => (stream, expected, None),
            Command::Tombstone { stream, expected } => {
                return self.plan_tombstone(store, stream, expected);
            }
        };
        let view = store.view();
        self.meet(store, &view, &stream)?;
        // The metadata of a stream that is gone for ever is gone with it: nobody can read or delete
        // it. But it may still be set, as clients expect of the real one.
        let described = metadata::described_by(&stream).filter(|_| drafts.is_none());
        if described.is_some_and(|name| self.history(store, &view, name).tombstoned()) {
            return Ok(Planned::Answer(Err(Refusal::Tombstoned)));
        }
        let history = self.history(store, &view, &stream);
        let ids: Vec<Uuid> = drafts.iter().flatten().map(|draft| draft.id).collect();
        let first = match settle(&history, expected, &ids)? {
            Ok(first) => first,
            Err(answer) => return Ok(Planned::Answer(answer)),
        };
        let Some(drafts) = drafts else {
            if history.next() == 0 && !history.has_metadata() {
                let current = None;
                return Ok(Planned::Answer(Err(Refusal::WrongRevision { current })));
            }
            let old = self.metadata_of(store, &stream)?;
            let end = metadata::truncated_before(&old, metadata::DELETED);
            return Ok(Planned::Write(Plan::new(
                vec![metadata_draft(&stream, end)],
                0,
            )));
        };
        if drafts.is_empty() {
            let revision = history.last();
            let position = match revision {
                Some(last) => history.position(last)?,
                None => 0,
            };
            return Ok(Planned::Answer(Ok(Written { revision, position })));
        }
        let begins_again = history.deleted();
        self.plan_append(store, &view, stream, drafts, begins_again.then_some(first))
            .map(Planned::Write)
    }

    /// The records of an append that may happen; `begins_at` if the stream was deleted.
    fn plan_append(
        &self,
        store: &Store,
        view: &View,
        stream: String,
        drafts: Vec<Draft>,
        begins_at: Option<u64>,
    ) -> Result<Plan, Unreadable> {
        let mut batch = Vec::with_capacity(drafts.len() + 1);
        if let Some(first) = begins_at {
            // What was before stays hidden, the numbers go on.
            let old = self.metadata_of(store, &stream)?;
            let begun = metadata::truncated_before(&old, first);
            batch.push(metadata_draft(&stream, begun));
        }
        batch.extend(drafts.into_iter().map(|draft| (stream.clone(), draft)));
        let answer_at = batch.len() - 1;
        let described =
            metadata::described_by(&stream).map(|name| (name, self.history(store, view, name)));
        let returns = described.filter(|(_, it)| it.deleted() && !it.tombstoned());
        if let Some((name, history)) = returns {
            // New metadata brings a deleted stream back, but not its old events.
            let (_, new) = &batch[answer_at];
            if Rules::of(&new.data).truncate_before < history.next() {
                let begun = metadata::truncated_before(&new.data, history.next());
                batch.push(metadata_draft(name, begun));
            }
        }
        Ok(Plan::new(batch, answer_at))
    }

    fn plan_tombstone(
        &mut self,
        store: &Store,
        stream: String,
        expected: Expected,
    ) -> Result<Planned, Unreadable> {
        let view = store.view();
        self.meet(store, &view, &stream)?;
        if let Err(answer) = settle(&self.history(store, &view, &stream), expected, &[])? {
            return Ok(Planned::Answer(answer));
        }
        let draft = Draft {
            id: Uuid::new_v4(),
            kind: TOMBSTONE_KIND.into(),
            content_type: "application/octet-stream".into(),
            metadata: Bytes::new(),
            data: Bytes::new(),
        };
        let mut plan = Plan::new(vec![(stream, draft)], 0);
        plan.tombstone = true;
        Ok(Planned::Write(plan))
    }

    /// Adds the records of a plan made on this same group, or on one that was written.
    pub(crate) fn add(&mut self, store: &Store, plan: Plan) -> Result<Written, Unreadable> {
        let view = store.view();
        for (stream, _) in &plan.batch {
            self.meet(store, &view, stream)?;
        }
        let count = fit(plan.batch.len());
        self.tail.created = self.tail.created.max(store.clock.now());
        let mut written = Written {
            revision: None,
            position: 0,
        };
        for (at, (stream, draft)) in plan.batch.into_iter().enumerate() {
            let revision = if plan.tombstone {
                TOMBSTONE_REVISION
            } else {
                self.history(store, &view, &stream).next()
            };
            let place = Place {
                position: self.tail.position + 1,
                durable: self.durable,
                revision,
                created: self.tail.created,
                batch_index: fit(at),
                batch_count: count,
            };
            if at == plan.answer_at {
                written = Written {
                    revision: Some(revision),
                    position: place.position,
                };
            }
            self.write(stream, draft, place);
        }
        Ok(written)
    }

    fn write(&mut self, stream: String, draft: Draft, place: Place) {
        let before = self.bytes.len();
        self.tail.chain = record::encode(&mut self.bytes, &stream, &draft, place, &self.tail.chain);
        let len = self.bytes.len() - before;
        let spot = Spot {
            position: place.position,
            segment: self.tail.segment,
            offset: u32::try_from(self.tail.offset).expect("segments are far below 4 GiB"),
            len: fit(len),
        };
        self.tail.offset += len as u64;
        self.tail.position = place.position;

        let pending = self.pending.entry(stream.clone()).or_default();
        if part::is_tombstone(&draft.kind, place.revision) {
            pending.tombstoned = true;
        } else {
            pending.events.push((draft.id, place.position));
        }
        let described = metadata::described_by(&stream).map(|described| {
            let rules = Rules::of(&draft.data);
            let base = Some(self.base(described));
            let described = described.to_owned();
            self.metadata.insert(described.clone(), draft.data.clone());
            self.pending.entry(described).or_default().rules = Some(rules);
            (rules, base)
        });
        self.events.push(Fresh {
            base: Some(self.base(&stream)),
            stream,
            kind: draft.kind,
            id: draft.id,
            revision: place.revision,
            spot,
            described,
        });
    }

    /// Finds out what is durable of a stream, and of the one it describes.
    fn meet(&mut self, store: &Store, view: &View, stream: &str) -> Result<(), Unreadable> {
        let names = [Some(stream), metadata::described_by(stream)];
        for name in names.into_iter().flatten() {
            if !self.bases.contains_key(name) {
                let base = store.base(view, name)?.unwrap_or_default();
                self.bases.insert(name.to_owned(), base);
            }
        }
        Ok(())
    }

    fn base(&self, stream: &str) -> Base {
        *self
            .bases
            .get(stream)
            .expect("a stream is met before it is planned for or written to")
    }

    fn history<'a>(&'a self, store: &'a Store, view: &'a View, stream: &'a str) -> History<'a> {
        let pending = self.pending.get(stream);
        History::new(store, view, stream, self.base(stream), pending)
    }

    /// The stream's metadata as last written, empty if there is none.
    fn metadata_of(&self, store: &Store, stream: &str) -> Result<Bytes, Unreadable> {
        if let Some(pending) = self.metadata.get(stream) {
            return Ok(pending.clone());
        }
        let record = store.last_record(&metadata::metadata_stream(stream))?;
        Ok(record.map_or_else(Bytes::new, |record| record.draft.data))
    }
}

impl Plan {
    fn new(batch: Vec<(String, Draft)>, answer_at: usize) -> Self {
        let bytes = batch
            .iter()
            .map(|(stream, draft)| record::frame_bytes(stream, draft))
            .sum();
        Self {
            batch,
            bytes,
            answer_at,
            tombstone: false,
        }
    }
}

/// The first revision to write at, or the answer if nothing is to be written.
fn settle(
    history: &History,
    expected: Expected,
    ids: &[Uuid],
) -> Result<Result<u64, Answer>, Unreadable> {
    Ok(match history.decide(expected, ids)? {
        Decision::Write { first } => Ok(first),
        Decision::Already { last } => Err(Ok(Written {
            revision: Some(last),
            position: history.position(last)?,
        })),
        Decision::WrongRevision { current } => Err(Err(Refusal::WrongRevision { current })),
        Decision::Tombstoned => Err(Err(Refusal::Tombstoned)),
    })
}

fn metadata_draft(stream: &str, data: Vec<u8>) -> (String, Draft) {
    let draft = Draft {
        id: Uuid::new_v4(),
        kind: METADATA_KIND.into(),
        content_type: "application/json".into(),
        metadata: Bytes::new(),
        data: data.into(),
    };
    (metadata::metadata_stream(stream), draft)
}

fn fit(count: usize) -> u32 {
    u32::try_from(count).expect("appends are limited far below 32 bits")
}
