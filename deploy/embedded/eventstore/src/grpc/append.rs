//! `Append`, `Delete`, `Tombstone`: one command, one answer.

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tonic::{Status, Streaming};

use super::{Node, convert, status};
use crate::expect::Expected;
use crate::group::{Answer, Command, Refusal, Request, Written};
use crate::limits::{APPEND_BYTES_MAX, APPEND_EVENTS_MAX, APPEND_RECEIVE_MAX};
use crate::protocol::streams::append_req::{self, Content, options::ExpectedStreamRevision};
use crate::protocol::streams::append_resp::{
    Position, Result as Outcome, Success, WrongExpectedVersion, success,
    wrong_expected_version::{
        CurrentRevisionOption, CurrentRevisionOption2060, ExpectedRevisionOption,
        ExpectedRevisionOption2060,
    },
};
use crate::protocol::streams::{AppendReq, AppendResp};
use crate::record::Draft;

/// Events on their way in, within the limits of one append and of the node.
#[derive(Default)]
pub(super) struct Incoming {
    pub(super) drafts: Vec<Draft>,
    bytes: usize,
    memory: Option<OwnedSemaphorePermit>,
}

impl Incoming {
    pub(super) fn add(&mut self, node: &Node, draft: Draft) -> Result<(), Status> {
        let bytes =
            draft.metadata.len() + draft.data.len() + draft.kind.len() + draft.content_type.len();
        self.bytes += bytes;
        if self.bytes > APPEND_BYTES_MAX || self.drafts.len() >= APPEND_EVENTS_MAX {
            return Err(status::too_large(APPEND_BYTES_MAX));
        }
        let kib =
            u32::try_from(bytes / 1024 + 1).map_err(|_| status::too_large(APPEND_BYTES_MAX))?;
        let more = node
            .memory
            .clone()
            .try_acquire_many_owned(kib)
            .map_err(|_| Status::unavailable("too many appends at once; try again later"))?;
        match &mut self.memory {
            Some(memory) => memory.merge(more),
            None => self.memory = Some(more),
        }
        self.drafts.push(draft);
        Ok(())
    }

    pub(super) fn into_request(
        self,
        stream: String,
        expected: Expected,
    ) -> (Request, oneshot::Receiver<Answer>) {
        let command = Command::Append {
            stream,
            expected,
            drafts: self.drafts,
        };
        request(command, self.memory)
    }
}

pub(super) async fn append(
    node: &Node,
    mut messages: Streaming<AppendReq>,
) -> Result<AppendResp, Status> {
    let receive = receive(node, &mut messages);
    let (stream, expected, incoming) =
        tokio::time::timeout(APPEND_RECEIVE_MAX, receive)
            .await
            .map_err(|_| Status::deadline_exceeded("the append took too long to arrive"))??;
    let (request, answer) = incoming.into_request(stream.clone(), expected);
    let result = match ask(node, request, answer).await {
        Ok(written) => Outcome::Success(success(written)),
        Err(Refusal::WrongRevision { current }) => {
            Outcome::WrongExpectedVersion(wrong_version(expected, current))
        }
        Err(refusal) => return Err(status::refused(&stream, expected, &refusal)),
    };
    Ok(AppendResp {
        result: Some(result),
    })
}

/// Deletes softly or for ever; the position of the event that says so.
pub(super) async fn delete(
    node: &Node,
    stream: String,
    expected: Expected,
    command: Command,
) -> Result<u64, Status> {
    let (request, answer) = request(command, None);
    ask(node, request, answer)
        .await
        .map(|written| written.position)
        .map_err(|refusal| status::refused(&stream, expected, &refusal))
}

/// Waits for room in the queue, then for the answer.
async fn ask(node: &Node, request: Request, answer: oneshot::Receiver<Answer>) -> Answer {
    let gone = |()| Refusal::Unavailable("the node is stopping".into());
    node.queue.send(request).await.map_err(|_| gone(()))?;
    answer.await.map_err(|_| gone(()))?
}

