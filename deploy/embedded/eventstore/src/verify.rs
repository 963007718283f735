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

use crate::index::is_tombstone;
use crate::record::{self, Hash};
use crate::walk::{self, End};

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

/// Reads the whole log in this folder. An error names the first thing that is wrong.
pub fn verify(dir: &Path, noted: Option<&str>) -> anyhow::Result<Verified> {
    let noted = noted.map(parse).transpose()?;
    let mut head: Hash = [0; 32];
    let mut noted_at = (noted == Some(head)).then_some(0);
    let (mut position, mut events, mut erased) = (0, 0, 0);
    let mut next_revisions: HashMap<String, u64> = HashMap::new();
    let end = walk::walk(dir, 0, |record, spot| {
        let place = || walk::place(spot, record.place.position);
        let draft = &record.draft;
        if !record.erased && record::digest(&draft.metadata, &draft.data) != record.digest {
            bail!(
                "the log is damaged at {}: the payload is not the one of its digest",
                place()
            );
        }
        let next = next_revisions.entry(record.stream.clone()).or_default();
        if !is_tombstone(&draft.kind, record.place.revision) {
            ensure!(
                *next == record.place.revision,
                "the log is damaged at {}: revision {} of its stream is expected",
                place(),
                *next,
            );
            *next += 1;
        }
        (head, position) = (record.chain, record.place.position);
        events += 1;
        erased += u64::from(record.erased);
        if noted == Some(head) {
            noted_at = Some(position);
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
        head: hex(&head),
        position,
        events,
        erased,
        streams: next_revisions.len() as u64,
        segments: segments as u64,
        bytes,
        torn_bytes,
        noted_at,
    })
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
