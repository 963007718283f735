//! The peer: the same service and messages, with the events in memory and no log behind.
//!
//! It reads what a client asks the node for in these figures, and takes appends without
//! keeping them. Its sockets are the node's own, so that neither is slower for the options
//! a socket has.

use std::collections::HashMap;
use std::net::TcpListener;
use std::os::fd::FromRawFd;
use std::pin::Pin;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use clap::ValueEnum;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use crate::dataset::text_id;
use crate::events::{self, Shape, Sizes};
use crate::process::DESCRIPTOR;
use crate::socket;
use kinolog_eventstore::protocol::server_features::server_features_server::{
    ServerFeatures, ServerFeaturesServer,
};
use kinolog_eventstore::protocol::server_features::{SupportedMethod, SupportedMethods};
use kinolog_eventstore::protocol::shared;
use kinolog_eventstore::protocol::streams::append_resp::{
    Position, Result as Outcome, Success, success::CurrentRevisionOption, success::PositionOption,
};
use kinolog_eventstore::protocol::streams::batch_append_resp::{
    ExpectedStreamPosition, Result as BatchOutcome, Success as BatchSuccess,
    success::CurrentRevisionOption as BatchRevision, success::PositionOption as BatchPosition,
};
use kinolog_eventstore::protocol::streams::read_req::options::StreamOption;
use kinolog_eventstore::protocol::streams::read_resp::read_event::{self, RecordedEvent};
use kinolog_eventstore::protocol::streams::read_resp::{Content, ReadEvent, StreamNotFound};
use kinolog_eventstore::protocol::streams::streams_server::{Streams, StreamsServer};
use kinolog_eventstore::protocol::streams::{
    AppendReq, AppendResp, BatchAppendReq, BatchAppendResp, DeleteReq, DeleteResp, ReadReq,
    ReadResp, TombstoneReq, TombstoneResp,
};

/// What a peer holds.
#[derive(Clone, Copy, ValueEnum)]
pub enum Kind {
    Nothing,
    CatchUp,
    Streams,
}

impl Kind {
    pub fn word(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::CatchUp => "catch-up",
            Self::Streams => "streams",
        }
    }
}

/// An event in memory. Text and maps are made when it is sent, as they are in the node:
/// twenty million ready messages would not fit.
#[derive(Clone)]
struct Held {
    revision: u64,
    position: u64,
    kind: Arc<str>,
    data: Bytes,
}

struct HeldStream {
    number: u64,
    name: Bytes,
    events: Vec<Held>,
}

#[derive(Default)]
struct Memory {
    /// In the order of the log: which stream, and which of its events.
    log: Vec<(u32, u32)>,
    streams: Vec<HeldStream>,
    by_name: HashMap<Bytes, u32>,
}

#[derive(Clone)]
struct Service {
    memory: Arc<Memory>,
}

/// Serves the socket this process was handed, until it is killed.
pub async fn serve(kind: Kind, quick: bool) -> anyhow::Result<()> {
    let sizes = Sizes::new(quick);
    let memory = match kind {
        Kind::Nothing => Memory::default(),
        Kind::CatchUp => Memory::of(sizes.catch_up),
        Kind::Streams => Memory::of(sizes.streams),
    };
    // SAFETY: whoever started this process put a socket there, for it alone.
    let listener = unsafe { TcpListener::from_raw_fd(DESCRIPTOR) };
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let service = Service {
        memory: Arc::new(memory),
    };
    Server::builder()
        .initial_stream_window_size(1024 * 1024)
        .initial_connection_window_size(4 * 1024 * 1024)
        .add_service(ServerFeaturesServer::new(service.clone()))
        .add_service(StreamsServer::new(service))
        .serve_with_incoming(socket::connections(listener))
        .await
        .context("failed to serve from memory")
}

impl Memory {
    fn of(shape: Shape) -> Self {
        let mut kinds: HashMap<String, Arc<str>> = HashMap::new();
        let mut memory = Self::default();
        for number in 0..shape.streams {
            let name = Bytes::from(events::stream_name(number));
            memory.by_name.insert(name.clone(), number as u32);
            memory.streams.push(HeldStream {
                number,
                name,
                events: Vec::with_capacity(shape.per_stream() as usize),
            });
        }
        for round in 0..shape.rounds {
            for place in 0..shape.streams {
                let stream = shape.order(round, place);
                let first = round * shape.per_append;
                for revision in first..first + shape.per_append {
                    let kind = events::kind(stream, revision);
                    let kind = kinds.entry(kind.clone()).or_insert_with(|| kind.into());
                    memory.log.push((stream as u32, revision as u32));
                    memory.streams[stream as usize].events.push(Held {
                        revision,
                        position: memory.log.len() as u64,
                        kind: kind.clone(),
                        data: shape.data(stream, revision),
                    });
                }
            }
        }
        memory
    }

    fn log(self: Arc<Self>) -> impl Iterator<Item = ReadResp> {
        (0..self.log.len()).map(move |at| {
            let (stream, revision) = self.log[at];
            let stream = &self.streams[stream as usize];
            answer(stream, &stream.events[revision as usize])
        })
    }

