//! Many appends over one call.

use std::time::Duration;

use eventstore::{BatchAppendOptions, Error, ExpectedRevision as Expected, TombstoneStreamOptions};
use kinolog_eventstore::limits::EVENT_BYTES_MAX;
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};
use uuid::Uuid;

use crate::node::{Node, SOON, add, event, events, folder, revisions};
use crate::wire::streams::batch_append_req::options::{DeadlineOption, ExpectedStreamPosition};
use crate::wire::streams::batch_append_req::{Options, ProposedMessage};
use crate::wire::streams::batch_append_resp::{Result as Outcome, Success};
use crate::wire::streams::streams_client::StreamsClient;
use crate::wire::streams::{BatchAppendReq, BatchAppendResp};
use crate::wire::{self, rpc, shared};

#[tokio::test]
async fn appends_of_one_call_are_written_in_order_and_answered_each() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    let batch = node
        .client
        .batch_append(&BatchAppendOptions::default())
        .await
        .unwrap();
    let first = batch
        .append_to_stream("a", Expected::NoStream, events("x", 3))
        .await
        .unwrap();
    assert_eq!(first.current_revision(), Some(2));
    assert_eq!(first.stream_name(), "a");
    let waiting = (0..20).map(|number| {
        let expected = Expected::Exact(2 + number);
        batch.append_to_stream("a", expected, vec![event("y")])
    });
    for result in futures::future::join_all(waiting).await {
        result.unwrap();
    }
    assert_eq!(revisions(&node.client, "a").await.len(), 23);

    let wrong = batch
        .append_to_stream("a", Expected::NoStream, vec![event("z")])
        .await;
    match wrong {
        Err(Error::Grpc { code, .. }) => assert_eq!(code, Code::AlreadyExists),
        other => panic!("{other:?}"),
    }
    node.stop().await;
}

#[tokio::test]
async fn a_batch_comes_in_parts_and_its_options_count_once() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    let mut call = Call::begin(&node).await;
    let id = Uuid::new_v4();
    let begin = options("a", ExpectedStreamPosition::NoStream(()));
    call.send(id, Some(begin.clone()), 2, false).await;
    // Somebody else's batch is whole in between.
    let other = options("b", ExpectedStreamPosition::Any(()));
    call.send(Uuid::new_v4(), Some(other), 1, true).await;
    assert_eq!(revision(&call.success().await), 0);
    call.send(id, Some(begin), 3, false).await;
    call.send(id, None, 0, true).await;
    assert_eq!(revision(&call.success().await), 4);
    assert_eq!(revisions(&node.client, "a").await, [0, 1, 2, 3, 4]);
    node.stop().await;
}

#[tokio::test]
async fn a_refused_batch_is_answered_once_and_the_call_goes_on() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    add(&node.client, "there", "x", 2).await;
    add(&node.client, "gone", "x", 1).await;
    let tombstone = TombstoneStreamOptions::default();
    node.client
        .tombstone_stream("gone", &tombstone)
        .await
        .unwrap();
    let mut call = Call::begin(&node).await;

    let wrong = options("there", ExpectedStreamPosition::StreamPosition(7));
    call.send(Uuid::new_v4(), Some(wrong), 1, true).await;
    let error = call.error(Code::AlreadyExists).await;
    let wrong: shared::WrongExpectedVersion = detail(&error, "WrongExpectedVersion");
    use shared::wrong_expected_version as version;
    assert_eq!(
        wrong.current_stream_revision_option,
        Some(version::CurrentStreamRevisionOption::CurrentStreamRevision(
            1
        ))
    );
    assert_eq!(
        wrong.expected_stream_position_option,
        Some(version::ExpectedStreamPositionOption::ExpectedStreamPosition(7))
    );

    let gone = options("gone", ExpectedStreamPosition::Any(()));
    call.send(Uuid::new_v4(), Some(gone), 1, true).await;
    let error = call.error(Code::NotFound).await;
    let gone: shared::StreamDeleted = detail(&error, "StreamDeleted");
    assert_eq!(gone.stream_identifier, wire::named("gone"));

    let all = options("$all", ExpectedStreamPosition::Any(()));
    call.send(Uuid::new_v4(), Some(all), 1, true).await;
    let error = call.error(Code::PermissionDenied).await;
    let _: shared::AccessDenied = detail(&error, "AccessDenied");

    let mut unsaid = options("there", ExpectedStreamPosition::Any(()));
    unsaid.expected_stream_position = None;
    call.send(Uuid::new_v4(), Some(unsaid), 1, true).await;
    let error = call.error(Code::InvalidArgument).await;
    let unsaid: shared::BadRequest = detail(&error, "BadRequest");
    assert!(unsaid.message.contains("expected revision"), "{unsaid:?}");

    // Too large in its first part: what still comes of it is passed over.
    let id = Uuid::new_v4();
    let large = options("there", ExpectedStreamPosition::Any(()));
    let mut message = part(id, Some(large), 1, false);
    message.proposed_messages[0].data = vec![7; EVENT_BYTES_MAX + 1];
    call.requests.send(message).await.unwrap();
    let error = call.error(Code::InvalidArgument).await;
    let large: shared::MaximumAppendSizeExceeded = detail(&error, "MaximumAppendSizeExceeded");
    assert_eq!(large.max_append_size as usize, EVENT_BYTES_MAX);
    call.send(id, None, 1, true).await;

    let right = options("there", ExpectedStreamPosition::StreamPosition(1));
    call.send(Uuid::new_v4(), Some(right), 1, true).await;
    assert_eq!(revision(&call.success().await), 2);
    node.stop().await;
}

