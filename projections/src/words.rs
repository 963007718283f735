//! How states are spelled in tables.

use anyhow::Context;
use domain::video::{Status, Visibility};

use crate::catalogue::{AttemptOutcome, RetryState};

pub(crate) fn status(text: &str) -> anyhow::Result<Status> {
    [
        Status::Uploading,
        Status::Processing,
        Status::Ready,
        Status::Failed,
        Status::Expired,
        Status::Deleted,
    ]
    .into_iter()
    .find(|status| status_word(*status) == text)
    .with_context(|| format!("unknown status {text}"))
}

pub(crate) fn status_word(status: Status) -> &'static str {
    match status {
        Status::Unknown => "unknown",
        Status::Uploading => "uploading",
        Status::Processing => "processing",
        Status::Ready => "ready",
        Status::Failed => "failed",
        Status::Expired => "expired",
        Status::Deleted => "deleted",
    }
}

pub(crate) fn visibility(text: &str) -> anyhow::Result<Visibility> {
    Visibility::parse(text).with_context(|| format!("unknown visibility {text}"))
}

pub(crate) fn retry_word(state: RetryState) -> &'static str {
    match state {
        RetryState::Running => "running",
        RetryState::Done => "done",
        RetryState::Failed => "failed",
    }
}

pub(crate) fn retry(text: &str) -> anyhow::Result<RetryState> {
    [RetryState::Running, RetryState::Done, RetryState::Failed]
        .into_iter()
        .find(|state| retry_word(*state) == text)
        .with_context(|| format!("unknown state of a retry {text}"))
}

pub(crate) fn outcome(text: &str) -> anyhow::Result<AttemptOutcome> {
    Ok(match text {
        "running" => AttemptOutcome::Running,
        "finished" => AttemptOutcome::Finished,
        "failed" => AttemptOutcome::Failed,
        "lease_lost" => AttemptOutcome::LeaseLost,
        "cancelled" => AttemptOutcome::Cancelled,
        other => anyhow::bail!("unknown outcome {other}"),
    })
}
