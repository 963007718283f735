//! Events as they are stored, for who passes them on or shows them, and does not act on them.
//!
//! # Invariants
//!
//! * What this program cannot read is an entry like any other: a history has no holes.

use bytes::Bytes;
use domain::{
    codec,
    id::{EventId, Owner, VideoId},
};
use serde::Deserialize;

use crate::{Metadata, recorded::Raw};

/// One event, not interpreted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where in the whole log it stands.
    pub commit: u64,
    pub stream: String,
    pub revision: u64,
    pub id: EventId,
    pub type_name: String,
    /// As it was recorded: JSON, if one of our programs wrote it.
    pub data: Bytes,
    /// `None`: written by none of our programs.
    pub metadata: Option<Metadata>,
    /// `None`: the same, or damaged.
    pub about: Option<About>,
}

/// What every event of ours says beside its own fields.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct About {
    pub video: VideoId,
    pub owner: Owner,
    pub at_ms: i64,
}

impl From<Raw> for Entry {
    fn from(raw: Raw) -> Self {
        let metadata = raw.metadata().ok();
        let Raw { commit, event } = raw;
        Self {
            commit,
            stream: event.stream_id,
            revision: event.revision,
            id: EventId(event.id),
            type_name: event.event_type,
            about: serde_json::from_slice(&event.data).ok(),
            data: event.data,
            metadata,
        }
    }
}

/// Which events of the log are looked for. The server looks, so that nothing else is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Those whose type begins with one of these.
    Types(Vec<String>),
    /// Those in a stream whose name begins with one of these.
    Streams(Vec<String>),
}

impl Selection {
    /// All of our events.
    pub fn ours() -> Self {
        Self::Types(codec::PREFIXES.map(str::to_owned).to_vec())
    }
}
