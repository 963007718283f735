//! What every projection has in common: follows the log from the stored checkpoint, in batches.
//!
//! # Invariants
//!
//! * A batch that was refused by the fence leads back to the stored checkpoint, never around it.
//! * Nothing is skipped: a store that is away is waited for, however long.
//! * A read model of another log, or one that knows more than its log, is left alone, loudly.
//! * Who follows holds the lease, and stops when it may be another's.

use std::time::Duration;

use domain::{
    fact::AnyEvent,
    id::{JobId, VideoId},
};
use eventlog::{Epoch, Followed, Log, Recorded};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{Config, lease::Lease, store::Checkpoint, verify::Digest};

const BATCH_EVENTS_MAX: usize = 500;
const BATCH_TIME_MAX: Duration = Duration::from_millis(50);

/// How often an idle projection looks whether its store still knows what it wrote there.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Who was not fenced for so long is alone.
const UNDISTURBED: Duration = Duration::from_secs(60);

const BACK_OFF_MIN: Duration = Duration::from_millis(100);
const BACK_OFF_MAX: Duration = Duration::from_secs(5);

/// A piece of the log.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// The commit position it begins after; `None` at the beginning of the log.
    pub from: Option<u64>,
    /// The last commit position it covers, whether or not there is an event of ours.
    pub to: Option<u64>,
    pub events: Vec<Recorded>,
    /// The end of the log was reached with it.
    pub caught_up: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Applied {
    Yes,
    /// The store stands elsewhere: nothing was written.
    Fenced,
}

/// A read model that is written. An error means that the store is away, or answers as if it were:
/// the same is tried again.
pub(crate) trait Projection: Send {
    const NAME: &'static str;
    /// Raised whenever the same events give other rows: a new generation is built, and serves when it is whole.
    const VERSION: i64;
    /// While it is there, nobody moves the checkpoint, at least for a moment.
    type Held: Send;

    /// One generation of it.
    fn open(config: &Config, generation: i64) -> anyhow::Result<Self>
    where
        Self: Sized;

    /// What to do to have this generation rebuilt from the log.
    fn rebuild(&self) -> String;

    /// Makes the store ready to be written by us and nobody else, and says where it stands.
    fn prepare(&mut self, epoch: Epoch) -> impl Future<Output = anyhow::Result<Checkpoint>> + Send;

    /// Where the store stands; `None` if it lost everything.
    fn checkpoint(&mut self) -> impl Future<Output = anyhow::Result<Option<Checkpoint>>> + Send;

    /// Applies the whole batch and moves the checkpoint, or neither. Fenced, too, when another took over.
    fn apply(
        &mut self,
        epoch: Epoch,
        batch: &Batch,
    ) -> impl Future<Output = anyhow::Result<Applied>> + Send;

    /// What it says, in one snapshot.
    fn digest(&mut self) -> impl Future<Output = anyhow::Result<Digest>> + Send;

    /// Holds still whoever writes it, and says where it stands.
    fn hold(
        &mut self,
        epoch: Epoch,
    ) -> impl Future<Output = anyhow::Result<(Self::Held, Option<u64>)>> + Send;

