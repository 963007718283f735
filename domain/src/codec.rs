//! Events as they are stored: a type name with a version, and JSON.
//!
//! # Invariants
//!
//! * A type name is stable and never reused; a stored shape is never edited.
//! * A version we do not know is an error. It is never skipped.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::fact::AnyEvent;

mod upcast;

/// The prefixes of our own event types: the one filter of every reader of the whole log.
pub const PREFIXES: [&str; 3] = ["video.", "job.", "views."];

#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("event type {0} is none of ours, or newer than this program")]
    UnknownType(String),
    #[error("event of type {name} cannot be read")]
    Malformed {
        name: String,
        source: serde_json::Error,
    },
}

/// The type name and the JSON of an event, as bytes.
pub fn encode<E: Serialize>(event: &E) -> (String, Vec<u8>) {
    let (name, value) = encode_value(event);
    (name, value.to_string().into_bytes())
}

/// The type name and the JSON of an event.
pub fn encode_value<E: Serialize>(event: &E) -> (String, Value) {
    let mut value =
        serde_json::to_value(event).expect("events are plain data, which JSON can hold");
    let fields = value.as_object_mut().expect("an event is an object");
    let Some(Value::String(name)) = fields.remove("type") else {
        panic!("every event variant names its type");
    };
    (name, value)
}

/// An event of one known aggregate.
pub fn decode_as<E: DeserializeOwned>(name: &str, data: &[u8]) -> Result<E, DecodeError> {
    let malformed = |source| DecodeError::Malformed {
        name: name.to_owned(),
        source,
    };
    let value: Value = serde_json::from_slice(data).map_err(malformed)?;
    let (name, mut value) = upcast(name, value);
    let known = KNOWN.contains(&name.as_str());
    if !known {
        return Err(DecodeError::UnknownType(name));
    }
    if let Some(fields) = value.as_object_mut() {
        fields.insert("type".to_owned(), Value::String(name.clone()));
    }
    serde_json::from_value(value).map_err(|source| DecodeError::Malformed { name, source })
}

/// Any event of ours.
pub fn decode(name: &str, data: &[u8]) -> Result<AnyEvent, DecodeError> {
    match name.split('.').next() {
        Some("video") => decode_as(name, data).map(AnyEvent::Video),
        Some("job") => decode_as(name, data).map(AnyEvent::Job),
        Some("views") => decode_as(name, data).map(AnyEvent::Views),
        Some(_) | None => Err(DecodeError::UnknownType(name.to_owned())),
    }
}

/// Brings a stored shape to the newest version of its type. One arm per superseded version.
fn upcast(name: &str, mut value: Value) -> (String, Value) {
    let name = match name {
        "job.ladder-planned.v1" => {
            upcast::ladder_planned(&mut value);
            "job.ladder-planned.v2"
        }
        "job.task-finished.v1" => {
            upcast::task_finished(&mut value);
            "job.task-finished.v2"
        }
        newest => newest,
    };
    (name.to_owned(), value)
}

/// Every type this program can read, each with a sample in `domain/events/`.
pub const KNOWN: [&str; 28] = [
    "video.upload-requested.v1",
    "video.upload-completed.v1",
    "video.upload-rejected.v1",
    "video.upload-expired.v1",
    "video.details-changed.v1",
    "video.became-playable.v1",
    "video.became-ready.v1",
    "video.processing-failed.v1",
    "video.processing-retried.v1",
    "video.rendition-retried.v1",
    "video.rendition-replaced.v1",
    "video.rendition-retry-failed.v1",
    "video.deleted.v1",
    "job.planned.v1",
    "job.ladder-planned.v1",
    "job.ladder-planned.v2",
    "job.renditions-taken-over.v1",
    "job.task-started.v1",
    "job.segments-published.v1",
    "job.task-finished.v1",
    "job.task-finished.v2",
    "job.task-failed.v1",
    "job.lease-lost.v1",
    "job.task-cancelled.v1",
    "job.completed.v1",
    "job.failed.v1",
    "job.cancelled.v1",
    "views.recorded.v1",
];

#[cfg(test)]
mod tests;
