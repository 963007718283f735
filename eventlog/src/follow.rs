//! The whole log from a position on, for ever, into a bounded channel.
//!
//! # Invariants
//!
//! * Every event of ours after the position comes once and in order, through any number of
//!   reconnects.
//! * Checkpoints reach every position, also where the log holds nothing of ours.
//! * `next_subscription_event` is not cancel-safe: a subscription belongs to one task, which
//!   drops it when it is interrupted and never asks it again.

use std::sync::Arc;

use eventstore::{
    Error, Position, StreamPosition, SubscribeToAllOptions, Subscription, SubscriptionEvent,
    SubscriptionFilter,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    LogError, Recorded,
    connection::{BackOff, Connection},
    entry::Selection,
    recorded::Raw,
};

/// How many events wait for a slow reader.
const EVENTS_WAITING_MAX: usize = 1024;
/// After how many foreign events a checkpoint comes.
const CHECKPOINT_EVENTS: u32 = 64;

/// What a follower of the log hears.
#[derive(Debug)]
pub enum Followed<E = Recorded> {
    Event(E),
    /// Everything of ours up to here was delivered.
    Checkpoint(u64),
    /// The end of the log was reached; what comes from now on is new.
    CaughtUp,
}

/// Ends when `stop` is cancelled or the reader is gone. An end before that is a bug.
pub(crate) async fn run<E: From<Raw>>(
    connection: Arc<Connection>,
    selection: Selection,
    from: Option<u64>,
    stop: CancellationToken,
    reader: mpsc::Sender<Followed<E>>,
) {
    let follower = Follower {
        connection: &connection,
        selection: &selection,
        last: from,
        reader: &reader,
        back_off: BackOff::default(),
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = reader.closed() => {}
        () = follower.follow() => {}
    }
}

pub(crate) fn channel<E>() -> (mpsc::Sender<Followed<E>>, mpsc::Receiver<Followed<E>>) {
    mpsc::channel(EVENTS_WAITING_MAX)
}

struct Follower<'a, E> {
    connection: &'a Connection,
    selection: &'a Selection,
    /// Up to here everything was delivered.
    last: Option<u64>,
    reader: &'a mpsc::Sender<Followed<E>>,
    back_off: BackOff,
}

/// Why a subscription came to its end.
enum Ended {
    Lost(Error),
    Unusable(LogError),
    NoReader,
}

impl<E: From<Raw>> Follower<'_, E> {
    async fn follow(mut self) {
        let mut is_lost = false;
        loop {
            let subscription = match self.connection.client() {
                Ok(connected) => {
                    let mut subscription = connected.client.subscribe_to_all(&self.options()).await;
                    let ended = self.deliver(&mut subscription, &mut is_lost).await;
                    if let Ended::Lost(error) = &ended {
                        self.connection.saw(&connected, error);
                    }
                    ended
                }
                Err(error) => Ended::Lost(error),
            };
            match subscription {
                Ended::NoReader => return,
                Ended::Lost(error) if is_lost => {
                    tracing::debug!(%error, "the event log is still away");
                }
                Ended::Lost(error) => {
                    tracing::warn!(%error, "lost the event log, looking for it");
                }
                Ended::Unusable(error) => {
                    tracing::error!(%error, "the event log cannot be followed, trying again");
                }
            }
            is_lost = true;
            tokio::time::sleep(self.back_off.next()).await;
        }
    }

    fn options(&self) -> SubscribeToAllOptions {
        let from = match self.last {
            None => StreamPosition::Start,
            Some(commit) => StreamPosition::Position(Position {
                commit,
                prepare: commit,
            }),
        };
        SubscribeToAllOptions::default()
            .position(from)
            .filter(self.filter())
    }

    fn filter(&self) -> SubscriptionFilter {
        let (filter, prefixes) = match self.selection {
            Selection::Types(prefixes) => (SubscriptionFilter::on_event_type(), prefixes),
            Selection::Streams(prefixes) => (SubscriptionFilter::on_stream_name(), prefixes),
        };
        prefixes.iter().fold(
            filter.max(CHECKPOINT_EVENTS),
            SubscriptionFilter::add_prefix,
        )
    }

    async fn deliver(&mut self, subscription: &mut Subscription, is_lost: &mut bool) -> Ended {
        loop {
            let event = match subscription.next_subscription_event().await {
                Ok(event) => event,
                Err(error) => return Ended::Lost(error),
            };
            if std::mem::take(is_lost) {
                tracing::info!("found the event log again");
            }
            self.back_off.reset();
            let delivered = match event {
                SubscriptionEvent::EventAppeared(resolved) => match Raw::new(resolved) {
                    Some(Ok(raw)) => self.event(raw).await,
                    Some(Err(error)) => return Ended::Unusable(error),
                    None => continue,
                },
                SubscriptionEvent::Checkpoint(position) => self.checkpoint(position.commit).await,
                SubscriptionEvent::CaughtUp => self.caught_up().await,
                SubscriptionEvent::Confirmed(_)
                | SubscriptionEvent::FirstStreamPosition(_)
                | SubscriptionEvent::LastStreamPosition(_)
                | SubscriptionEvent::LastAllPosition(_)
                | SubscriptionEvent::FellBehind => continue,
            };
            if delivered.is_err() {
                return Ended::NoReader;
            }
        }
    }

    async fn event(&mut self, raw: Raw) -> Result<(), NoReader> {
        let commit = raw.commit;
        // A server may repeat the event we resumed after.
        if self.last.is_some_and(|last| commit <= last) {
            return Ok(());
        }
        self.send(Followed::Event(raw.into())).await?;
        self.last = Some(commit);
        Ok(())
    }

    async fn checkpoint(&mut self, commit: u64) -> Result<(), NoReader> {
        if self.last.is_some_and(|last| commit <= last) {
            return Ok(());
        }
        self.send(Followed::Checkpoint(commit)).await?;
        self.last = Some(commit);
        Ok(())
    }

    /// The server does not say where it caught up: at the last place we heard of.
    async fn caught_up(&mut self) -> Result<(), NoReader> {
        if let Some(last) = self.last {
            self.send(Followed::Checkpoint(last)).await?;
        }
        self.send(Followed::CaughtUp).await
    }

    async fn send(&self, followed: Followed<E>) -> Result<(), NoReader> {
        self.reader.send(followed).await.map_err(|_| NoReader)
    }
}

struct NoReader;
