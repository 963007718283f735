//! `Read` as a subscription: what is there, then whatever comes.
//!
//! # Invariants
//!
//! * It never ends by itself with success: clients take that for an invitation to spin.
//! * More news at once than a live subscription would hold are read as history: the client
//!   hears that it has caught up again. That it fell behind is told to those who ask.
//! * History and news are read the same way, by position, so nothing is missed or
//!   repeated between them; a slow client reads history again.
//! * A filtered subscription is never far behind the log: it is told how far it is at
//!   every interval, on going live, and when the log falls silent.

use std::time::SystemTime;

use tokio::sync::watch;
use tonic::Status;
use uuid::Uuid;

use super::pages::{self, OfStream, Shape, Sieve, Step};
use super::read::{Responses, send, send_all};
use super::{Node, convert, status};
use crate::limits::{CHECKPOINT_IDLE, LIVE_EVENTS_MAX, PAGE_EVENTS_MAX};
use crate::protocol::streams::ReadResp;
use crate::protocol::streams::read_resp::{
    CaughtUp, Checkpoint, Content, FellBehind, Position, SubscriptionConfirmation,
};
use crate::store::{Direction, Store};

pub(super) struct AllSubscription {
    /// The first position to look at, `None` for whatever comes next.
    pub(super) from: Option<u64>,
    pub(super) sieve: Option<Sieve>,
    pub(super) shape: Shape,
    /// Whether the client knows a message for it.
    pub(super) tells_falling_behind: bool,
}

pub(super) async fn all(
    node: Node,
    subscription: AllSubscription,
    responses: Responses,
) -> Result<(), Status> {
    let mut head = node.store.head();
    let AllSubscription {
        from,
        mut sieve,
        shape,
        tells_falling_behind,
    } = subscription;
    // Positions begin at 1: an empty log, whose head is 0, has no page to look at.
    let mut from = from
        .unwrap_or_else(|| head.borrow().saturating_add(1))
        .max(1);
    let (mut live, mut was_live) = (false, false);
    let mut told = from;
    send(&responses, confirmation()).await?;
    loop {
        let seen = *head.borrow_and_update();
        if from > seen {
            if !live {
                // Later, its last event says it as well.
                if sieve.is_some() && from > 1 && (!was_live || told < from) {
                    send(&responses, checkpoint(from - 1)).await?;
                    told = from;
                }
                send(&responses, caught_up(Place::after_all(from))).await?;
                live = true;
                was_live = true;
            }
            let silent = sieve.is_some() && told < from;
            if wait(&mut head, &responses, silent).await? == Woken::Silence {
                send(&responses, checkpoint(from - 1)).await?;
                told = from;
            }
            continue;
        }
        let page = node
            .store
            .blocking(move |store| {
                let direction = Direction::Forwards;
                pages::of_all(store, from, direction, u64::MAX, sieve, shape)
            })
            .await?;
        sieve = page.sieve;
        if live && (!page.ended || page.steps.len() > LIVE_EVENTS_MAX) {
            if tells_falling_behind {
                send(&responses, fell_behind(Place::after_all(from))).await?;
            }
            live = false;
        }
        if let Some(last) = page.last {
            from = last + 1;
        }
        let news = page.steps.into_iter().map(|step| match step {
            Step::Event(event) => {
                told = position_of(&event).map_or(told, |position| position + 1);
                event
            }
            Step::Checkpoint(position) => {
                told = position + 1;
                checkpoint(position)
            }
        });
        let news = news.collect();
        send_all(&responses, news).await?;
    }
}

pub(super) struct StreamSubscription {
    pub(super) stream: String,
    /// The first revision to send, `None` for whatever comes next.
    pub(super) from: Option<u64>,
    pub(super) shape: Shape,
    /// Whether the client knows a message for it.
    pub(super) tells_falling_behind: bool,
}

