//! Objects in parts. Completing one joins the parts' blobs by name: nothing is copied.

use std::collections::BTreeMap;
use std::sync::Arc;

use md5::{Digest, Md5};
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};
use uuid::Uuid;

use super::{Backend, check_metadata, condition, etag, now_ms, refuse, timestamp};
use crate::integrity::Expected;
use crate::record::{Cause, Headers, Meta};
use crate::state::{Change, Object, Part as Stored, Upload};
use crate::writer::{Condition, Refusal};

/// S3's limits.
const PARTS_MAX: u16 = 10_000;
const PART_BYTES_MIN: u64 = 5 << 20;
const LIST_MAX: i32 = 1_000;

pub(super) async fn create(
    backend: &Backend,
    req: S3Request<CreateMultipartUploadInput>,
) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
    let input = req.input;
    backend.check_key(&input.bucket, &input.key)?;
    let headers = Headers {
        content_type: input.content_type,
        content_encoding: input.content_encoding,
        content_language: input.content_language,
        content_disposition: input.content_disposition,
        cache_control: input.cache_control,
        metadata: input.metadata.unwrap_or_default().into_iter().collect(),
    };
    check_metadata(&headers)?;
    let upload = Uuid::new_v4();
    let key = input.key.clone();
    let change = Change::BeginUpload {
        upload,
        key,
        headers,
        at_ms: now_ms(),
    };
    backend.store.commit(change, Condition::None).await?;
    Ok(S3Response::new(CreateMultipartUploadOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(upload.to_string()),
        ..Default::default()
    }))
}

pub(super) async fn put_part(
    backend: &Backend,
    req: S3Request<UploadPartInput>,
) -> S3Result<S3Response<UploadPartOutput>> {
    let mut input = req.input;
    let mut body = input
        .body
        .take()
        .unwrap_or_else(|| StreamingBlob::from(s3s::Body::empty()));
    let admitted = open_upload(backend, &input.bucket, &input.key, &input.upload_id)
        .and_then(|(upload, _)| Ok((upload, number(input.part_number)?)))
        .and_then(|named| Ok((named, backend.declared(input.content_length)?)));
    let ((upload, number), declared) = match admitted {
        Ok(admitted) => admitted,
        Err(error) => return refuse(&mut body, error).await,
    };
    let expected = Expected {
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
        trailer: req.trailing_headers,
    };
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
    let part = Stored {
        blob: received.blob,
        etag: hex::encode(received.md5),
        at_ms: now_ms(),
    };
    let output = UploadPartOutput {
        e_tag: Some(etag(&part.etag)),
        checksum_sha256: checksum.checksum_sha256,
        checksum_crc32: checksum.checksum_crc32,
        checksum_crc32c: checksum.checksum_crc32c,
        checksum_crc64nvme: checksum.checksum_crc64nvme,
        checksum_sha1: checksum.checksum_sha1,
        ..Default::default()
    };
    let change = Change::PutPart {
        upload,
        number,
        part,
    };
    backend.store.commit(change, Condition::None).await?;
    Ok(S3Response::new(output))
}

pub(super) async fn complete(
    backend: &Backend,
    req: S3Request<CompleteMultipartUploadInput>,
) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
    let input = req.input;
    let (id, upload) = open_upload(backend, &input.bucket, &input.key, &input.upload_id)?;
    let condition = condition(input.if_match.as_ref(), input.if_none_match.as_ref())?;
    let named = input
        .multipart_upload
        .and_then(|upload| upload.parts)
        .unwrap_or_default();
    let object = join(&upload, &named, backend.limits.object_bytes_max)?;
    if input
        .mpu_object_size
        .is_some_and(|size| u64::try_from(size) != Ok(object.meta.size))
    {
        return Err(s3_error!(
            InvalidRequest,
            "x-amz-mp-object-size is not the parts' sum"
        ));
    }
    let e_tag = Some(etag(&object.meta.etag));
    let created_by = backend.cause(&input.key, Cause::CompleteMultipartUpload);
    let change = Change::Put {
        key: input.key.clone(),
        object,
        created_by,
        upload: Some(id),
    };
    backend.store.commit(change, condition).await?;
    Ok(S3Response::new(CompleteMultipartUploadOutput {
        location: Some(format!("/{}/{}", input.bucket, input.key)),
        bucket: Some(input.bucket),
        key: Some(input.key),
        e_tag,
        ..Default::default()
    }))
}

pub(super) async fn abort(
    backend: &Backend,
    req: S3Request<AbortMultipartUploadInput>,
) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
    let input = req.input;
    let (upload, _) = open_upload(backend, &input.bucket, &input.key, &input.upload_id)?;
    backend
        .store
        .commit(Change::AbortUpload { upload }, Condition::None)
        .await?;
    Ok(S3Response::new(AbortMultipartUploadOutput::default()))
}

