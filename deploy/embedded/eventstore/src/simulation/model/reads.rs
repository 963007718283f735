//! A read with a count, of a stream or the whole log.

use futures::StreamExt;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::super::semantics::{Found, Model};
use super::super::{Node, Random};
use super::{STREAMS, calls};
use crate::protocol::streams::ReadResp;
use crate::protocol::streams::read_req::Options;
use crate::protocol::streams::read_req::options::CountOption;
use crate::protocol::streams::read_req::options::all_options::AllOption;
use crate::protocol::streams::read_req::options::stream_options::RevisionOption;
use crate::protocol::streams::read_resp::Content;
use crate::store::Direction;

/// Asks both for the same, whatever that is. False if the node could not read its index.
pub(super) fn compare(runtime: &Runtime, node: &Node, model: &Model, random: &mut Random) -> bool {
    let direction = match random.one_in(2) {
        true => Direction::Forwards,
        false => Direction::Backwards,
    };
    let count = match random.one_in(3) {
        true => u64::MAX,
        false => random.within(0..20),
    };
    let links = random.one_in(2);
    let options = |stream, filter| Options {
        read_direction: match direction {
            Direction::Forwards => 0,
            Direction::Backwards => 1,
        },
        ..calls::options(stream, CountOption::Count(count), filter, links)
    };
    if random.one_in(2) {
        let stream = STREAMS[random.index(STREAMS.len())];
        let revision = random.within(0..model.next(stream) + 3);
        let (from, asked) = match random.within(0..4) {
            0 => (0, RevisionOption::Start(())),
            1 => (u64::MAX, RevisionOption::End(())),
            _ => (revision, RevisionOption::Revision(revision)),
        };
        let options = options(calls::of_stream(stream, asked), None);
        let expected = model.read(stream, from, direction, count, links);
        return answers(runtime, node, model, options, &expected);
    }
    let position = random.within(0..model.log.len() as u64 + 3);
    let (from, asked) = match random.within(0..4) {
        0 => (0, AllOption::Start(())),
        1 => (u64::MAX, AllOption::End(())),
        _ => (position, calls::at(position)),
    };
    let (filter, wanted) = calls::filter(random).unzip();
    let matches = wanted.map_or((|_| true) as fn(&_) -> bool, |it| it.matches);
    let expected = Found::Events {
        first: None,
        last: 0,
        events: model.read_all(from, direction, count, matches, links),
    };
    let options = options(calls::of_all(asked), filter);
    answers(runtime, node, model, options, &expected)
}

fn answers(
    runtime: &Runtime,
    node: &Node,
    model: &Model,
    options: Options,
    expected: &Found,
) -> bool {
    match read(runtime, node, model, options) {
        Ok(found) => assert_eq!(found, *expected),
        Err(status) => {
            assert!(status.message().contains(" of index-"), "{status}");
            return false;
        }
    }
    true
}

fn read(
    runtime: &Runtime,
    node: &Node,
    model: &Model,
    options: Options,
) -> Result<Found, Box<Status>> {
    runtime.block_on(async {
        let answers = calls::call(node, &CancellationToken::new(), options).await?;
        let Some(mut answers) = answers else {
            return Ok(Found::Deleted);
        };
        let (mut first, mut last, mut events) = (None, 0, vec![]);
        while let Some(answer) = answers.next().await {
            let ReadResp { content } = answer.map_err(Box::new)?;
            match content.unwrap() {
                Content::Event(sent) => events.push(calls::shown(sent, model)),
                Content::StreamNotFound(_) => return Ok(Found::Missing),
                Content::FirstStreamPosition(position) => first = Some(position),
                Content::LastStreamPosition(position) => last = position,
                other => panic!("{other:?}"),
            }
        }
        Ok(Found::Events {
            first,
            last,
            events,
        })
    })
}
