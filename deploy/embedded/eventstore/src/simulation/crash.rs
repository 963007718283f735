//! Random appends, deletes and metadata; the process or the machine dies anywhere.
//!
//! # What is checked, after every group and every opening
//!
//! * What a reader has seen is still there: once, in order, at its position, byte for
//!   byte. What was acknowledged had been visible before.
//! * Beyond that only what was asked for and not answered, whole batches, in order.
//! * The log opens, whatever the power cut left, unless the disk itself refuses.
//! * None of that depends on index files: they may be lost, cut, garbled or mistaken.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use uuid::Uuid;

use super::disk::{SimulatedDisk, Trouble};
use super::{Node, Random, each_seed};
use crate::expect::Expected;
use crate::group::{Command, Refusal, Written};
use crate::metadata::{METADATA_KIND, TOMBSTONE_KIND};
use crate::record::{Draft, Record};

const SEEDS: u64 = 300;
const STREAMS: [&str; 4] = ["a", "b", "c", "$$a"];

#[test]
fn what_was_acknowledged_survives_every_crash() {
    each_seed("what_was_acknowledged", SEEDS, |random| {
        let mut world = World::new(random);
        for _ in 0..random.within(3..8) {
            let Some(mut node) = world.open(random) else {
                continue;
            };
            world.live(&mut node, random);
            drop(node);
            world.die(random);
        }
        let mut node = world.open_calmly();
        world.retry(&mut node);
    });
}

struct World {
    disk: SimulatedDisk,
    segment_bytes: u64,
    /// What a reader has seen.
    seen: Vec<Record>,
    /// What was acknowledged and not yet looked for.
    owed: Vec<(Asked, Written)>,
    /// What was asked for in this life and not acknowledged.
    unanswered: Vec<Asked>,
    /// All drafts there ever were, and the appends they belong to.
    drafts: HashMap<Uuid, (String, Draft)>,
    appends: Vec<Vec<Uuid>>,
    /// What was refused for good.
    refused: HashSet<Uuid>,
}

#[derive(Clone)]
struct Asked {
    stream: String,
    what: What,
}

#[derive(Clone)]
enum What {
    Append(Expected, Vec<Draft>),
    Delete(Expected),
    Tombstone(Expected),
}

impl World {
    fn new(random: &mut Random) -> Self {
        Self {
            disk: SimulatedDisk::new(random.fork()),
            // Often so small that each append has a segment of its own.
            segment_bytes: random.within(100..6000),
            seen: vec![],
            owed: vec![],
            unanswered: vec![],
            drafts: HashMap::new(),
            appends: vec![],
            refused: HashSet::new(),
        }
    }

    /// Opens the log, which may die or find the disk broken while it does.
    fn open(&mut self, random: &mut Random) -> Option<Node> {
        self.disk.expect(Trouble {
            crash_in: random.one_in(4).then(|| random.within(0..6)),
            broken_in: random.one_in(8).then(|| random.within(0..6)),
            ..Trouble::default()
        });
        match Node::open(Arc::new(self.disk.clone()), self.segment_bytes) {
            Ok(node) => {
                self.disk.expect(Trouble::default());
                node.mend(&STREAMS);
                self.check(&node);
                Some(node)
            }
            Err(error) => {
                assert_is_the_disk(&error);
                self.die(random);
                None
            }
        }
    }

    fn open_calmly(&mut self) -> Node {
        let node = Node::open(Arc::new(self.disk.clone()), self.segment_bytes).unwrap();
        node.mend(&STREAMS);
        self.check(&node);
        node
    }

    /// The process ends, and mostly the machine with it; index files may be lost with them.
    fn die(&mut self, random: &mut Random) {
        match random.one_in(3) {
            true => self.disk.restart(),
            false => self.disk.lose_power(),
        }
        if random.one_in(3) {
            self.disk.damage("index-", random);
        }
    }

