//! The api as our own commands use it: GraphQL over HTTP, and the file's way into the store.

use std::{path::Path, time::Duration};

use anyhow::{Context, bail};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt},
};

use crate::{platform::Addresses, retry::Patience};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than the api takes before it gives a request up and says so.
const QUERY_TIMEOUT: Duration = Duration::from_secs(40);
const CHUNK_BYTES: usize = 256 * 1024;

#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    graphql: String,
    token: String,
}

/// What is to be uploaded, besides the file.
#[derive(Debug, Clone)]
pub struct Request {
    pub title: String,
    pub description: String,
    pub tags: Vec<String>,
    /// `PUBLIC`, `UNLISTED` or `PRIVATE`.
    pub visibility: String,
    /// The same key for the same file: asking again is harmless.
    pub idempotency_key: String,
}

/// The permission to upload a file.
pub struct Upload {
    pub video: String,
    pub position: String,
    /// `None`: the file is there.
    pub place: Option<Place>,
}

/// Where a file goes. The address is a secret: who knows it may upload.
pub struct Place {
    url: String,
    method: reqwest::Method,
    headers: Vec<(String, String)>,
}

/// What became of one attempt to send a file.
pub enum Sent {
    /// The store has it.
    Stored,
    /// Worth another try, at a fresh address.
    Away(anyhow::Error),
}

/// What is known of a file before it is sent.
pub struct Measured {
    pub size_bytes: u64,
    pub sha256: String,
}

impl Client {
    pub fn new(addresses: &Addresses) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .build()?;
        Ok(Self {
            http,
            graphql: addresses.graphql.clone(),
            token: addresses.token.clone(),
        })
    }

    /// The `data` of an answer. What the api refuses is an error; a restart of it is waited for.
    pub async fn query(&self, query: &str, variables: Value) -> anyhow::Result<Value> {
        let body = json!({"query": query, "variables": variables});
        let mut patience = Patience::new();
        loop {
            let error = match self.once(&body).await {
                Ok(Answer::Data(data)) => return Ok(data),
                Ok(Answer::Refused(errors)) => bail!("the api refused: {errors}"),
                Ok(Answer::Away(error)) | Err(error) => error,
            };
            patience.after(error).await?;
        }
    }

    /// What stands at an address; a restart of the api is waited for.
    pub async fn get(&self, url: &reqwest::Url) -> anyhow::Result<Bytes> {
        let mut patience = Patience::new();
        loop {
            let error = match self.get_once(url).await {
                Ok((status, body)) if status.is_success() => return Ok(body),
                Ok((status, _)) if !status.is_server_error() => bail!("{url} answers {status}"),
                Ok((status, _)) => anyhow::anyhow!("{url} answers {status}"),
                Err(error) => anyhow::Error::from(error.without_url())
                    .context(format!("{url} does not answer, or broke off")),
            };
            patience.after(error).await?;
        }
    }

    async fn get_once(&self, url: &reqwest::Url) -> reqwest::Result<(reqwest::StatusCode, Bytes)> {
        let request = self.http.get(url.clone()).timeout(QUERY_TIMEOUT);
        let answer = request.send().await?;
        Ok((answer.status(), answer.bytes().await?))
    }

    async fn once(&self, body: &Value) -> anyhow::Result<Answer> {
        let answer = self
            .http
            .post(&self.graphql)
            .bearer_auth(&self.token)
            .timeout(QUERY_TIMEOUT)
            .json(body)
            .send()
            .await
            .map_err(reqwest::Error::without_url)
            .context("the api does not answer")?;
        let status = answer.status();
        let text = answer
            .text()
            .await
            .map_err(reqwest::Error::without_url)
            .context("the api's answer broke off")?;
        if status.is_server_error() {
            return Ok(Answer::Away(anyhow::anyhow!(
                "the api answered {status}: {text}"
            )));
        }
        let mut value: Value = serde_json::from_str(&text)
            .with_context(|| format!("the api answered {status}: {text}"))?;
        match value.get("errors").filter(|errors| !errors.is_null()) {
            Some(errors) if errors.to_string().contains("\"INTERNAL\"") => {
                Ok(Answer::Away(anyhow::anyhow!("the api failed: {errors}")))
            }
            Some(errors) => Ok(Answer::Refused(errors.clone())),
            None => Ok(Answer::Data(value["data"].take())),
        }
    }

    /// Asks for the permission to upload a file.
    pub async fn create_upload(
        &self,
        file: &Path,
        measured: &Measured,
        request: &Request,
    ) -> anyhow::Result<Upload> {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let query = "mutation($input: CreateUploadInput!) { createUpload(input: $input) {
            upload { id method url headers { name value } expiresAt } video { id } position
            userErrors { field message code } } }";
        let input = json!({
            "title": request.title,
            "description": request.description,
            "tags": request.tags,
            "visibility": request.visibility,
            "fileName": name,
            "contentType": content_type(file),
            "sizeBytes": measured.size_bytes,
            "checksumSha256": measured.sha256,
            "idempotencyKey": request.idempotency_key,
        });
        let data = self.query(query, json!({"input": input})).await?;
        let answer: CreateUpload = serde_json::from_value(data["createUpload"].clone())
            .context("createUpload answered something unexpected")?;
        if let Some(error) = answer.user_errors.first() {
            bail!("{} ({})", error.message, error.code);
        }
        let video = answer.video.context("createUpload names no video")?;
        Ok(Upload {
            video: video.id,
            position: answer.position.unwrap_or_default(),
            place: answer.upload.map(Place::try_from).transpose()?,
        })
    }

    /// Sends the file once, from its beginning, telling `sent` how many bytes have gone out.
    pub async fn put(
        &self,
        place: &Place,
        file: &Path,
        size_bytes: u64,
        sent: impl Fn(u64) + Send + Sync + 'static,
    ) -> anyhow::Result<Sent> {
        let opened = File::open(file)
            .await
            .with_context(|| format!("failed to open {}", file.display()))?;
        let body = reqwest::Body::wrap_stream(chunks(opened, sent));
        let mut request = self.http.request(place.method.clone(), &place.url);
        request = request.header("content-length", size_bytes.to_string());
        for (name, value) in &place.headers {
            if !name.eq_ignore_ascii_case("content-length") && !name.eq_ignore_ascii_case("host") {
                request = request.header(name, value);
            }
        }
        let answer = match request.body(body).send().await {
            Ok(answer) => answer,
            Err(error) => {
                let error = anyhow::Error::from(error.without_url());
                return Ok(Sent::Away(error.context("the object store broke off")));
            }
        };
        let status = answer.status();
        // A repeated upload of ours that went through the first time.
        if status.is_success() || status == reqwest::StatusCode::PRECONDITION_FAILED {
            return Ok(Sent::Stored);
        }
        let text = answer.text().await.unwrap_or_default();
        let error = anyhow::anyhow!("the object store answered {status}: {text}");
        // 403: the address may have expired meanwhile.
        if status.is_server_error() || status == reqwest::StatusCode::FORBIDDEN {
            return Ok(Sent::Away(error));
        }
        Err(error)
    }

    /// Tells the api that the file is there.
    pub async fn complete_upload(&self, video: &str) -> anyhow::Result<String> {
        let query = "mutation($input: CompleteUploadInput!) { completeUpload(input: $input) {
            video { id } position userErrors { field message code } } }";
        let data = self
            .query(query, json!({"input": {"videoId": video}}))
            .await?;
        let answer: CreateUpload = serde_json::from_value(data["completeUpload"].clone())
            .context("completeUpload answered something unexpected")?;
        if let Some(error) = answer.user_errors.first() {
            bail!("{} ({})", error.message, error.code);
        }
        Ok(answer.position.unwrap_or_default())
    }
}

