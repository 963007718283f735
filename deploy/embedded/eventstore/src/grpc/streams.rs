//! The `Streams` service: what a request means, and who does it.

use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};

use super::answers::Answers;
use super::convert::{self, Ids};
use super::pages::{Shape, Sieve};
use super::read::{self, AllRead, StreamRead};
use super::subscribe::{self, AllSubscription, StreamSubscription};
use super::{Node, append, batch, deadline};
use crate::expect::Expected;
use crate::filter::{Filter, Names};
use crate::group::Command;
use crate::protocol::streams::read_req::Options;
use crate::protocol::streams::read_req::options::{
    AllOptions, CountOption, FilterOption, FilterOptions, ReadDirection, StreamOption,
    StreamOptions, UuidOption,
    all_options::AllOption,
    filter_options::{Filter as FilterOn, Window},
    stream_options::RevisionOption,
    uuid_option,
};
use crate::protocol::streams::streams_server::Streams;
use crate::protocol::streams::{
    AppendReq, AppendResp, BatchAppendReq, BatchAppendResp, DeleteReq, DeleteResp, ReadReq,
    ReadResp, TombstoneReq, TombstoneResp, delete_req, delete_resp, tombstone_req, tombstone_resp,
};
use crate::store::Direction;

pub(super) struct Service {
    pub(super) node: Node,
}

#[tonic::async_trait]
impl Streams for Service {
    type ReadStream = Answers<ReadResp>;
    type BatchAppendStream = Answers<BatchAppendResp>;

    async fn read(&self, request: Request<ReadReq>) -> Result<Response<Self::ReadStream>, Status> {
        let deadline = deadline::of(request.metadata());
        let options = request.into_inner().options;
        let options = options.ok_or_else(|| Status::invalid_argument("the options are missing"))?;
        let answers = self.begin_read(options, deadline)?;
        Ok(Response::new(answers.begun().await?))
    }