#[tokio::test]
async fn a_batch_whose_deadline_is_over_is_not_written() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    let mut call = Call::begin(&node).await;
    let within = |millis| {
        let time = Duration::from_millis(millis).try_into().unwrap();
        let mut options = options("a", ExpectedStreamPosition::Any(()));
        options.deadline_option = Some(DeadlineOption::Deadline(time));
        Some(options)
    };
    call.send(Uuid::new_v4(), within(0), 1, true).await;
    let error = call.error(Code::DeadlineExceeded).await;
    let _: shared::Timeout = detail(&error, "Timeout");

    // Its last part never comes.
    let id = Uuid::new_v4();
    call.send(id, within(50), 1, false).await;
    let error = call.error(Code::DeadlineExceeded).await;
    let _: shared::Timeout = detail(&error, "Timeout");
    call.send(id, None, 1, true).await;

    // Some clients send the time of day.
    call.send(Uuid::new_v4(), within(3_000_000_000_000), 1, true)
        .await;
    assert_eq!(revision(&call.success().await), 0);
    node.stop().await;
}

/// One call, spoken by hand.
struct Call {
    requests: mpsc::Sender<BatchAppendReq>,
    responses: Streaming<BatchAppendResp>,
}

impl Call {
    async fn begin(node: &Node) -> Self {
        let mut client = StreamsClient::new(wire::connect(node.port).await);
        let (requests, queue) = mpsc::channel(8);
        let responses = client.batch_append(ReceiverStream::new(queue)).await;
        Self {
            requests,
            responses: responses.unwrap().into_inner(),
        }
    }

    async fn send(&self, id: Uuid, options: Option<Options>, events: usize, last: bool) {
        let message = part(id, options, events, last);
        self.requests.send(message).await.unwrap();
    }

    async fn outcome(&mut self) -> Outcome {
        let response = tokio::time::timeout(SOON, self.responses.message()).await;
        let response = response.expect("an answer comes in time").unwrap().unwrap();
        assert!(response.stream_identifier.is_some());
        response.result.unwrap()
    }

    async fn success(&mut self) -> Success {
        match self.outcome().await {
            Outcome::Success(success) => success,
            Outcome::Error(error) => panic!("{error:?}"),
        }
    }

    async fn error(&mut self, code: Code) -> rpc::Status {
        match self.outcome().await {
            Outcome::Error(error) if Code::from(error.code) == code => error,
            other => panic!("{other:?}"),
        }
    }
}

fn part(id: Uuid, options: Option<Options>, events: usize, last: bool) -> BatchAppendReq {
    let message = || ProposedMessage {
        id: Some(wire::structured(Uuid::new_v4())),
        metadata: [("type", "x"), ("content-type", "application/json")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        custom_metadata: vec![],
        data: b"{}".to_vec(),
    };
    BatchAppendReq {
        correlation_id: Some(wire::structured(id)),
        options,
        proposed_messages: std::iter::repeat_with(message).take(events).collect(),
        is_final: last,
    }
}

fn options(stream: &str, expected: ExpectedStreamPosition) -> Options {
    Options {
        stream_identifier: wire::named(stream),
        expected_stream_position: Some(expected),
        deadline_option: None,
    }
}

fn revision(success: &Success) -> u64 {
    use crate::wire::streams::batch_append_resp::success::CurrentRevisionOption as Current;
    match success.current_revision_option {
        Some(Current::CurrentRevision(revision)) => revision,
        ref other => panic!("{other:?}"),
    }
}

/// What the error is packed with.
fn detail<T: Message + Default>(error: &rpc::Status, name: &str) -> T {
    let packed = error.details.as_ref().unwrap();
    let expected = format!("type.googleapis.com/event_store.client.{name}");
    assert_eq!(packed.type_url, expected);
    T::decode(packed.value.as_slice()).unwrap()
}
