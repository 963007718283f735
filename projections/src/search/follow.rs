//! Follows the log into the index.
//!
//! # Invariants
//!
//! * Changes wait a moment for others, so that a commit carries many; searches see them all at once.
//! * An index of another log is not shown to anybody: it is built anew.

use std::{sync::Arc, time::Duration};

use domain::id::VideoId;
use eventlog::{Followed, Log, Recorded};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{NAME, Progress, Shared, documents::Open};
use crate::runner::{self, BackOff, Subject, subject};

/// How long a change waits for others.
const COMMIT_AFTER: Duration = Duration::from_millis(200);

/// How often a checkpoint alone is worth a commit.
const CHECKPOINT_AFTER: Duration = Duration::from_secs(10);

/// More changes than this are committed at once.
const PENDING_MAX: usize = 5000;

pub(super) async fn follow(
    shared: &Arc<Shared>,
    log: Log,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    tokio::select! {
        () = stop.cancelled() => {}
        () = follow_for_ever(shared, &log, &stop) => {}
    }
    Ok(())
}

async fn follow_for_ever(shared: &Arc<Shared>, log: &Log, stop: &CancellationToken) {
    let mut back_off = BackOff::new(NAME);
    loop {
        let from = match begin(shared, log).await {
            Ok(from) => from,
            Err(error) => {
                back_off.wait("open the index", &error).await;
                continue;
            }
        };
        let following = stop.child_token();
        let _stop_following = following.clone().drop_guard();
        let events = log.follow(from, following);
        let Err(error) = apply(shared, from, events).await else {
            continue;
        };
        // The disk is full, or worse. What is committed stays; the rest comes from the log again.
        back_off.wait("write the index", &error).await;
        shared.close();
    }
}

/// Where to go on: after the last commit, if it is this log's.
async fn begin(shared: &Arc<Shared>, log: &Log) -> anyhow::Result<Option<u64>> {
    let epoch = runner::epoch(log, NAME).await.to_string();
    let head = runner::head(log, NAME).await;
    blocking(shared, move |shared| {
        let is_foreign = shared.with_open(|open| {
            let another = open.payload.epoch.as_ref().is_some_and(|its| *its != epoch);
            Ok(another || runner::is_ahead(open.payload.last_event, head))
        })?;
        if is_foreign {
            tracing::warn!(
                "the search index in {} belongs to another log, or is ahead of it: building it anew",
                shared.dir.display()
            );
            shared.begin_anew()?;
        }
        shared.with_open(|open| {
            open.payload.epoch = Some(epoch);
            Ok(open.payload.commit)
        })
    })
    .await
}

/// What was read, and what of it waits for a commit.
struct Reading {
    seen: Option<u64>,
    caught_up: bool,
    /// When what is pending must be committed.
    due: Option<Instant>,
    /// When the checkpoint alone must be.
    due_at_last: Instant,
    committed: Progress,
}

/// Ends when the follower does, or with what went wrong with the disk.
async fn apply(
    shared: &Arc<Shared>,
    from: Option<u64>,
    mut events: mpsc::Receiver<Followed>,
) -> anyhow::Result<()> {
    let committed = Progress {
        commit: from,
        caught_up: shared.progress.borrow().caught_up,
    };
    let mut reading = Reading {
        seen: from,
        caught_up: committed.caught_up,
        due: None,
        due_at_last: Instant::now() + CHECKPOINT_AFTER,
        committed,
    };
    loop {
        let due = reading.due.unwrap_or(reading.due_at_last);
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(due) => reading.commit(shared).await?,
            followed = events.recv() => {
                let Some(followed) = followed else { return Ok(()) };
                if reading.take(shared, &followed)? {
                    reading.commit(shared).await?;
                }
            }
        }
    }
}

impl Reading {
    /// Whether it is time for a commit.
    fn take(&mut self, shared: &Shared, followed: &Followed) -> anyhow::Result<bool> {
        match followed {
            Followed::Event(recorded) => {
                if Some(recorded.commit) <= self.seen {
                    return Ok(false);
                }
                let pending = shared.with_open(|open| fold(open, recorded))?;
                self.seen = Some(recorded.commit);
                if pending > 0 && self.due.is_none() {
                    self.due = Some(Instant::now() + COMMIT_AFTER);
                }
                self.show(shared);
                Ok(pending > PENDING_MAX)
            }
            Followed::Checkpoint(commit) => {
                self.seen = self.seen.max(Some(*commit));
                self.show(shared);
                Ok(false)
            }
            Followed::CaughtUp => {
                let is_first = !self.caught_up;
                self.caught_up = true;
                self.show(shared);
                Ok(is_first || self.due.is_some())
            }
        }
    }

    /// While nothing is pending, searches see everything up to what was read last.
    fn show(&self, shared: &Shared) {
        if self.due.is_some() {
            return;
        }
        shared.progress.send_replace(Progress {
            commit: self.seen,
            caught_up: self.caught_up,
        });
        if let Some(commit) = self.seen {
            metrics::gauge!("kinolog_projection_position", "projection" => NAME).set(commit as f64);
        }
    }

    async fn commit(&mut self, shared: &Arc<Shared>) -> anyhow::Result<()> {
        self.due_at_last = Instant::now() + CHECKPOINT_AFTER;
        let now = Progress {
            commit: self.seen,
            caught_up: self.caught_up,
        };
        if self.due.is_none() && now == self.committed {
            return Ok(());
        }
        blocking(shared, move |shared| {
            shared.with_open(|open| open.commit(now.commit, now.caught_up))
        })
        .await?;
        self.committed = now;
        self.due = None;
        self.show(shared);
        Ok(())
    }
}

/// How many documents wait for a commit after it.
fn fold(open: &mut Open, recorded: &Recorded) -> anyhow::Result<usize> {
    // Reaches the disk with the next commit, which covers it.
    open.payload.last_event = Some(recorded.commit);
    if recorded.type_name.starts_with("views.") {
        return Ok(open.pending());
    }
    match &recorded.event {
        Ok(event) => open.fold(recorded, event)?,
        Err(error) => {
            let video = match subject(recorded) {
                Subject::Video(video) => video,
                Subject::Job(job) => VideoId(job.0),
                Subject::Unknown => VideoId::default(),
            };
            tracing::error!(
                projection = NAME,
                video.id = %video,
                event.position = recorded.commit,
                event.type_name = recorded.type_name,
                error = %error,
                "search stopped video {video}: an event cannot be read; rebuild it with a program that can"
            );
            metrics::counter!("kinolog_projection_stopped_videos", "projection" => NAME)
                .increment(1);
            open.stop(video, format!("at {}: {error}", recorded.commit));
        }
    }
    Ok(open.pending())
}

/// Runs what waits for the disk where it holds up nobody else.
async fn blocking<T: Send + 'static>(
    shared: &Arc<Shared>,
    work: impl FnOnce(&Shared) -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    let shared = shared.clone();
    tokio::task::spawn_blocking(move || work(&shared)).await?
}