pub(super) async fn stream(
    node: Node,
    subscription: StreamSubscription,
    responses: Responses,
) -> Result<(), Status> {
    let mut head = node.store.head();
    let StreamSubscription {
        stream,
        from,
        shape,
        tells_falling_behind,
    } = subscription;
    let mut from = match from {
        Some(from) => from,
        None => {
            let name = stream.clone();
            let next = move |store: &Store| store.next_revision(&name);
            node.store.blocking(next).await?
        }
    };
    let (mut live, mut confirmed) = (false, false);
    loop {
        head.mark_unchanged();
        let before = Place::after_revision(from);
        let name = stream.clone();
        let page = node
            .store
            .blocking(move |store| {
                let max = PAGE_EVENTS_MAX as u64;
                pages::of_stream(store, &name, from, Direction::Forwards, max, shape)
            })
            .await?;
        let (events, next) = match page {
            OfStream::Tombstoned => return Err(status::stream_deleted(&stream)),
            OfStream::Missing => (vec![], None),
            OfStream::Found {
                last, events, next, ..
            } => {
                from = next.unwrap_or(from.max(last + 1));
                (events, next)
            }
        };
        if !confirmed {
            send(&responses, confirmation()).await?;
            confirmed = true;
        }
        if live && (next.is_some() || events.len() > LIVE_EVENTS_MAX) {
            if tells_falling_behind {
                send(&responses, fell_behind(before)).await?;
            }
            live = false;
        }
        send_all(&responses, events).await?;
        if next.is_none() {
            if !live {
                send(&responses, caught_up(Place::after_revision(from))).await?;
                live = true;
            }
            wait(&mut head, &responses, false).await?;
        }
    }
}

#[derive(PartialEq, Eq)]
enum Woken {
    News,
    Silence,
}

/// Waits for something new in the log; if asked to, only for a while.
async fn wait(
    head: &mut watch::Receiver<u64>,
    responses: &Responses,
    or_silence: bool,
) -> Result<Woken, Status> {
    tokio::select! {
        changed = head.changed() => changed.map(|()| Woken::News).map_err(|_| status::stopping()),
        () = responses.closed() => Err(Status::cancelled("the client is gone")),
        () = tokio::time::sleep(CHECKPOINT_IDLE), if or_silence => Ok(Woken::Silence),
    }
}

fn position_of(event: &ReadResp) -> Option<u64> {
    use crate::protocol::streams::read_resp::read_event;
    match &event.content {
        Some(Content::Event(event)) => match event.position {
            Some(read_event::Position::CommitPosition(position)) => Some(position),
            Some(read_event::Position::NoPosition(())) | None => None,
        },
        Some(_) | None => None,
    }
}

fn confirmation() -> ReadResp {
    convert::response(Content::Confirmation(SubscriptionConfirmation {
        subscription_id: Uuid::new_v4().to_string(),
    }))
}

fn checkpoint(position: u64) -> ReadResp {
    convert::response(Content::Checkpoint(Checkpoint {
        commit_position: position,
        prepare_position: position,
        timestamp: Some(SystemTime::now().into()),
    }))
}

/// Where a subscription is, as a client may come back to it: a revision in a stream, a
/// position in the log; nothing before the first event.
#[derive(Clone, Copy, Default)]
struct Place {
    revision: Option<i64>,
    position: Option<Position>,
}

impl Place {
    fn after_all(next: u64) -> Self {
        let last = next.checked_sub(1).filter(|last| *last > 0);
        Self {
            position: last.map(|last| Position {
                commit_position: last,
                prepare_position: last,
            }),
            revision: None,
        }
    }

    fn after_revision(next: u64) -> Self {
        let last = next.checked_sub(1);
        Self {
            revision: last.and_then(|last| i64::try_from(last).ok()),
            position: None,
        }
    }
}

fn caught_up(place: Place) -> ReadResp {
    convert::response(Content::CaughtUp(CaughtUp {
        timestamp: Some(SystemTime::now().into()),
        stream_revision: place.revision,
        position: place.position,
    }))
}

fn fell_behind(place: Place) -> ReadResp {
    convert::response(Content::FellBehind(FellBehind {
        timestamp: Some(SystemTime::now().into()),
        stream_revision: place.revision,
        position: place.position,
    }))
}
