//! Between the protocol's messages and our own values.
//!
//! # Invariants
//!
//! * Whatever passes here fits the limits: names and payloads fit their fields on disk.

use std::collections::HashMap;

use bytes::Bytes;
use tonic::Status;
use uuid::Uuid;

use super::status;
use crate::limits::{
    CONTENT_TYPE_BYTES_MAX, EVENT_BYTES_MAX, EVENT_TYPE_BYTES_MAX, STREAM_NAME_BYTES_MAX,
};
use crate::protocol::shared;
use crate::protocol::streams::ReadResp;
use crate::protocol::streams::read_resp::read_event::{self, RecordedEvent};
use crate::protocol::streams::read_resp::{Content, ReadEvent};
use crate::record::{Draft, Record};

pub(super) fn stream_name(identifier: Option<shared::StreamIdentifier>) -> Result<String, Status> {
    let bytes = identifier.unwrap_or_default().stream_name;
    if bytes.is_empty() || bytes.len() > STREAM_NAME_BYTES_MAX {
        return Err(Status::invalid_argument(format!(
            "a stream's name has 1 to {STREAM_NAME_BYTES_MAX} bytes"
        )));
    }
    String::from_utf8(bytes.into())
        .map_err(|_| Status::invalid_argument("a stream's name is UTF-8"))
}

/// The name of a stream that may be appended to.
pub(super) fn writable_stream(
    identifier: Option<shared::StreamIdentifier>,
) -> Result<String, Status> {
    let name = stream_name(identifier)?;
    if name == "$all" || name == "$$" {
        return Err(status::reserved(&name));
    }
    Ok(name)
}

pub(super) fn identifier(stream: &str) -> shared::StreamIdentifier {
    shared::StreamIdentifier {
        stream_name: Bytes::copy_from_slice(stream.as_bytes()),
    }
}

pub(super) fn draft(
    id: Option<shared::Uuid>,
    mut properties: HashMap<String, String>,
    metadata: Bytes,
    data: Bytes,
) -> Result<Draft, Status> {
    let mut property = |name: &str| {
        properties
            .remove(name)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| status::missing_property(name))
    };
    let kind = property("type")?;
    let content_type = property("content-type")?;
    if kind.len() > EVENT_TYPE_BYTES_MAX || content_type.len() > CONTENT_TYPE_BYTES_MAX {
        return Err(Status::invalid_argument(format!(
            "an event's type has at most {EVENT_TYPE_BYTES_MAX} bytes, \
             its content type {CONTENT_TYPE_BYTES_MAX}"
        )));
    }
    if metadata.len() + data.len() > EVENT_BYTES_MAX {
        return Err(status::too_large(EVENT_BYTES_MAX));
    }
    Ok(Draft {
        id: event_id(id)?,
        kind,
        content_type,
        metadata,
        data,
    })
}

pub(super) fn event_id(id: Option<shared::Uuid>) -> Result<Uuid, Status> {
    match id.and_then(|id| id.value) {
        Some(shared::uuid::Value::String(text)) => {
            Uuid::parse_str(&text).map_err(|_| Status::invalid_argument("an id is not a UUID"))
        }
        Some(shared::uuid::Value::Structured(parts)) => Ok(Uuid::from_u64_pair(
            parts.most_significant_bits.cast_unsigned(),
            parts.least_significant_bits.cast_unsigned(),
        )),
        None => Err(Status::invalid_argument("an id is missing")),
    }
}

pub(super) fn structured_id(id: Uuid) -> shared::Uuid {
    let (most, least) = id.as_u64_pair();
    let parts = shared::uuid::Structured {
        most_significant_bits: most.cast_signed(),
        least_significant_bits: least.cast_signed(),
    };
    shared::Uuid {
        value: Some(shared::uuid::Value::Structured(parts)),
    }
}

/// How a reader wants ids written.
#[derive(Clone, Copy)]
pub(super) enum Ids {
    Text,
    Structured,
}

/// An event as a reader gets it; with its link, if it was found through one.
pub(super) fn answer(event: Option<Record>, link: Option<Record>, ids: Ids) -> ReadResp {
    let original = link.as_ref().or(event.as_ref());
    let position = original.map_or(read_event::Position::NoPosition(()), |record| {
        read_event::Position::CommitPosition(record.place.position)
    });
    response(Content::Event(ReadEvent {
        event: event.map(|record| recorded(record, ids)),
        link: link.map(|record| recorded(record, ids)),
        position: Some(position),
    }))
}

pub(super) fn response(content: Content) -> ReadResp {
    ReadResp {
        content: Some(content),
    }
}

fn recorded(record: Record, ids: Ids) -> RecordedEvent {
    let id = match ids {
        Ids::Text => shared::Uuid {
            value: Some(shared::uuid::Value::String(record.draft.id.to_string())),
        },
        Ids::Structured => structured_id(record.draft.id),
    };
    let metadata = [
        ("type", record.draft.kind),
        ("content-type", record.draft.content_type),
        ("created", record.place.created.to_string()),
    ];
    RecordedEvent {
        id: Some(id),
        stream_identifier: Some(shared::StreamIdentifier {
            stream_name: record.stream.into_bytes().into(),
        }),
        stream_revision: record.place.revision,
        prepare_position: record.place.position,
        commit_position: record.place.position,
        metadata: metadata.map(|(key, value)| (key.to_owned(), value)).into(),
        custom_metadata: record.draft.metadata,
        data: record.draft.data,
    }
}
