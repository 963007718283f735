//! `BatchAppend`: many appends over one call, answered as each becomes durable.
//!
//! # Invariants
//!
//! * Appends go to the writer in the order their last parts came.
//! * One that fails is answered with its own error, once; the call goes on.
//! * A batch whose deadline is over before its last part came is never written.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::{Duration, SystemTime};

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::time::Instant;
use tonic::{Code, Status, Streaming};
use uuid::Uuid;

use super::append::Incoming;
use super::{Node, answers, convert, status};
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

type Responses = answers::Responses<BatchAppendResp>;

/// A batch whose last part has not come yet.
struct Open {
    about: About,
    until: Instant,
    incoming: Incoming,
}

/// What an answer repeats of its question.
struct About {
    correlation: Uuid,
    stream: String,
    expected: Expected,
}

/// What one part of a batch came to.
enum Part {
    /// More is to come, or it belongs to a batch that has been answered.
    Taken,
    /// It was the last.
    Whole(Open),
    /// The batch is answered at once; parts of it that still come are passed over.
    Answered(BatchAppendResp),
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
        let first_end = open.values().map(|batch| batch.until).min();
        tokio::select! {
            () = node.stop.cancelled() => return Err(status::stopping()),
            () = sleep_until(first_end) => {
                for (_, batch) in open.extract_if(|_, batch| batch.until <= Instant::now()) {
                    send(&responses, respond(batch.about, Err(timeout()))).await?;
                }
            }
            Some(response) = waiting.next(), if !waiting.is_empty() => {
                let mut page = vec![response];
                // One sync answers many: they go out together.
                while let Some(Some(response)) = waiting.next().now_or_never() {
                    page.push(response);
                }
                send_all(&responses, page).await?;
            }
            message = messages.message(), if more && waiting.len() < BATCHES_OPEN_MAX => {
                let Some(message) = message.map_err(status::unread)? else {
                    more = false;
                    continue;
                };
                let Open { about, until, incoming } = match part(&node, &mut open, message)? {
                    Part::Taken => continue,
                    Part::Answered(response) => {
                        send(&responses, response).await?;
                        continue;
                    }
                    Part::Whole(batch) => batch,
                };
                if until <= Instant::now() {
                    send(&responses, respond(about, Err(timeout()))).await?;
                    continue;
                }
                let (request, answer) =
                    incoming.into_request(about.stream.clone(), about.expected);
                node.queue.send(request).await.map_err(|_| status::stopping())?;
                waiting.push(async move {
                    let outcome = match tokio::time::timeout_at(until, answer).await {
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

async fn sleep_until(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}

/// Takes one part in.
fn part(
    node: &Node,
    open: &mut HashMap<Uuid, Open>,
    message: BatchAppendReq,
) -> Result<Part, Status> {
    let correlation = convert::event_id(message.correlation_id)?;
    if let Some(options) = message.options
        && !open.contains_key(&correlation)
    {
        if open.len() >= BATCHES_OPEN_MAX {
            return Err(Status::unavailable("too many batches have begun"));
        }
        match begin(correlation, options) {
            Ok(batch) => open.insert(correlation, batch),
            Err(response) => return Ok(Part::Answered(*response)),
        };
    }
    let Entry::Occupied(mut batch) = open.entry(correlation) else {
        return Ok(Part::Taken);
    };
    let incoming = &mut batch.get_mut().incoming;
    let added = message
        .proposed_messages
        .into_iter()
        .try_for_each(|proposed| add(node, incoming, proposed));
    if let Err(error) = added {
        let response = respond(batch.remove().about, Err(refusal(&error)));
        return Ok(Part::Answered(response));
    }
    if message.is_final {
        return Ok(Part::Whole(batch.remove()));
    }
    Ok(Part::Taken)
}

/// A new batch, or its answer if it cannot be one.
fn begin(correlation: Uuid, options: Options) -> Result<Open, Box<BatchAppendResp>> {
    let asked = options.expected_stream_position;
    let expected = match asked {
        Some(Asked::StreamPosition(revision)) => Expected::Exact(revision),
        Some(Asked::NoStream(())) => Expected::NoStream,
        Some(Asked::Any(())) | None => Expected::Any,
        Some(Asked::StreamExists(())) => Expected::StreamExists,
    };
    let stream = convert::writable_stream(options.stream_identifier);
    let name = stream.as_deref().unwrap_or_default().to_owned();
    let about = About {
        correlation,
        stream: name,
        expected,
    };
    let time = deadline(options.deadline_option);
    let refused = match stream {
        Err(error) => refusal(&error),
        Ok(_) if asked.is_none() => refusal(&Status::invalid_argument(
            "the expected revision is missing",
        )),
        Ok(_) if time.is_zero() => timeout(),
        Ok(_) => {
            return Ok(Open {
                about,
                until: Instant::now() + time,
                incoming: Incoming::default(),
            });
        }
    };
    Err(Box::new(respond(about, Err(refused))))
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
    send_all(responses, vec![response]).await
}

async fn send_all(responses: &Responses, page: Vec<BatchAppendResp>) -> Result<(), Status> {
    responses
        .send(Ok(page))
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
            error(Code::NotFound, "StreamDeleted", "StreamDeleted", &detail)
        }
        Refusal::Unavailable(why) => unavailable(why),
    }
}

/// What refused the batch before it reached the writer.
fn refusal(status: &Status) -> rpc::Status {
    let message = status.message();
    if status.code() == Code::Unavailable {
        return unavailable(message);
    }
    let max = status.metadata().get("maximum-append-size");
    let max = max.and_then(|max| max.to_str().ok()?.parse().ok());
    if let Some(max_append_size) = max {
        let detail = shared::MaximumAppendSizeExceeded { max_append_size };
        return error(status.code(), message, "MaximumAppendSizeExceeded", &detail);
    }
    if status.code() == Code::PermissionDenied {
        let detail = shared::AccessDenied {};
        return error(status.code(), message, "AccessDenied", &detail);
    }
    let detail = shared::BadRequest {
        message: message.to_owned(),
    };
    error(status.code(), message, "BadRequest", &detail)
}

/// No fault of the batch, so there is nothing more to say about it.
fn unavailable(why: &str) -> rpc::Status {
    rpc::Status {
        code: Code::Unavailable.into(),
        message: why.to_owned(),
        details: Some(prost_types::Any {
            type_url: "type.googleapis.com/google.protobuf.Empty".into(),
            value: vec![],
        }),
    }
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
