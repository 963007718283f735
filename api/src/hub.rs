//! Announcements for everyone who listens here: one reader of the table, a ring of the
//! newest ones, and subscribers who take from it at their own pace.
//!
//! # Invariants
//!
//! * The ring holds everything after its floor. What a cursor wants from before comes from the
//!   table, which may be in the middle of a rebuild: then the ring waits for it. Either way it comes in the order of the log, each once: the cursor only goes forward.
//! * A slow subscriber costs nobody anything: it reads the ring later, or the table.
//! * One task per process asks the table for news, however many listen.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use projections::{
    announcements::{self, Announcement},
    reader::{Model, Reader, Wake},
};
use tokio::sync::{broadcast::error::RecvError, watch};
use tokio_util::sync::CancellationToken;

/// How many announcements the ring holds.
const RING_MAX: usize = 10_000;
/// How many a subscriber takes at a time.
const BATCH_MAX: usize = 256;
/// How long the table goes unread when no wake-up comes.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often someone who waits for a rebuild of the table looks how far it is.
const REBUILT_LOOK_EVERY: Duration = Duration::from_millis(500);
const RETRY_AFTER: Duration = Duration::from_millis(500);

pub(crate) struct Hub {
    reader: Reader,
    ring: Mutex<Ring>,
    /// The last commit position in the ring.
    head: watch::Sender<Option<u64>>,
}

#[derive(Default)]
struct Ring {
    /// All announcements after it are in `items`; `None` before the table was first read.
    floor: Option<u64>,
    items: VecDeque<Arc<Announcement>>,
}

impl Hub {
    pub(crate) fn new(reader: Reader) -> Self {
        Self {
            reader,
            ring: Mutex::default(),
            head: watch::channel(None).0,
        }
    }

    /// Changes when there is news.
    pub(crate) fn heads(&self) -> watch::Receiver<Option<u64>> {
        self.head.subscribe()
    }

    /// The newest announcement's position: where someone begins who wants only what comes.
    pub(crate) async fn newest(&self) -> anyhow::Result<u64> {
        if let Some(head) = *self.head.borrow() {
            return Ok(head);
        }
        Ok(announcements::newest(&self.reader).await?.unwrap_or(0))
    }

    /// Whether everything after `cursor` is still kept.
    pub(crate) async fn keeps(&self, cursor: u64) -> anyhow::Result<bool> {
        let pruned_to = announcements::pruned_to(&self.reader).await?;
        Ok(pruned_to.is_none_or(|pruned_to| cursor >= pruned_to))
    }

    /// The next announcements after `cursor`; none if there are none yet. Cancel-safe.
    pub(crate) async fn after(&self, cursor: u64) -> anyhow::Result<Vec<Arc<Announcement>>> {
        let (floor, rows) = loop {
            let floor = {
                let ring = self.ring.lock().expect("no panic while locked");
                match ring.floor {
                    Some(floor) if cursor >= floor => return Ok(ring.after(cursor)),
                    floor => floor,
                }
            };
            // Asked before the rows: what it says is there is there when these are read.
            let table = self.reader.standing(Model::Announcements).await?;
            let rows = announcements::after(&self.reader, Some(cursor), BATCH_MAX).await?;
            if !rows.is_empty() || table.commit >= floor {
                break (floor, rows);
            }
            // It is being rebuilt. What was before the ring comes back first.
            tokio::time::sleep(REBUILT_LOOK_EVERY).await;
        };
        if !rows.is_empty() {
            return Ok(rows.into_iter().map(Arc::new).collect());
        }
        // Nothing between the cursor and the ring: the ring is next. Its floor may have
        // risen meanwhile; then the table has something, and the next call finds it.
        let ring = self.ring.lock().expect("no panic while locked");
        if floor.is_some() && ring.floor == floor {
            return Ok(ring.after(cursor));
        }
        Ok(vec![])
    }

    /// Keeps the ring up to date until `stop`.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        let mut wakes = self.reader.wakes();
        while !stop.is_cancelled() {
            let pause = match self.read_on().await {
                Ok(0) => LOOK_EVERY,
                Ok(_) => continue,
                Err(error) => {
                    tracing::warn!(
                        error = format!("{error:#}"),
                        "failed to read announcements; trying again"
                    );
                    RETRY_AFTER
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
                () = announced(&mut wakes) => {}
            }
        }
    }

    /// Moves what is new from the table to the ring, and says how much it was.
    async fn read_on(&self) -> anyhow::Result<usize> {
        let head = {
            let ring = self.ring.lock().expect("no panic while locked");
            ring.head()
        };
        let Some(head) = head else {
            let newest = announcements::newest(&self.reader).await?.unwrap_or(0);
            self.ring.lock().expect("no panic while locked").floor = Some(newest);
            self.head.send_replace(Some(newest));
            return Ok(1);
        };
        let rows = announcements::after(&self.reader, Some(head), BATCH_MAX).await?;
        let Some(last) = rows.last().map(|row| row.commit) else {
            return Ok(0);
        };
        let count = rows.len();
        {
            let mut ring = self.ring.lock().expect("no panic while locked");
            for row in rows {
                ring.push(row);
            }
        }
        self.head.send_replace(Some(last));
        Ok(count)
    }
}

impl Ring {
    fn head(&self) -> Option<u64> {
        self.items.back().map(|item| item.commit).or(self.floor)
    }

    fn push(&mut self, item: Announcement) {
        if self.items.len() >= RING_MAX
            && let Some(oldest) = self.items.pop_front()
        {
            self.floor = Some(oldest.commit);
        }
        self.items.push_back(Arc::new(item));
    }

    fn after(&self, cursor: u64) -> Vec<Arc<Announcement>> {
        let from = self.items.partition_point(|item| item.commit <= cursor);
        self.items
            .iter()
            .skip(from)
            .take(BATCH_MAX)
            .cloned()
            .collect()
    }
}

/// Returns when there may be something new.
async fn announced(wakes: &mut tokio::sync::broadcast::Receiver<Wake>) {
    loop {
        match wakes.recv().await {
            Ok(Wake::Video(_)) => {}
            Ok(Wake::Announced(_) | Wake::Anything) | Err(RecvError::Lagged(_)) => return,
            // The sender lives as long as the reader; were it gone, the timer would still look.
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::{
        id::{Owner, VideoId},
        video::{Status, Visibility},
    };
    use projections::announcements::Kind;

    use super::*;

    fn announcement(commit: u64) -> Announcement {
        Announcement {
            commit,
            kind: Kind::Ready,
            video: VideoId::default(),
            owner: Owner::default(),
            visibility: Visibility::Public,
            title: String::new(),
            status: Status::Ready,
            at_ms: 0,
            duration_ms: None,
            width: None,
            height: None,
            failure: None,
        }
    }

    #[test]
    fn a_full_ring_lets_go_of_the_oldest_and_says_so() {
        let mut ring = Ring {
            floor: Some(5),
            ..Ring::default()
        };
        assert_eq!(ring.head(), Some(5));
        for number in 0..RING_MAX as u64 + 2 {
            ring.push(announcement(10 + number));
        }
        assert_eq!(ring.items.len(), RING_MAX);
        // The two oldest are in the table only: whoever has not seen them is sent there.
        assert_eq!(ring.floor, Some(11));
        assert_eq!(ring.after(11)[0].commit, 12);
        assert_eq!(ring.after(11).len(), BATCH_MAX);
        assert_eq!(ring.head(), Some(10 + RING_MAX as u64 + 1));
        assert!(ring.after(10 + RING_MAX as u64 + 1).is_empty());
    }
}
