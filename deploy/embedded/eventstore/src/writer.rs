//! The one thread that writes: it takes what is waiting, writes it, syncs once, and only
//! then shows it to readers and answers.
//!
//! # Invariants
//!
//! * Nothing is acknowledged or shown before the sync of its group has succeeded.
//! * A write or sync that fails for another reason than a full disk is fatal: nothing of
//!   the group is acknowledged, nothing is tried again, and the node ends.
//! * A full disk refuses the group; the file is cut back to where it was, durably, and a
//!   segment that was just begun is removed.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use tokio::sync::{mpsc, oneshot};

use crate::disk::{Disk, is_full};
use crate::group::{Answer, Group, Planned, Refusal, Request};
use crate::indexer::{Indexing, Upkeep};
use crate::limits::{
    APPEND_QUEUE_MAX, GATHER_STEP, GROUP_APPENDS_MAX, GROUP_BYTES_MAX, PARTS_PER_SEGMENT,
};
use crate::patience::Patience;
use crate::recovery::{self, Tail};
use crate::segment::{self, Header};
use crate::store::Store;
use crate::view::Segment;

/// Starts the thread. It ends when the last sender of the queue is gone, having written
/// what was in it; or at once when the disk fails it, and then says why.
pub(crate) fn start(
    disk: Arc<dyn Disk>,
    store: Arc<Store>,
    tail: Tail,
    segment_bytes: u64,
) -> anyhow::Result<(mpsc::Sender<Request>, oneshot::Receiver<anyhow::Result<()>>)> {
    let (queue, requests) = mpsc::channel(APPEND_QUEUE_MAX);
    let (ended, end) = oneshot::channel();
    let upkeep = Upkeep::Beside(Indexing::start(disk.clone(), store.clone())?);
    let mut writer = Writer::new(disk, store, tail, segment_bytes, upkeep);
    std::thread::Builder::new()
        .name("log-writer".into())
        .spawn(move || {
            let result = writer.run(requests);
            // Ends the indexer, and unlocks the folder, before anybody hears that this is over.
            drop(writer);
            // Nobody listens any more only when the whole node is gone.
            let _ = ended.send(result);
        })
        .context("failed to start the writer")?;
    Ok((queue, end))
}

pub(crate) struct Writer {
    disk: Arc<dyn Disk>,
    store: Arc<Store>,
    tail: Tail,
    segment_bytes: u64,
    /// Where the part of the index being written begins.
    part_from: u64,
    upkeep: Upkeep,
    /// Why this group can write nothing.
    no_room: Option<String>,
    patience: Patience,
}

/// What became of a group.
enum Outcome {
    Durable,
    /// The disk is full; the log is as it was before.
    Refused(String),
}

