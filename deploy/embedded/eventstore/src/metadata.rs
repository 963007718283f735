//! What a stream's metadata says about which of its events are visible.
//!
//! The metadata of stream `x` is the last event of stream `$$x`, a JSON object. Keys
//! other than the three below are kept and returned, and mean nothing here.

use serde_json::{Map, Value};

/// `$tb` of a soft-deleted stream.
pub(crate) const DELETED: u64 = i64::MAX as u64;
/// The revision of a tombstone.
pub(crate) const TOMBSTONE_REVISION: u64 = i64::MAX as u64;
pub(crate) const TOMBSTONE_KIND: &str = "$streamDeleted";
pub(crate) const METADATA_KIND: &str = "$metadata";
const TICKS_PER_SECOND: u64 = 10_000_000;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Rules {
    /// `$tb`: events before this revision are gone.
    pub(crate) truncate_before: u64,
    /// `$maxCount`: only that many of the last events are there.
    pub(crate) max_count: Option<u64>,
    /// `$maxAge`, in 100 ns: only events younger than this are there.
    pub(crate) max_age_ticks: Option<u64>,
}

impl Rules {
    /// What holds for a stream nobody has set metadata for. Of a metadata stream only
    /// the last event counts.
    pub(crate) fn initial(stream: &str) -> Self {
        Self {
            max_count: described_by(stream).map(|_| 1),
            ..Self::default()
        }
    }

    /// What this metadata event says. One that is not a JSON object says nothing.
    pub(crate) fn of(metadata: &[u8]) -> Self {
        let fields = object(metadata);
        let number = |key: &str| fields.get(key).and_then(Value::as_u64);
        Self {
            truncate_before: number("$tb").unwrap_or(0).min(DELETED),
            max_count: number("$maxCount"),
            max_age_ticks: number("$maxAge")
                .map(|seconds| seconds.saturating_mul(TICKS_PER_SECOND)),
        }
    }

    pub(crate) fn deleted(&self) -> bool {
        self.truncate_before == DELETED
    }
}

/// The stream whose metadata this stream holds.
pub(crate) fn described_by(stream: &str) -> Option<&str> {
    stream.strip_prefix("$$").filter(|name| !name.is_empty())
}

/// The stream that holds the metadata of this one.
pub(crate) fn metadata_stream(stream: &str) -> String {
    format!("$${stream}")
}

/// The same metadata with another `$tb`.
pub(crate) fn truncated_before(metadata: &[u8], revision: u64) -> Vec<u8> {
    let mut fields = object(metadata);
    fields.insert("$tb".into(), revision.into());
    Value::Object(fields).to_string().into_bytes()
}

fn object(metadata: &[u8]) -> Map<String, Value> {
    match serde_json::from_slice(metadata) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) | Err(_) => Map::new(),
    }
}