    /// Some groups, until the disk or the process fails or enough was done.
    fn live(&mut self, node: &mut Node, random: &mut Random) {
        if random.one_in(2) {
            self.retry(node);
        }
        self.unanswered.clear();
        let groups = random.within(1..10);
        self.disk.expect(Trouble {
            crash_in: random.one_in(2).then(|| random.within(0..3 * groups)),
            broken_in: random.one_in(6).then(|| random.within(0..3 * groups)),
            room: random.one_in(4).then(|| random.within(0..4000)),
            ..Trouble::default()
        });
        for _ in 0..groups {
            let group = (0..random.within(1..7))
                .map(|_| self.ask(node, random))
                .collect();
            if self.group(node, group).is_err() {
                return;
            }
            if random.one_in(4) {
                self.disk.make_room();
            }
        }
    }

    /// Asks for all of this at once. An error if the node cannot go on.
    fn group(&mut self, node: &mut Node, group: Vec<Asked>) -> anyhow::Result<()> {
        let (answers, ended) = node.run(group.iter().map(Asked::command).collect());
        let mut acknowledged = HashSet::new();
        for (asked, answer) in group.into_iter().zip(answers) {
            match answer {
                Some(Ok(written)) => {
                    acknowledged.extend(asked.ids());
                    self.owed.push((asked, written));
                }
                Some(Err(Refusal::WrongRevision { .. } | Refusal::Tombstoned)) => {
                    let seen: HashSet<_> = self.seen.iter().map(|it| it.draft.id).collect();
                    self.refused
                        .extend(asked.ids().filter(|id| !seen.contains(id)));
                }
                Some(Err(Refusal::Unavailable(_))) | None => self.unanswered.push(asked),
            }
        }
        if self.disk.is_dead() {
            anyhow::bail!("the process is dead");
        }
        let before = self.seen.len();
        self.check(node);
        for record in &self.seen[before..] {
            let id = record.draft.id;
            let known = self.drafts.contains_key(&id);
            assert!(
                !known || acknowledged.contains(&id),
                "shown, not acknowledged"
            );
        }
        if let Err(error) = &ended {
            assert_is_the_disk(error);
        }
        ended
    }

    /// What got no answer is asked for again. What stands there already is not doubled.
    fn retry(&mut self, node: &mut Node) {
        let unanswered = std::mem::take(&mut self.unanswered);
        let ends: HashSet<String> = unanswered
            .iter()
            .filter(|asked| !matches!(asked.what, What::Append(..)))
            .map(|asked| asked.stream.clone())
            .collect();
        for asked in unanswered {
            // Metadata may hide, and a delete ends, what an append would be recognised by.
            if ends.contains(&asked.stream) || !["b", "c"].contains(&asked.stream.as_str()) {
                continue;
            }
            let stands = asked
                .ids()
                .next()
                .is_some_and(|id| self.seen.iter().any(|record| record.draft.id == id));
            let before = self.seen.len();
            self.group(node, vec![asked]).unwrap();
            if stands {
                assert_eq!(self.seen.len(), before, "written twice");
            }
        }
        assert!(self.unanswered.is_empty());
    }

    /// Compares what a reader sees with what it saw, and with what was asked for.
    fn check(&mut self, node: &Node) {
        let visible = node.visible();
        assert!(visible.len() >= self.seen.len(), "events are lost");
        for (now, before) in visible.iter().zip(&self.seen) {
            assert_eq!(now, before, "an event has changed");
        }
        let added = visible[self.seen.len()..].iter();
        let mut open = None;
        for record in added {
            let place = record.place;
            let expected = open.take().unwrap_or((0, place.batch_count));
            assert_eq!((place.batch_index, place.batch_count), expected);
            let next = place.batch_index + 1;
            open = (next < place.batch_count).then_some((next, place.batch_count));

            let id = record.draft.id;
            assert!(!self.refused.contains(&id), "refused, and there");
            match self.drafts.get(&id) {
                Some((stream, draft)) => {
                    assert_eq!((&record.stream, &record.draft), (stream, draft));
                }
                // The node's own, with an id it drew.
                None => assert!(
                    [METADATA_KIND, TOMBSTONE_KIND].contains(&record.draft.kind.as_str()),
                    "an event from nowhere: {record:?}"
                ),
            }
        }
        assert_eq!(open, None, "a part of a batch");
        self.seen = visible;
        for stream in STREAMS {
            let of_stream = self.seen.iter().filter(|it| it.stream == stream);
            let events = of_stream.filter(|it| it.draft.kind != TOMBSTONE_KIND);
            let next = node.store.next_revision(stream).unwrap();
            assert_eq!(
                next,
                events.count() as u64,
                "the index knows another `{stream}`"
            );
        }

        let mut times = HashMap::new();
        for record in &self.seen {
            *times.entry(record.draft.id).or_insert(0) += 1;
        }
        assert!(times.values().all(|times| *times == 1), "an event twice");
        for append in &self.appends {
            let there = append.iter().filter(|id| times.contains_key(id)).count();
            assert!(there == 0 || there == append.len(), "a part of an append");
        }
        for (asked, written) in std::mem::take(&mut self.owed) {
            self.acknowledged(&asked, written);
        }
    }

