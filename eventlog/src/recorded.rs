//! An event as the log holds it, and what travels beside it.

use domain::{
    codec::{self, DecodeError},
    fact::AnyEvent,
    id::{CommandId, EventId},
};
use eventstore::{EventData, RecordedEvent, ResolvedEvent};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::LogError;

/// Who asks for what, and because of what: becomes the metadata of the events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    pub command: CommandId,
    pub actor: String,
    pub correlation: Uuid,
    pub causation: Uuid,
}

impl Envelope {
    /// A command that comes from outside and begins a conversation of its own.
    pub fn new(command: CommandId, actor: impl Into<String>) -> Self {
        Self {
            command,
            actor: actor.into(),
            correlation: command.0,
            causation: command.0,
        }
    }

    /// The command that `event` leads to, named by `what` it does: the same each time it is met.
    pub fn caused_by(event: &Recorded, what: &str, actor: impl Into<String>) -> Self {
        Self {
            command: CommandId::caused_by(event.id.0.as_bytes(), what),
            actor: actor.into(),
            correlation: event.metadata.correlation,
            causation: event.id.0,
        }
    }
}

/// Why an event is there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Metadata {
    #[serde(rename = "$correlationId")]
    pub correlation: Uuid,
    #[serde(rename = "$causationId")]
    pub causation: Uuid,
    pub actor: String,
    #[serde(rename = "commandId")]
    pub command: CommandId,
}

impl From<&Envelope> for Metadata {
    fn from(by: &Envelope) -> Self {
        Self {
            correlation: by.correlation,
            causation: by.causation,
            actor: by.actor.clone(),
            command: by.command,
        }
    }
}

/// One event of the log.
#[derive(Debug)]
pub struct Recorded {
    /// Where in the whole log it stands.
    pub commit: u64,
    pub stream: String,
    pub revision: u64,
    pub id: EventId,
    pub type_name: String,
    /// `Err`: newer than this program, or damaged. Its video must not go on as if it were not there.
    pub event: Result<AnyEvent, DecodeError>,
    pub metadata: Metadata,
}

impl Recorded {
    pub(crate) fn new(raw: &Raw) -> Self {
        let event = codec::decode(&raw.event.event_type, &raw.event.data);
        let (event, metadata) = match raw.metadata() {
            Ok(metadata) => (event, metadata),
            // One of our types, written by none of our programs.
            Err(error) => (event.and(Err(error)), Metadata::default()),
        };
        Self {
            commit: raw.commit,
            stream: raw.event.stream_id.clone(),
            revision: raw.event.revision,
            id: EventId(raw.event.id),
            type_name: raw.event.event_type.clone(),
            event,
            metadata,
        }
    }
}

impl From<Raw> for Recorded {
    fn from(raw: Raw) -> Self {
        Self::new(&raw)
    }
}

/// An event that was not decoded yet, of a known position.
pub(crate) struct Raw {
    pub commit: u64,
    pub event: RecordedEvent,
}

impl Raw {
    /// `None` for a link whose event is gone.
    pub(crate) fn new(resolved: ResolvedEvent) -> Option<Result<Self, LogError>> {
        let told = resolved.commit_position;
        let event = resolved.event?;
        // The client maps a missing position to the start or the end: neither is an answer.
        let own = event.position.commit;
        let Some(commit) = told.or((own != 0 && own != u64::MAX).then_some(own)) else {
            return Some(Err(LogError::PositionUnknown {
                stream: event.stream_id,
                revision: event.revision,
            }));
        };
        Some(Ok(Self { commit, event }))
    }

    pub(crate) fn metadata(&self) -> Result<Metadata, DecodeError> {
        serde_json::from_slice(&self.event.custom_metadata).map_err(|source| {
            DecodeError::Malformed {
                name: self.event.event_type.clone(),
                source,
            }
        })
    }
}

/// What is sent for one event.
pub(crate) fn event_data(name: &str, json: &Value, id: EventId, metadata: &Metadata) -> EventData {
    EventData::json(name, json)
        .and_then(|data| data.metadata_as_json(metadata))
        .expect("JSON values and plain metadata can be written as JSON")
        .id(id.0)
}
