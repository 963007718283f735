//! What the worker does when a process, the store or the conductor lets it down.

use axum::body::Bytes;
use kinolog_worker::failure::Code;
use protocol::finish_request;
use protocol::task::Spec;

use crate::encode::{encode, target};
use crate::media::{matroska, mp4, pictures};
use crate::probe::probe;
use crate::worker::Run;

/// An encode that takes long enough to be disturbed.
fn long() -> (Spec, Bytes) {
    let source = matroska(&pictures(600, 320, 180, "30/1"));
    (
        encode(20_000, &[target("1080p", 1920, 1080, "30/1")]),
        source,
    )
}

fn kill(process: i32) {
    let process = nix::unistd::Pid::from_raw(process);
    nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGKILL).unwrap();
}

/// Waits until this process has ended, reaped or not.
async fn gone(process: i32) {
    let stat = format!("/proc/{process}/stat");
    let ended = async {
        while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z")) {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(std::time::Duration::from_secs(10), ended).await;
    waited.expect("the process goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_child_is_a_crash_and_not_the_sources_fault() {
    let (spec, source) = long();
    let mut run = Run::begin(spec, source).await;
    run.until(|told| !told.segments.is_empty()).await;
    kill(run.child().await);
    let failure = run.failure().await;
    assert_eq!(failure.code, Code::ProcessingCrashed.as_str());
    assert!(!failure.source_fault);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_stands_still_is_stopped() {
    let (spec, source) = long();
    let mut prepared = Run::prepare(spec, source, 0).await;
    prepared.stall_seconds = 1;
    let mut run = prepared.start();
    run.until(|told| !told.segments.is_empty()).await;
    let child = nix::unistd::Pid::from_raw(run.child().await);
    nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGSTOP).unwrap();
    let failure = run.failure().await;
    assert_eq!(failure.code, Code::ProcessingStalled.as_str());
    gone(child.as_raw()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_that_is_really_used_is_what_counts() {
    let (spec, source) = long();
    let mut prepared = Run::prepare(spec, source, 0).await;
    // Less than an encoder of 1080p takes, more than it takes to begin.
    prepared.memory_mib = 64;
    let failure = prepared.start().failure().await;
    assert_eq!(failure.code, Code::ProcessingOutOfResources.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_lease_ends_everything_at_once() {
    let (spec, source) = long();
    let mut run = Run::begin(spec, source).await;
    run.until(|told| !told.segments.is_empty()).await;
    let child = nix::unistd::Pid::from_raw(run.child().await);
    *run.desk.lost.lock().unwrap() = true;
    assert!(run.worker.wait().await.unwrap().success());
    assert!(
        run.desk.told.lock().unwrap().end.is_none(),
        "nothing is reported"
    );
    gone(child.as_raw()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_told_to_stop_takes_its_child_along() {
    let (spec, source) = long();
    let mut run = Run::begin(spec, source).await;
    run.until(|told| !told.segments.is_empty()).await;
    let child = run.child().await;
    let worker = nix::unistd::Pid::from_raw(run.worker.id().unwrap() as i32);
    nix::sys::signal::kill(worker, nix::sys::signal::Signal::SIGTERM).unwrap();
    let stopped = tokio::time::timeout(std::time::Duration::from_secs(10), run.worker.wait()).await;
    assert!(stopped.expect("the worker goes on").unwrap().success());
    assert!(run.desk.told.lock().unwrap().end.is_none());
    gone(child).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_child_dies_with_its_parent() {
    let (spec, source) = long();
    let mut run = Run::begin(spec, source).await;
    run.until(|told| !told.segments.is_empty()).await;
    let child = run.child().await;
    kill(run.worker.id().unwrap() as i32);
    run.worker.wait().await.unwrap();
    gone(child).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conductor_and_a_store_in_trouble_are_waited_for() {
    let source = mp4(&pictures(60, 160, 90, "30/1"));
    let prepared = Run::prepare(probe(), source, 1).await;
    *prepared.desk.away.lock().unwrap() = 3;
    *prepared.store.busy.lock().unwrap() = 2;
    let mut run = prepared.start();
    assert!(matches!(
        run.finish().await,
        finish_request::Result::Probe(_)
    ));
    let told = run.desk.told.lock().unwrap();
    assert!(told.renewals >= 1, "an expired URL is renewed first");
    assert!(told.claims.len() >= 4);
    assert!(
        told.claims.iter().all(|id| *id == told.claims[0]),
        "a claim is repeated as it was"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_changed_is_refused() {
    let source = mp4(&pictures(60, 160, 90, "30/1"));
    let prepared = Run::prepare(probe(), source, 0).await;
    prepared.store.change();
    let failure = prepared.start().failure().await;
    assert!(failure.message.contains("changed"), "{failure:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_a_token_does_not_start() {
    let status = crate::worker::program()
        .args(["--once", "--conductor", "http://127.0.0.1:9"])
        .env_remove("KINOLOG_WORKER_TOKEN")
        .status()
        .await
        .unwrap();
    assert_eq!(status.code(), Some(1), "a secret has no default");
}
