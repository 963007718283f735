//! Objects in one piece: put, get, head, delete, copy.

use std::ops::Range;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue};
use s3s::dto::*;
use s3s::{S3Error, S3Request, S3Response, S3Result, s3_error};

use super::{Backend, check_metadata, condition, etag, now_ms, refuse, timestamp};
use crate::integrity::Expected;
use crate::read::Reader;
use crate::record::{Cause, Headers, Meta};
use crate::state::{Change, Object};
use crate::writer::{Condition, Refusal};

/// S3's limit of keys in one DeleteObjects.
const DELETE_MAX: usize = 1_000;

pub(super) async fn put(
    backend: &Backend,
    req: S3Request<PutObjectInput>,
) -> S3Result<S3Response<PutObjectOutput>> {
    let mut input = req.input;
    let mut body = input
        .body
        .take()
        .unwrap_or_else(|| StreamingBlob::from(s3s::Body::empty()));
    backend.check_key(&input.bucket, &input.key)?;
    let condition = condition(input.if_match.as_ref(), input.if_none_match.as_ref())?;
    let headers = headers_of_put(&mut input);
    let admitted = check_metadata(&headers)
        .and_then(|()| Ok(condition.check(&backend.store.state(), &input.key)?))
        .and_then(|()| backend.declared(input.content_length));
    let declared = match admitted {
        Ok(declared) => declared,
        Err(error) => return refuse(&mut body, error).await,
    };

    let expected = expected_of_put(&mut input, req.trailing_headers);
    let max = backend.limits.put_bytes_max;
    let received = backend
        .store
        .receive(&mut body, declared, max, expected.hasher())
        .await;
    let received = match received {
        Ok(received) => received,
        Err(error) => return refuse(&mut body, error.into()).await,
    };
    let checksum = expected.verify(&received)?;

    let meta = Meta {
        blobs: vec![received.blob.meta()],
        size: received.blob.meta().size,
        etag: hex::encode(received.md5),
        sha256: Some(hex::encode(received.sha256)),
        at_ms: now_ms(),
        sequence: 0,
        headers,
    };
    let output = PutObjectOutput {
        e_tag: Some(etag(&meta.etag)),
        checksum_sha256: checksum.checksum_sha256,
        checksum_crc32: checksum.checksum_crc32,
        checksum_crc32c: checksum.checksum_crc32c,
        checksum_crc64nvme: checksum.checksum_crc64nvme,
        checksum_sha1: checksum.checksum_sha1,
        ..Default::default()
    };
    let created_by = backend.cause(&input.key, Cause::Put);
    let object = Object {
        meta,
        blobs: vec![received.blob],
    };
    let change = Change::Put {
        key: input.key,
        object,
        created_by,
        upload: None,
    };
    backend.store.commit(change, condition).await?;
    Ok(S3Response::new(output))
}

pub(super) async fn get(
    backend: &Backend,
    req: S3Request<GetObjectInput>,
) -> S3Result<S3Response<GetObjectOutput>> {
    let input = req.input;
    backend.check_key(&input.bucket, &input.key)?;
    let object = backend.object(&input.key)?;
    check_read(
        &object,
        input.if_match.as_ref(),
        input.if_none_match.as_ref(),
        input.if_unmodified_since.as_ref(),
        input.if_modified_since.as_ref(),
    )?;
    let (range, content_range) = range_of(&object, input.range)?;
    let meta = object.meta.clone();
    let length = range.end - range.start;
    let opened = tokio::task::spawn_blocking(move || Reader::open(object, range)).await;
    let reader = opened
        .map_err(std::io::Error::other)
        .and_then(|reader| reader)
        .map_err(|error| {
            tracing::error!(%error, "failed to open the bytes of an object");
            s3_error!(InternalError, "the object cannot be read")
        })?;
    let is_whole = length == meta.size;
    Ok(S3Response::new(GetObjectOutput {
        body: Some(StreamingBlob::wrap(reader.into_stream())),
        accept_ranges: Some("bytes".into()),
        content_length: Some(signed(length)),
        content_range,
        e_tag: Some(etag(&meta.etag)),
        last_modified: Some(timestamp(meta.at_ms)),
        checksum_sha256: sha256(&meta, input.checksum_mode.as_ref()).filter(|_| is_whole),
        content_type: content_type(&meta),
        content_encoding: meta.headers.content_encoding,
        content_language: meta.headers.content_language,
        content_disposition: meta.headers.content_disposition,
        cache_control: meta.headers.cache_control,
        metadata: Some(meta.headers.metadata.into_iter().collect()),
        ..Default::default()
    }))
}

