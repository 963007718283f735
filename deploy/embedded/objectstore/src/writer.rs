//! The writer: one thread that decides, journals and applies every change.
//!
//! # Invariants
//!
//! * Conditions (`If-None-Match`, `If-Match`) are decided here, one change after another, so
//!   of concurrent creators exactly one wins. A group holds at most one change per key and
//!   per upload, so each is decided against what is durable.
//! * Order of a commit: blobs' bytes (before it gets here), their names, the journal, memory,
//!   the answer. The notification is part of the same record as the object.
//! * After a failed `fdatasync` nothing is acknowledged any more, and the store stops.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::journal::{AppendError, Journal, encode, sync_dir};
use crate::state::{Change, State};

/// Objects one store holds: what its index in memory is made for.
const OBJECTS_MAX: usize = 2_000_000;
/// Multipart uploads open at once.
const UPLOADS_MAX: usize = 10_000;
/// Notifications waiting for their receiver; beyond it, what would cause another is refused.
const OWED_MAX: usize = 100_000;
/// One group: changes, and encoded bytes after which it is closed.
const GROUP_MAX: usize = 256;
const GROUP_BYTES_MAX: usize = 4 << 20;
/// Changes waiting for the writer.
pub(crate) const QUEUE_MAX: usize = 1_024;
/// The journal is rewritten once it is this long and has grown so many times over.
const REWRITE_BYTES_MIN: u64 = 64 << 20;
const REWRITE_FACTOR: u64 = 4;

/// What must be so for a change to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    None,
    /// Nothing is under the key.
    Absent,
    /// Something is under the key.
    Present,
    /// Exactly this version is under the key.
    Version(String),
}

/// Why a change did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the condition does not hold")]
    Condition,
    #[error("there is no such object")]
    NoSuchKey,
    #[error("there is no such upload")]
    NoSuchUpload,
    #[error("the store holds too many {0}")]
    TooMany(&'static str),
    #[error("the disk is full")]
    Full,
    #[error("the store is stopping")]
    Stopped,
}

pub(crate) struct Request {
    pub(crate) change: Change,
    pub(crate) condition: Condition,
    pub(crate) reply: oneshot::Sender<Result<(), Refusal>>,
}

pub(crate) struct Writer {
    pub(crate) journal: Journal,
    pub(crate) blob_dir: std::path::PathBuf,
    pub(crate) state: Arc<RwLock<State>>,
    pub(crate) requests: mpsc::Receiver<Request>,
    /// Somebody is owed a notification.
    pub(crate) owed: Arc<Notify>,
    pub(crate) failed: CancellationToken,
}

impl Condition {
    pub(crate) fn check(&self, state: &State, key: &str) -> Result<(), Refusal> {
        let there = state.objects.get(key);
        match (self, there) {
            (Self::None, _) | (Self::Absent, None) | (Self::Present, Some(_)) => Ok(()),
            (Self::Absent, Some(_)) => Err(Refusal::Condition),
            (Self::Present | Self::Version(_), None) => Err(Refusal::NoSuchKey),
            (Self::Version(etag), Some(object)) if object.meta.etag == *etag => Ok(()),
            (Self::Version(_), Some(_)) => Err(Refusal::Condition),
        }
    }
}

impl Writer {
    /// Works until every sender is gone, or nothing can be made durable any more.
    pub(crate) fn run(mut self) {
        let mut base = self.journal.len();
        let mut first = None;
        while let Some(request) = first.take().or_else(|| self.requests.blocking_recv()) {
            let (group, next) = self.gather(request);
            first = next;
            if let Err(error) = self.commit(group) {
                tracing::error!(%error, "failed to make a change durable; the store stops");
                self.failed.cancel();
                return;
            }
            if self.journal.len() > REWRITE_BYTES_MIN.max(base * REWRITE_FACTOR) {
                if let Err(error) = self.rewrite() {
                    tracing::error!(%error, "failed to replace the journal; the store stops");
                    self.failed.cancel();
                    return;
                }
                base = self.journal.len();
            }
        }
    }