fn request(
    command: Command,
    memory: Option<OwnedSemaphorePermit>,
) -> (Request, oneshot::Receiver<Answer>) {
    let (answer, answered) = oneshot::channel();
    let request = Request {
        command,
        answer,
        memory,
    };
    (request, answered)
}

async fn receive(
    node: &Node,
    messages: &mut Streaming<AppendReq>,
) -> Result<(String, Expected, Incoming), Status> {
    let first = messages.message().await.map_err(status::unread)?;
    let first = first.and_then(|first| first.content);
    let Some(Content::Options(options)) = first else {
        return Err(Status::invalid_argument(
            "the first message has the options",
        ));
    };
    let stream = convert::writable_stream(options.stream_identifier)?;
    let expected = match options.expected_stream_revision {
        Some(ExpectedStreamRevision::Revision(revision)) => Expected::Exact(revision),
        Some(ExpectedStreamRevision::NoStream(())) => Expected::NoStream,
        Some(ExpectedStreamRevision::Any(())) => Expected::Any,
        Some(ExpectedStreamRevision::StreamExists(())) => Expected::StreamExists,
        None => return Err(Status::invalid_argument("the expected revision is missing")),
    };
    let mut incoming = Incoming::default();
    while let Some(message) = messages.message().await.map_err(status::unread)? {
        let Some(Content::ProposedMessage(message)) = message.content else {
            return Err(Status::invalid_argument("options come first, and once"));
        };
        let append_req::ProposedMessage {
            id,
            metadata,
            custom_metadata,
            data,
        } = message;
        incoming.add(node, convert::draft(id, metadata, custom_metadata, data)?)?;
    }
    Ok((stream, expected, incoming))
}

fn success(written: Written) -> Success {
    let revision = written
        .revision
        .map_or(success::CurrentRevisionOption::NoStream(()), |revision| {
            success::CurrentRevisionOption::CurrentRevision(revision)
        });
    let position = if written.position == 0 {
        success::PositionOption::NoPosition(())
    } else {
        success::PositionOption::Position(Position {
            commit_position: written.position,
            prepare_position: written.position,
        })
    };
    Success {
        current_revision_option: Some(revision),
        position_option: Some(position),
    }
}

/// Both shapes of it: the first one has a number for "expected no stream".
fn wrong_version(expected: Expected, current: Option<u64>) -> WrongExpectedVersion {
    type OldCurrent = CurrentRevisionOption2060;
    type OldExpected = ExpectedRevisionOption2060;
    let (old_current, new_current) = match current {
        Some(revision) => (
            OldCurrent::CurrentRevision2060(revision),
            CurrentRevisionOption::CurrentRevision(revision),
        ),
        None => (
            OldCurrent::NoStream2060(()),
            CurrentRevisionOption::CurrentNoStream(()),
        ),
    };
    let (old_expected, new_expected) = match expected {
        Expected::Exact(revision) => (
            Some(OldExpected::ExpectedRevision2060(revision)),
            ExpectedRevisionOption::ExpectedRevision(revision),
        ),
        Expected::NoStream => (
            Some(OldExpected::ExpectedRevision2060(u64::MAX)),
            ExpectedRevisionOption::ExpectedNoStream(()),
        ),
        Expected::Any => (
            Some(OldExpected::Any2060(())),
            ExpectedRevisionOption::ExpectedAny(()),
        ),
        Expected::StreamExists => (
            Some(OldExpected::StreamExists2060(())),
            ExpectedRevisionOption::ExpectedStreamExists(()),
        ),
    };
    WrongExpectedVersion {
        current_revision_option_20_6_0: Some(old_current),
        expected_revision_option_20_6_0: old_expected,
        current_revision_option: Some(new_current),
        expected_revision_option: Some(new_expected),
    }
}