    /// Deletes the whole generation.
    fn erase(&mut self) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// Keeps the read model up to date until `stop`, whenever the lease is ours; fails only when going on
/// would be wrong.
pub(crate) async fn run<P: Projection>(
    mut projection: P,
    lease: Lease,
    log: Log,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let following = async {
        loop {
            lease.taken().await;
            tokio::select! {
                ended = follow_for_ever(&mut projection, &log, &stop) => return ended,
                () = lease.lost() => tracing::warn!(
                    projection = P::NAME,
                    "the lease of {} may be another's: standing by",
                    P::NAME
                ),
            }
        }
    };
    let ended = tokio::select! {
        () = stop.cancelled() => Ok(()),
        ended = following => ended,
    };
    lease.given_back().await;
    ended
}

pub(crate) async fn follow_for_ever<P: Projection>(
    projection: &mut P,
    log: &Log,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let mut fenced = BackOff::new(P::NAME);
    loop {
        let epoch = epoch(log, P::NAME).await;
        let mut back_off = BackOff::new(P::NAME);
        let checkpoint = loop {
            match projection.prepare(epoch).await {
                Ok(checkpoint) => break checkpoint,
                Err(error) => back_off.wait("prepare the store", &error).await,
            }
        };
        let rebuild = projection.rebuild();
        check_epoch(P::NAME, &rebuild, &checkpoint, epoch)?;
        check_head(P::NAME, &rebuild, &checkpoint, log).await?;
        tracing::info!(
            projection = P::NAME,
            commit = checkpoint.commit,
            "{} follows the log",
            P::NAME
        );
        let following = stop.child_token();
        let _stop_following = following.clone().drop_guard();
        let events = log.follow(checkpoint.commit, following);
        let began = Instant::now();
        apply_until_fenced(projection, epoch, checkpoint, events).await;
        if began.elapsed() > UNDISTURBED {
            fenced.reset();
        }
        // Another took over or the store lost something. The pause leaves the other room for its work.
        let error = anyhow::anyhow!("its checkpoint is not where it was left");
        fenced.wait("go on where it was", &error).await;
    }
}

/// Returns when the store stands elsewhere than we left it.
async fn apply_until_fenced<P: Projection>(
    projection: &mut P,
    epoch: Epoch,
    checkpoint: Checkpoint,
    mut events: mpsc::Receiver<Followed>,
) {
    let Checkpoint {
        mut commit,
        mut caught_up,
        ..
    } = checkpoint;
    let mut back_off = BackOff::new(P::NAME);
    loop {
        let Ok(batch) = tokio::time::timeout(LOOK_EVERY, next_batch(&mut events, commit)).await
        else {
            match projection.checkpoint().await {
                Ok(Some(found)) if found.commit == commit => continue,
                Ok(_) => return,
                Err(error) => {
                    back_off.wait("read the checkpoint", &error).await;
                    continue;
                }
            }
        };
        // The follower ends only with us.
        let Some(batch) = batch else { return };
        if batch.to == commit && batch.events.is_empty() && (caught_up || !batch.caught_up) {
            continue;
        }
        let applied = loop {
            match projection.apply(epoch, &batch).await {
                Ok(applied) => break applied,
                // Whether it was written is not known: the fence will tell.
                Err(error) => back_off.wait("apply a batch", &error).await,
            }
        };
        if applied == Applied::Fenced {
            return;
        }
        back_off.reset();
        commit = batch.to;
        caught_up |= batch.caught_up;
    }
}

/// What there is by now, or the next thing that comes. `None` when the follower has ended.
pub(crate) async fn next_batch(
    events: &mut mpsc::Receiver<Followed>,
    from: Option<u64>,
) -> Option<Batch> {
    let mut batch = Batch {
        from,
        to: from,
        ..Batch::default()
    };
    batch.add(events.recv().await?);
    // No await from here on: what was taken out of the channel is not lost.
    let deadline = Instant::now() + BATCH_TIME_MAX;
    while batch.events.len() < BATCH_EVENTS_MAX && Instant::now() < deadline {
        let Ok(followed) = events.try_recv() else {
            break;
        };
        batch.add(followed);
    }
    Some(batch)
}

impl Batch {
    fn add(&mut self, followed: Followed) {
        match followed {
            Followed::Event(recorded) => {
                // Positions start at 0, so that `None` is before all of them.
                if Some(recorded.commit) > self.to {
                    self.to = Some(recorded.commit);
                    self.events.push(recorded);
                }
            }
            Followed::Checkpoint(commit) => self.to = self.to.max(Some(commit)),
            Followed::CaughtUp => self.caught_up = true,
        }
    }

