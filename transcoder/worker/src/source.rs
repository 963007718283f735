//! Answers the child's reads: ranged GETs on the presigned URL, a little read ahead.
//!
//! # Invariants
//!
//! * Memory is bounded: at most [`BLOCKS_MAX`] blocks, whatever the child asks for.
//! * Every read names the version of the source that was accepted (`If-Match` is among the
//!   signed headers): a source that changed is refused, never mixed.
//! * The URL is renewed before it runs out.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use protocol::{Lease, Source};
use reqwest::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use crate::failure::{Code, Failure};
use crate::link::{Link, LinkError, first_pause, longer};
use crate::wire;

const BLOCK_BYTES: u64 = 1 << 20;
const BLOCKS_MAX: usize = 24;
/// Blocks fetched before they are asked for, when reads go forward.
const AHEAD: u64 = 4;
/// A URL is renewed when it has less than this left.
const RENEW_BEFORE_MS: u64 = 30_000;
const FETCH_WAIT_MAX: Duration = Duration::from_secs(30);

type Fetch = Shared<BoxFuture<'static, Result<Bytes, Failure>>>;

/// The source of one attempt.
pub(crate) struct SourceReader {
    origin: Arc<Origin>,
    blocks: VecDeque<(u64, Fetch)>,
    last: u64,
}

struct Origin {
    http: reqwest::Client,
    link: Link,
    lease: Lease,
    patience: Duration,
    size: u64,
    current: Mutex<Source>,
}

impl SourceReader {
    pub(crate) fn new(
        http: reqwest::Client,
        link: Link,
        lease: Lease,
        source: Source,
        patience: Duration,
    ) -> Self {
        SourceReader {
            origin: Arc::new(Origin {
                http,
                link,
                lease,
                patience,
                size: source.size_bytes,
                current: Mutex::new(source),
            }),
            blocks: VecDeque::new(),
            last: 0,
        }
    }

    /// Answers until the child hangs up. An error is why the source cannot be read.
    /// `noted` is told of every read: it is a sign of life.
    pub(crate) async fn serve(
        mut self,
        mut socket: UnixStream,
        noted: impl Fn(),
    ) -> Result<(), Failure> {
        loop {
            let mut ask = [0u8; 12];
            if socket.read_exact(&mut ask).await.is_err() {
                return Ok(());
            }
            noted();
            let [a, b, c, d, e, f, g, h, i, j, k, l] = ask;
            let offset = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
            let length = u32::from_le_bytes([i, j, k, l]).min(wire::READ_BYTES_MAX);
            let read = self.read(offset, length).await;
            let answered = answer(&mut socket, read.as_deref().ok()).await;
            noted();
            // The reason for a refusal is ours to report; the child only knows that it is one.
            read?;
            if answered.is_err() {
                return Ok(());
            }
        }
    }

    async fn read(&mut self, offset: u64, length: u32) -> Result<Vec<u8>, Failure> {
        let end = offset
            .saturating_add(u64::from(length))
            .min(self.origin.size);
        let mut bytes = Vec::with_capacity(end.saturating_sub(offset) as usize);
        let mut at = offset;
        while at < end {
            let index = at / BLOCK_BYTES;
            let block = self.block(index).await?;
            let from = (at - index * BLOCK_BYTES) as usize;
            let to = ((end - index * BLOCK_BYTES) as usize).min(block.len());
            let part = block.get(from..to).filter(|part| !part.is_empty());
            let part = part.ok_or_else(changed)?;
            bytes.extend_from_slice(part);
            at += part.len() as u64;
        }
        Ok(bytes)
    }

    async fn block(&mut self, index: u64) -> Result<Bytes, Failure> {
        let wanted = self.fetch(index);
        let forward = index == self.last || index == self.last + 1;
        self.last = index;
        if forward {
            for ahead in index + 1..=index + AHEAD {
                if ahead * BLOCK_BYTES < self.origin.size {
                    // Only started; whoever reads it will wait for it.
                    drop(self.fetch(ahead));
                }
            }
        }
        wanted.await
    }

    /// The fetch of this block, begun now unless it was already.
    fn fetch(&mut self, index: u64) -> Fetch {
        if let Some(place) = self.blocks.iter().position(|(at, _)| *at == index)
            && let Some(block) = self.blocks.remove(place)
        {
            let fetch = block.1.clone();
            self.blocks.push_back(block);
            return fetch;
        }
        let shared = Arc::clone(&self.origin);
        let task =
            AbortOnDropHandle::new(tokio::spawn(
                async move { shared.fetch_patiently(index).await },
            ));
        let fetch: Fetch = async move { task.await.unwrap_or_else(|_| Err(unavailable())) }
            .boxed()
            .shared();
        if self.blocks.len() >= BLOCKS_MAX {
            self.blocks.pop_front();
        }
        self.blocks.push_back((index, fetch.clone()));
        fetch
    }
}

