//! The node and the model, asked the same things.

use std::sync::Arc;

use futures::StreamExt;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Code;
use uuid::Uuid;

use super::disk::SimulatedDisk;
use super::semantics::{Event, Found, Model};
use super::{Node, Random, each_seed};
use crate::expect::Expected;
use crate::group::{Answer, Command};
use crate::protocol::shared::{StreamIdentifier, Uuid as WireId, uuid as wire_id};
use crate::protocol::streams::read_req::Options;
use crate::protocol::streams::read_req::options::all_options::AllOption;
use crate::protocol::streams::read_req::options::filter_options::{Expression, Filter};
use crate::protocol::streams::read_req::options::stream_options::RevisionOption;
use crate::protocol::streams::read_req::options::{
    AllOptions, ControlOption, CountOption, FilterOption, FilterOptions, Position, StreamOption,
    StreamOptions,
};
use crate::protocol::streams::read_resp::{Content, ReadEvent};
use crate::protocol::streams::streams_server::Streams;
use crate::protocol::streams::{ReadReq, ReadResp};
use crate::record::Draft;
use crate::store::Direction;
use crate::{grpc, limits};

const SEEDS: u64 = 100;
const STREAMS: [&str; 4] = ["a", "b", "$$a", "$$b"];
const KINDS: [&str; 3] = ["x.made", "x.gone", "y.made"];

#[test]
fn the_node_answers_as_the_model_does() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    each_seed("the_node_answers", SEEDS, |random| {
        let disk = SimulatedDisk::new(random.fork());
        let segment_bytes = random.within(2000..20000);
        let mut node = Node::open(Arc::new(disk.clone()), segment_bytes).unwrap();
        let mut model = Model::default();
        let mut sent = vec![];
        for _ in 0..random.within(5..40) {
            let group: Vec<_> = (0..random.within(1..5))
                .map(|_| ask(&mut model, &mut sent, random))
                .collect();
            let (commands, expected): (Vec<_>, Vec<_>) = group.into_iter().unzip();
            let (answers, ended) = node.run(commands);
            ended.unwrap();
            for (answer, expected) in answers.into_iter().zip(expected) {
                assert_eq!(answer.unwrap(), expected);
            }
            if random.one_in(10) {
                drop(node);
                node = Node::open(Arc::new(disk.clone()), segment_bytes).unwrap();
            }
            for _ in 0..3 {
                compare_reads(&runtime, &node, &model, random);
            }
        }
    });
}

/// An append, to be sent again.
type Sent = (String, Expected, Vec<Draft>);

/// Something to ask for, and what the model says to it.
fn ask(model: &mut Model, sent: &mut Vec<Sent>, random: &mut Random) -> (Command, Answer) {
    if !sent.is_empty() && random.one_in(4) {
        let recent = sent.len().min(6);
        let (stream, expected, drafts) = sent[sent.len() - 1 - random.index(recent)].clone();
        return append(model, stream, expected, drafts);
    }
    let stream = STREAMS[random.index(STREAMS.len())].to_owned();
    let next = model.next(&stream);
    let expected = match random.within(0..6) {
        0 => Expected::NoStream,
        1 => Expected::StreamExists,
        2 => Expected::Exact(random.within(0..next + 2)),
        3 => Expected::Exact(next.saturating_sub(1)),
        _ => Expected::Any,
    };
    let metadata = stream.starts_with("$$");
    match random.within(0..40) {
        0..=3 if !metadata => {
            let answer = model.delete(&stream, expected);
            (Command::Delete { stream, expected }, answer)
        }
        4 if !metadata && random.one_in(3) => {
            let answer = model.tombstone(&stream, expected);
            (Command::Tombstone { stream, expected }, answer)
        }
        // Elsewhere, or a part of it, or more.
        5..=8 if !sent.is_empty() => {
            let mut drafts = sent[random.index(sent.len())].2.clone();
            match random.within(0..3) {
                0 => drop(drafts.pop()),
                1 => drafts.push(draft(metadata, random)),
                _ => {}
            }
            append(model, stream, expected, drafts)
        }
        _ => {
            let count = random.within(0..4);
            let drafts: Vec<_> = (0..count).map(|_| draft(metadata, random)).collect();
            sent.push((stream.clone(), expected, drafts.clone()));
            append(model, stream, expected, drafts)
        }
    }
}

fn append(
    model: &mut Model,
    stream: String,
    expected: Expected,
    drafts: Vec<Draft>,
) -> (Command, Answer) {
    let answer = model.append(&stream, expected, &drafts);
    let command = Command::Append {
        stream,
        expected,
        drafts,
    };
    (command, answer)
}

fn draft(metadata: bool, random: &mut Random) -> Draft {
    let number = random.within(0..12);
    let data = match random.within(0..4) {
        0 => format!("{{\"$tb\":{number}}}"),
        1 => format!("{{\"$maxCount\":{number}}}"),
        2 => format!("{{\"$maxCount\":{number},\"$tb\":3,\"mine\":[1]}}"),
        _ => "{\"$tb\":-1,\"$acl\":{}}".into(),
    };
    let kind = match metadata {
        true => "$metadata",
        false => KINDS[random.index(KINDS.len())],
    };
    Draft {
        id: Uuid::from_u64_pair(random.next(), random.next()),
        kind: kind.into(),
        content_type: "application/json".into(),
        metadata: vec![].into(),
        data: data.into(),
    }
}

