//! The object store: presign, stream in, stream out. The only crate that names the S3 client.
//!
//! # Invariants
//!
//! * An ETag is kept **without** quotes everywhere, and sent with them: one spelling in
//!   events, tables and comparisons.
//! * What is written is written once: there is `create`, and no overwrite.
//! * Nothing logs or returns a signed URL or a secret in an error.
//! * Every request has a maximum of attempts and of silence; a stream of bytes has no total limit.

mod error;
mod read;
mod sign;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use http::Method;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::{HttpClient, HttpConnector, ReqwestConnector};
use object_store::path::Path;
use object_store::{Attribute, Attributes, ClientOptions, ObjectStore, PutMode, PutOptions};
use object_store::{PutPayload, RetryConfig};
use time::OffsetDateTime;

pub use error::Error;
pub use read::{Get, Head};
pub use sign::Presigned;

/// A connection that is not there after this long is not there.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Silence on an open connection.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Attempts of one request after the first, and how long they may go on.
const RETRIES_MAX: usize = 3;
const RETRY_FOR_MAX: Duration = Duration::from_secs(10);
/// S3's own limit of a key.
const KEY_BYTES_MAX: usize = 1024;

/// Where the store is and who we are there.
#[derive(Clone)]
pub struct Config {
    /// `http://127.0.0.1:9000`: scheme, host and port.
    pub endpoint: String,
    pub bucket: String,
    pub region: String,
    pub access_key: String,
    pub secret_key: String,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("endpoint", &self.endpoint)
            .field("bucket", &self.bucket)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

/// How a create-only write ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Create {
    /// It is there now, under this ETag.
    Created { etag: String },
    /// Somebody was first; what they wrote stays.
    AlreadyThere,
}

/// A handle to one bucket; cheap to clone.
#[derive(Clone)]
pub struct Objects {
    inner: Arc<Inner>,
}

struct Inner {
    bucket: String,
    store: AmazonS3,
    signer: sign::Signer,
    http: HttpClient,
}

