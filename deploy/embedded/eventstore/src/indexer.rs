//! Writing finished parts of the index to files, and merging those of finished segments.
//!
//! # Invariants
//!
//! * Nothing here can harm the log. A file that cannot be written is tried again later;
//!   until then its part stays in memory, and there are few of those: past the limit
//!   appends wait, or are refused.
//! * A part's file is whole and durable before the part in memory is forgotten, a merged
//!   one, with its name, before the small ones are removed.
//! * What takes memory is written before anything else is begun.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::disk::Disk;
use crate::limits::PARTS_UNWRITTEN_MAX;
use crate::part::file::PartFile;
use crate::part::memory::Memory;
use crate::part::{self, Body, Name, Part, encode};
use crate::recovery;
use crate::store::Store;
use crate::view::View;

/// How long after a failure it is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// How often it looks by itself whether readers have found something damaged.
const ROUND: Duration = Duration::from_millis(250);
/// How often a writer that must wait looks whether it may go on.
const LOOK: Duration = Duration::from_millis(2);

/// Does the work when it is told to, on the caller's thread.
pub(crate) struct Indexer {
    disk: Arc<dyn Disk>,
    store: Arc<Store>,
}

/// The work, done beside the writer. Ends with this value.
pub(crate) struct Indexing {
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Why files cannot be written.
    failing: Mutex<Option<String>>,
    stop: AtomicBool,
}

/// How the index of what a writer writes is kept.
pub(crate) enum Upkeep {
    Beside(Indexing),
    /// At once, so that everything follows from a test's seed.
    #[cfg(test)]
    AtOnce(Indexer),
}

impl Upkeep {
    /// Says that a part was finished.
    pub(crate) fn wake(&self) {
        match self {
            // A full channel has a wake-up in it already; a closed one is a thread that
            // has said why it ended.
            Self::Beside(indexing) => drop(indexing.wake.as_ref().map(|wake| wake.try_send(()))),
            #[cfg(test)]
            Self::AtOnce(indexer) => drop(indexer.work(&AtomicBool::new(false))),
        }
    }

    /// Waits until another part may be finished; an error if that may take long.
    pub(crate) fn make_room(&self, store: &Store) -> anyhow::Result<()> {
        let indexing = match self {
            Self::Beside(indexing) => indexing,
            #[cfg(test)]
            Self::AtOnce(_) => return Ok(()),
        };
        while store.view().unwritten() >= PARTS_UNWRITTEN_MAX {
            let ended = indexing.thread.as_ref().is_none_or(JoinHandle::is_finished);
            if let Some(why) = indexing.shared.failing().clone() {
                bail!("the index cannot be written: {why}");
            }
            ensure!(!ended, "the index cannot be written any more");
            std::thread::sleep(LOOK);
        }
        Ok(())
    }
}

impl Indexing {
    pub(crate) fn start(disk: Arc<dyn Disk>, store: Arc<Store>) -> anyhow::Result<Self> {
        let (wake, woken) = sync_channel(1);
        let shared = Arc::new(Shared::default());
        let indexer = Indexer::new(disk, store);
        let seen = shared.clone();
        let thread = std::thread::Builder::new()
            .name("log-indexer".into())
            .spawn(move || run(&indexer, &woken, &seen))
            .context("failed to start the indexer")?;
        let indexing = Self {
            wake: Some(wake),
            thread: Some(thread),
            shared,
        };
        Ok(indexing)
    }
}

impl Shared {
    fn failing(&self) -> MutexGuard<'_, Option<String>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Indexing {
    /// Waits for it: the folder must not be used once it is unlocked.
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            // It has nothing to say; a panic of it was printed.
            let _ = thread.join();
        }
    }
}

fn run(indexer: &Indexer, woken: &Receiver<()>, shared: &Shared) {
    loop {
        let result = indexer.work(&shared.stop);
        *shared.failing() = result.as_ref().err().map(|error| format!("{error:#}"));
        let pause = match result {
            Ok(()) => ROUND,
            Err(error) => {
                tracing::error!("the index stays as it is for now: {error:#}");
                RETRY
            }
        };
        if let Err(RecvTimeoutError::Disconnected) = woken.recv_timeout(pause) {
            return;
        }
    }
}

impl Indexer {
    pub(crate) fn new(disk: Arc<dyn Disk>, store: Arc<Store>) -> Self {
        Self { disk, store }
    }

