//! The log on a disk that loses and refuses, and against a model, with random
//! operations from a seed. Tests only.
//!
//! A failing seed is printed. `KINOLOG_SEED=7` runs that one alone, `KINOLOG_SEEDS=5000`
//! that many instead of the few hundred of every `cargo test`.
//!
//! # Invariants
//!
//! * What happens follows from the seed alone: the writer runs on the test's thread, a
//!   group is what was asked for together. Only ids and times that the node itself draws
//!   differ, and nothing depends on them.

mod backups;
mod crash;
mod disk;
mod model;
mod semantics;

use std::env::{self, VarError};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::{mpsc, oneshot};

use crate::disk::Disk;
use crate::filter::{Filter, Names, NoAnswer};
use crate::group::{Answer, Command, Request};
use crate::indexer::{Indexer, Upkeep};
use crate::part::Name;
use crate::record::Record;
use crate::recovery;
use crate::store::{Direction, Store};
use crate::unreadable::Unreadable;
use crate::view::Events;
use crate::writer::Writer;

/// Runs a test with each seed, says which one failed.
fn each_seed(name: &str, count: u64, test: impl Fn(&mut Random)) {
    let seeds = match (number("KINOLOG_SEED"), number("KINOLOG_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(count)) => 0..count,
        (None, None) => 0..count,
    };
    for seed in seeds {
        let once = || test(&mut Random(seed));
        if let Err(panic) = catch_unwind(AssertUnwindSafe(once)) {
            eprintln!("seed {seed} failed: again with KINOLOG_SEED={seed} cargo test {name}");
            resume_unwind(panic);
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    match env::var(variable) {
        Ok(number) => Some(number.parse().expect("it is a number")),
        Err(VarError::NotPresent) => None,
        Err(error) => panic!("{variable}: {error}"),
    }
}

/// SplitMix64.
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start)
    }

    fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.within(0..len as u64)).expect("it is below a length")
    }

    /// True once in `n` times.
    fn one_in(&mut self, n: u64) -> bool {
        self.within(0..n) == 0
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    fn fork(&mut self) -> Self {
        Self(self.next())
    }
}

/// The node without its network: what a call asks the writer and the store.
struct Node {
    store: Arc<Store>,
    writer: Writer,
    indexer: Indexer,
}

/// How often a node may find another page of its index damaged.
const MENDS_MAX: usize = 1000;

impl Node {
    fn open(disk: Arc<dyn Disk>, segment_bytes: u64) -> anyhow::Result<Self> {
        let (store, tail) = recovery::open(&disk, segment_bytes)?;
        let upkeep = Upkeep::AtOnce(Indexer::new(disk.clone(), store.clone()));
        let indexer = Indexer::new(disk.clone(), store.clone());
        let writer = Writer::new(disk, store.clone(), tail, segment_bytes, upkeep);
        Ok(Self {
            store,
            writer,
            indexer,
        })
    }

    /// Looks at all of the index, and has made again what is damaged of it.
    fn mend(&self, streams: &[&str]) {
        for _ in 0..MENDS_MAX {
            let Err(unreadable) = self.look_through(streams) else {
                return;
            };
            assert!(unreadable.file.starts_with("index-"), "{unreadable}");
            // It fails if what it reads meanwhile is damaged too: that one comes first then.
            let _ = self.indexer.work(&AtomicBool::new(false));
        }
        panic!("the index stays damaged");
    }

    fn look_through(&self, streams: &[&str]) -> Result<(), Unreadable> {
        for names in [Names::Stream, Names::Kind] {
            let mut filter = Filter::new(names, "x", vec![], None, 1).expect("it is a filter");
            for run in self.store.entries(0, Direction::Forwards, usize::MAX)? {
                for entry in &run.entries {
                    if let Err(NoAnswer::Index(unreadable)) = filter.wants(&run.part, entry) {
                        return Err(unreadable);
                    }
                }
            }
        }
        let view = self.store.view();
        for stream in streams {
            // In every part, for one that is not there.
            view.newest_row(&Name::new(stream), 0)?;
            if let Some(base) = self.store.base(&view, stream)? {
                Events::new(&view, stream, base).items(0..base.next_revision)?;
            }
        }
        Ok(())
    }

    /// Asks for all of this at once, so that it becomes one group. The answers, `None`
    /// where there was none; and whether the writer goes on.
    fn run(&mut self, commands: Vec<Command>) -> (Vec<Option<Answer>>, anyhow::Result<()>) {
        let (queue, requests) = mpsc::channel(commands.len().max(1));
        let mut answers = vec![];
        for command in commands {
            let (answer, answered) = oneshot::channel();
            let memory = None;
            let request = Request {
                command,
                answer,
                memory,
            };
            queue.try_send(request).unwrap_or_else(|_| panic!("full"));
            answers.push(answered);
        }
        drop(queue);
        let ended = self.writer.run(requests);
        let answers = answers.into_iter().map(|mut it| it.try_recv().ok());
        (answers.collect(), ended)
    }

    /// All that a reader can see, in log order.
    fn visible(&self) -> Vec<Record> {
        let runs = self.store.entries(0, Direction::Forwards, usize::MAX);
        let runs = runs.expect("the index can be read");
        let entries = runs.iter().flat_map(|run| &run.entries);
        let spots: Vec<_> = entries.map(|entry| entry.spot).collect();
        self.store.load(&spots).expect("what is shown can be read")
    }
}