    fn rewrite(&mut self) -> Result<(), std::io::Error> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        match self.journal.rewrite(state.records()) {
            Ok(()) => Ok(()),
            Err(AppendError::Full(error)) => {
                tracing::warn!(%error, "no room to rewrite the journal; the old one goes on");
                Ok(())
            }
            Err(AppendError::Broken(error)) => Err(error),
        }
    }

    /// The changes that can be decided and written together with `first`, each with its
    /// record; and the one that has to wait for them.
    fn gather(&mut self, first: Request) -> (Vec<(Request, Vec<u8>)>, Option<Request>) {
        let mut group: Vec<(Request, Vec<u8>)> = vec![];
        let mut touched = HashSet::new();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(mut request) = next.take() {
            let names = names(&request.change);
            if names.iter().any(|name| touched.contains(name)) {
                return (group, Some(request));
            }
            match self.decide(&mut request, group.len()) {
                Ok(()) => {
                    let record = encode(&request.change.record());
                    bytes += record.len();
                    touched.extend(names);
                    group.push((request, record));
                }
                Err(refusal) => answer(request.reply, Err(refusal)),
            }
            if group.len() < GROUP_MAX && bytes < GROUP_BYTES_MAX {
                next = self.requests.try_recv().ok();
            }
        }
        (group, None)
    }

    fn decide(&self, request: &mut Request, before: usize) -> Result<(), Refusal> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let open = |upload| {
            state
                .uploads
                .contains_key(upload)
                .then_some(())
                .ok_or(Refusal::NoSuchUpload)
        };
        match &mut request.change {
            Change::Put {
                key,
                object,
                created_by,
                upload,
            } => {
                upload.iter().try_for_each(&open)?;
                request.condition.check(&state, key)?;
                if state.objects.len() + before >= OBJECTS_MAX {
                    return Err(Refusal::TooMany("objects"));
                }
                if created_by.is_some() && state.owed.len() + before >= OWED_MAX {
                    return Err(Refusal::TooMany("undelivered notifications"));
                }
                object.meta.sequence = state.next_sequence + before as u64;
                Ok(())
            }
            Change::Delete { key } => request.condition.check(&state, key),
            Change::BeginUpload { .. } if state.uploads.len() + before >= UPLOADS_MAX => {
                Err(Refusal::TooMany("open multipart uploads"))
            }
            Change::BeginUpload { .. } | Change::Deliver { .. } => Ok(()),
            Change::PutPart { upload, .. } | Change::AbortUpload { upload } => open(upload),
        }
    }

    fn commit(&mut self, group: Vec<(Request, Vec<u8>)>) -> Result<(), std::io::Error> {
        if group.is_empty() {
            return Ok(());
        }
        let (requests, records): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        let named = if requests
            .iter()
            .all(|request| request.change.blobs().is_empty())
        {
            Ok(())
        } else {
            sync_dir(&self.blob_dir).map_err(AppendError::Broken)
        };
        match named.and_then(|()| self.journal.append(&records)) {
            Ok(()) => self.apply(requests),
            Err(AppendError::Full(error)) => {
                tracing::warn!(%error, "refused {} changes: the disk is full", requests.len());
                for request in requests {
                    answer(request.reply, Err(Refusal::Full));
                }
            }
            Err(AppendError::Broken(error)) => {
                for request in requests {
                    request.change.blobs().iter().for_each(|blob| blob.keep());
                    answer(request.reply, Err(Refusal::Stopped));
                }
                return Err(error);
            }
        }
        Ok(())
    }

    fn apply(&self, requests: Vec<Request>) {
        let mut replies = Vec::with_capacity(requests.len());
        {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            for request in requests {
                state.apply(request.change);
                replies.push(request.reply);
            }
        }
        for reply in replies {
            answer(reply, Ok(()));
        }
        self.owed.notify_one();
    }
}

/// What a change reads or writes: two that share a name are never in one group.
fn names(change: &Change) -> Vec<String> {
    match change {
        Change::Put { key, upload, .. } => {
            let upload = upload.map(|upload| format!("upload {upload}"));
            std::iter::once(format!("key {key}"))
                .chain(upload)
                .collect()
        }
        Change::Delete { key } => vec![format!("key {key}")],
        Change::BeginUpload { upload, .. }
        | Change::PutPart { upload, .. }
        | Change::AbortUpload { upload } => vec![format!("upload {upload}")],
        Change::Deliver { .. } => vec![],
    }
}

fn answer(reply: oneshot::Sender<Result<(), Refusal>>, with: Result<(), Refusal>) {
    // Who asked may be gone; the change stands all the same.
    let _ = reply.send(with);
}