async fn answer(socket: &mut UnixStream, bytes: Option<&[u8]>) -> std::io::Result<()> {
    let (status, bytes) = match bytes {
        Some(bytes) => (wire::READ_OK, bytes),
        None => (wire::READ_FAILED, &[][..]),
    };
    let mut start = [0u8; 8];
    start[..4].copy_from_slice(&status.to_le_bytes());
    start[4..].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
    socket.write_all(&start).await?;
    socket.write_all(bytes).await
}

/// How one GET went wrong.
enum Trouble {
    Transient(anyhow::Error),
    Expired,
    Final(Failure),
}

impl Origin {
    async fn fetch_patiently(&self, index: u64) -> Result<Bytes, Failure> {
        let until = Instant::now() + self.patience;
        let mut pause = first_pause();
        loop {
            let source = self.fresh().await?;
            let trouble = match self.fetch_once(&source, index).await {
                Ok(bytes) => return Ok(bytes),
                Err(trouble) => trouble,
            };
            match trouble {
                Trouble::Final(failure) => return Err(failure),
                Trouble::Expired => self.renew().await?,
                Trouble::Transient(error) => {
                    tracing::warn!("failed to read block {index} of the source: {error:#}");
                }
            }
            if Instant::now() + pause > until {
                return Err(unavailable());
            }
            sleep(pause).await;
            pause = longer(pause);
        }
    }

    async fn fetch_once(&self, source: &Source, index: u64) -> Result<Bytes, Trouble> {
        let from = index * BLOCK_BYTES;
        let to = (from + BLOCK_BYTES).min(self.size) - 1;
        let mut request = self
            .http
            .get(&source.url)
            .timeout(FETCH_WAIT_MAX)
            .header("range", format!("bytes={from}-{to}"));
        for (name, value) in &source.headers {
            request = request.header(name, value);
        }
        let answer = request
            .send()
            .await
            .map_err(|error| Trouble::Transient(error.without_url().into()))?;
        let whole = from == 0 && to + 1 == self.size;
        match answer.status() {
            StatusCode::PARTIAL_CONTENT => {}
            StatusCode::OK if whole => {}
            StatusCode::OK
            | StatusCode::RANGE_NOT_SATISFIABLE
            | StatusCode::PRECONDITION_FAILED => {
                return Err(Trouble::Final(changed()));
            }
            StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => return Err(Trouble::Expired),
            StatusCode::NOT_FOUND => return Err(Trouble::Final(unavailable())),
            status => return Err(Trouble::Transient(anyhow::anyhow!("status {status}"))),
        }
        let bytes = answer
            .bytes()
            .await
            .map_err(|error| Trouble::Transient(error.without_url().into()))?;
        if bytes.len() as u64 != to + 1 - from {
            let error = anyhow::anyhow!("{} bytes instead of {}", bytes.len(), to + 1 - from);
            return Err(Trouble::Transient(error));
        }
        Ok(bytes)
    }

    /// The source with a URL that has time left.
    async fn fresh(&self) -> Result<Source, Failure> {
        let source = self.current();
        if source.expires_at_ms == 0 || now_ms() + RENEW_BEFORE_MS < source.expires_at_ms {
            return Ok(source);
        }
        self.renew().await?;
        Ok(self.current())
    }

    async fn renew(&self) -> Result<(), Failure> {
        let renewed = self.link.renew_source(&self.lease, self.patience).await;
        let renewed = renewed.map_err(|error: LinkError| {
            tracing::warn!("failed to renew the source: {error}");
            unavailable()
        })?;
        *self.current.lock().expect("the source is only swapped") = renewed;
        Ok(())
    }

    fn current(&self) -> Source {
        self.current
            .lock()
            .expect("the source is only swapped")
            .clone()
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

fn changed() -> Failure {
    Failure::new(
        Code::SourceCorrupt,
        "the source changed while it was being read",
    )
}

fn unavailable() -> Failure {
    Failure::new(Code::StorageUnavailable, "the source could not be read")
}

/// One client for all bytes of a worker.
pub(crate) fn http() -> anyhow::Result<reqwest::Client> {
    reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(5))
        .redirect(reqwest::redirect::Policy::none())
        .tcp_nodelay(true)
        .no_proxy()
        .build()
        .context("failed to make the HTTP client")
}
