//! One attempt of one task, from the child's start to the last word to the conductor.
//!
//! # Invariants
//!
//! * Exactly one end is reported, and none after the lease is lost.
//! * "Done" is reported only after every output is stored and published.
//! * A child that shows no sign of life for the stall time is killed, group and all.
//! * A child that uses more memory than it may is killed, group and all.
//! * No attempt goes on for ever: signs of life are the child's word, its deadline is ours.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use prost::Message;
use protocol::task::Spec;
use protocol::{FinishRequest, Lease, Task, finish_request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{ChildStderr, ChildStdin};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::failure::{Code, Failure};
use crate::frames::{Last, frames, wanted};
use crate::launch::{Launched, Launcher};
use crate::lease;
use crate::link::Link;
use crate::memory;
use crate::outputs::{self, OutputError, Outputs};
use crate::source::{self, SourceReader};

/// Objects waiting to be stored; the child waits behind them.
const MADE_MAX: usize = 2;
/// What is kept of the child's messages, in bytes.
const MESSAGES_BYTES_MAX: usize = 16 << 10;
/// How long the child may take to end after its last word.
const EXIT_WAIT: Duration = Duration::from_secs(5);
/// How long its messages may take to end after it is gone.
const MESSAGES_WAIT: Duration = Duration::from_secs(1);
/// Time of an attempt per time of the film: many times what a loaded machine needs.
const TIME_PER_DURATION: u32 = 40;
/// And per size of the source: the slowest store that a whole film is still read from.
const SOURCE_BYTES_PER_SECOND: u64 = 1 << 20;

/// How long a child may go on.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Without a sign of life.
    pub stall: Duration,
    /// In all, on top of what the length and the size of the source allow.
    pub base: Duration,
}

impl Patience {
    fn in_all(&self, task: &Task) -> Duration {
        let duration_ms = match &task.spec {
            Some(Spec::Encode(spec)) => spec.duration_ms,
            Some(Spec::Audio(spec)) => spec.duration_ms,
            Some(Spec::Passthrough(spec)) => spec.duration_ms,
            Some(Spec::Probe(_) | Spec::Poster(_)) | None => 0,
        };
        let size = task.source.as_ref().map_or(0, |source| source.size_bytes);
        Duration::from_millis(duration_ms)
            .saturating_mul(TIME_PER_DURATION)
            .saturating_add(Duration::from_secs(size / SOURCE_BYTES_PER_SECOND))
            .saturating_add(self.base)
    }
}

/// What came of it, before it is reported.
enum Outcome {
    Done(FinishRequest),
    Failed(Failure),
    Lost(String),
    Stopped,
}

pub(crate) async fn run(
    link: &Link,
    launcher: &Launcher,
    task: Task,
    allowed: Patience,
    stop: &CancellationToken,
) {
    let lease = task.lease.clone().unwrap_or_default();
    let patience = Duration::from_millis(task.lease_ms.max(1000).into());
    tracing::info!(
        job.id = lease.job,
        task = lease.task,
        attempt = lease.attempt,
        "began {}",
        lease.task
    );
    let permille = Arc::new(AtomicU32::new(0));
    let beat = Duration::from_millis(task.heartbeat_ms.into());
    let kept = lease::keep(link, &lease, patience, beat, Arc::clone(&permille));
    let outcome = tokio::select! {
        worked = work(link, launcher, task, allowed, &permille, patience) => {
            worked.unwrap_or_else(|error| {
                tracing::error!("failed to run {}: {error:#}", lease.task);
                Outcome::Failed(Failure::new(Code::ProcessingCrashed, "the worker failed to run the task"))
            })
        }
        reason = kept => Outcome::Lost(reason),
        () = stop.cancelled() => Outcome::Stopped,
    };
    report(link, &lease, outcome, patience).await;
}

