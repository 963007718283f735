//! The long-lived tasks of one conductor.
//!
//! # Invariants
//!
//! * When one ends with an error or a panic, all others stop and [`run`] returns that error:
//!   a conductor half alive is harder to notice than a dead one.
//! * Dropping the future of [`run`] ends every task at its next `await`, like a kill would.

use std::{future::Future, time::Duration};

use anyhow::Context;
use futures::future::BoxFuture;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// How many new tasks may wait to be taken in.
const HIRING_MAX: usize = 64;

/// How long the tasks have to end by themselves.
const GRACE: Duration = Duration::from_secs(8);

type Task = BoxFuture<'static, anyhow::Result<()>>;

/// Where new tasks are handed in.
#[derive(Clone)]
pub(crate) struct Crew {
    hire: mpsc::Sender<(&'static str, Task)>,
}

impl Crew {
    /// Starts `task`. After the crew was told to stop it is dropped instead.
    pub(crate) async fn spawn(
        &self,
        name: &'static str,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        if self.hire.send((name, Box::pin(task))).await.is_err() {
            tracing::debug!(task = name, "`{name}` was not started, everything stops");
        }
    }
}

/// Runs `first` and whatever it hands to the crew, until `stop` or the first failure.
pub(crate) async fn run<F>(
    stop: CancellationToken,
    first: impl FnOnce(Crew) -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let (hire, mut hired) = mpsc::channel::<(&'static str, Task)>(HIRING_MAX);
    let mut tasks = JoinSet::new();
    let first = first(Crew { hire });
    tasks.spawn(async move { first.await.context("the leading task failed") });

    let mut failure = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some((name, task)) = hired.recv() => {
                tasks.spawn(async move { task.await.with_context(|| format!("`{name}` failed")) });
            }
            Some(ended) = tasks.join_next() => {
                if let Err(error) = ended.context("a task panicked").flatten() {
                    failure = Some(error);
                    break;
                }
            }
        }
    }
    stop.cancel();
    hired.close();
    let all_ended = async {
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended.context("a task panicked").flatten() {
                failure.get_or_insert(error);
            }
        }
    };
    if tokio::time::timeout(GRACE, all_ended).await.is_err() {
        tracing::warn!("some tasks did not stop in time and were dropped");
    }
    failure.map_or(Ok(()), Err)
}
