//! The worker's life: claim while there is room, run, report.
//!
//! # Invariants
//!
//! * A claim whose answer was lost is repeated with the same id: no task is taken twice,
//!   none is taken and forgotten.
//! * At most one claim is open at a time, and it says what is free now: when a task ends it is
//!   asked again, under the same id. So two answers never count on the same memory.
//! * It goes for want of work only after an answer that says so: no answer is left behind.
//! * No more tasks run than there are slots, and what they need together was free.

use std::time::Duration;

use anyhow::Context;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::attempt::{self, Patience};
use crate::launch::Launcher;
use crate::link::{Link, LinkError, first_pause, longer};

/// How long running attempts may take to end once they are told to.
const STOP_WAIT: Duration = Duration::from_secs(5);

pub struct Settings {
    /// Take one task only.
    pub once: bool,
    pub patience: Patience,
    /// End after so long without a task. `None`: wait for ever.
    pub idle: Option<Duration>,
}

/// What a claim came to.
enum Claimed {
    Task(Box<protocol::Task>),
    Nothing,
    Away,
}

/// Works until stopped, until one task is done, or until idle for long enough.
pub async fn work(
    link: Link,
    launcher: Launcher,
    settings: Settings,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut running = JoinSet::new();
    let worked = claim_and_run(&link, &launcher, &settings, &stop, &mut running).await;
    // Whatever ended it, nothing goes on: the conductor hands it to others.
    stop.cancel();
    let all_ended = async { while running.join_next().await.is_some() {} };
    if timeout(STOP_WAIT, all_ended).await.is_err() {
        tracing::warn!("some attempts did not end in time and are dropped");
    }
    worked
}

async fn claim_and_run(
    link: &Link,
    launcher: &Launcher,
    settings: &Settings,
    stop: &CancellationToken,
    running: &mut JoinSet<()>,
) -> anyhow::Result<()> {
    let capacity = link.capacity();
    let mut request_id = Uuid::new_v4().to_string();
    let mut pause = None;
    let mut taken = false;
    let mut idle_since = Instant::now();
    loop {
        let wants_more = !(settings.once && taken);
        if !wants_more && running.is_empty() {
            return Ok(());
        }
        let idle = settings.idle.filter(|_| running.is_empty());
        let wait = idle.map(|idle| idle.saturating_sub(idle_since.elapsed()));
        let claimed = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            Some(ended) = running.join_next() => {
                idle_since = Instant::now();
                // The open claim is dropped: it is asked again with what is free now.
                ended.context("an attempt panicked")?;
                continue;
            }
            claimed = claim(link, &request_id, pause, wait), if wants_more && capacity.has_room() => claimed?,
        };
        let has_waited = idle.is_some_and(|idle| idle_since.elapsed() >= idle);
        if has_waited && matches!(claimed, Claimed::Nothing) {
            tracing::info!("nothing to do for a while, ending");
            return Ok(());
        }
        match claimed {
            Claimed::Away => {
                pause = Some(pause.map_or(first_pause(), longer));
                continue;
            }
            // The conductor holds a claim open; one that does not is not asked in a rush.
            Claimed::Nothing => pause = Some(first_pause()),
            Claimed::Task(task) => {
                pause = None;
                taken = true;
                let room = capacity.take(&task);
                let (link, launcher, stop) = (link.clone(), launcher.clone(), stop.clone());
                let patience = settings.patience;
                running.spawn(async move {
                    attempt::run(&link, &launcher, *task, patience, &stop).await;
                    drop(room);
                });
            }
        }
        request_id = Uuid::new_v4().to_string();
    }
}

/// One try, after a pause if the one before did not work. May be dropped at any time.
async fn claim(
    link: &Link,
    request_id: &str,
    pause: Option<Duration>,
    wait: Option<Duration>,
) -> anyhow::Result<Claimed> {
    if let Some(pause) = pause {
        sleep(pause).await;
    }
    match link.claim(request_id, wait).await {
        Ok(Some(task)) => Ok(Claimed::Task(Box::new(task))),
        Ok(None) => Ok(Claimed::Nothing),
        Err(LinkError::Token) => Err(LinkError::Token.into()),
        Err(error) => {
            tracing::warn!(error = %error, "failed to claim a task, trying again");
            Ok(Claimed::Away)
        }
    }
}