async fn report(link: &Link, lease: &Lease, outcome: Outcome, patience: Duration) {
    let told = match outcome {
        Outcome::Done(mut finish) => {
            finish.lease = Some(lease.clone());
            tracing::info!(
                job.id = lease.job,
                task = lease.task,
                "finished {}",
                lease.task
            );
            link.finish(finish, patience).await
        }
        Outcome::Failed(failure) => {
            tracing::warn!(
                job.id = lease.job,
                task = lease.task,
                "failed {}: {failure}",
                lease.task
            );
            link.fail(lease, &failure, patience).await
        }
        Outcome::Lost(reason) => {
            tracing::warn!(
                job.id = lease.job,
                task = lease.task,
                "dropped {}: {reason}",
                lease.task
            );
            return;
        }
        Outcome::Stopped => return,
    };
    if let Err(error) = told {
        tracing::warn!(
            job.id = lease.job,
            task = lease.task,
            "failed to report {}: {error}",
            lease.task
        );
    }
}

/// Signs of life: reads of the source and frames of the child.
#[derive(Clone, Default)]
pub(crate) struct Life(Arc<AtomicU64>);

impl Life {
    pub(crate) fn note(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns when nothing was noted for so long.
    async fn ended(&self, stall: Duration) {
        let mut seen = self.0.load(Ordering::Relaxed);
        let mut since = Instant::now();
        loop {
            sleep(stall.min(Duration::from_secs(1)) / 4).await;
            let now = self.0.load(Ordering::Relaxed);
            if now != seen {
                (seen, since) = (now, Instant::now());
            } else if since.elapsed() > stall {
                return;
            }
        }
    }
}

async fn work(
    link: &Link,
    launcher: &Launcher,
    mut task: Task,
    allowed: Patience,
    permille: &AtomicU32,
    patience: Duration,
) -> anyhow::Result<Outcome> {
    let lease = task.lease.clone().context("a task without a lease")?;
    let source = task.source.clone().context("a task without a source")?;
    let wanted = wanted(&task)?;
    let in_all = allowed.in_all(&task);
    let http = source::http()?;
    let reader = SourceReader::new(http.clone(), link.clone(), lease.clone(), source, patience);
    let outputs = Outputs {
        http,
        link: link.clone(),
        lease,
        patience,
    };
    // The child gets the size, not the address.
    if let Some(source) = &mut task.source {
        source.url.clear();
        source.headers.clear();
    }

    let oom_kills = oom_kills();
    let mut launched = launcher.launch(false)?;
    tracing::debug!(child = launched.child.id(), "started the child");
    let Ends {
        spec,
        messages,
        source,
        output,
    } = ends(&mut launched)?;
    let life = Life::default();
    let noted = life.clone();
    let (made, to_store) = mpsc::channel(MADE_MAX);

    let source_read = reader.serve(source, move || noted.note());
    let frames = frames(output, made, &life, permille, wanted);
    let stored = outputs.store_all(to_store);
    // Neither is waited for with the child's last word: both may end only with the child.
    let _given = AbortOnDropHandle::new(tokio::spawn(give(spec, task.encode_to_vec())));
    let messages = AbortOnDropHandle::new(tokio::spawn(messages_of(messages)));
    let conversation = async { tokio::join!(frames, stored) };

    let process = launched.child.id().context("the child has no id")?;
    let grown = memory::exceeded(process, launched.resident_bytes_max);

    tokio::select! {
        biased;
        used = grown => {
            launched.kill();
            Ok(too_large(used, launched.resident_bytes_max))
        }
        failure = refused(source_read) => {
            launched.kill();
            Ok(Outcome::Failed(failure))
        }
        (last, stored) = conversation => {
            let status = exit(&mut launched).await?;
            if let Err(error) = stored {
                return Ok(match error {
                    OutputError::Lost(reason) => Outcome::Lost(reason),
                    OutputError::Failed(failure) => Outcome::Failed(failure),
                });
            }
            let messages = timeout(MESSAGES_WAIT, messages).await;
            let messages = messages.ok().and_then(Result::ok).unwrap_or_default();
            Ok(verdict(last, status, &messages, oom_kills))
        }
        () = life.ended(allowed.stall) => {
            launched.kill();
            Ok(stalled("nothing moved", allowed.stall))
        }
        () = sleep(in_all) => {
            launched.kill();
            Ok(stalled("it did not end", in_all))
        }
    }
}

fn stalled(what: &str, after: Duration) -> Outcome {
    let seconds = after.as_secs();
    let message = format!("the file could not be processed: {what} for {seconds} s");
    Outcome::Failed(Failure::new(Code::ProcessingStalled, message))
}

fn too_large(used: u64, allowed: u64) -> Outcome {
    let (used, allowed) = (used >> 20, allowed >> 20);
    tracing::warn!(
        used_mib = used,
        allowed_mib = allowed,
        "the child used {used} MiB"
    );
    let message =
        format!("the file needs more memory than the {allowed} MiB that the worker has for it");
    Outcome::Failed(Failure::new(Code::ProcessingOutOfResources, message))
}

/// Our ends of the child's descriptors.
struct Ends {
    spec: ChildStdin,
    messages: ChildStderr,
    source: UnixStream,
    output: UnixStream,
}

fn ends(launched: &mut Launched) -> anyhow::Result<Ends> {
    Ok(Ends {
        spec: launched.child.stdin.take().context("no standard input")?,
        messages: launched.child.stderr.take().context("no standard error")?,
        source: launched.source.take().context("no source socket")?,
        output: launched.output.take().context("no output socket")?,
    })
}

/// Resolves only when the source cannot be read; a child that hung up is not our concern.
async fn refused(reading: impl Future<Output = Result<(), Failure>>) -> Failure {
    match reading.await {
        Err(failure) => failure,
        Ok(()) => std::future::pending().await,
    }
}

async fn give(mut spec: ChildStdin, task: Vec<u8>) {
    // A child that does not read its task has died: its end says why.
    let _unread = spec.write_all(&task).await;
}

/// Keeps the last of what the child says.
async fn messages_of(mut messages: ChildStderr) -> String {
    let mut kept = Vec::new();
    let mut part = [0u8; 4096];
    while let Ok(read @ 1..) = messages.read(&mut part).await {
        kept.extend_from_slice(&part[..read]);
        let surplus = kept.len().saturating_sub(MESSAGES_BYTES_MAX);
        kept.drain(..surplus);
    }
    let text = String::from_utf8_lossy(&kept).into_owned();
    for line in text.lines() {
        tracing::debug!(child = line, "the child says: {line}");
    }
    text
}

async fn exit(launched: &mut Launched) -> anyhow::Result<ExitStatus> {
    if let Ok(status) = timeout(EXIT_WAIT, launched.child.wait()).await {
        return status.context("failed to wait for the child");
    }
    tracing::warn!("the child does not end after its last word; killing it");
    launched.kill();
    launched
        .child
        .wait()
        .await
        .context("failed to wait for the child")
}

fn verdict(last: Last, status: ExitStatus, messages: &str, oom_kills: u64) -> Outcome {
    match last {
        Last::Done(mut finish) => {
            if let Some(finish_request::Result::Poster(poster)) = &mut finish.result {
                outputs::POSTER_NAME.clone_into(&mut poster.name);
            }
            Outcome::Done(finish)
        }
        Last::Failed(failure) => Outcome::Failed(failure),
        Last::Nonsense(reason) => {
            tracing::error!("the child broke the protocol: {reason}");
            crashed("the worker's decoder misbehaved")
        }
        Last::Nothing => died(status, messages, oom_kills),
    }
}

/// Why a child that said nothing died.
fn died(status: ExitStatus, messages: &str, oom_kills_before: u64) -> Outcome {
    tracing::warn!("the child ended with {status}: {}", messages.trim_end());
    let out_of_time = status.signal() == Some(libc::SIGXCPU);
    let out_of_memory = oom_kills() > oom_kills_before
        || [
            "memory allocation of",
            "failed to allocate",
            "Cannot allocate memory",
        ]
        .iter()
        .any(|said| messages.contains(said));
    if out_of_time || out_of_memory {
        return Outcome::Failed(Failure::new(
            Code::ProcessingOutOfResources,
            "the file needs more memory or time than the worker has",
        ));
    }
    crashed("the worker's decoder crashed on the file")
}

fn crashed(message: &str) -> Outcome {
    Outcome::Failed(Failure::new(Code::ProcessingCrashed, message))
}

/// How often this machine has killed a process for want of memory.
fn oom_kills() -> u64 {
    let counters = std::fs::read_to_string("/proc/vmstat").unwrap_or_default();
    counters
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill "))
        .and_then(|count| count.trim().parse().ok())
        .unwrap_or(0)
}
