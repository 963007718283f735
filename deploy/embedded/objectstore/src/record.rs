//! What the journal stores: one record per change, in the words of S3.
//!
//! A stored shape is never edited: a field is added with a default, or a new variant.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The format this program writes and the only one it reads.
pub(crate) const FORMAT: u32 = 1;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(crate) enum Record {
    /// The first record of every journal file.
    Began {
        format: u32,
        next_sequence: u64,
    },
    /// An object is there, with its bytes. `upload` is the multipart upload it completes.
    Put {
        key: String,
        meta: Meta,
        created_by: Option<Cause>,
        upload: Option<Uuid>,
    },
    Deleted {
        key: String,
    },
    UploadBegan {
        upload: Uuid,
        key: String,
        headers: Headers,
        at_ms: i64,
    },
    PartPut {
        upload: Uuid,
        number: u16,
        part: PartMeta,
    },
    UploadAborted {
        upload: Uuid,
    },
    /// A notification that is still to be delivered; only in rewritten journals, where the
    /// object that caused it may be gone.
    Owed {
        event: Event,
    },
    Delivered {
        sequence: u64,
    },
}

/// How an object that is announced came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Cause {
    Put,
    Copy,
    CompleteMultipartUpload,
}

/// Everything about an object except its bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Meta {
    /// The object's bytes, in order.
    pub(crate) blobs: Vec<BlobMeta>,
    pub(crate) size: u64,
    /// Without quotes.
    pub(crate) etag: String,
    /// Lower-case hex; `None` for what was put in parts.
    pub(crate) sha256: Option<String>,
    pub(crate) at_ms: i64,
    /// Grows with every object ever put, across restarts.
    pub(crate) sequence: u64,
    pub(crate) headers: Headers,
}

/// A file in `blobs/`: an opaque name and a length.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct BlobMeta {
    pub(crate) id: Uuid,
    pub(crate) size: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PartMeta {
    pub(crate) blob: BlobMeta,
    /// MD5, lower-case hex.
    pub(crate) etag: String,
    pub(crate) at_ms: i64,
}

/// What a client gave and gets back unchanged.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Headers {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) content_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) content_encoding: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) content_language: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) content_disposition: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cache_control: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) metadata: BTreeMap<String, String>,
}

/// A notification: an object was created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Event {
    pub(crate) sequence: u64,
    pub(crate) cause: Cause,
    pub(crate) key: String,
    pub(crate) size: u64,
    pub(crate) etag: String,
    pub(crate) at_ms: i64,
}
