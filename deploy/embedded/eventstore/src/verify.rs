//! Proving that a log is whole, and that its history is the one noted before.
//!
//! # Invariants
//!
//! * Every record counts: checksums, digest of the payload, chain, position, batch and
//!   revision are all checked.
//! * The head is the chain hash of the last record. Whoever has noted a head finds out
//!   whether anything before it was changed, however consistently.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use crate::part::is_tombstone;
use crate::record::{self, Hash};
use crate::walk::{self, End, Found, Log};

/// What a log turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// In hexadecimal digits.
    pub head: String,
    /// The last position.
    pub position: u64,
    pub events: u64,
    /// Events whose payload was erased; their digests are still in the chain.
    pub erased: u64,
    pub streams: u64,
    pub segments: u64,
    pub bytes: u64,
    /// Bytes behind the last whole batch: a write that was cut short, or is under way.
    pub torn_bytes: u64,
    /// The position at which the head noted before was the head.
    pub noted_at: Option<u64>,
}

/// What was proven of a history so far.
pub(crate) struct Proof {
    pub(crate) head: Hash,
    /// The last position.
    pub(crate) position: u64,
    events: u64,
    erased: u64,
    next_revisions: HashMap<String, u64>,
    /// The position after which it begins.
    after: u64,
}

/// Reads the whole log in this folder. An error names the first thing that is wrong.
pub fn verify(dir: &Path, noted: Option<&str>) -> anyhow::Result<Verified> {
    let noted = noted.map(parse).transpose()?;
    let mut proof = Proof::after([0; 32], 0);
    let mut noted_at = (noted == Some(proof.head)).then_some(0);
    let end = Log::at(dir)?.walk(0, |found| {
        proof.add(found)?;
        if noted == Some(proof.head) {
            noted_at = Some(proof.position);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if let (Some(noted), None) = (noted, noted_at) {
        bail!(
            "this is not the history that was noted: it never had the head {}; \
             it is whole, but was rewritten or cut",
            hex(&noted)
        );
    }
    let End {
        segments,
        bytes,
        torn_bytes,
    } = end;
    Ok(Verified {
        head: hex(&proof.head),
        position: proof.position,
        events: proof.events,
        erased: proof.erased,
        streams: proof.next_revisions.len() as u64,
        segments: segments as u64,
        bytes,
        torn_bytes,
        noted_at,
    })
}

impl Proof {
    /// Of a history that goes on from here.
    pub(crate) fn after(head: Hash, position: u64) -> Self {
        Self {
            head,
            position,
            events: 0,
            erased: 0,
            next_revisions: HashMap::new(),
            after: position,
        }
    }

    /// Adds what the walk, which has checked the rest of it, found next.
    pub(crate) fn add(&mut self, found: &Found) -> anyhow::Result<()> {
        let record = &found.record;
        let (draft, revision) = (&record.draft, record.place.revision);
        let place = || walk::place(found.spot, record.place.position);
        if !record.erased && record::digest(&draft.metadata, &draft.data) != record.digest {
            bail!(
                "the log is damaged at {}: the payload is not the one of its digest",
                place()
            );
        }
        let tombstone = is_tombstone(&draft.kind, revision);
        let next = match self.next_revisions.get_mut(&record.stream) {
            Some(next) => next,
            None => {
                // Where a history goes on, the first revision it has of a stream is any.
                let first = if self.after > 0 && !tombstone {
                    revision
                } else {
                    0
                };
                self.next_revisions
                    .entry(record.stream.clone())
                    .or_insert(first)
            }
        };
        if !tombstone {
            ensure!(
                *next == revision,
                "the log is damaged at {}: revision {next} of its stream is expected",
                place(),
            );
            *next += 1;
        }
        (self.head, self.position) = (record.chain, record.place.position);
        self.events += 1;
        self.erased += u64::from(record.erased);
        Ok(())
    }
}

impl Verified {
    pub fn json(&self) -> Value {
        json!({
            "head": self.head,
            "position": self.position,
            "events": self.events,
            "erased": self.erased,
            "streams": self.streams,
            "segments": self.segments,
            "bytes": self.bytes,
            "torn_bytes": self.torn_bytes,
            "noted_at": self.noted_at,
        })
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parse(head: &str) -> anyhow::Result<Hash> {
    let digits = head.as_bytes().chunks(2);
    let bytes = digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect::<Option<Vec<u8>>>();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .with_context(|| format!("a head has 64 hexadecimal digits, not as `{head}`"))
}