    async fn append(
        &self,
        request: Request<Streaming<AppendReq>>,
    ) -> Result<Response<AppendResp>, Status> {
        let answer = append::append(&self.node, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn batch_append(
        &self,
        request: Request<Streaming<BatchAppendReq>>,
    ) -> Result<Response<Self::BatchAppendStream>, Status> {
        let deadline = deadline::of(request.metadata());
        let messages = request.into_inner();
        let node = self.node.clone();
        let answers = self
            .node
            .answers(deadline, |responses| batch::run(node, messages, responses));
        Ok(Response::new(answers))
    }

    async fn delete(&self, request: Request<DeleteReq>) -> Result<Response<DeleteResp>, Status> {
        use delete_req::options::ExpectedStreamRevision as Asked;
        use delete_resp::{Position, PositionOption};

        let options = request.into_inner().options.unwrap_or_default();
        let stream = convert::writable_stream(options.stream_identifier)?;
        let expected = match options.expected_stream_revision {
            Some(Asked::Revision(revision)) => Expected::Exact(revision),
            Some(Asked::NoStream(())) => Expected::NoStream,
            Some(Asked::Any(())) | None => Expected::Any,
            Some(Asked::StreamExists(())) => Expected::StreamExists,
        };
        let command = Command::Delete {
            stream: stream.clone(),
            expected,
        };
        let position = append::delete(&self.node, stream, expected, command).await?;
        let position = PositionOption::Position(Position {
            commit_position: position,
            prepare_position: position,
        });
        Ok(Response::new(DeleteResp {
            position_option: Some(position),
        }))
    }

    async fn tombstone(
        &self,
        request: Request<TombstoneReq>,
    ) -> Result<Response<TombstoneResp>, Status> {
        use tombstone_req::options::ExpectedStreamRevision as Asked;
        use tombstone_resp::{Position, PositionOption};

        let options = request.into_inner().options.unwrap_or_default();
        let stream = convert::writable_stream(options.stream_identifier)?;
        let expected = match options.expected_stream_revision {
            Some(Asked::Revision(revision)) => Expected::Exact(revision),
            Some(Asked::NoStream(())) => Expected::NoStream,
            Some(Asked::Any(())) | None => Expected::Any,
            Some(Asked::StreamExists(())) => Expected::StreamExists,
        };
        let command = Command::Tombstone {
            stream: stream.clone(),
            expected,
        };
        let position = append::delete(&self.node, stream, expected, command).await?;
        let position = PositionOption::Position(Position {
            commit_position: position,
            prepare_position: position,
        });
        Ok(Response::new(TombstoneResp {
            position_option: Some(position),
        }))
    }
}

/// What all reads have in common.
#[derive(Clone, Copy)]
struct Asked {
    direction: Direction,
    shape: Shape,
    /// Which messages the client knows: with 1 the ends of a stream, with 2 falling behind.
    compatibility: u32,
    deadline: Option<Instant>,
}

impl Service {
    fn begin_read(
        &self,
        options: Options,
        deadline: Option<Instant>,
    ) -> Result<Answers<ReadResp>, Status> {
        let direction = match ReadDirection::try_from(options.read_direction) {
            Ok(ReadDirection::Forwards) => Direction::Forwards,
            Ok(ReadDirection::Backwards) => Direction::Backwards,
            Err(_) => return Err(Status::invalid_argument("the read direction is unknown")),
        };
        let asked = Asked {
            direction,
            shape: Shape {
                ids: ids(options.uuid_option),
                resolve_links: options.resolve_links,
            },
            compatibility: options.control_option.map_or(0, |it| it.compatibility),
            deadline,
        };
        let (Some(what), Some(count)) = (options.stream_option, options.count_option) else {
            return Err(Status::invalid_argument(
                "a read names a stream or $all, and a count or a subscription",
            ));
        };
        if direction == Direction::Backwards && matches!(count, CountOption::Subscription(_)) {
            return Err(Status::invalid_argument("a subscription goes forwards"));
        }
        match (what, options.filter_option) {
            (StreamOption::Stream(_), Some(FilterOption::Filter(_))) => {
                Err(Status::invalid_argument("only $all is read with a filter"))
            }
            (StreamOption::Stream(stream), Some(FilterOption::NoFilter(())) | None) => {
                self.read_stream(stream, count, asked)
            }
            (StreamOption::All(all), Some(FilterOption::Filter(filter))) => {
                self.read_all(all, count, Some(filter), asked)
            }
            (StreamOption::All(all), Some(FilterOption::NoFilter(())) | None) => {
                self.read_all(all, count, None, asked)
            }
        }
    }

    fn read_stream(
        &self,
        options: StreamOptions,
        count: CountOption,
        asked: Asked,
    ) -> Result<Answers<ReadResp>, Status> {
        let stream = convert::stream_name(options.stream_identifier)?;
        let node = self.node.clone();
        match count {
            CountOption::Count(count) => {
                let read = StreamRead {
                    stream,
                    from: first_revision(options.revision_option),
                    direction: asked.direction,
                    count,
                    shape: asked.shape,
                    with_ends: asked.compatibility >= 1,
                };
                let answers = self
                    .node
                    .answers(asked.deadline, |it| read::stream(node, read, it));
                Ok(answers)
            }
            CountOption::Subscription(_) => {
                let subscription = StreamSubscription {
                    stream,
                    from: revision_after(options.revision_option),
                    shape: asked.shape,
                    tells_falling_behind: asked.compatibility >= 2,
                };
                self.node.subscription(asked.deadline, |it| {
                    subscribe::stream(node, subscription, it)
                })
            }
        }
    }

    fn read_all(
        &self,
        options: AllOptions,
        count: CountOption,
        filter: Option<FilterOptions>,
        asked: Asked,
    ) -> Result<Answers<ReadResp>, Status> {
        let node = self.node.clone();
        match count {
            CountOption::Count(count) => {
                // A read has no checkpoints, whatever interval it names.
                let sieve = filter.map(|filter| sieve(filter, 1)).transpose()?;
                let read = AllRead {
                    from: first_position(options.all_option),
                    direction: asked.direction,
                    count,
                    sieve,
                    shape: asked.shape,
                };
                let answers = self
                    .node
                    .answers(asked.deadline, |it| read::all(node, read, it));
                Ok(answers)
            }
            CountOption::Subscription(_) => {
                let multiplied = |filter: FilterOptions| {
                    let multiplier = filter.checkpoint_interval_multiplier;
                    sieve(filter, multiplier)
                };
                let subscription = AllSubscription {
                    from: position_after(options.all_option),
                    sieve: filter.map(multiplied).transpose()?,
                    shape: asked.shape,
                    tells_falling_behind: asked.compatibility >= 2,
                };
                self.node
                    .subscription(asked.deadline, |it| subscribe::all(node, subscription, it))
            }
        }
    }
}

fn ids(option: Option<UuidOption>) -> Ids {
    match option.and_then(|option| option.content) {
        Some(uuid_option::Content::String(())) => Ids::Text,
        Some(uuid_option::Content::Structured(())) | None => Ids::Structured,
    }
}

/// A read includes what it begins with.
fn first_revision(option: Option<RevisionOption>) -> u64 {
    match option {
        Some(RevisionOption::Revision(revision)) => revision,
        Some(RevisionOption::Start(())) | None => 0,
        Some(RevisionOption::End(())) => u64::MAX,
    }
}

fn first_position(option: Option<AllOption>) -> u64 {
    match option {
        Some(AllOption::Position(position)) => position.commit_position,
        Some(AllOption::Start(())) | None => 0,
        Some(AllOption::End(())) => u64::MAX,
    }
}

/// A subscription begins after what it names; `None` is whatever comes next.
fn revision_after(option: Option<RevisionOption>) -> Option<u64> {
    match option {
        Some(RevisionOption::Revision(revision)) => Some(revision.saturating_add(1)),
        Some(RevisionOption::Start(())) | None => Some(0),
        Some(RevisionOption::End(())) => None,
    }
}

fn position_after(option: Option<AllOption>) -> Option<u64> {
    match option {
        Some(AllOption::Position(position)) => Some(position.commit_position.saturating_add(1)),
        Some(AllOption::Start(())) | None => Some(0),
        Some(AllOption::End(())) => None,
    }
}

fn sieve(options: FilterOptions, multiplier: u32) -> Result<Sieve, Status> {
    let (on, expression) = match options.filter {
        Some(FilterOn::StreamIdentifier(expression)) => (Names::Stream, expression),
        Some(FilterOn::EventType(expression)) => (Names::Kind, expression),
        None => return Err(Status::invalid_argument("the filter says nothing")),
    };
    let window = match options.window {
        Some(Window::Max(max)) => Some(max),
        Some(Window::Count(())) | None => None,
    };
    let filter = Filter::new(on, &expression.regex, expression.prefix, window, multiplier)?;
    Ok(Sieve {
        filter,
        since_checkpoint: 0,
    })
}
