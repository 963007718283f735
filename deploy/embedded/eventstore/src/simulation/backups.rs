//! Backups of a node that is in the middle of something, to a disk with its own troubles.
//!
//! # What is checked
//!
//! * Whatever becomes of the node and its disk after a backup, its history goes on from what
//!   was copied: nothing is in the copy that was taken back at the source.
//! * The copy is a whole log without a torn tail at every moment, also when its own disk
//!   fails or loses power; and it never has less than was said to be done.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use uuid::Uuid;

use super::disk::{Glimpse, SimulatedDisk, Trouble};
use super::{Node, Random, each_seed};
use crate::backup::{self, Source};
use crate::disk;
use crate::expect::Expected;
use crate::group::Command;
use crate::mark::Mark;
use crate::record::{Draft, Record};
use crate::walk::Log;

const SEEDS: u64 = 100;
const STREAMS: [&str; 3] = ["a", "b", "$$a"];

#[test]
fn a_backup_is_a_prefix_of_what_the_source_keeps_whatever_happens_to_either() {
    each_seed("a_backup_is_a_prefix", SEEDS, |random| {
        let source = SimulatedDisk::new(random.fork());
        let dest = SimulatedDisk::new(random.fork());
        let segment_bytes = random.within(600..6000);
        let (mut copied, mut promised) = (vec![], vec![]);
        for _ in 0..random.within(2..7) {
            source.expect(trouble(random));
            if let Ok(mut node) = Node::open(Arc::new(source.clone()), segment_bytes) {
                live(&source, &mut node, random);
            }
            let seen = source.glimpse();
            for _ in 0..random.within(1..4) {
                let done = back_up(&seen, &dest, random);
                copied = holds(&dest, &promised);
                if done {
                    promised = copied.clone();
                }
            }
            match random.one_in(3) {
                true => source.restart(),
                false => source.lose_power(),
            }
            let node = Node::open(Arc::new(source.clone()), segment_bytes).unwrap();
            assert_begins_with(&node, &copied);
        }
        let restored = Node::open(Arc::new(dest), segment_bytes).unwrap();
        assert_eq!(restored.visible(), copied);
    });
}

fn trouble(random: &mut Random) -> Trouble {
    Trouble {
        crash_in: random.one_in(4).then(|| random.within(0..30)),
        broken_in: random.one_in(4).then(|| random.within(0..30)),
        room: random.one_in(3).then(|| random.within(0..6000)),
        glimpse_in: random.one_in(2).then(|| random.within(0..30)),
    }
}

/// Some groups, until the node cannot go on.
fn live(disk: &SimulatedDisk, node: &mut Node, random: &mut Random) {
    for _ in 0..random.within(1..12) {
        let group = (0..random.within(1..5)).map(|_| append(random)).collect();
        let (_, ended) = node.run(group);
        if ended.is_err() {
            return;
        }
        if random.one_in(3) {
            disk.make_room();
        }
    }
}

fn append(random: &mut Random) -> Command {
    let drafts = (0..random.within(1..5)).map(|_| {
        let len = random.index(400);
        Draft {
            id: Uuid::from_u64_pair(random.next(), random.next()),
            kind: "x".into(),
            content_type: "application/octet-stream".into(),
            metadata: vec![].into(),
            data: random.bytes(len).into(),
        }
    });
    let drafts = drafts.collect();
    Command::Append {
        stream: STREAMS[random.index(STREAMS.len())].into(),
        expected: Expected::Any,
        drafts,
    }
}

/// What was seen of the source is backed up, in a life of the copy that may end badly.
/// Whether it was done.
fn back_up(seen: &Glimpse, dest: &SimulatedDisk, random: &mut Random) -> bool {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in &seen.files {
        std::fs::write(dir.path().join(name), content).unwrap();
    }
    let Some(position) = seen.said else {
        let refused = Source::in_use(dir.path()).err().unwrap().to_string();
        assert!(refused.contains("not served yet"), "{refused}");
        return false;
    };
    say(dir.path(), position);
    let source = Source::in_use(dir.path()).unwrap();
    let calm = random.one_in(2);
    if !calm {
        dest.expect(Trouble {
            glimpse_in: None,
            ..trouble(random)
        });
    }
    let result = backup::copy(&source, dest, &mut |_, _| {});
    match &result {
        Ok(done) => assert!(done.position >= position),
        Err(error) => {
            let error = format!("{error:#}");
            let expected = ["copy is full", "the process is dead", "the disk is broken"];
            assert!(
                !calm && expected.iter().any(|it| error.contains(it)),
                "{error}"
            );
        }
    }
    match random.one_in(2) {
        true => dest.restart(),
        false => dest.lose_power(),
    }
    result.is_ok()
}

/// As the node that runs there.
fn say(dir: &Path, position: u64) {
    let life = Uuid::from_u128(1);
    let mark = Mark { life, position };
    std::fs::write(disk::lock_file(dir), mark.encode()).unwrap();
}

/// All records of the copy, which is whole and has what was promised.
fn holds(dest: &SimulatedDisk, promised: &[Record]) -> Vec<Record> {
    let mut records = vec![];
    let log = Log::on(dest).unwrap();
    let end = log.walk(0, |found| {
        records.push(found.record.clone());
        Ok(ControlFlow::Continue(()))
    });
    assert_eq!(end.unwrap().torn_bytes, 0);
    assert!(records.starts_with(promised), "the copy has lost something");
    records
}

fn assert_begins_with(node: &Node, copied: &[Record]) {
    let kept = node.visible();
    assert!(kept.len() >= copied.len(), "more was copied than was kept");
    for (kept, copied) in kept.iter().zip(copied) {
        assert_eq!(kept, copied, "what was copied is not what was kept");
    }
}