fn compare_reads(runtime: &Runtime, node: &Node, model: &Model, random: &mut Random) {
    let direction = match random.one_in(2) {
        true => Direction::Forwards,
        false => Direction::Backwards,
    };
    let count = match random.one_in(3) {
        true => u64::MAX,
        false => random.within(0..20),
    };
    if random.one_in(2) {
        let stream = STREAMS[random.index(STREAMS.len())];
        let revision = random.within(0..model.next(stream) + 3);
        let (from, asked) = match random.within(0..4) {
            0 => (0, RevisionOption::Start(())),
            1 => (u64::MAX, RevisionOption::End(())),
            _ => (revision, RevisionOption::Revision(revision)),
        };
        let option = StreamOption::Stream(StreamOptions {
            stream_identifier: Some(StreamIdentifier {
                stream_name: stream.as_bytes().to_vec().into(),
            }),
            revision_option: Some(asked),
        });
        let found = read(runtime, node, options(option, direction, count, None));
        let expected = model.read(stream, from, direction, count);
        assert_same(found, expected, model);
        return;
    }
    let position = random.within(0..model.log.len() as u64 + 3);
    let (from, asked) = match random.within(0..4) {
        0 => (0, AllOption::Start(())),
        1 => (u64::MAX, AllOption::End(())),
        _ => {
            let both = Position {
                commit_position: position,
                prepare_position: position,
            };
            (position, AllOption::Position(both))
        }
    };
    let option = StreamOption::All(AllOptions {
        all_option: Some(asked),
    });
    let (filter, wanted) = filter(random);
    let found = read(runtime, node, options(option, direction, count, filter));
    let expected = Found::Events {
        first: None,
        last: 0,
        events: model.read_all(from, direction, count, wanted),
    };
    assert_same(found, expected, model);
}

type Wanted = fn(&Event) -> bool;

fn filter(random: &mut Random) -> (Option<FilterOptions>, Wanted) {
    let expression = |regex: &str, prefix: &[&str]| Expression {
        regex: regex.into(),
        prefix: prefix.iter().map(|it| (*it).to_owned()).collect(),
    };
    let (filter, wanted): (Filter, Wanted) = match random.within(0..5) {
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
            |it| it.stream != "a",
        ),
        _ => return (None, |_| true),
    };
    let options = FilterOptions {
        filter: Some(filter),
        window: None,
        checkpoint_interval_multiplier: 1,
    };
    (Some(options), wanted)
}

fn options(
    stream: StreamOption,
    direction: Direction,
    count: u64,
    filter: Option<FilterOptions>,
) -> Options {
    Options {
        stream_option: Some(stream),
        read_direction: match direction {
            Direction::Forwards => 0,
            Direction::Backwards => 1,
        },
        count_option: Some(CountOption::Count(count)),
        filter_option: filter.map(FilterOption::Filter),
        control_option: Some(ControlOption { compatibility: 1 }),
        ..Options::default()
    }
}

/// Asks as a client does, all but the network.
fn read(runtime: &Runtime, node: &Node, options: Options) -> Found {
    let (queue, _requests) = tokio::sync::mpsc::channel(limits::APPEND_QUEUE_MAX);
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let node = grpc::Node::new(node.store.clone(), queue, tasks, stop);
    let options = Some(options);
    runtime.block_on(async {
        let request = tonic::Request::new(ReadReq { options });
        let answers = match grpc::streams(node).read(request).await {
            Ok(answers) => answers,
            Err(status) => {
                assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
                return Found::Deleted;
            }
        };
        let mut answers = answers.into_inner();
        let (mut first, mut last, mut events) = (None, 0, vec![]);
        while let Some(answer) = answers.next().await {
            let ReadResp { content } = answer.unwrap();
            match content.unwrap() {
                Content::Event(found) => events.push(event(found)),
                Content::StreamNotFound(_) => return Found::Missing,
                Content::FirstStreamPosition(position) => first = Some(position),
                Content::LastStreamPosition(position) => last = position,
                other => panic!("{other:?}"),
            }
        }
        Found::Events {
            first,
            last,
            events,
        }
    })
}

fn event(found: ReadEvent) -> Event {
    let event = found.event.unwrap();
    let Some(WireId {
        value: Some(wire_id::Value::Structured(id)),
    }) = event.id
    else {
        panic!("ids are structured unless asked otherwise");
    };
    let stream = event.stream_identifier.unwrap().stream_name;
    Event {
        position: event.commit_position,
        stream: String::from_utf8(stream.to_vec()).unwrap(),
        revision: event.stream_revision,
        kind: event.metadata["type"].clone(),
        data: event.data.to_vec(),
        id: Some(Uuid::from_u64_pair(
            id.most_significant_bits.cast_unsigned(),
            id.least_significant_bits.cast_unsigned(),
        )),
    }
}

/// The same, but for the ids that the node drew.
fn assert_same(mut found: Found, expected: Found, model: &Model) {
    if let Found::Events { events, .. } = &mut found {
        for event in events {
            let drawn = model.log.iter().find(|it| it.position == event.position);
            if drawn.is_some_and(|it| it.id.is_none()) {
                event.id = None;
            }
        }
    }
    assert_eq!(found, expected);
}