impl Objects {
    /// Connects to nothing yet: the store may still be starting.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let options = ClientOptions::new()
            .with_allow_http(true)
            .with_timeout_disabled()
            .with_connect_timeout(CONNECT_MAX)
            .with_read_timeout(SILENCE_MAX);
        let retry = RetryConfig {
            max_retries: RETRIES_MAX,
            retry_timeout: RETRY_FOR_MAX,
            ..RetryConfig::default()
        };
        let store = AmazonS3Builder::new()
            .with_endpoint(&config.endpoint)
            .with_bucket_name(&config.bucket)
            .with_region(&config.region)
            .with_access_key_id(&config.access_key)
            .with_secret_access_key(&config.secret_key)
            .with_virtual_hosted_style_request(false)
            .with_client_options(options.clone())
            .with_retry(retry)
            .build()?;
        let inner = Inner {
            bucket: config.bucket.clone(),
            store,
            signer: sign::Signer::new(config)?,
            http: ReqwestConnector::default().connect(&options)?,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// A create-only PUT of exactly `size_bytes`: a second one, or another length, is refused.
    pub async fn presign_create(
        &self,
        key: &str,
        size_bytes: u64,
        content_type: Option<&str>,
        expires: Duration,
    ) -> Result<Presigned, Error> {
        let length = size_bytes.to_string();
        let mut headers = vec![("content-length", length.as_str()), ("if-none-match", "*")];
        headers.extend(content_type.map(|value| ("content-type", value)));
        self.presign(&Method::PUT, key, &headers, expires)
    }

    /// Like [`Self::presign_create`] for outputs whose length is not known before they exist.
    pub async fn presign_create_unsized(
        &self,
        key: &str,
        content_type: Option<&str>,
        expires: Duration,
    ) -> Result<Presigned, Error> {
        let mut headers = vec![("if-none-match", "*")];
        headers.extend(content_type.map(|value| ("content-type", value)));
        self.presign(&Method::PUT, key, &headers, expires)
    }

    /// A GET, ranged or not as its sender likes. With `if_match` (an ETag without quotes)
    /// it reads that version or nothing: the header is signed.
    pub async fn presign_get(
        &self,
        key: &str,
        if_match: Option<&str>,
        expires: Duration,
    ) -> Result<Presigned, Error> {
        let quoted = if_match.map(quote);
        let headers: Vec<_> = quoted
            .iter()
            .map(|etag| ("if-match", etag.as_str()))
            .collect();
        self.presign(&Method::GET, key, &headers, expires)
    }

    /// What is stored under `key`, if anything.
    pub async fn head(&self, key: &str) -> Result<Option<Head>, Error> {
        read::head(self, key).await
    }

    /// Streams an object, or the `range` of it that exists. With `if_match` only that version.
    pub async fn get(
        &self,
        key: &str,
        range: Option<std::ops::Range<u64>>,
        if_match: Option<&str>,
    ) -> Result<Get, Error> {
        read::get(self, key, range, if_match).await
    }

    /// Writes a small object once.
    pub async fn create(
        &self,
        key: &str,
        content_type: &str,
        bytes: Bytes,
    ) -> Result<Create, Error> {
        let path = path(key)?;
        let mut attributes = Attributes::new();
        attributes.insert(Attribute::ContentType, content_type.to_owned().into());
        let options = PutOptions {
            mode: PutMode::Create,
            attributes,
            ..PutOptions::default()
        };
        let put = self
            .inner
            .store
            .put_opts(&path, PutPayload::from(bytes), options)
            .await;
        match put {
            Ok(put) => Ok(Create::Created {
                etag: unquote(&put.e_tag.unwrap_or_default()),
            }),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(Create::AlreadyThere),
            Err(error) => Err(error.into()),
        }
    }

    /// The SHA-256 (lower-case hex) of version `etag`, by reading all of it: for stores that keep none.
    pub async fn sha256(&self, key: &str, etag: &str) -> Result<String, Error> {
        read::sha256(self, key, etag).await
    }

    /// Deletes one object. One that is not there is already so.
    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        let path = path(key)?;
        match object_store::ObjectStoreExt::delete(&self.inner.store, &path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes everything under `prefix` (whole path segments: `videos/{id}`) and counts it.
    pub async fn delete_prefix(&self, prefix: &str) -> Result<u64, Error> {
        let prefix = path(prefix)?;
        let keys = self
            .inner
            .store
            .list(Some(&prefix))
            .map_ok(|meta| meta.location)
            .boxed();
        let mut deleted = self.inner.store.delete_stream(keys);
        let mut count = 0;
        while deleted.try_next().await?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    /// Key and size of everything under `prefix` (whole path segments), in the order of keys.
    pub fn list(&self, prefix: &str) -> BoxStream<'static, Result<(String, u64), Error>> {
        let prefix = match path(prefix) {
            Ok(prefix) => prefix,
            Err(error) => return futures::stream::iter([Err(error)]).boxed(),
        };
        self.inner
            .store
            .list(Some(&prefix))
            .map_ok(|meta| (meta.location.to_string(), meta.size))
            .map_err(Error::from)
            .boxed()
    }

    /// Whether the bucket answers.
    pub async fn ready(&self) -> Result<(), Error> {
        read::ready(self).await
    }

    fn presign(
        &self,
        method: &Method,
        key: &str,
        headers: &[(&str, &str)],
        expires: Duration,
    ) -> Result<Presigned, Error> {
        let key = path(key)?;
        let path = format!("/{}/{key}", self.inner.bucket);
        self.inner
            .signer
            .presign(method, &path, headers, expires, OffsetDateTime::now_utc())
    }
}

fn path(key: &str) -> Result<Path, Error> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(Error::Invalid("a key has 1 to 1024 bytes"));
    }
    Path::parse(key).map_err(|_| Error::Invalid("a key has no empty, `.` or `..` segment"))
}

fn quote(etag: &str) -> String {
    format!("\"{etag}\"")
}

fn unquote(etag: &str) -> String {
    etag.trim_start_matches("W/").trim_matches('"').to_owned()
}
