//! A stream of answers: worked out beside its call, as fast as the client takes them.
//!
//! # Invariants
//!
//! * Answers end with success only when their work said so. Cut short by the node's end
//!   they end with an error, which clients take for a reason to reconnect.
//! * An error before the first answer refuses the call itself: some clients look for it
//!   only there.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures::Stream;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::Status;

use super::{Node, status};
use crate::limits::READ_BUFFER_PAGES;

/// Where work puts its answers, a page at a time.
pub(super) type Responses<T> = mpsc::Sender<Result<Vec<T>, Status>>;

impl Node {
    /// Answers that go on until the client leaves: only so many at once.
    pub(super) fn subscription<T, F>(
        &self,
        deadline: Option<Instant>,
        work: impl FnOnce(Responses<T>) -> F,
    ) -> Result<Answers<T>, Status>
    where
        T: Send + 'static,
        F: Future<Output = Result<(), Status>> + Send + 'static,
    {
        let permit = self
            .subscriptions
            .clone()
            .try_acquire_owned()
            .map_err(|_| Status::unavailable("too many subscriptions are open"))?;
        Ok(self.answers(deadline, |responses| {
            let work = work(responses);
            async move {
                let _permit = permit;
                work.await
            }
        }))
    }

    /// Runs what answers a call beside it, bounded by how fast the client takes answers.
    pub(super) fn answers<T, F>(
        &self,
        deadline: Option<Instant>,
        work: impl FnOnce(Responses<T>) -> F,
    ) -> Answers<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<(), Status>> + Send + 'static,
    {
        let (responses, queue) = mpsc::channel(READ_BUFFER_PAGES);
        let complete = Arc::new(AtomicBool::new(false));
        let answers = Answers {
            page: vec![].into_iter(),
            queue,
            complete: complete.clone(),
            ended: false,
        };
        let work = in_time(deadline, work(responses.clone()));
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let run = async {
                match work.await {
                    Ok(()) => complete.store(true, Ordering::Release),
                    // Nobody to tell if the client is gone.
                    Err(status) => drop(responses.send(Err(status)).await),
                }
            };
            // Cut short, the answers end with an error: `complete` is not set.
            stop.run_until_cancelled(run).await;
        });
        answers
    }
}

async fn in_time(
    deadline: Option<Instant>,
    work: impl Future<Output = Result<(), Status>>,
) -> Result<(), Status> {
    match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline, work)
            .await
            .unwrap_or_else(|_| Err(Status::deadline_exceeded("Deadline Exceeded"))),
        None => work.await,
    }
}

/// The answers of one call.
pub(super) struct Answers<T> {
    page: std::vec::IntoIter<T>,
    queue: mpsc::Receiver<Result<Vec<T>, Status>>,
    complete: Arc<AtomicBool>,
    ended: bool,
}

impl<T> Answers<T> {
    /// Waits until there is a first answer, or none.
    pub(super) async fn begun(mut self) -> Result<Self, Status> {
        while self.page.len() == 0 && !self.ended {
            match self.queue.recv().await {
                Some(Ok(page)) => self.page = page.into_iter(),
                Some(Err(status)) => return Err(status),
                None if self.complete.load(Ordering::Acquire) => self.ended = true,
                None => return Err(status::stopping()),
            }
        }
        Ok(self)
    }
}

impl<T: Unpin> Stream for Answers<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(answer) = self.page.next() {
                return Poll::Ready(Some(Ok(answer)));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            match std::task::ready!(self.queue.poll_recv(context)) {
                Some(Ok(page)) => self.page = page.into_iter(),
                Some(Err(status)) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(status)));
                }
                None => {
                    self.ended = true;
                    if !self.complete.load(Ordering::Acquire) {
                        return Poll::Ready(Some(Err(status::stopping())));
                    }
                }
            }
        }
    }
}
