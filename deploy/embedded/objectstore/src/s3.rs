//! The S3 operations: from the library's requests to the store and back.
//!
//! # Invariants
//!
//! * Nothing becomes visible before its length, its digests and its condition were checked.
//! * There is one bucket. Keys are only ever looked up, never used as a path.

mod bucket;
mod multipart;
mod object;

use std::sync::Arc;
use std::time::SystemTime;

use s3s::dto::{ETag, ETagCondition, StreamingBlob, Timestamp};
use s3s::{S3Error, S3Result, s3_error};
use tokio_stream::StreamExt;

use crate::record::{Cause, Headers};
use crate::state::Object;
use crate::store::Store;
use crate::writer::Condition;

/// S3's limit of a key.
const KEY_BYTES_MAX: usize = 1024;
/// S3's limit of user metadata.
const METADATA_BYTES_MAX: usize = 2 << 10;
/// Read and thrown away before a refusal is sent, so that the client gets to read it.
const DRAIN_BYTES_MAX: usize = 8 << 20;

/// Sizes beyond which a request is refused.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) put_bytes_max: u64,
    pub(crate) object_bytes_max: u64,
}

#[derive(Clone)]
pub(crate) struct Backend {
    pub(crate) store: Arc<Store>,
    pub(crate) bucket: String,
    /// Keys whose creation is announced begin with it; `None`: nobody listens.
    pub(crate) announced: Option<String>,
    pub(crate) limits: Limits,
}

impl Backend {
    fn check_bucket(&self, bucket: &str) -> S3Result<()> {
        if bucket == self.bucket {
            return Ok(());
        }
        Err(s3_error!(
            NoSuchBucket,
            "the specified bucket does not exist"
        ))
    }

    fn check_key(&self, bucket: &str, key: &str) -> S3Result<()> {
        self.check_bucket(bucket)?;
        if key.len() > KEY_BYTES_MAX {
            return Err(s3_error!(KeyTooLongError, "a key has at most 1024 bytes"));
        }
        Ok(())
    }

    fn object(&self, key: &str) -> S3Result<Arc<Object>> {
        let found = self.store.state().objects.get(key).cloned();
        found.ok_or_else(|| s3_error!(NoSuchKey, "the specified key does not exist"))
    }

    fn cause(&self, key: &str, cause: Cause) -> Option<Cause> {
        self.announced
            .as_ref()
            .filter(|prefix| key.starts_with(*prefix))
            .map(|_| cause)
    }

    /// The length a body declares, if it is one we take and have room for.
    fn declared(&self, content_length: Option<i64>) -> S3Result<Option<u64>> {
        let Some(length) = content_length else {
            return Ok(None);
        };
        let length = u64::try_from(length)
            .map_err(|_| s3_error!(InvalidRequest, "Content-Length is negative"))?;
        if length > self.limits.put_bytes_max {
            return Err(crate::error::too_large());
        }
        if !self.store.has_room(length) {
            return Err(crate::error::full());
        }
        Ok(Some(length))
    }
}

/// The condition of a write.
fn condition(
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> S3Result<Condition> {
    match (if_match, if_none_match) {
        (None, None) => Ok(Condition::None),
        (Some(ETagCondition::Any), None) => Ok(Condition::Present),
        (Some(ETagCondition::ETag(etag)), None) => Ok(Condition::Version(etag.value().to_owned())),
        (None, Some(ETagCondition::Any)) => Ok(Condition::Absent),
        (None, Some(ETagCondition::ETag(_))) => Err(s3_error!(
            NotImplemented,
            "a write takes If-None-Match with * only"
        )),
        (Some(_), Some(_)) => Err(s3_error!(
            InvalidRequest,
            "If-Match and If-None-Match exclude each other"
        )),
    }
}

/// Lets a client that is still sending come to the point where it reads our refusal.
async fn refuse<T>(body: &mut StreamingBlob, error: S3Error) -> S3Result<T> {
    let mut left = DRAIN_BYTES_MAX;
    while let Some(Ok(bytes)) = body.next().await {
        left = left.saturating_sub(bytes.len());
        if left == 0 {
            break;
        }
    }
    Err(error)
}

fn check_metadata(headers: &Headers) -> S3Result<()> {
    let bytes: usize = headers
        .metadata
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if bytes > METADATA_BYTES_MAX {
        return Err(s3_error!(
            MetadataTooLarge,
            "user metadata has at most 2 KiB"
        ));
    }
    Ok(())
}

fn etag(text: &str) -> ETag {
    ETag::Strong(text.to_owned())
}

pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn timestamp(at_ms: i64) -> Timestamp {
    let at = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(at_ms) * 1_000_000);
    Timestamp::from(at.unwrap_or(time::OffsetDateTime::UNIX_EPOCH))
}