impl Writer {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        store: Arc<Store>,
        tail: Tail,
        segment_bytes: u64,
        upkeep: Upkeep,
    ) -> Self {
        disk.durable(tail.position);
        Self {
            disk,
            part_from: store.view().active().from(),
            store,
            tail,
            segment_bytes,
            upkeep,
            no_room: None,
            patience: Patience::default(),
        }
    }

    /// Writes what comes, until nobody can ask any more or the disk fails.
    pub(crate) fn run(&mut self, mut requests: mpsc::Receiver<Request>) -> anyhow::Result<()> {
        while let Some(first) = requests.blocking_recv() {
            let begun = Instant::now();
            // Before anybody else is taken in: they would wait too.
            let room = self.upkeep.make_room(&self.store);
            self.no_room = room.err().map(|error| format!("{error:#}"));
            let mut group = Group::after(&self.tail);
            let written = self
                .gather(&mut group, first, &mut requests)
                .and_then(|taken| self.commit(&mut group).map(|_| taken));
            let taken = match written {
                Ok(taken) => taken,
                Err(error) => return Err(fail(group, error)),
            };
            self.patience.answered(taken + requests.len());
            let figures = &self.store.figures;
            figures.worked(taken, requests.len(), begun.elapsed());
        }
        Ok(())
    }

    /// Takes what is waiting, and what comes while that is worth waiting for.
    fn gather(
        &mut self,
        group: &mut Group,
        first: Request,
        requests: &mut mpsc::Receiver<Request>,
    ) -> anyhow::Result<usize> {
        self.take(group, first)?;
        let mut taken = 1 + self.take_waiting(group, requests)?;
        let longest = self.patience.longest(taken);
        if longest.is_zero() {
            return Ok(taken);
        }
        let begun = Instant::now();
        while begun.elapsed() < longest && !is_full_group(group) && !self.patience.content(taken) {
            // To be woken by each of them would cost more than this.
            std::thread::sleep(GATHER_STEP);
            taken += self.take_waiting(group, requests)?;
        }
        self.patience.waited(taken);
        Ok(taken)
    }

    fn take_waiting(
        &mut self,
        group: &mut Group,
        requests: &mut mpsc::Receiver<Request>,
    ) -> anyhow::Result<usize> {
        let mut taken = 0;
        while !is_full_group(group)
            && let Ok(request) = requests.try_recv()
        {
            self.take(group, request)?;
            taken += 1;
        }
        Ok(taken)
    }

    fn take(&mut self, group: &mut Group, request: Request) -> anyhow::Result<()> {
        let Request {
            command,
            answer,
            memory,
        } = request;
        let decided = match group.plan(&self.store, command) {
            Ok(Planned::Answer(decided)) => decided,
            Ok(Planned::Write(plan)) => match self.make_room(group, plan.bytes as u64)? {
                Outcome::Durable => group.add(&self.store, plan).map_err(Refusal::from),
                Outcome::Refused(why) => Err(Refusal::Unavailable(why)),
            },
            Err(unreadable) => Err(unreadable.into()),
        };
        group.answers.push((answer, decided, memory));
        Ok(())
    }

    /// Begins the next segment if this one would grow too long; the group so far goes first.
    fn make_room(&mut self, group: &mut Group, bytes: u64) -> anyhow::Result<Outcome> {
        if let Some(why) = &self.no_room {
            return Ok(Outcome::Refused(why.clone()));
        }
        let empty = group.tail.offset == segment::HEADER_BYTES as u64;
        if empty || group.tail.offset + bytes <= self.segment_bytes {
            return Ok(Outcome::Durable);
        }
        // The plan was made on top of this group: it stands only if the group does.
        if let Outcome::Refused(why) = self.commit(group)? {
            return Ok(Outcome::Refused(why));
        }
        let outcome = self.begin_segment()?;
        *group = Group::after(&self.tail);
        Ok(outcome)
    }

    fn begin_segment(&mut self) -> anyhow::Result<Outcome> {
        let header = Header {
            number: self.tail.segment + 1,
            after: self.tail.position,
            created: self.store.clock.now(),
            chain: self.tail.chain,
        };
        let name = segment::name(header.number);
        let file = match recovery::create(&*self.disk, header) {
            Ok(file) => file,
            Err(error) if is_full(&error) => {
                self.take_back(&name)
                    .with_context(|| format!("failed to take back {name}"))?;
                return Ok(Outcome::Refused(format!("the disk is full: {error}")));
            }
            Err(error) => return Err(error).with_context(|| format!("failed to begin {name}")),
        };
        recovery::settle(&*self.disk, &*file)
            .with_context(|| format!("failed to sync {name}: appends are over"))?;
        self.tail.file = file.clone();
        self.tail.segment = header.number;
        self.tail.offset = segment::HEADER_BYTES as u64;
        self.part_from = self.tail.offset;
        let name = name.into();
        self.store.begin_segment(Segment { name, file }, &self.tail);
        self.upkeep.wake();
        Ok(Outcome::Durable)
    }

    /// Removes a segment that found no room. Left there, it would say that the one before
    /// it is complete, while appends go on into that one.
    fn take_back(&self, name: &str) -> io::Result<()> {
        match self.disk.remove(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            // It may be that not even its name had room.
            _ => self.disk.sync_names(),
        }
    }

    /// Writes and syncs the group, then shows it and answers. The group is empty after.
    fn commit(&mut self, group: &mut Group) -> anyhow::Result<Outcome> {
        let outcome = self.flush(group)?;
        let done = std::mem::replace(group, Group::after(&self.tail));
        match &outcome {
            Outcome::Durable => {
                self.tail = done.tail;
                self.disk.durable(self.tail.position);
                self.store
                    .publish(done.events, &self.tail)
                    .context("the writer made events that do not follow each other")?;
                self.end_part();
                done.answers
                    .into_iter()
                    .for_each(|(to, answer, _)| tell(to, answer));
                *group = Group::after(&self.tail);
            }
            Outcome::Refused(why) => {
                let refusal = || Err(Refusal::Unavailable(why.clone()));
                done.answers
                    .into_iter()
                    .for_each(|(to, _, _)| tell(to, refusal()));
            }
        }
        Ok(outcome)
    }

    /// Ends a part of the index that is long enough; it can then go to its file.
    fn end_part(&mut self) {
        if self.tail.offset - self.part_from < self.segment_bytes / PARTS_PER_SEGMENT {
            return;
        }
        self.store.begin_part(&self.tail);
        self.part_from = self.tail.offset;
        self.upkeep.wake();
    }

    fn flush(&mut self, group: &Group) -> anyhow::Result<Outcome> {
        if group.bytes.is_empty() {
            return Ok(Outcome::Durable);
        }
        let begun = Instant::now();
        let at = self.tail.offset;
        let file = segment::name(self.tail.segment);
        if let Err(error) = self.tail.file.write_all_at(&group.bytes, at) {
            if !is_full(&error) {
                return Err(error).with_context(|| format!("failed to write {file} at {at}"));
            }
            // Synced, since the next segment may be begun before anything else is written
            // here, and only a last segment may have a torn tail.
            self.tail
                .file
                .truncate(at)
                .and_then(|()| self.tail.file.sync_data())
                .with_context(|| format!("failed to cut {file} back to {at}"))?;
            tracing::warn!(file, "the disk is full: appends are refused");
            return Ok(Outcome::Refused(format!("the disk is full: {error}")));
        }
        self.tail
            .file
            .sync_data()
            .with_context(|| format!("failed to sync {file}: appends are over"))?;
        let took = begun.elapsed();
        self.patience.synced(took);
        self.store.figures.flushed(group.bytes.len(), took);
        Ok(Outcome::Durable)
    }
}

fn is_full_group(group: &Group) -> bool {
    group.bytes.len() >= GROUP_BYTES_MAX || group.answers.len() >= GROUP_APPENDS_MAX
}

/// Tells everybody of the group that it is over.
fn fail(group: Group, error: anyhow::Error) -> anyhow::Error {
    for (to, _, _) in group.answers {
        let why = "the log could not be written; the node is stopping".to_owned();
        tell(to, Err(Refusal::Unavailable(why)));
    }
    error
}

fn tell(to: oneshot::Sender<Answer>, answer: Answer) {
    // Who asked may have gone away; the append stands all the same.
    let _ = to.send(answer);
}
