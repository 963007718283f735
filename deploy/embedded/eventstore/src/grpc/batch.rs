//! `BatchAppend`: many appends over one call, answered as each becomes durable.
//!
//! # Invariants
//!
//! * Appends go to the writer in the order their last parts came.
//! * One that fails is answered with its own error; the call goes on.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tonic::{Code, Status, Streaming};
use uuid::Uuid;

use super::append::Incoming;
use super::{Node, convert, status};
use crate::expect::Expected;
use crate::group::{Answer, Refusal};
use crate::limits::{BATCH_DEADLINE_MAX, BATCHES_OPEN_MAX};
use crate::protocol::streams::batch_append_req::options::{
    DeadlineOption, ExpectedStreamPosition as Asked,
};
use crate::protocol::streams::batch_append_req::{Options, ProposedMessage};
use crate::protocol::streams::batch_append_resp::{
    ExpectedStreamPosition as Answered, Result as Outcome, Success, success,
};
use crate::protocol::streams::{BatchAppendReq, BatchAppendResp};
use crate::protocol::{rpc, shared};

pub(super) type Responses = mpsc::Sender<Result<Vec<BatchAppendResp>, Status>>;

/// A batch whose last part has not come yet.
struct Open {
    stream: Result<String, Status>,
    expected: Expected,
    deadline: Duration,
    incoming: Result<Incoming, Status>,
}

/// What an answer repeats of its question.
struct About {
    correlation: Uuid,
    stream: String,
    expected: Expected,
}

pub(super) async fn run(
    node: Node,
    mut messages: Streaming<BatchAppendReq>,
    responses: Responses,
) -> Result<(), Status> {
    let mut open: HashMap<Uuid, Open> = HashMap::new();
    let mut waiting = FuturesUnordered::new();
    let mut more = true;
    while more || !waiting.is_empty() {
        tokio::select! {
            () = node.stop.cancelled() => return Err(status::stopping()),
            Some(response) = waiting.next(), if !waiting.is_empty() => {
                send(&responses, response).await?;
            }
            message = messages.message(), if more && waiting.len() < BATCHES_OPEN_MAX => {
                let Some(message) = message.map_err(status::unread)? else {
                    more = false;
                    continue;
                };
                let Some((about, batch)) = part(&node, &mut open, message)? else {
                    continue;
                };
                let stream = about.stream.clone();
                let incoming = match (batch.stream, batch.incoming) {
                    (Ok(_), Ok(incoming)) => incoming,
                    (Err(error), _) | (_, Err(error)) => {
                        send(&responses, respond(about, Err(refusal(&error)))).await?;
                        continue;
                    }
                };
                let (request, answer) = incoming.into_request(stream, about.expected);
                node.queue.send(request).await.map_err(|_| status::stopping())?;
                waiting.push(async move {
                    let answer = tokio::time::timeout(batch.deadline, answer).await;
                    let outcome = match answer {
                        Ok(Ok(answer)) => outcome(answer, &about),
                        Ok(Err(_)) => Err(refusal(&status::stopping())),
                        Err(_) => Err(timeout()),
                    };
                    respond(about, outcome)
                });
            }
        }
    }
    Ok(())
}

/// Takes one part in; the whole batch, if this was its last.
fn part(
    node: &Node,
    open: &mut HashMap<Uuid, Open>,
    message: BatchAppendReq,
) -> Result<Option<(About, Open)>, Status> {
    let correlation = convert::event_id(message.correlation_id)?;
    if let Some(options) = message.options {
        if open.len() >= BATCHES_OPEN_MAX {
            return Err(Status::unavailable("too many batches have begun"));
        }
        open.insert(correlation, begin(options)?);
    }
    let Some(batch) = open.get_mut(&correlation) else {
        return Err(Status::invalid_argument("a batch begins with its options"));
    };
    if let Ok(incoming) = &mut batch.incoming {
        let added = message
            .proposed_messages
            .into_iter()
            .try_for_each(|proposed| add(node, incoming, proposed));
        if let Err(error) = added {
            batch.incoming = Err(error);
        }
    }
    if !message.is_final {
        return Ok(None);
    }
    let about = About {
        correlation,
        stream: batch.stream.clone().unwrap_or_default(),
        expected: batch.expected,
    };
    Ok(open.remove(&correlation).map(|batch| (about, batch)))
}

fn begin(options: Options) -> Result<Open, Status> {
    let expected = match options.expected_stream_position {
        Some(Asked::StreamPosition(revision)) => Expected::Exact(revision),
        Some(Asked::NoStream(())) => Expected::NoStream,
        Some(Asked::Any(())) => Expected::Any,
        Some(Asked::StreamExists(())) => Expected::StreamExists,
        None => return Err(Status::invalid_argument("the expected revision is missing")),
    };
    Ok(Open {
        stream: convert::writable_stream(options.stream_identifier),
        expected,
        deadline: deadline(options.deadline_option),
        incoming: Ok(Incoming::default()),
    })
}

