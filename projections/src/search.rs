//! Search: finds videos by what people say about them. A replica in each api process.
//!
//! # Invariants
//!
//! * Documents and checkpoint are one commit: what is lost of the one is lost of the other.
//! * Who may find a video is part of the query, so that pages and totals never tell of others' videos.
//! * There is one writer. A folder that cannot be read, or was made by another version, is built anew.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use domain::id::{Owner, VideoId};
use tokio::sync::watch;

mod documents;
mod follow;
mod query;
mod statistics;

/// The part of a query that is looked at.
pub const QUERY_CHARS_MAX: usize = 200;

pub const PAGE_MAX: usize = 100;

/// How far a list of hits can be followed.
pub const OFFSET_MAX: usize = 10_000;

pub const NAME: &str = "search";

const UNPOISONED: &str = "nothing panics while it holds this lock";

/// A cheap handle.
#[derive(Clone)]
pub struct Index {
    shared: Arc<Shared>,
}

struct Shared {
    dir: PathBuf,
    /// `None` after the disk failed, until it is opened again.
    open: Mutex<Option<documents::Open>>,
    view: Mutex<documents::View>,
    /// What searches see.
    progress: watch::Sender<Progress>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Progress {
    commit: Option<u64>,
    caught_up: bool,
}

/// One page of hits, best first. The caller loads the videos and still checks who may see them:
/// the index may be a moment behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hits {
    pub videos: Vec<VideoId>,
    pub total: usize,
}

impl Index {
    /// Opens the index in `dir`, or begins a new one there. Blocks for the disk.
    pub fn open(dir: &Path) -> anyhow::Result<Self> {
        let open = documents::Open::new(dir)?;
        Ok(Self {
            shared: Arc::new(Shared {
                dir: dir.to_owned(),
                view: Mutex::new(open.view()),
                progress: watch::channel(open.progress()).0,
                open: Mutex::new(Some(open)),
            }),
        })
    }

    /// Follows the log until `stop`. Call it once.
    pub async fn follow(
        &self,
        log: eventlog::Log,
        stop: tokio_util::sync::CancellationToken,
    ) -> anyhow::Result<()> {
        follow::follow(&self.shared, log, stop).await
    }

    /// Videos that fit `query` and that `viewer` may find: public and playable ones, and the viewer's own.
    /// Mistakes in the query's syntax are overlooked; an empty query finds nothing.
    pub fn search(
        &self,
        query: &str,
        viewer: Option<&Owner>,
        offset: usize,
        first: usize,
    ) -> anyhow::Result<Hits> {
        let view = self.shared.view.lock().expect(UNPOISONED).clone();
        let searcher = view.reader.searcher();
        query::search(&searcher, view.fields, query, viewer, offset, first)
    }

    /// Where the index stands.
    pub fn standing(&self) -> crate::reader::Standing {
        let progress = *self.shared.progress.borrow();
        crate::reader::Standing {
            name: NAME,
            commit: progress.commit,
            caught_up: progress.caught_up,
        }
    }

    /// Waits until searches see everything up to the commit position `commit`.
    /// False when that did not happen within `timeout`.
    pub async fn wait_for(&self, commit: u64, timeout: Duration) -> bool {
        let mut progress = self.shared.progress.subscribe();
        let reached = progress.wait_for(|progress| progress.commit >= Some(commit));
        tokio::time::timeout(timeout, reached)
            .await
            .is_ok_and(|reached| reached.is_ok())
    }
}

impl Shared {
    /// Opens the index if it is not. Blocks for the disk.
    fn with_open<T>(
        &self,
        work: impl FnOnce(&mut documents::Open) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let mut slot = self.open.lock().expect(UNPOISONED);
        if let Some(open) = slot.as_mut() {
            return work(open);
        }
        let open = slot.insert(documents::Open::new(&self.dir)?);
        self.show(open);
        work(open)
    }

    /// Lets go of the index, of everything that is pending, and of the lock on the folder.
    fn close(&self) {
        *self.open.lock().expect(UNPOISONED) = None;
    }

    fn begin_anew(&self) -> anyhow::Result<()> {
        let mut slot = self.open.lock().expect(UNPOISONED);
        *slot = None;
        let open = slot.insert(documents::Open::begin(&self.dir)?);
        self.show(open);
        Ok(())
    }

    fn show(&self, open: &documents::Open) {
        *self.view.lock().expect(UNPOISONED) = open.view();
        self.progress.send_replace(open.progress());
    }
}
