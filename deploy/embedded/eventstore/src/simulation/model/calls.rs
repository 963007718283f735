//! Reads and subscriptions as a client calls them, all but the network.

use futures::Stream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Code, Status};
use uuid::Uuid;

use super::super::semantics::{Event, Model, Shown};
use super::super::{Node, Random};
use crate::protocol::shared::{StreamIdentifier, Uuid as WireId, uuid as wire_id};
use crate::protocol::streams::read_req::Options;
use crate::protocol::streams::read_req::options::all_options::AllOption;
use crate::protocol::streams::read_req::options::filter_options::{Expression, Filter, Window};
use crate::protocol::streams::read_req::options::stream_options::RevisionOption;
use crate::protocol::streams::read_req::options::{
    AllOptions, ControlOption, CountOption, FilterOption, FilterOptions, Position, StreamOption,
    StreamOptions,
};
use crate::protocol::streams::read_resp::ReadEvent;
use crate::protocol::streams::read_resp::read_event::{Position as At, RecordedEvent};
use crate::protocol::streams::streams_server::Streams;
use crate::protocol::streams::{ReadReq, ReadResp};
use crate::{grpc, limits};

/// A filter as the model applies it.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub(super) matches: fn(&Event) -> bool,
    /// Events between two checkpoints of a subscription.
    pub(super) checkpoint_every: u64,
}

pub(super) type Answers = Box<dyn Stream<Item = Result<ReadResp, Status>> + Unpin>;

/// Calls `Read`. What answers it ends with `stop`. `None` if the stream is gone for ever.
pub(super) async fn call(
    node: &Node,
    stop: &CancellationToken,
    options: Options,
) -> Result<Option<Answers>, Box<Status>> {
    let (queue, _requests) = tokio::sync::mpsc::channel(limits::APPEND_QUEUE_MAX);
    let (store, tasks) = (node.store.clone(), TaskTracker::new());
    let service = grpc::streams(grpc::Node::new(store, queue, tasks, stop.clone()));
    let options = Some(options);
    match service.read(tonic::Request::new(ReadReq { options })).await {
        Ok(answers) => Ok(Some(Box::new(answers.into_inner()))),
        Err(status) if status.code() == Code::FailedPrecondition => Ok(None),
        Err(status) => Err(Box::new(status)),
    }
}

pub(super) fn of_stream(stream: &str, from: RevisionOption) -> StreamOption {
    StreamOption::Stream(StreamOptions {
        stream_identifier: Some(StreamIdentifier {
            stream_name: stream.as_bytes().to_vec().into(),
        }),
        revision_option: Some(from),
    })
}

pub(super) fn of_all(from: AllOption) -> StreamOption {
    StreamOption::All(AllOptions {
        all_option: Some(from),
    })
}

pub(super) fn at(position: u64) -> AllOption {
    AllOption::Position(Position {
        commit_position: position,
        prepare_position: position,
    })
}

pub(super) fn options(
    stream: StreamOption,
    count: CountOption,
    filter: Option<FilterOptions>,
    resolve_links: bool,
) -> Options {
    Options {
        stream_option: Some(stream),
        resolve_links,
        count_option: Some(count),
        filter_option: filter.map(FilterOption::Filter),
        control_option: Some(ControlOption { compatibility: 2 }),
        ..Options::default()
    }
}

/// A filter, or none, as a client asks for it and as the model knows it.
pub(super) fn filter(random: &mut Random) -> Option<(FilterOptions, Wanted)> {
    let expression = |regex: &str, prefix: &[&str]| Expression {
        regex: regex.into(),
        prefix: prefix.iter().map(|it| (*it).to_owned()).collect(),
    };
    let (filter, matches): (Filter, fn(&Event) -> bool) = match random.within(0..6) {
        0 => (Filter::EventType(expression("", &["x."])), |it| {
            it.kind.starts_with("x.")
        }),
        1 => (Filter::EventType(expression(r"^(?!\$)", &[])), |it| {
            !it.kind.starts_with('$')
        }),
        2 => (Filter::EventType(expression("made$", &["x."])), |it| {
            it.kind.ends_with("made")
        }),
        3 => (
            Filter::StreamIdentifier(expression("", &["$$", "b"])),
            |it| !["a", "c"].contains(&it.stream.as_str()),
        ),
        4 => (Filter::EventType(expression("", &["never"])), |_| false),
        _ => return None,
    };
    let (window, multiplier) = match random.one_in(4) {
        true => (None, 1),
        false => (Some(random.within(1..9)), random.within(1..4)),
    };
    let small = |number: u64| u32::try_from(number).expect("it is small");
    let options = FilterOptions {
        filter: Some(filter),
        window: window.map(|events| Window::Max(small(events))),
        checkpoint_interval_multiplier: small(multiplier),
    };
    let window = window.unwrap_or(u64::from(limits::FILTER_WINDOW_DEFAULT));
    let wanted = Wanted {
        matches,
        checkpoint_every: window * multiplier,
    };
    Some((options, wanted))
}

/// What was sent, without the ids that the node drew.
pub(super) fn shown(sent: ReadEvent, model: &Model) -> Shown {
    let event = sent.event.map(|it| recorded(it, model));
    let link = sent.link.map(|it| recorded(it, model));
    let original = link.as_ref().or(event.as_ref());
    let position = original.map(|it| At::CommitPosition(it.position));
    assert_eq!(sent.position, position, "the position is the original's");
    Shown { event, link }
}

fn recorded(event: RecordedEvent, model: &Model) -> Event {
    let Some(WireId {
        value: Some(wire_id::Value::Structured(id)),
    }) = event.id
    else {
        panic!("ids are structured unless asked otherwise");
    };
    let id = Uuid::from_u64_pair(
        id.most_significant_bits.cast_unsigned(),
        id.least_significant_bits.cast_unsigned(),
    );
    let known = model
        .log
        .iter()
        .find(|it| it.position == event.commit_position);
    let drawn = known.is_some_and(|it| it.id.is_none());
    let stream = event.stream_identifier.unwrap().stream_name;
    Event {
        position: event.commit_position,
        stream: String::from_utf8(stream.to_vec()).unwrap(),
        revision: event.stream_revision,
        kind: event.metadata["type"].clone(),
        data: event.data.to_vec(),
        created: event.metadata["created"].parse().unwrap(),
        id: (!drawn).then_some(id),
    }
}