pub(super) fn list_parts(
    backend: &Backend,
    req: S3Request<ListPartsInput>,
) -> S3Result<S3Response<ListPartsOutput>> {
    let input = req.input;
    let (_, upload) = open_upload(backend, &input.bucket, &input.key, &input.upload_id)?;
    let max = input.max_parts.unwrap_or(LIST_MAX).clamp(0, LIST_MAX);
    let after = input.part_number_marker.unwrap_or(0);
    let mut parts = upload
        .parts
        .iter()
        .filter(|(number, _)| i32::from(**number) > after);
    let page: Vec<Part> = parts
        .by_ref()
        .take(usize::try_from(max).unwrap_or(0))
        .map(|(number, part)| Part {
            part_number: Some(i32::from(*number)),
            e_tag: Some(etag(&part.etag)),
            size: i64::try_from(part.blob.meta().size).ok(),
            last_modified: Some(timestamp(part.at_ms)),
            ..Default::default()
        })
        .collect();
    Ok(S3Response::new(ListPartsOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(input.upload_id),
        max_parts: Some(max),
        part_number_marker: Some(after),
        next_part_number_marker: page.last().and_then(|part| part.part_number),
        is_truncated: Some(parts.next().is_some()),
        parts: Some(page),
        ..Default::default()
    }))
}

pub(super) fn list_uploads(
    backend: &Backend,
    req: S3Request<ListMultipartUploadsInput>,
) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
    let input = req.input;
    backend.check_bucket(&input.bucket)?;
    let prefix = input.prefix.clone().unwrap_or_default();
    let key_marker = input.key_marker.clone().unwrap_or_default();
    let id_marker = input.upload_id_marker.clone().unwrap_or_default();
    let max = input.max_uploads.unwrap_or(LIST_MAX).clamp(0, LIST_MAX);
    // In the order of keys, then ids; the number of open uploads is bounded.
    let open: BTreeMap<(String, String), i64> = {
        let state = backend.store.state();
        let matching = state
            .uploads
            .iter()
            .filter(|(_, upload)| upload.key.starts_with(&prefix));
        matching
            .map(|(id, it)| ((it.key.clone(), id.to_string()), it.at_ms))
            .collect()
    };
    let mut rest = open.into_iter().filter(|((key, id), _)| {
        let is_later = *key == key_marker && !id_marker.is_empty() && *id > id_marker;
        *key > key_marker || is_later
    });
    let page: Vec<MultipartUpload> = rest
        .by_ref()
        .take(usize::try_from(max).unwrap_or(0))
        .map(|((key, id), at_ms)| MultipartUpload {
            key: Some(key),
            upload_id: Some(id),
            initiated: Some(timestamp(at_ms)),
            ..Default::default()
        })
        .collect();
    Ok(S3Response::new(ListMultipartUploadsOutput {
        bucket: Some(input.bucket),
        prefix: input.prefix,
        key_marker: input.key_marker,
        upload_id_marker: input.upload_id_marker,
        max_uploads: Some(max),
        next_key_marker: page.last().and_then(|upload| upload.key.clone()),
        next_upload_id_marker: page.last().and_then(|upload| upload.upload_id.clone()),
        is_truncated: Some(rest.next().is_some()),
        uploads: Some(page),
        ..Default::default()
    }))
}

fn open_upload(
    backend: &Backend,
    bucket: &str,
    key: &str,
    upload_id: &str,
) -> S3Result<(Uuid, Upload)> {
    backend.check_key(bucket, key)?;
    let id = Uuid::try_parse(upload_id).map_err(|_| Refusal::NoSuchUpload)?;
    let upload = backend.store.state().uploads.get(&id).cloned();
    let upload = upload
        .filter(|upload| upload.key == key)
        .ok_or(Refusal::NoSuchUpload)?;
    Ok((id, upload))
}

fn number(number: i32) -> S3Result<u16> {
    let number = u16::try_from(number)
        .ok()
        .filter(|number| (1..=PARTS_MAX).contains(number));
    number.ok_or_else(|| s3_error!(InvalidArgument, "a part number is between 1 and 10000"))
}

/// The object of the named parts, each checked against what was put.
fn join(upload: &Upload, named: &[CompletedPart], bytes_max: u64) -> S3Result<Object> {
    if named.is_empty() {
        return Err(s3_error!(
            MalformedXML,
            "an upload is completed with at least one part"
        ));
    }
    let mut blobs = Vec::with_capacity(named.len());
    let mut digest = Md5::new();
    let mut size = 0_u64;
    let mut before = 0;
    for (at, part) in named.iter().enumerate() {
        let number = number(part.part_number.unwrap_or(0))?;
        if number <= before {
            return Err(s3_error!(
                InvalidPartOrder,
                "parts are named in ascending order"
            ));
        }
        before = number;
        let stored = upload.parts.get(&number);
        let stored = stored.filter(|stored| {
            part.e_tag
                .as_ref()
                .is_some_and(|etag| etag.value() == stored.etag)
        });
        let Some(stored) = stored else {
            return Err(s3_error!(
                InvalidPart,
                "part {number} was not put with this ETag"
            ));
        };
        let part_size = stored.blob.meta().size;
        if part_size < PART_BYTES_MIN && at + 1 < named.len() {
            return Err(s3_error!(
                EntityTooSmall,
                "every part but the last has at least 5 MiB"
            ));
        }
        size = size.saturating_add(part_size);
        digest.update(hex::decode(&stored.etag).unwrap_or_default());
        blobs.push(Arc::clone(&stored.blob));
    }
    if size > bytes_max {
        return Err(crate::error::too_large());
    }
    let meta = Meta {
        blobs: blobs.iter().map(|blob| blob.meta()).collect(),
        size,
        etag: format!("{}-{}", hex::encode(digest.finalize()), named.len()),
        sha256: None,
        at_ms: now_ms(),
        sequence: 0,
        headers: upload.headers.clone(),
    };
    Ok(Object { meta, blobs })
}
