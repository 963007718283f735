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

use domain::id::VideoId;
use tokio::sync::watch;

mod analysis;
mod asked;
mod best;
mod document;
mod documents;
mod follow;
mod highlight;
mod language;
mod offline;
mod query;
mod ranking;
mod schema;
mod sight;
mod spelling;
mod statistics;
mod tally;
mod views;

pub use highlight::{Marker, Part};
pub use offline::Sample;
pub use query::{Hits, OFFSET_MAX, PAGE_MAX, QUERY_CHARS_MAX, Search};
pub use ranking::{Ranking, Weights};
pub use sight::Filter;
pub use tally::{DURATIONS_MS, Facets, HEIGHTS, TAGS_MAX};
pub use views::follow_views;

pub const NAME: &str = "search";

const UNPOISONED: &str = "nothing panics while it holds this lock";

/// A cheap handle.
#[derive(Clone)]
pub struct Index {
    shared: Arc<Shared>,
}

struct Shared {
    dir: PathBuf,
    ranking: Ranking,
    views: Mutex<Arc<views::Views>>,
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

impl Index {
    /// Opens the index in `dir`, or begins a new one there. Blocks for the disk.
    pub fn open(dir: &Path, ranking: Ranking) -> anyhow::Result<Self> {
        let open = documents::Open::new(dir, ranking.weights)?;
        Ok(Self {
            shared: Arc::new(Shared {
                dir: dir.to_owned(),
                ranking,
                views: Mutex::default(),
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

    /// Videos that fit what is asked and that the viewer may find: public and playable ones, and the
    /// viewer's own. Blocks for the disk.
    pub fn search(&self, search: &Search) -> anyhow::Result<Hits> {
        let view = self.shared.view.lock().expect(UNPOISONED).clone();
        let views = self.views();
        let factors = ranking::Factors::new(self.shared.ranking, &views, search.now_ms);
        query::search(&view.reader.searcher(), view.fields, search, factors)
    }

    fn views(&self) -> Arc<views::Views> {
        self.shared.views.lock().expect(UNPOISONED).clone()
    }

    fn set_views(&self, views: views::Views) {
        *self.shared.views.lock().expect(UNPOISONED) = Arc::new(views);
    }

    /// Ranks by these views from now on, until they are counted again.
    pub fn rank_by_views(&self, views: impl IntoIterator<Item = (VideoId, u64)>) {
        self.set_views(views::Views::of_videos(views));
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
        let open = slot.insert(documents::Open::new(&self.dir, self.ranking.weights)?);
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
        let open = slot.insert(documents::Open::begin(&self.dir, self.ranking.weights)?);
        self.show(open);
        Ok(())
    }

    fn show(&self, open: &documents::Open) {
        *self.view.lock().expect(UNPOISONED) = open.view();
        self.progress.send_replace(open.progress());
    }
}
