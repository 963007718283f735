//! The store: opening, receiving bytes, committing changes, reading.
//!
//! On disk: `lock` (held while open), `journal` (every change), `blobs/` (bytes under opaque
//! names). A key is never part of a path.

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use futures::StreamExt;
use nix::fcntl::{Flock, FlockArg};
use s3s::checksum::ChecksumHasher;
use s3s::dto::StreamingBlob;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::blob::{Blobs, Draft, Received};
use crate::full::is_full;
use crate::journal::Journal;
use crate::state::{Change, Replay, State};
use crate::writer::{Condition, QUEUE_MAX, Refusal, Request, Writer};

/// Bytes collected before they are hashed and written in one go.
const BATCH_BYTES: usize = 1 << 20;
/// Silence of a client in the middle of its body.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// At opening, a journal with so many records per thing alive is rewritten.
const REWRITE_FACTOR: u64 = 2;
const REWRITE_RECORDS_MIN: u64 = 10_000;

pub(crate) struct Store {
    state: Arc<RwLock<State>>,
    blobs: Blobs,
    requests: mpsc::Sender<Request>,
    pub(crate) owed: Arc<Notify>,
    /// Cancelled when nothing can be made durable any more.
    pub(crate) failed: CancellationToken,
    /// Free bytes that puts leave on the disk.
    reserve_bytes: u64,
}

/// What must outlive the last request: the writer's thread and the lock of the folder.
pub(crate) struct Guard {
    writer: std::thread::JoinHandle<()>,
    _lock: Flock<File>,
}

/// Why bytes were not received.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiveError {
    #[error("the body is longer than {0} bytes")]
    TooLong(u64),
    #[error("the body stopped short")]
    Short,
    #[error("the client went silent")]
    Silent,
    #[error("the body does not hash to x-amz-content-sha256")]
    Sha256,
    #[error("the disk is full")]
    Full,
    #[error("failed to write the body")]
    Io(#[source] std::io::Error),
}

impl Store {
    /// Opens the folder, or makes a store of it. Blocking.
    pub(crate) fn open(dir: &Path, reserve_bytes: u64) -> anyhow::Result<(Self, Guard)> {
        std::fs::create_dir_all(dir)
            .with_context(|| format!("failed to make the folder {}", dir.display()))?;
        let lock = File::create(dir.join("lock"))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, error)| error)
            .with_context(|| format!("another process uses {}", dir.display()))?;

        let blobs = Blobs::open(&dir.join("blobs"))?;
        let mut replay = Replay::new(blobs.clone());
        let mut journal = Journal::open(dir, |record| replay.take(record))
            .inspect_err(|_| replay.keep_files())?;
        let records = replay.records;
        let state = replay.finish()?;
        let alive = (state.objects.len() + state.uploads.len() + state.owed.len()) as u64;
        if journal.len() == 0 || records > REWRITE_RECORDS_MIN.max(alive * REWRITE_FACTOR) {
            journal.rewrite(state.records())?;
        }
        tracing::info!(
            objects = state.objects.len(),
            owed = state.owed.len(),
            "opened the store: {} objects, {} notifications to deliver",
            state.objects.len(),
            state.owed.len()
        );

        let state = Arc::new(RwLock::new(state));
        let (requests, receiver) = mpsc::channel(QUEUE_MAX);
        let owed = Arc::new(Notify::new());
        let failed = CancellationToken::new();
        let writer = Writer {
            journal,
            blob_dir: blobs.dir().to_owned(),
            state: Arc::clone(&state),
            requests: receiver,
            owed: Arc::clone(&owed),
            failed: failed.clone(),
        };
        let writer = std::thread::Builder::new()
            .name("writer".into())
            .spawn(move || writer.run())?;
        let store = Self {
            state,
            blobs,
            requests,
            owed,
            failed,
            reserve_bytes,
        };
        Ok((
            store,
            Guard {
                writer,
                _lock: lock,
            },
        ))
    }

    pub(crate) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides and makes durable; returns when it is.
    pub(crate) async fn commit(&self, change: Change, condition: Condition) -> Result<(), Refusal> {
        let (reply, answer) = oneshot::channel();
        let request = Request {
            change,
            condition,
            reply,
        };
        self.requests
            .send(request)
            .await
            .map_err(|_| Refusal::Stopped)?;
        answer.await.map_err(|_| Refusal::Stopped)?
    }

    /// Whether `size` bytes more may be written.
    pub(crate) fn has_room(&self, size: u64) -> bool {
        match nix::sys::statvfs::statvfs(self.blobs.dir()) {
            Ok(disk) => {
                let free = disk.blocks_available() * disk.fragment_size();
                free >= size.saturating_add(self.reserve_bytes)
            }
            // The write itself will tell.
            Err(_) => true,
        }
    }

    /// Writes a body into a blob: hashed on the way, on disk at the end.
    pub(crate) async fn receive(
        &self,
        body: &mut StreamingBlob,
        declared: Option<u64>,
        max: u64,
        checksum: ChecksumHasher,
    ) -> Result<Received, ReceiveError> {
        let blobs = self.blobs.clone();
        let mut writing = spawn(move || blobs.draft(checksum));
        let mut size = 0;
        loop {
            let (batch, is_last) = next_batch(body).await?;
            size += batch.iter().map(|bytes| bytes.len() as u64).sum::<u64>();
            if size > declared.unwrap_or(max).min(max) {
                return Err(ReceiveError::TooLong(max));
            }
            if is_last && declared.is_some_and(|declared| declared != size) {
                return Err(ReceiveError::Short);
            }
            // While one batch is written, the next is collected.
            let mut draft = joined(writing).await?;
            if is_last {
                let finish = spawn(move || {
                    batch.iter().try_for_each(|bytes| draft.write(bytes))?;
                    draft.finish()
                });
                return joined(finish).await;
            }
            writing = spawn(move || {
                batch.iter().try_for_each(|bytes| draft.write(bytes))?;
                Ok::<Draft, std::io::Error>(draft)
            });
        }
    }
}

impl Guard {
    /// Waits for the writer, which ends when the last `Store` is gone. Blocking.
    pub(crate) fn close(self) {
        if self.writer.join().is_err() {
            tracing::error!("the writer panicked");
        }
    }
}

/// The next megabyte of the body, and whether it was the last.
async fn next_batch(body: &mut StreamingBlob) -> Result<(Vec<Bytes>, bool), ReceiveError> {
    let mut batch = vec![];
    let mut size = 0;
    while size < BATCH_BYTES {
        let next = tokio::time::timeout(SILENCE_MAX, body.next()).await;
        match next.map_err(|_| ReceiveError::Silent)? {
            Some(Ok(bytes)) => {
                size += bytes.len();
                batch.push(bytes);
            }
            // The library's error has no public type, only a text.
            Some(Err(error)) if error.to_string().contains("Sha256Mismatch") => {
                return Err(ReceiveError::Sha256);
            }
            Some(Err(_)) => return Err(ReceiveError::Short),
            None => return Ok((batch, true)),
        }
    }
    Ok((batch, false))
}

fn spawn<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> JoinHandle<std::io::Result<T>> {
    tokio::task::spawn_blocking(work)
}

async fn joined<T>(work: JoinHandle<std::io::Result<T>>) -> Result<T, ReceiveError> {
    let result = work
        .await
        .map_err(std::io::Error::other)
        .and_then(|result| result);
    result.map_err(|error| {
        if is_full(&error) {
            ReceiveError::Full
        } else {
            ReceiveError::Io(error)
        }
    })
}