enum Answer {
    Data(Value),
    Refused(Value),
    /// Worth another try.
    Away(anyhow::Error),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CreateUpload {
    upload: Option<Presigned>,
    video: Option<VideoRef>,
    position: Option<String>,
    #[serde(default)]
    user_errors: Vec<UserError>,
}

#[derive(Deserialize)]
struct Presigned {
    method: String,
    url: String,
    headers: Vec<Header>,
}

impl TryFrom<Presigned> for Place {
    type Error = anyhow::Error;

    fn try_from(presigned: Presigned) -> anyhow::Result<Self> {
        let headers = presigned.headers.into_iter();
        Ok(Self {
            url: presigned.url,
            method: presigned.method.parse()?,
            headers: headers.map(|header| (header.name, header.value)).collect(),
        })
    }
}

#[derive(Deserialize)]
struct Header {
    name: String,
    value: String,
}

#[derive(Deserialize)]
struct VideoRef {
    id: String,
}

#[derive(Deserialize)]
struct UserError {
    message: String,
    code: String,
}

/// Reads a file once, to declare what is going to be sent.
pub async fn measure(path: &Path) -> anyhow::Result<Measured> {
    let mut file = File::open(path)
        .await
        .with_context(|| format!("failed to open {}", path.display()))?;
    let size_bytes = file.seek(std::io::SeekFrom::End(0)).await?;
    file.rewind().await?;
    let mut digest = Sha256::new();
    let mut stream = Box::pin(chunks(file, |_| {}));
    while let Some(chunk) = stream.next().await {
        digest.update(chunk.with_context(|| format!("failed to read {}", path.display()))?);
    }
    Ok(Measured {
        size_bytes,
        sha256: hex::encode(digest.finalize()),
    })
}

fn chunks(
    file: File,
    sent: impl Fn(u64) + Send + 'static,
) -> impl Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    futures::stream::try_unfold((file, 0_u64, sent), |(mut file, before, sent)| async move {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        let count = (&mut file)
            .take(CHUNK_BYTES as u64)
            .read_to_end(&mut chunk)
            .await?;
        if count == 0 {
            return Ok(None);
        }
        let total = before + count as u64;
        sent(total);
        Ok(Some((Bytes::from(chunk), (file, total, sent))))
    })
}

fn content_type(file: &Path) -> &'static str {
    let extension = file
        .extension()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    match extension.as_str() {
        "mp4" | "m4v" => "video/mp4",
        "mov" => "video/quicktime",
        "webm" => "video/webm",
        "mkv" => "video/x-matroska",
        "avi" => "video/x-msvideo",
        "ts" | "mts" => "video/mp2t",
        "ogv" => "video/ogg",
        "mp3" => "audio/mpeg",
        "m4a" => "audio/mp4",
        "wav" => "audio/wav",
        "flac" => "audio/flac",
        "ogg" | "opus" => "audio/ogg",
        _ => "application/octet-stream",
    }
}