    pub(crate) fn last_event(&self) -> Option<u64> {
        self.events.last().map(|recorded| recorded.commit)
    }
}

pub(crate) async fn epoch(log: &Log, name: &'static str) -> Epoch {
    let mut back_off = BackOff::new(name);
    loop {
        match log.epoch().await {
            Ok(epoch) => return epoch,
            Err(error) => back_off.wait("read the log's epoch", &error.into()).await,
        }
    }
}

/// Whether a read model knows an event that its log has not. Where the log's last event is not known,
/// nothing can be said.
pub(crate) fn is_ahead(last_event: Option<u64>, head: Option<u64>) -> bool {
    head.is_some() && last_event > head
}

/// The last event of ours in the log.
pub(crate) async fn head(log: &Log, name: &'static str) -> Option<u64> {
    let mut back_off = BackOff::new(name);
    loop {
        match log.head().await {
            Ok(head) => return head,
            Err(error) => back_off.wait("read the log's head", &error.into()).await,
        }
    }
}

fn check_epoch(
    name: &str,
    rebuild: &str,
    checkpoint: &Checkpoint,
    epoch: Epoch,
) -> anyhow::Result<()> {
    anyhow::ensure!(
        checkpoint.epoch == epoch.to_string(),
        "the read model {name} belongs to another log: it was built from epoch {}, this log is epoch {epoch}. \
         Name the log it belongs to, or have it rebuilt from this one: {rebuild}",
        checkpoint.epoch,
    );
    Ok(())
}

/// A log that was restored from a backup has forgotten what the read model still tells.
async fn check_head(
    name: &'static str,
    rebuild: &str,
    checkpoint: &Checkpoint,
    log: &Log,
) -> anyhow::Result<()> {
    let Some(last_event) = checkpoint.last_event else {
        return Ok(());
    };
    let head = head(log, name).await;
    anyhow::ensure!(
        !is_ahead(Some(last_event), head),
        "the read model {name} is ahead of its log: it knows the event at {last_event}, the log ends at {}. \
         The log has lost its end, for example by being restored from a backup. Have it rebuilt: {rebuild}",
        head.unwrap_or(0),
    );
    Ok(())
}

/// What an event stands for when it cannot be read: all that is left is its stream's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    Video(VideoId),
    Job(JobId),
    Unknown,
}

pub(crate) fn subject(recorded: &Recorded) -> Subject {
    match &recorded.event {
        Ok(AnyEvent::Video(fact)) => Subject::Video(fact.video),
        Ok(AnyEvent::Job(fact)) => Subject::Video(fact.video),
        Ok(AnyEvent::Views(fact)) => Subject::Video(fact.video),
        Err(_) => subject_of_stream(&recorded.stream),
    }
}

fn subject_of_stream(stream: &str) -> Subject {
    const UUID_CHARS: usize = 36;
    let Some((category, rest)) = stream.split_once('-') else {
        return Subject::Unknown;
    };
    let Some(id) = rest.get(..UUID_CHARS) else {
        return Subject::Unknown;
    };
    match category {
        "video" | "views" => id.parse().map_or(Subject::Unknown, Subject::Video),
        "job" => id.parse().map_or(Subject::Unknown, Subject::Job),
        _ => Subject::Unknown,
    }
}

/// Says once what is wrong, and waits longer each time.
pub(crate) struct BackOff {
    name: &'static str,
    next: Duration,
}

impl BackOff {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            next: BACK_OFF_MIN,
        }
    }

    pub(crate) async fn wait(&mut self, doing: &str, error: &anyhow::Error) {
        if self.next == BACK_OFF_MIN {
            tracing::warn!(
                projection = self.name,
                error = format!("{error:#}"),
                "{} failed to {doing}, trying until it works",
                self.name
            );
        }
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 2).min(BACK_OFF_MAX);
    }

    pub(crate) fn reset(&mut self) {
        self.next = BACK_OFF_MIN;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_video_of_an_unreadable_event_is_known_by_its_stream() {
        let id = "0198f2a0-0000-7000-8000-000000000001";
        let video = Subject::Video(id.parse().unwrap());
        assert_eq!(subject_of_stream(&format!("video-{id}")), video);
        assert_eq!(subject_of_stream(&format!("views-{id}-2026-01-31")), video);
        assert_eq!(
            subject_of_stream(&format!("job-{id}")),
            Subject::Job(id.parse().unwrap())
        );
        assert_eq!(subject_of_stream("video-x"), Subject::Unknown);
        assert_eq!(subject_of_stream("platform"), Subject::Unknown);
    }

    #[tokio::test]
    async fn a_batch_takes_what_is_there_and_moves_over_gaps() {
        let (sender, mut events) = mpsc::channel(8);
        sender.send(Followed::Checkpoint(7)).await.unwrap();
        sender.send(Followed::CaughtUp).await.unwrap();
        let batch = next_batch(&mut events, Some(3)).await.unwrap();
        assert_eq!((batch.from, batch.to), (Some(3), Some(7)));
        assert!(batch.caught_up && batch.events.is_empty());
        drop(sender);
        assert!(next_batch(&mut events, Some(7)).await.is_none());
    }
}
