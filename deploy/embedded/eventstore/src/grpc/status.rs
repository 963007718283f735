//! Errors as clients of this protocol know them: a status, and which exception it was
//! in the trailer `exception`.

use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::{Code, Status};

use crate::expect::Expected;
use crate::filter::{BadFilter, NoAnswer};
use crate::group::Refusal;
use crate::limits::APPEND_BYTES_MAX;
use crate::unreadable::Unreadable;

pub(crate) fn stream_deleted(stream: &str) -> Status {
    with_trailers(
        Code::FailedPrecondition,
        format!("Event stream '{stream}' is deleted."),
        &[("exception", "stream-deleted"), ("stream-name", stream)],
    )
}

pub(crate) fn no_persistent_subscription() -> Status {
    with_trailers(
        Code::NotFound,
        "there are no persistent subscriptions".into(),
        &[("exception", "persistent-subscription-does-not-exist")],
    )
}

/// A delete at the wrong revision. Some clients read the numbers from this very sentence.
pub(crate) fn wrong_revision(stream: &str, expected: Expected, current: Option<u64>) -> Status {
    let expected = match expected {
        Expected::Exact(revision) => revision.to_string(),
        Expected::NoStream => "-1".into(),
        Expected::Any => "-2".into(),
        Expected::StreamExists => "-4".into(),
    };
    let current = current.map_or("-1".into(), |current| current.to_string());
    with_trailers(
        Code::FailedPrecondition,
        format!(
            "Delete failed due to WrongExpectedVersion. Stream: {stream}, \
             Expected version: {expected}, Actual version: {current}"
        ),
        &[
            ("exception", "wrong-expected-version"),
            ("stream-name", stream),
            ("expected-version", &expected),
            ("actual-version", &current),
        ],
    )
}

pub(crate) fn too_large(max: usize) -> Status {
    with_trailers(
        Code::InvalidArgument,
        format!("Maximum Append Size of {max} Exceeded."),
        &[
            ("exception", "maximum-append-size-exceeded"),
            ("maximum-append-size", &max.to_string()),
        ],
    )
}

/// Why a message did not arrive: one too large to be decoded has its own word.
pub(crate) fn unread(status: Status) -> Status {
    match status.code() {
        Code::OutOfRange => too_large(APPEND_BYTES_MAX),
        _ => status,
    }
}

pub(crate) fn missing_property(name: &str) -> Status {
    with_trailers(
        Code::InvalidArgument,
        format!("Required Metadata Property '{name}' is missing"),
        &[
            ("exception", "missing-required-metadata-property"),
            ("required-metadata-properties", "type,content-type"),
        ],
    )
}

pub(crate) fn reserved(stream: &str) -> Status {
    with_trailers(
        Code::PermissionDenied,
        format!("Nobody may append to '{stream}'"),
        &[("exception", "access-denied")],
    )
}

pub(crate) fn stopping() -> Status {
    Status::unavailable("the node is stopping")
}

pub(crate) fn refused(stream: &str, expected: Expected, refusal: &Refusal) -> Status {
    match refusal {
        Refusal::WrongRevision { current } => wrong_revision(stream, expected, *current),
        Refusal::Tombstoned => stream_deleted(stream),
        Refusal::Unavailable(why) => Status::unavailable(why.clone()),
    }
}

impl From<Unreadable> for Status {
    fn from(unreadable: Unreadable) -> Self {
        Status::data_loss(unreadable.to_string())
    }
}

impl From<BadFilter> for Status {
    fn from(bad: BadFilter) -> Self {
        Status::invalid_argument(bad.to_string())
    }
}

impl From<NoAnswer> for Status {
    fn from(none: NoAnswer) -> Self {
        match none {
            NoAnswer::Filter(bad) => bad.into(),
            NoAnswer::Index(unreadable) => unreadable.into(),
        }
    }
}

fn with_trailers(code: Code, message: String, trailers: &[(&'static str, &str)]) -> Status {
    let mut metadata = MetadataMap::new();
    for (key, value) in trailers {
        if let Ok(value) = AsciiMetadataValue::try_from(in_ascii(value)) {
            metadata.insert(*key, value);
        }
    }
    Status::with_metadata(code, message, metadata)
}

/// A stream's name need not be ASCII, as a trailer must: then it is percent-encoded. To leave
/// the trailer out would break clients that rely on it.
fn in_ascii(value: &str) -> String {
    let visible = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    if value.bytes().all(visible) {
        return value.to_owned();
    }
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        match visible(byte) && byte != b'%' {
            true => encoded.push(char::from(byte)),
            false => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
