//! The node and the model, asked the same things.

mod calls;
mod reads;
mod subscriptions;

use std::sync::Arc;

use uuid::Uuid;

use self::subscriptions::Subscriptions;
use super::disk::SimulatedDisk;
use super::semantics::Model;
use super::{Node, Random, each_seed};
use crate::expect::Expected;
use crate::group::{Answer, Command};
use crate::record::Draft;

const SEEDS: u64 = 100;
const STREAMS: [&str; 5] = ["a", "b", "c", "$$a", "$$b"];
/// Other streams that are looked for.
const ELSEWHERE: [&str; 4] = ["$$c", "$$$$a", "$$$$b", "missing"];
const KINDS: [&str; 4] = ["x.made", "x.gone", "y.made", "$>"];
const LINKS: [&str; 8] = [
    "",
    "1",
    "@a",
    "-1@a",
    "x@a",
    "0@missing",
    "9223372036854775807@a",
    "18446744073709551616@a",
];
const SECOND: u64 = 10_000_000;

#[test]
fn the_node_answers_as_the_model_does() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    each_seed("the_node_answers", SEEDS, |random| {
        let disk = SimulatedDisk::new(random.fork());
        let segment_bytes = random.within(100..20000);
        let mut node = Node::open(Arc::new(disk.clone()), segment_bytes).unwrap();
        let mut model = Model::default();
        let mut subscriptions = Subscriptions::default();
        let mut sent = vec![];
        pass_time(&node, &mut model, random);
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
            subscriptions.compare(&runtime, &node, &model, random);
            if random.one_in(10) {
                subscriptions.end(&runtime, &node);
                drop(node);
                if random.one_in(2) {
                    disk.damage("index-", random);
                }
                node = Node::open(Arc::new(disk.clone()), segment_bytes).unwrap();
                node.mend(&[&STREAMS[..], &ELSEWHERE].concat());
            }
            pass_time(&node, &mut model, random);
            for _ in 0..3 {
                assert!(reads::compare(&runtime, &node, &model, random));
            }
        }
        disk.damage("index-", random);
        for _ in 0..6 {
            // Damaged under a node that runs it may be refused, and is never believed.
            reads::compare(&runtime, &node, &model, random);
        }
    });
}

/// A clock goes on; now and then somebody sets it.
fn pass_time(node: &Node, model: &mut Model, random: &mut Random) {
    let begin = 1_700_000_000 * SECOND;
    model.now = match random.within(0..20) {
        0 => begin + random.within(0..100) * SECOND,
        1..=9 => model.now,
        _ => model.now + random.within(0..3 * SECOND),
    };
    model.now = model.now.max(begin);
    node.store.clock.set(model.now);
}

fn pick<T: Copy>(from: &[T], random: &mut Random) -> T {
    from[random.index(from.len())]
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
    let stream = pick(&STREAMS, random).to_owned();
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
            // Now and then more than a page of links has room for.
            let count = match random.one_in(20) {
                true => random.within(30..90),
                false => random.within(0..4),
            };
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
    let kind = match metadata {
        true => "$metadata",
        false => pick(&KINDS, random),
    };
    let data = match random.within(0..6) {
        _ if kind == "$>" && random.one_in(3) => pick(&LINKS, random).into(),
        _ if kind == "$>" => format!("{number}@{}", pick(&STREAMS, random)),
        0 => format!("{{\"$tb\":{number}}}"),
        1 => format!("{{\"$maxCount\":{number}}}"),
        2 => format!("{{\"$maxAge\":{number}}}"),
        3 => format!("{{\"$maxCount\":{number},\"$maxAge\":9,\"$tb\":3,\"mine\":[1]}}"),
        4 => "{\"$maxAge\":18446744073709551615,\"$maxCount\":\"x\"}".into(),
        _ => "{\"$tb\":-1,\"$acl\":{}}".into(),
    };
    Draft {
        id: Uuid::from_u64_pair(random.next(), random.next()),
        kind: kind.into(),
        content_type: "application/json".into(),
        metadata: vec![].into(),
        data: data.into(),
    }
}
