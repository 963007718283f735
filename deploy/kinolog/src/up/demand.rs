//! Workers on demand: started when tasks wait that no worker takes, gone when there is nothing to do.
//!
//! # Invariants
//!
//! * At most as many run as were asked for, and one is started at a time: the next only if tasks
//!   still wait when that one has had the time to take some.
//! * A worker ends by itself after a while without a task; the supervisor only starts them.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use protocol::{DemandRequest, conductor_client::ConductorClient};
use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};

use super::child::{Board, End, Spec, report_end, run};
use crate::config::Settings;

/// How long the conductor may hold the question open.
const WAIT_MS: u32 = 20_000;
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// How long a new worker has to take its first tasks before another one is started.
const SETTLE: Duration = Duration::from_secs(3);
/// The pause after a conductor that did not answer, and after a worker that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Where to ask.
pub(super) struct Conductor {
    client: ConductorClient<Channel>,
    bearer: MetadataValue<Ascii>,
}

impl Conductor {
    pub(super) fn new(settings: &Settings) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(settings.conductor.clone())
            .context("the conductor's address is not one")?;
        let bearer = format!("Bearer {}", settings.worker_token.0);
        Ok(Self {
            client: ConductorClient::new(endpoint.timeout(ANSWER_MAX).connect_lazy()),
            bearer: bearer.parse().context("the worker token is no header")?,
        })
    }

    /// Whether tasks wait that no worker takes, waiting for some.
    async fn has_work(&self) -> Result<bool, Status> {
        let mut request = Request::new(DemandRequest { wait_ms: WAIT_MS });
        let bearer = self.bearer.clone();
        request.metadata_mut().insert("authorization", bearer);
        let answer = self.client.clone().demand(request).await?;
        Ok(answer.into_inner().tasks > 0)
    }
}

/// Starts the workers of these specifications as they are needed, until `stop`.
pub(super) async fn keep(
    conductor: Conductor,
    mut free: Vec<Spec>,
    board: Arc<Board>,
    stop: CancellationToken,
) {
    let mut running: JoinSet<Spec> = JoinSet::new();
    loop {
        let some_run = !running.is_empty();
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(ended) = running.join_next() => {
                // One that panicked is not started again: its specification is lost with it.
                free.extend(ended.ok());
            }
            has_work = needed(&conductor, some_run), if !free.is_empty() => {
                if has_work && let Some(spec) = free.pop() {
                    running.spawn(once(spec, Arc::clone(&board), stop.clone()));
                }
            }
        }
    }
    while running.join_next().await.is_some() {}
}

/// Asks whether another worker is needed. May be dropped at any time.
async fn needed(conductor: &Conductor, some_run: bool) -> bool {
    if some_run {
        sleep(SETTLE).await;
    }
    match conductor.has_work().await {
        Ok(has_work) => has_work,
        // It is being started again, or another one is about to lead.
        Err(_) => {
            sleep(PAUSE).await;
            false
        }
    }
}

async fn once(spec: Spec, board: Arc<Board>, stop: CancellationToken) -> Spec {
    let End::Reported(pid, ended) = run(&spec, &board, &stop).await else {
        return spec;
    };
    board.clear(&spec.role);
    if !ended.as_ref().is_ok_and(std::process::ExitStatus::success) {
        report_end(&spec, pid, ended);
        tokio::select! {
            () = sleep(PAUSE) => {}
            () = stop.cancelled() => {}
        }
    }
    spec
}