    fn acknowledged(&self, asked: &Asked, written: Written) {
        let found = self
            .seen
            .iter()
            .find(|it| it.place.position == written.position);
        let stream = match &asked.what {
            What::Append(_, drafts) => {
                let Some(last) = drafts.last() else {
                    return;
                };
                let found = found.expect("what was acknowledged is there");
                assert_eq!(&found.draft, last);
                assert_eq!(Some(found.place.revision), written.revision);
                asked.stream.clone()
            }
            What::Delete(_) => format!("$${}", asked.stream),
            What::Tombstone(_) => asked.stream.clone(),
        };
        let found = found.expect("what was acknowledged is there");
        assert_eq!(found.stream, stream);
    }

    fn ask(&mut self, node: &Node, random: &mut Random) -> Asked {
        let stream = STREAMS[random.index(STREAMS.len())].to_owned();
        let next = node.store.next_revision(&stream).unwrap();
        let expected = match random.within(0..6) {
            0 => Expected::NoStream,
            1 => Expected::StreamExists,
            2 => Expected::Exact(random.within(0..next + 3)),
            3 => Expected::Exact(next.saturating_sub(1)),
            _ => Expected::Any,
        };
        let what = match random.within(0..24) {
            0 => What::Delete(expected),
            1 if random.one_in(8) => What::Tombstone(expected),
            _ => {
                let count = match random.within(0..4) {
                    0 => random.within(0..8),
                    _ => 1,
                };
                let drafts: Vec<Draft> = (0..count).map(|_| self.draft(&stream, random)).collect();
                self.appends
                    .push(drafts.iter().map(|draft| draft.id).collect());
                What::Append(expected, drafts)
            }
        };
        Asked { stream, what }
    }

    fn draft(&mut self, stream: &str, random: &mut Random) -> Draft {
        let id = Uuid::from_u128(self.drafts.len() as u128 + 1);
        let metadata = stream.starts_with("$$");
        let data = match metadata {
            true => format!("{{\"$tb\":{}}}", random.within(0..9)).into_bytes(),
            false => {
                let len = match random.within(0..20) {
                    0 => random.within(0..5000),
                    _ => random.within(0..300),
                };
                random.bytes(usize::try_from(len).unwrap())
            }
        };
        let kind = if metadata { METADATA_KIND } else { "x" };
        let draft = Draft {
            id,
            kind: kind.into(),
            content_type: "application/octet-stream".into(),
            metadata: random.bytes(4).into(),
            data: data.into(),
        };
        self.drafts.insert(id, (stream.to_owned(), draft.clone()));
        draft
    }
}

impl Asked {
    fn command(&self) -> Command {
        let stream = self.stream.clone();
        match self.what.clone() {
            What::Append(expected, drafts) => Command::Append {
                stream,
                expected,
                drafts,
            },
            What::Delete(expected) => Command::Delete { stream, expected },
            What::Tombstone(expected) => Command::Tombstone { stream, expected },
        }
    }

    fn ids(&self) -> impl Iterator<Item = Uuid> {
        let drafts = match &self.what {
            What::Append(_, drafts) => &drafts[..],
            What::Delete(_) | What::Tombstone(_) => &[],
        };
        drafts.iter().map(|draft| draft.id)
    }
}

fn assert_is_the_disk(error: &anyhow::Error) {
    let error = format!("{error:#}");
    let expected = ["the process is dead", "the disk is broken"];
    assert!(expected.iter().any(|it| error.contains(it)), "{error}");
}
