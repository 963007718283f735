//! `Read` with a count: some events of a stream or of the log, in either direction.

use tonic::Status;

use super::pages::{self, OfStream, Shape, Sieve, Step};
use super::{Node, answers, convert, status};
use crate::protocol::streams::ReadResp;
use crate::protocol::streams::read_resp::{Content, StreamNotFound};
use crate::store::Direction;

/// The page of EventStoreDB, by which it tells a read where the stream begins.
const TOLD_FIRST_PAGE: u64 = 32;

pub(super) type Responses = answers::Responses<ReadResp>;

pub(super) struct StreamRead {
    pub(super) stream: String,
    pub(super) from: u64,
    pub(super) direction: Direction,
    pub(super) count: u64,
    pub(super) shape: Shape,
    /// Whether the client also knows messages with the first and last revision.
    pub(super) with_ends: bool,
}

impl StreamRead {
    /// Whether there is nothing of the stream where the read begins, so that it goes on at
    /// its first event. Clients are told so by the page, and count on its size.
    fn skips_to(&self, first: u64) -> bool {
        let page = self.count.clamp(1, TOLD_FIRST_PAGE);
        self.direction == Direction::Forwards && self.from.saturating_add(page) <= first
    }
}

pub(super) async fn stream(
    node: Node,
    read: StreamRead,
    responses: Responses,
) -> Result<(), Status> {
    let mut from = read.from;
    let mut left = read.count;
    let mut begun = false;
    loop {
        let name = read.stream.clone();
        let (direction, shape) = (read.direction, read.shape);
        let page = node
            .store
            .blocking(move |store| pages::of_stream(store, &name, from, direction, left, shape))
            .await?;
        match page {
            OfStream::Tombstoned => return Err(status::stream_deleted(&read.stream)),
            // It went away between two pages: what was sent is all there is.
            OfStream::Missing if begun => return Ok(()),
            OfStream::Missing => {
                let missing = StreamNotFound {
                    stream_identifier: Some(convert::identifier(&read.stream)),
                };
                let missing = convert::response(Content::StreamNotFound(missing));
                return send(&responses, missing).await;
            }
            OfStream::Found {
                first,
                last,
                events,
                next,
            } => {
                if !begun && read.with_ends && read.skips_to(first) {
                    let first = convert::response(Content::FirstStreamPosition(first));
                    send(&responses, first).await?;
                }
                begun = true;
                left -= (events.len() as u64).min(left);
                send_all(&responses, events).await?;
                match next {
                    Some(next) if left > 0 => from = next,
                    Some(_) | None => {
                        if read.with_ends {
                            let last = convert::response(Content::LastStreamPosition(last));
                            send(&responses, last).await?;
                        }
                        return Ok(());
                    }
                }
            }
        }
    }
}

pub(super) struct AllRead {
    pub(super) from: u64,
    pub(super) direction: Direction,
    pub(super) count: u64,
    pub(super) sieve: Option<Sieve>,
    pub(super) shape: Shape,
}

pub(super) async fn all(node: Node, read: AllRead, responses: Responses) -> Result<(), Status> {
    let AllRead {
        mut from,
        direction,
        count: mut left,
        mut sieve,
        shape,
    } = read;
    while left > 0 {
        let page = node
            .store
            .blocking(move |store| pages::of_all(store, from, direction, left, sieve, shape))
            .await?;
        sieve = page.sieve;
        let events = page.steps.into_iter().filter_map(|step| match step {
            Step::Event(event) => Some(event),
            // Checkpoints are for subscriptions.
            Step::Checkpoint(_) => None,
        });
        let events: Vec<ReadResp> = events.collect();
        left -= (events.len() as u64).min(left);
        send_all(&responses, events).await?;
        match page.last {
            Some(last) if !page.ended => {
                from = match direction {
                    Direction::Forwards => last + 1,
                    Direction::Backwards => last,
                }
            }
            Some(_) | None => return Ok(()),
        }
    }
    Ok(())
}

pub(super) async fn send(responses: &Responses, response: ReadResp) -> Result<(), Status> {
    send_all(responses, vec![response]).await
}

pub(super) async fn send_all(responses: &Responses, page: Vec<ReadResp>) -> Result<(), Status> {
    responses
        .send(Ok(page))
        .await
        .map_err(|_| Status::cancelled("the client is gone"))
}
