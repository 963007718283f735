//! Reading: what is there, and its bytes.
//!
//! Requests are presigned by ourselves and sent by the client's own HTTP stack, because the
//! client hands on neither the stored checksum nor whether a range can be satisfied.

use std::ops::Range;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG};
use http::{HeaderMap, Method, StatusCode};
use object_store::client::{HttpRequestBody, HttpResponse};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use crate::{Error, Objects, RETRIES_MAX, path, quote, unquote};

/// Signed just before it is sent; the store's clock may differ from ours by some minutes.
const SIGNED_FOR: Duration = Duration::from_secs(900);
/// Before the first repetition; doubled for each further one.
const PAUSE: Duration = Duration::from_millis(100);
/// Until the head of the answer is there.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// What is stored, without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub size_bytes: u64,
    /// Without quotes.
    pub etag: String,
    /// Lower-case hex, if the store keeps it.
    pub checksum_sha256: Option<String>,
    pub content_type: Option<String>,
}

/// An object being read.
pub struct Get {
    /// Of the whole object, whatever the range.
    pub head: Head,
    /// The bytes the stream will bring.
    pub range: Range<u64>,
    pub stream: BoxStream<'static, Result<Bytes, Error>>,
}

pub(crate) async fn head(objects: &Objects, key: &str) -> Result<Option<Head>, Error> {
    let headers = [("x-amz-checksum-mode", "ENABLED")];
    match send(
        objects,
        &Method::HEAD,
        &key_path(objects, key)?,
        &headers,
        None,
    )
    .await
    {
        Ok(response) => Ok(Some(head_of(
            response.headers(),
            length(response.headers())?,
        )?)),
        Err(Error::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) async fn get(
    objects: &Objects,
    key: &str,
    range: Option<Range<u64>>,
    if_match: Option<&str>,
) -> Result<Get, Error> {
    if range.as_ref().is_some_and(Range::is_empty) {
        return Err(Error::Range);
    }
    let quoted = if_match.map(quote);
    let mut headers = vec![("x-amz-checksum-mode", "ENABLED")];
    headers.extend(quoted.iter().map(|etag| ("if-match", etag.as_str())));
    let range = range.map(|range| format!("bytes={}-{}", range.start, range.end - 1));
    let path = key_path(objects, key)?;
    let response = send(objects, &Method::GET, &path, &headers, range.as_deref()).await?;

    let (size_bytes, range) = if response.status() == StatusCode::PARTIAL_CONTENT {
        content_range(response.headers())?
    } else {
        let size_bytes = length(response.headers())?;
        (size_bytes, 0..size_bytes)
    };
    let head = head_of(response.headers(), size_bytes)?;
    let stream = response.into_body().bytes_stream();
    let stream = stream
        .map_err(|error| Error::Unavailable(error.to_string()))
        .boxed();
    Ok(Get {
        head,
        range,
        stream,
    })
}

pub(crate) async fn sha256(objects: &Objects, key: &str, etag: &str) -> Result<String, Error> {
    let mut stream = get(objects, key, None, Some(etag)).await?.stream;
    let mut hasher = Sha256::new();
    while let Some(bytes) = stream.try_next().await? {
        hasher.update(&bytes);
    }
    Ok(hex::encode(hasher.finalize()))
}

pub(crate) async fn ready(objects: &Objects) -> Result<(), Error> {
    let path = format!("/{}", objects.inner.bucket);
    match send(objects, &Method::HEAD, &path, &[], None).await {
        Ok(_) => Ok(()),
        Err(Error::NotFound) => Err(Error::Refused("there is no such bucket".into())),
        Err(error) => Err(error),
    }
}

fn key_path(objects: &Objects, key: &str) -> Result<String, Error> {
    Ok(format!("/{}/{}", objects.inner.bucket, path(key)?))
}

/// Sends a request without a body, again if the store is unavailable.
async fn send(
    objects: &Objects,
    method: &Method,
    path: &str,
    headers: &[(&str, &str)],
    range: Option<&str>,
) -> Result<HttpResponse, Error> {
    let mut attempt = 0;
    loop {
        match send_once(objects, method, path, headers, range).await {
            Err(Error::Unavailable(_)) if attempt < RETRIES_MAX => {
                tokio::time::sleep(PAUSE * 2_u32.pow(u32::try_from(attempt).unwrap_or(0))).await;
                attempt += 1;
            }
            done => return done,
        }
    }
}

async fn send_once(
    objects: &Objects,
    method: &Method,
    path: &str,
    headers: &[(&str, &str)],
    range: Option<&str>,
) -> Result<HttpResponse, Error> {
    let inner = &objects.inner;
    let now = OffsetDateTime::now_utc();
    let signed = inner
        .signer
        .presign(method, path, headers, SIGNED_FOR, now)?;
    let mut request = http::Request::builder().method(method).uri(&signed.url);
    for (name, value) in &signed.headers {
        request = request.header(name, value);
    }
    if let Some(range) = range {
        request = request.header(http::header::RANGE, range);
    }
    let request = request
        .body(HttpRequestBody::empty())
        .map_err(|_| Error::Invalid("the request cannot be written as HTTP"))?;

    // The error's own text may carry the signed URL; its kind says enough.
    let response = tokio::time::timeout(ANSWER_MAX, inner.http.execute(request))
        .await
        .map_err(|_| Error::Unavailable("it did not answer in time".into()))?
        .map_err(|error| Error::Unavailable(format!("{:?}", error.kind())))?;
    if response.status().is_success() {
        return Ok(response);
    }
    Err(Error::of_status(response.status()))
}

fn head_of(headers: &HeaderMap, size_bytes: u64) -> Result<Head, Error> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let etag = text(ETAG.as_str()).ok_or_else(|| malformed("no ETag"))?;
    // A composite checksum (`…-3`, of parts) is not the digest of the bytes.
    let checksum_sha256 = text("x-amz-checksum-sha256")
        .and_then(|value| STANDARD.decode(value).ok())
        .filter(|digest| digest.len() == 32)
        .map(hex::encode);
    Ok(Head {
        size_bytes,
        etag: unquote(etag),
        checksum_sha256,
        content_type: text(CONTENT_TYPE.as_str()).map(str::to_owned),
    })
}

fn length(headers: &HeaderMap) -> Result<u64, Error> {
    let value = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    value
        .and_then(|value| value.parse().ok())
        .ok_or_else(|| malformed("no Content-Length"))
}

/// `bytes 0-9/100` as (100, 0..10).
fn content_range(headers: &HeaderMap) -> Result<(u64, Range<u64>), Error> {
    let parse = || {
        let value = headers
            .get(CONTENT_RANGE)?
            .to_str()
            .ok()?
            .strip_prefix("bytes ")?;
        let (range, size) = value.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let last: u64 = last.parse().ok()?;
        Some((
            size.parse().ok()?,
            first.parse().ok()?..last.checked_add(1)?,
        ))
    };
    parse().ok_or_else(|| malformed("no Content-Range"))
}

fn malformed(what: &str) -> Error {
    Error::Unavailable(format!("its answer has {what}"))
}