    /// Does all there is to do, unless it is stopped.
    pub(crate) fn work(&self, stop: &AtomicBool) -> anyhow::Result<()> {
        while !stop.load(Ordering::Relaxed) {
            let view = self.store.view();
            let finished = &view.parts[..view.parts.len() - 1];
            // First what takes memory; so there is never more than one made again at a time.
            if let Some(at) = finished.iter().position(is_unwritten) {
                self.write(&view, at)?;
            } else if let Some(at) = finished.iter().position(is_damaged) {
                self.redo(&view, at)?;
            } else if let Some(parts) = mergeable(&view) {
                self.merge(parts)?;
            } else {
                return Ok(());
            }
        }
        Ok(())
    }

    fn write(&self, view: &View, at: usize) -> anyhow::Result<()> {
        let part = &view.parts[at];
        let Body::Memory(memory) = &part.body else {
            return Ok(());
        };
        let unsettled = part::read(memory).unsettled();
        let settled = unsettled
            .iter()
            .try_for_each(|stream| view.row(at, &Name::new(stream)).map(drop));
        if let Err(error) = settled {
            // Found in an older part, which is made again, or given up, before this one.
            return match view.parts[..at].iter().position(is_damaged) {
                Some(damaged) => self.redo(view, damaged),
                None => Err(error.into()),
            };
        }
        let file = self.file_of(&part::read(memory))?;
        self.replace(&[part.id], Part::in_file(file));
        Ok(())
    }

    fn merge(&self, parts: &[Part]) -> anyhow::Result<()> {
        let files: Vec<_> = parts.iter().filter_map(file).cloned().collect();
        let Some(merged) = Memory::merged(&files)? else {
            return Ok(());
        };
        let file = self.file_of(&merged)?;
        let ids: Vec<_> = parts.iter().map(|part| part.id).collect();
        self.disk
            .sync_names()
            .context("failed to make the name of a merged index durable")?;
        self.replace(&ids, Part::in_file(file));
        for file in files {
            // One that stays is covered by the merged one and removed on the next opening.
            let _ = self.disk.remove(file.name());
        }
        Ok(())
    }

    /// Makes a part again from the log. One that cannot be is left as it is: reads that need
    /// it fail, all others go on.
    fn redo(&self, view: &View, at: usize) -> anyhow::Result<()> {
        let part = &view.parts[at];
        let Some(file) = file(part) else {
            return Ok(());
        };
        let name = file.name();
        tracing::warn!(file = name, "making a damaged index again from the log");
        let memory = match recovery::read_again(view, file.extent()) {
            Ok(memory) => memory,
            Err(error) => {
                tracing::error!(file = name, "the index cannot be made again: {error:#}");
                file.give_up();
                return Ok(());
            }
        };
        // Its readers keep the old file; the new one must not be written over it.
        match self.disk.remove(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("failed to remove {name}"));
            }
            _ => {}
        }
        self.replace(&[part.id], Part::in_memory(memory));
        Ok(())
    }

    fn file_of(&self, memory: &Memory) -> anyhow::Result<PartFile> {
        let name = encode::file_name(&memory.extent);
        let file = encode::write(&*self.disk, memory)
            .with_context(|| format!("failed to write {name}"))?;
        PartFile::open(&name, file)?.with_context(|| format!("{name} is not what was written"))
    }

    /// Puts one part in the place of those with these ids, which follow each other.
    fn replace(&self, ids: &[u64], new: Part) {
        self.store.change(|view| {
            let first = view.parts.iter().position(|part| ids.contains(&part.id));
            if let Some(first) = first {
                view.parts.splice(first..first + ids.len(), [new]);
            }
        });
    }
}

fn is_damaged(part: &Part) -> bool {
    file(part).is_some_and(|file| file.is_damaged())
}

fn file(part: &Part) -> Option<&Arc<PartFile>> {
    match &part.body {
        Body::File(file) => Some(file),
        Body::Memory(_) => None,
    }
}

fn is_unwritten(part: &Part) -> bool {
    matches!(part.body, Body::Memory(_))
}

/// The parts of a finished segment, if they are all in files and more than one.
fn mergeable(view: &View) -> Option<&[Part]> {
    view.parts
        .chunk_by(|one, next| one.segment == next.segment)
        .filter(|parts| parts.last().map(|part| part.id) != Some(view.active().id))
        .find(|parts| parts.len() > 1 && parts.iter().all(|part| file(part).is_some()))
}