fn add(node: &Node, incoming: &mut Incoming, proposed: ProposedMessage) -> Result<(), Status> {
    let ProposedMessage {
        id,
        metadata,
        custom_metadata,
        data,
    } = proposed;
    incoming.add(node, convert::draft(id, metadata, custom_metadata, data)?)
}

/// Some clients send the time of day as a duration: nobody waits longer than the maximum.
fn deadline(option: Option<DeadlineOption>) -> Duration {
    let asked = match option {
        Some(DeadlineOption::Deadline(duration)) => Duration::try_from(duration).ok(),
        Some(DeadlineOption::Deadline21100(at)) => SystemTime::try_from(at)
            .ok()
            .map(|at| at.duration_since(SystemTime::now()).unwrap_or_default()),
        None => None,
    };
    asked.unwrap_or(BATCH_DEADLINE_MAX).min(BATCH_DEADLINE_MAX)
}

async fn send(responses: &Responses, response: BatchAppendResp) -> Result<(), Status> {
    responses
        .send(Ok(vec![response]))
        .await
        .map_err(|_| Status::cancelled("the client is gone"))
}

fn respond(about: About, outcome: Result<Success, rpc::Status>) -> BatchAppendResp {
    let expected = match about.expected {
        Expected::Exact(revision) => Answered::StreamPosition(revision),
        Expected::NoStream => Answered::NoStream(()),
        Expected::Any => Answered::Any(()),
        Expected::StreamExists => Answered::StreamExists(()),
    };
    BatchAppendResp {
        correlation_id: Some(convert::structured_id(about.correlation)),
        stream_identifier: Some(convert::identifier(&about.stream)),
        expected_stream_position: Some(expected),
        result: Some(match outcome {
            Ok(success) => Outcome::Success(success),
            Err(error) => Outcome::Error(error),
        }),
    }
}

fn outcome(answer: Answer, about: &About) -> Result<Success, rpc::Status> {
    let written = answer.map_err(|refusal| refused(&refusal, about))?;
    let revision = written
        .revision
        .map_or(success::CurrentRevisionOption::NoStream(()), |revision| {
            success::CurrentRevisionOption::CurrentRevision(revision)
        });
    let position = if written.position == 0 {
        success::PositionOption::NoPosition(())
    } else {
        success::PositionOption::Position(shared::AllStreamPosition {
            commit_position: written.position,
            prepare_position: written.position,
        })
    };
    Ok(Success {
        current_revision_option: Some(revision),
        position_option: Some(position),
    })
}

fn refused(refusal: &Refusal, about: &About) -> rpc::Status {
    use shared::wrong_expected_version::{
        CurrentStreamRevisionOption as Current, ExpectedStreamPositionOption as Wanted,
    };
    match refusal {
        Refusal::WrongRevision { current } => {
            let current = current.map_or(Current::CurrentNoStream(()), |revision| {
                Current::CurrentStreamRevision(revision)
            });
            let wanted = match about.expected {
                Expected::Exact(revision) => Wanted::ExpectedStreamPosition(revision),
                Expected::NoStream => Wanted::ExpectedNoStream(()),
                Expected::Any => Wanted::ExpectedAny(()),
                Expected::StreamExists => Wanted::ExpectedStreamExists(()),
            };
            let detail = shared::WrongExpectedVersion {
                current_stream_revision_option: Some(current),
                expected_stream_position_option: Some(wanted),
            };
            error(
                Code::AlreadyExists,
                "WrongExpectedVersion",
                "WrongExpectedVersion",
                &detail,
            )
        }
        Refusal::Tombstoned => {
            let detail = shared::StreamDeleted {
                stream_identifier: Some(convert::identifier(&about.stream)),
            };
            let message = format!("Event stream '{}' is deleted.", about.stream);
            error(Code::NotFound, &message, "StreamDeleted", &detail)
        }
        Refusal::Unavailable(why) => error(Code::Unavailable, why, "Unknown", &shared::Unknown {}),
    }
}

/// What refused the batch before it reached the writer.
fn refusal(status: &Status) -> rpc::Status {
    let message = status.message();
    let max = status.metadata().get("maximum-append-size");
    let max = max.and_then(|max| max.to_str().ok()?.parse().ok());
    if let Some(max_append_size) = max {
        let detail = shared::MaximumAppendSizeExceeded { max_append_size };
        return error(status.code(), message, "MaximumAppendSizeExceeded", &detail);
    }
    let detail = shared::BadRequest {
        message: message.to_owned(),
    };
    error(status.code(), message, "BadRequest", &detail)
}

fn timeout() -> rpc::Status {
    error(
        Code::DeadlineExceeded,
        "Timeout",
        "Timeout",
        &shared::Timeout {},
    )
}

fn error(code: Code, message: &str, name: &str, detail: &impl prost::Message) -> rpc::Status {
    rpc::Status {
        code: code.into(),
        message: message.to_owned(),
        details: Some(prost_types::Any {
            type_url: format!("type.googleapis.com/event_store.client.{name}"),
            value: detail.encode_to_vec(),
        }),
    }
}