pub(super) fn head(
    backend: &Backend,
    req: S3Request<HeadObjectInput>,
) -> S3Result<S3Response<HeadObjectOutput>> {
    let input = req.input;
    backend.check_key(&input.bucket, &input.key)?;
    let object = backend.object(&input.key)?;
    check_read(
        &object,
        input.if_match.as_ref(),
        input.if_none_match.as_ref(),
        input.if_unmodified_since.as_ref(),
        input.if_modified_since.as_ref(),
    )?;
    let (range, content_range) = range_of(&object, input.range)?;
    let meta = object.meta.clone();
    Ok(S3Response::new(HeadObjectOutput {
        accept_ranges: Some("bytes".into()),
        content_length: Some(signed(range.end - range.start)),
        content_range,
        e_tag: Some(etag(&meta.etag)),
        last_modified: Some(timestamp(meta.at_ms)),
        checksum_sha256: sha256(&meta, input.checksum_mode.as_ref()),
        content_type: content_type(&meta),
        content_encoding: meta.headers.content_encoding,
        content_language: meta.headers.content_language,
        content_disposition: meta.headers.content_disposition,
        cache_control: meta.headers.cache_control,
        metadata: Some(meta.headers.metadata.into_iter().collect()),
        ..Default::default()
    }))
}

pub(super) async fn delete(
    backend: &Backend,
    req: S3Request<DeleteObjectInput>,
) -> S3Result<S3Response<DeleteObjectOutput>> {
    let input = req.input;
    backend.check_key(&input.bucket, &input.key)?;
    let condition = condition(input.if_match.as_ref(), None)?;
    delete_one(backend, input.key, condition).await?;
    Ok(S3Response::new(DeleteObjectOutput::default()))
}

pub(super) async fn delete_many(
    backend: &Backend,
    req: S3Request<DeleteObjectsInput>,
) -> S3Result<S3Response<DeleteObjectsOutput>> {
    let Delete { objects, quiet } = req.input.delete;
    backend.check_bucket(&req.input.bucket)?;
    if objects.len() > DELETE_MAX {
        return Err(s3_error!(
            MalformedXML,
            "at most 1000 keys are deleted at once"
        ));
    }
    let deletes = objects.into_iter().map(|object| async move {
        let condition = object.e_tag.as_ref();
        let condition = condition.map_or(Condition::None, |etag| {
            Condition::Version(etag.value().to_owned())
        });
        let done = delete_one(backend, object.key.clone(), condition).await;
        (object.key, done)
    });
    // All at once: the writer takes them as one group.
    let mut deleted = vec![];
    let mut errors = vec![];
    for (key, done) in futures::future::join_all(deletes).await {
        match done {
            Ok(()) => deleted.push(DeletedObject {
                key: Some(key),
                ..Default::default()
            }),
            Err(error) => errors.push(s3s::dto::Error {
                code: Some(error.code().as_str().to_owned()),
                message: error.message().map(str::to_owned),
                key: Some(key),
                ..Default::default()
            }),
        }
    }
    Ok(S3Response::new(DeleteObjectsOutput {
        deleted: (quiet != Some(true)).then_some(deleted),
        errors: Some(errors),
        ..Default::default()
    }))
}

async fn delete_one(backend: &Backend, key: String, condition: Condition) -> S3Result<()> {
    if condition == Condition::None && !backend.store.state().objects.contains_key(&key) {
        return Ok(());
    }
    match backend
        .store
        .commit(Change::Delete { key }, condition)
        .await
    {
        Ok(()) => Ok(()),
        Err(refusal) => Err(refusal.into()),
    }
}

