//! Identifiers. Each kind has its own type, so that one is never taken for another.
//!
//! # Invariants
//!
//! * An id that something caused is a UUIDv5 of that cause: doing it again gives the same id.
//! * Only what nothing caused is drawn at random, and never here: `domain` draws no id.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The root of all derived ids.
const NAMESPACE: Uuid = Uuid::from_u128(0x6b69_6e6f_6c6f_6700_8000_0000_0000_0001);

/// An id derived from `parts`; the separator keeps `("ab", "c")` and `("a", "bc")` apart.
pub fn derived(parts: &[&[u8]]) -> Uuid {
    let mut name = Vec::new();
    for part in parts {
        name.extend_from_slice(&(part.len() as u64).to_be_bytes());
        name.extend_from_slice(part);
    }
    Uuid::new_v5(&NAMESPACE, &name)
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

uuid_id! {
    /// A video: UUIDv5 of (owner, idempotency key), or UUIDv7 where the client gave no key.
    VideoId
}
uuid_id! {
    /// The processing of one source: UUIDv5 of the event that asked for it.
    JobId
}
uuid_id! {
    /// One intent. A stream that holds an event with it has already done it.
    CommandId
}
uuid_id! {
    /// One stored event: UUIDv5 of its command and its place among that command's events.
    EventId
}

impl VideoId {
    /// The video that `owner` asked for under `idempotency_key`.
    pub fn asked_for(owner: &Owner, idempotency_key: &str) -> Self {
        Self(derived(&[
            b"video",
            owner.0.as_bytes(),
            idempotency_key.as_bytes(),
        ]))
    }
}

impl JobId {
    /// The job that an `upload-completed`, `processing-retried` or `rendition-retried` event asks for.
    pub fn caused_by(event: EventId) -> Self {
        Self(derived(&[b"job", event.0.as_bytes()]))
    }
}

impl CommandId {
    /// The command that `cause` leads to, named by what it does.
    pub fn caused_by(cause: &[u8], what: &str) -> Self {
        Self(derived(&[b"command", cause, what.as_bytes()]))
    }
}

impl EventId {
    /// The `index`-th event of `command`.
    pub fn of(command: CommandId, index: usize) -> Self {
        Self(derived(&[
            b"event",
            command.0.as_bytes(),
            &(index as u64).to_be_bytes(),
        ]))
    }
}

/// Whose a video is: the opaque subject of a token.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Owner(pub String);

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One node of a job's DAG: `probe`, `encode-0`, `audio`, `poster`, `finish`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct TaskId(pub String);

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One encoded version of a video, unique in its job: `720p`, `audio`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct RenditionId(pub String);

impl fmt::Display for RenditionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
