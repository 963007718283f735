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
use crate::index::{self, Fresh, Spot};
use crate::metadata::{self, METADATA_KIND, Rules, TOMBSTONE_KIND, TOMBSTONE_REVISION};
use crate::record::{self, Draft, Place};
use crate::recovery::Tail;
use crate::store::{self, Store};

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
            pending: HashMap::new(),
            metadata: HashMap::new(),
        }
    }

    /// What this command means now.
    pub(crate) fn plan(&self, store: &Store, command: Command) -> Planned {
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
        // Looked up first: reading the old metadata from a file must not hold the index.
        let old = self.metadata_of(store, &stream);
        let ids: Vec<Uuid> = drafts.iter().flatten().map(|draft| draft.id).collect();
        let index = store.index();
        if index.len() + self.events.len() + ids.len() >= index::EVENTS_MAX {
            return refuse("the log holds as many events as it can");
        }
        // The metadata of a stream that is gone for ever is gone with it.
        let described = metadata::described_by(&stream);
        if described.is_some_and(|name| self.history(&index, name, false).tombstoned()) {
            return Planned::Answer(Err(Refusal::Tombstoned));
        }
        let history = self.history(&index, &stream, old.is_some());
        let first = match settle(&history, expected, &ids) {
            Ok(first) => first,
            Err(answer) => return Planned::Answer(answer),
        };
        let Some(drafts) = drafts else {
            if history.next() == 0 && old.is_none() {
                let current = None;
                return Planned::Answer(Err(Refusal::WrongRevision { current }));
            }
            let old = old.unwrap_or_default();
            let end = metadata::truncated_before(&old, metadata::DELETED);
            return Planned::Write(Plan::new(vec![metadata_draft(&stream, end)], 0));
        };
        let count = drafts.len();
        if count == 0 {
            let revision = history.last();
            let position = revision.and_then(|last| history.event(last));
            return Planned::Answer(Ok(Written {
                revision,
                position: position.map_or(0, |(_, position)| position),
            }));
        }
        let mut batch = Vec::with_capacity(count + 1);
        if history.deleted() {
            // It begins again: what was before stays hidden, the numbers go on.
            let old = old.unwrap_or_default();
            let begun = metadata::truncated_before(&old, first);
            batch.push(metadata_draft(&stream, begun));
        }
        batch.extend(drafts.into_iter().map(|draft| (stream.clone(), draft)));
        let answer_at = batch.len() - 1;
        let described = described.map(|name| (name, self.history(&index, name, true)));
        if let Some((name, history)) = described.filter(|(_, history)| history.deleted()) {
            // New metadata brings a deleted stream back, but not its old events.
            let (_, new) = &batch[answer_at];
            if Rules::of(&new.data).truncate_before < history.next() {
                let begun = metadata::truncated_before(&new.data, history.next());
                batch.push(metadata_draft(name, begun));
            }
        }
        Planned::Write(Plan::new(batch, answer_at))
    }

    fn plan_tombstone(&self, store: &Store, stream: String, expected: Expected) -> Planned {
        let has_metadata = self.metadata_of(store, &stream).is_some();
        let index = store.index();
        if let Err(answer) = settle(&self.history(&index, &stream, has_metadata), expected, &[]) {
            return Planned::Answer(answer);
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
        Planned::Write(plan)
    }

    /// Adds the records of a plan made on this same group.
    pub(crate) fn add(&mut self, store: &Store, plan: Plan) -> Written {
        let count = fit(plan.batch.len());
        self.tail.created = self.tail.created.max(store::now());
        let mut written = Written {
            revision: None,
            position: 0,
        };
        for (at, (stream, draft)) in plan.batch.into_iter().enumerate() {
            let revision = if plan.tombstone {
                TOMBSTONE_REVISION
            } else {
                self.history(&store.index(), &stream, false).next()
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
        written
    }

    fn write(&mut self, stream: String, draft: Draft, place: Place) {
        let before = self.bytes.len();
        self.tail.chain = record::encode(&mut self.bytes, &stream, &draft, place, &self.tail.chain);
        let len = self.bytes.len() - before;
        let spot = Spot {
            segment: self.tail.segment,
            offset: u32::try_from(self.tail.offset).expect("segments are far below 4 GiB"),
            len: fit(len),
        };
        self.tail.offset += len as u64;
        self.tail.position = place.position;

        let pending = self.pending.entry(stream.clone()).or_default();
        if index::is_tombstone(&draft.kind, place.revision) {
            pending.tombstoned = true;
        } else {
            pending.events.push((draft.id, place.position));
        }
        let rules = metadata::described_by(&stream).map(|described| {
            let rules = Rules::of(&draft.data);
            let described = described.to_owned();
            self.metadata.insert(described.clone(), draft.data.clone());
            self.pending.entry(described).or_default().rules = Some(rules);
            rules
        });
        self.events.push(Fresh {
            stream,
            kind: draft.kind,
            id: draft.id,
            position: place.position,
            revision: place.revision,
            created: place.created,
            spot,
            rules,
        });
    }

    fn history<'a>(
        &'a self,
        index: &'a index::Index,
        stream: &str,
        has_metadata: bool,
    ) -> History<'a> {
        History::new(index, stream, self.pending.get(stream), has_metadata)
    }

    /// The stream's metadata as last written. One that cannot be read counts as empty
    /// here: it has been logged, and reading it is an error for whoever asks for it.
    fn metadata_of(&self, store: &Store, stream: &str) -> Option<Bytes> {
        if let Some(pending) = self.metadata.get(stream) {
            return Some(pending.clone());
        }
        let spot = store.last_spot(&metadata::metadata_stream(stream))?;
        let records = store.load(&[spot]).unwrap_or_default();
        let data = records.into_iter().next().map(|record| record.draft.data);
        Some(data.unwrap_or_default())
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
fn settle(history: &History, expected: Expected, ids: &[Uuid]) -> Result<u64, Answer> {
    match history.decide(expected, ids) {
        Decision::Write { first } => Ok(first),
        Decision::Already { last } => {
            let position = history.event(last).map_or(0, |(_, position)| position);
            Err(Ok(Written {
                revision: Some(last),
                position,
            }))
        }
        Decision::WrongRevision { current } => Err(Err(Refusal::WrongRevision { current })),
        Decision::Tombstoned => Err(Err(Refusal::Tombstoned)),
    }
}

fn refuse(why: &str) -> Planned {
    Planned::Answer(Err(Refusal::Unavailable(why.to_owned())))
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