/// A copy shares the bytes: it costs a record, whatever the size.
pub(super) async fn copy(
    backend: &Backend,
    req: S3Request<CopyObjectInput>,
) -> S3Result<S3Response<CopyObjectOutput>> {
    let input = req.input;
    backend.check_key(&input.bucket, &input.key)?;
    let CopySource::Bucket { bucket, key, .. } = &input.copy_source else {
        return Err(s3_error!(
            NotImplemented,
            "a copy's source is a bucket and a key"
        ));
    };
    backend.check_key(bucket, key)?;
    let source = backend.object(key)?;
    let source_condition = condition(input.copy_source_if_match.as_ref(), None)?;
    source_condition
        .check(&backend.store.state(), key)
        .map_err(|_| Refusal::Condition)?;

    let mut meta = source.meta.clone();
    meta.at_ms = now_ms();
    if input
        .metadata_directive
        .as_ref()
        .is_some_and(|it| it.as_str() == MetadataDirective::REPLACE)
    {
        meta.headers = Headers {
            content_type: input.content_type,
            content_encoding: input.content_encoding,
            content_language: input.content_language,
            content_disposition: input.content_disposition,
            cache_control: input.cache_control,
            metadata: input.metadata.unwrap_or_default().into_iter().collect(),
        };
        check_metadata(&meta.headers)?;
    }
    let result = CopyObjectResult {
        e_tag: Some(etag(&meta.etag)),
        last_modified: Some(timestamp(meta.at_ms)),
        ..Default::default()
    };
    // The client's library sends If-None-Match for "copy if not there".
    let target = req
        .headers
        .get(http::header::IF_NONE_MATCH)
        .map(HeaderValue::as_bytes);
    let target = if target == Some(b"*") {
        Condition::Absent
    } else {
        Condition::None
    };
    let created_by = backend.cause(&input.key, Cause::Copy);
    let object = Object {
        meta,
        blobs: source.blobs.clone(),
    };
    let change = Change::Put {
        key: input.key,
        object,
        created_by,
        upload: None,
    };
    backend.store.commit(change, target).await?;
    let output = CopyObjectOutput {
        copy_object_result: Some(result),
        ..Default::default()
    };
    Ok(S3Response::new(output))
}

/// The conditions of a read, in the order RFC 9110 gives them.
fn check_read(
    object: &Arc<Object>,
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
    if_unmodified_since: Option<&Timestamp>,
    if_modified_since: Option<&Timestamp>,
) -> S3Result<()> {
    let is_this = |condition: &ETagCondition| match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(etag) => etag.value() == object.meta.etag,
    };
    // HTTP dates have whole seconds.
    let changed_after = |at: &Timestamp| {
        time::OffsetDateTime::from(at.clone()).unix_timestamp() < object.meta.at_ms / 1_000
    };
    let stays = match (if_match, if_unmodified_since) {
        (Some(condition), _) => is_this(condition),
        (None, Some(at)) => !changed_after(at),
        (None, None) => true,
    };
    if !stays {
        return Err(Refusal::Condition.into());
    }
    let is_known = match (if_none_match, if_modified_since) {
        (Some(condition), _) => is_this(condition),
        (None, Some(at)) => !changed_after(at),
        (None, None) => false,
    };
    if is_known {
        let mut error: S3Error = s3_error!(NotModified);
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_str(&format!("\"{}\"", object.meta.etag)) {
            headers.insert(http::header::ETAG, value);
        }
        error.set_headers(headers);
        return Err(error);
    }
    Ok(())
}

fn range_of(
    object: &Object,
    range: Option<s3s::dto::Range>,
) -> S3Result<(Range<u64>, Option<String>)> {
    let size = object.meta.size;
    let Some(range) = range else {
        return Ok((0..size, None));
    };
    let range = range.check(size)?;
    let text = format!(
        "bytes {}-{}/{size}",
        range.start,
        range.end.saturating_sub(1)
    );
    Ok((range, Some(text)))
}

fn expected_of_put(input: &mut PutObjectInput, trailer: Option<s3s::TrailingHeaders>) -> Expected {
    Expected {
        md5: input.content_md5.take(),
        checksum: Checksum {
            checksum_crc32: input.checksum_crc32.take(),
            checksum_crc32c: input.checksum_crc32c.take(),
            checksum_crc64nvme: input.checksum_crc64nvme.take(),
            checksum_sha1: input.checksum_sha1.take(),
            checksum_sha256: input.checksum_sha256.take(),
            checksum_type: None,
        },
        algorithm: input.checksum_algorithm.take(),
        trailer,
    }
}

fn headers_of_put(input: &mut PutObjectInput) -> Headers {
    Headers {
        content_type: input.content_type.take(),
        content_encoding: input
            .content_encoding
            .take()
            .filter(|it| it != "aws-chunked"),
        content_language: input.content_language.take(),
        content_disposition: input.content_disposition.take(),
        cache_control: input.cache_control.take(),
        metadata: input
            .metadata
            .take()
            .unwrap_or_default()
            .into_iter()
            .collect(),
    }
}

fn content_type(meta: &Meta) -> Option<String> {
    Some(
        meta.headers
            .content_type
            .clone()
            .unwrap_or_else(|| "binary/octet-stream".into()),
    )
}

/// The stored digest in the header's spelling, for who asks.
fn sha256(meta: &Meta, mode: Option<&ChecksumMode>) -> Option<String> {
    mode.filter(|mode| mode.as_str() == ChecksumMode::ENABLED)?;
    Some(STANDARD.encode(hex::decode(meta.sha256.as_ref()?).ok()?))
}

fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}