    fn stream(&self, name: &Bytes) -> Vec<ReadResp> {
        let Some(stream) = self.by_name.get(name) else {
            let missing = StreamNotFound {
                stream_identifier: Some(identifier(name)),
            };
            return vec![response(Content::StreamNotFound(missing))];
        };
        let stream = &self.streams[*stream as usize];
        // The client asks for both ends, and the node says them.
        let last = stream.events.len() as u64 - 1;
        let first = response(Content::FirstStreamPosition(0));
        let last = response(Content::LastStreamPosition(last));
        let events = stream.events.iter().map(|held| answer(stream, held));
        std::iter::once(first)
            .chain(events)
            .chain(std::iter::once(last))
            .collect()
    }
}

type Answers = Pin<Box<dyn Stream<Item = Result<ReadResp, Status>> + Send>>;

#[tonic::async_trait]
impl Streams for Service {
    type ReadStream = Answers;
    type BatchAppendStream = BoxStream<'static, Result<BatchAppendResp, Status>>;

    async fn read(&self, request: Request<ReadReq>) -> Result<Response<Answers>, Status> {
        let options = request.into_inner().options.unwrap_or_default();
        let answers: Answers = match options.stream_option {
            Some(StreamOption::Stream(asked)) => {
                let name = asked.stream_identifier.unwrap_or_default().stream_name;
                all(self.memory.stream(&name))
            }
            // Asked backwards for one event, it is asked whether it is there.
            Some(StreamOption::All(_)) if options.read_direction == 1 => all(std::iter::empty()),
            Some(StreamOption::All(_)) => all(self.memory.clone().log()),
            None => return Err(Status::invalid_argument("a read names a stream or $all")),
        };
        Ok(Response::new(answers))
    }

    async fn append(
        &self,
        request: Request<Streaming<AppendReq>>,
    ) -> Result<Response<AppendResp>, Status> {
        let mut messages = request.into_inner();
        while messages.message().await?.is_some() {}
        let success = Success {
            current_revision_option: Some(CurrentRevisionOption::CurrentRevision(1)),
            position_option: Some(PositionOption::Position(Position {
                commit_position: 1,
                prepare_position: 1,
            })),
        };
        Ok(Response::new(AppendResp {
            result: Some(Outcome::Success(success)),
        }))
    }

    async fn batch_append(
        &self,
        request: Request<Streaming<BatchAppendReq>>,
    ) -> Result<Response<Self::BatchAppendStream>, Status> {
        let answers = request.into_inner().map_ok(|batch| BatchAppendResp {
            correlation_id: batch.correlation_id,
            stream_identifier: batch.options.and_then(|options| options.stream_identifier),
            expected_stream_position: Some(ExpectedStreamPosition::Any(())),
            result: Some(BatchOutcome::Success(BatchSuccess {
                current_revision_option: Some(BatchRevision::CurrentRevision(1)),
                position_option: Some(BatchPosition::Position(shared::AllStreamPosition {
                    commit_position: 1,
                    prepare_position: 1,
                })),
            })),
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn delete(&self, _: Request<DeleteReq>) -> Result<Response<DeleteResp>, Status> {
        Err(unasked())
    }

    async fn tombstone(&self, _: Request<TombstoneReq>) -> Result<Response<TombstoneResp>, Status> {
        Err(unasked())
    }
}

#[tonic::async_trait]
impl ServerFeatures for Service {
    /// The Rust client asks before its first batch.
    async fn get_supported_methods(
        &self,
        _: Request<()>,
    ) -> Result<Response<SupportedMethods>, Status> {
        Ok(Response::new(SupportedMethods {
            methods: vec![SupportedMethod {
                method_name: "batchappend".into(),
                service_name: "event_store.client.streams.streams".into(),
                features: vec![],
            }],
            event_store_server_version: "24.10.0".into(),
        }))
    }
}

fn all<I>(answers: I) -> Answers
where
    I: IntoIterator<Item = ReadResp>,
    I::IntoIter: Send + 'static,
{
    Box::pin(futures::stream::iter(answers).map(Ok))
}

fn unasked() -> Status {
    Status::unimplemented("no figure asks a peer for this")
}

fn answer(stream: &HeldStream, held: &Held) -> ReadResp {
    let metadata = [
        ("type", held.kind.to_string()),
        ("content-type", events::CONTENT_TYPE.to_owned()),
        ("created", CREATED.to_string()),
    ];
    let event = RecordedEvent {
        id: Some(text_id(stream.number, held.revision)),
        stream_identifier: Some(identifier(&stream.name)),
        stream_revision: held.revision,
        prepare_position: held.position,
        commit_position: held.position,
        metadata: metadata.map(|(key, value)| (key.to_owned(), value)).into(),
        custom_metadata: Bytes::new(),
        data: held.data.clone(),
    };
    response(Content::Event(ReadEvent {
        event: Some(event),
        link: None,
        position: Some(read_event::Position::CommitPosition(held.position)),
    }))
}

/// When all of it happened, in 100 ns since 1970: as many digits as a node's times have.
const CREATED: u64 = 17_000_000_000_000_000;

fn identifier(name: &Bytes) -> shared::StreamIdentifier {
    shared::StreamIdentifier {
        stream_name: name.clone(),
    }
}

fn response(content: Content) -> ReadResp {
    ReadResp {
        content: Some(content),
    }
}
