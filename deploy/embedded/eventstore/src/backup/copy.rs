//! Bringing a copy of a log up to a position of it.
//!
//! # Invariants
//!
//! * The copy is a whole log at every moment: a segment is written under another name and
//!   synced, then renamed; the names are synced before the next one is begun.
//! * Nothing of the copy is ever replaced but its last segment, by one with the same history
//!   and more of it. A copy with another history is refused, and left as it is.
//! * What is written are the very bytes that were checked.

use std::ops::ControlFlow;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};

use super::{BackedUp, Progress, Source};
use crate::disk::{Disk, DiskFile, is_full};
use crate::limits::BACKUP_WRITE_BYTES;
use crate::record::Hash;
use crate::segment::{self, HEADER_BYTES, Header};
use crate::verify::{Proof, hex};
use crate::walk::{Found, Log};

/// A segment has its name and this until it is whole and durable.
const UNFINISHED: &str = ".part";

/// Copies what the copy does not have of what is durable at the source.
pub(crate) fn copy(
    source: &Source,
    dest: &dyn Disk,
    progress: Progress,
) -> anyhow::Result<BackedUp> {
    let log = Log::at(&source.dir)?;
    let before = Before::of(dest).context("the copy cannot be added to")?;
    // A kill may have come between a rename and the sync of the names.
    dest.sync_names()
        .context("failed to make the names of the copy's segments durable")?;
    before.compare(&log)?;
    let mut run = Run::new(source, dest, &before, &log, progress)?;
    match run.all(&log) {
        Ok(()) => Ok(run.done(&before)),
        Err(error) => {
            // Without its name it is nothing; the next run begins it anew.
            let _ = run.part.map(|part| dest.remove(&unfinished(part.number)));
            let kept = format!("the copy holds the log up to position {}", run.settled);
            let full = error.downcast_ref().is_some_and(is_full);
            let full = if full {
                "the disk of the copy is full; "
            } else {
                ""
            };
            Err(error.context(format!("{full}{kept}")))
        }
    }
}

/// What is in the copy before this run.
struct Before {
    headers: Vec<Header>,
    lens: Vec<u64>,
    /// Where its history stands.
    position: u64,
    chain: Hash,
    /// Where the last segment's last whole batch ends.
    end: u64,
}

impl Before {
    fn of(dest: &dyn Disk) -> anyhow::Result<Self> {
        let log = Log::on(dest)?;
        let count = log.segments();
        let headers = (0..count).map(|at| log.header(at));
        let headers = headers.collect::<Result<Vec<_>, _>>()?;
        let lens = (0..count).map(|at| log.segment_bytes(at));
        let mut before = Self {
            lens: lens.collect::<Result<Vec<_>, _>>()?,
            position: headers.last().map_or(0, |last| last.after),
            chain: headers.last().map_or([0; 32], |last| last.chain),
            end: HEADER_BYTES as u64,
            headers,
        };
        log.walk(count.saturating_sub(1), |found| {
            before.position = found.record.place.position;
            before.chain = found.record.chain;
            before.end = u64::from(found.spot.offset) + u64::from(found.spot.len);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(before)
    }

    /// Whether its segments are the log's. A header names the history before it, so of the
    /// last one only the records are left to be compared.
    fn compare(&self, log: &Log) -> anyhow::Result<()> {
        let other = |at: usize| {
            let file = segment::name(self.headers[at].number);
            format!("the copy is of another history, from {file} on; nothing was changed in it")
        };
        for (at, header) in self.headers.iter().enumerate() {
            ensure!(at < log.segments() && log.header(at)? == *header, other(at));
            let last = at + 1 == self.headers.len();
            ensure!(last || log.segment_bytes(at)? == self.lens[at], other(at));
        }
        Ok(())
    }

    /// The segment with which a run begins.
    fn last(&self) -> usize {
        self.headers.len().saturating_sub(1)
    }

    /// Whether its last segment has all there is of that one.
    fn is_complete(&self, log: &Log) -> anyhow::Result<bool> {
        let Some(len) = self.lens.last().copied() else {
            return Ok(false);
        };
        Ok(len == self.end && len == log.segment_bytes(self.last())?)
    }
}

struct Run<'a> {
    source: &'a Source,
    dest: &'a dyn Disk,
    progress: Progress<'a>,
    headers: Vec<Header>,
    /// Up to where to copy, and from which segment on.
    upto: u64,
    first: usize,
    /// The stand of the copy, to be found in the log too.
    known: (u64, Hash),
    recognised: bool,
    /// Whether the segment begun with is to be written.
    rewrites: bool,
    proof: Proof,
    new_events: u64,
    part: Option<Part>,
    /// Up to where the copy holds the log by now.
    settled: u64,
    segments: usize,
    copied: u64,
    seen: u64,
    total: u64,
}

/// A segment being written.
struct Part {
    number: u32,
    file: Arc<dyn DiskFile>,
    written: u64,
    pending: Vec<u8>,
}

impl<'a> Run<'a> {
    fn new(
        source: &'a Source,
        dest: &'a dyn Disk,
        before: &Before,
        log: &Log,
        progress: Progress<'a>,
    ) -> anyhow::Result<Self> {
        let first = before.last();
        let headers = (0..log.segments()).map(|at| log.header(at));
        let headers = headers.collect::<Result<Vec<_>, _>>()?;
        let lens = (first..log.segments()).map(|at| log.segment_bytes(at));
        let Some(begin) = headers.get(first).copied() else {
            bail!("there is no log in {} yet", source.dir.display())
        };
        let known = (before.position, before.chain);
        Ok(Self {
            source,
            dest,
            progress,
            // What the copy has was durable when it got there.
            upto: source.upto.max(before.position),
            first,
            known,
            recognised: known == (begin.after, begin.chain),
            rewrites: source.upto > before.position && !before.is_complete(log)?,
            proof: Proof::after(begin.chain, begin.after),
            new_events: 0,
            part: None,
            settled: before.position,
            segments: before.headers.len(),
            copied: 0,
            seen: 0,
            total: lens.sum::<Result<u64, _>>()?,
            headers,
        })
    }

    fn all(&mut self, log: &Log) -> anyhow::Result<()> {
        if self.segments == 0 {
            // Even an empty log is one.
            self.begin(0)?;
        }
        if self.upto > self.proof.position {
            log.walk(self.first, |found| self.take(found))?;
        }
        self.recognise()?;
        ensure!(
            self.proof.position == self.upto,
            "the log is damaged: it ends at position {}, but was durable up to {}",
            self.proof.position,
            self.upto,
        );
        self.finish()
    }

    fn take(&mut self, found: &Found) -> anyhow::Result<ControlFlow<()>> {
        let place = found.record.place;
        ensure!(
            place.position <= self.upto,
            "the log is damaged: position {}, up to which it is durable, is not in it",
            self.upto,
        );
        let at = usize::try_from(found.spot.segment)?;
        if self
            .part
            .as_ref()
            .is_some_and(|part| part.number != found.spot.segment)
        {
            self.finish()?;
        }
        if self.part.is_none() && (at > self.first || self.rewrites) {
            self.begin(at)?;
        }
        self.proof.add(found)?;
        if place.position > self.known.0 {
            self.recognise()?;
            self.new_events += 1;
        }
        self.recognised |= (place.position, found.record.chain) == self.known;
        self.seen += found.frame.len() as u64;
        if let Some(part) = &mut self.part {
            part.pending.extend_from_slice(&found.frame);
            if part.pending.len() >= BACKUP_WRITE_BYTES {
                part.write()?;
                (self.progress)(self.seen, self.total);
            }
        }
        Ok(match place.position == self.upto {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        })
    }

    /// Refuses a log that does not have the history of the copy.
    fn recognise(&self) -> anyhow::Result<()> {
        ensure!(
            self.recognised,
            "the copy is of another history; nothing was changed in it"
        );
        Ok(())
    }

    fn begin(&mut self, at: usize) -> anyhow::Result<()> {
        let header = self.headers[at];
        let name = unfinished(header.number);
        let file = self.dest.create(&name);
        self.part = Some(Part {
            number: header.number,
            file: file.with_context(|| format!("failed to make {name}"))?,
            written: 0,
            pending: header.encode().to_vec(),
        });
        Ok(())
    }

    /// Makes the segment that was written a part of the copy.
    fn finish(&mut self) -> anyhow::Result<()> {
        self.recognise()?;
        let Some(part) = &mut self.part else {
            return Ok(());
        };
        part.write()?;
        let name = unfinished(part.number);
        part.file
            .sync_data()
            .with_context(|| format!("failed to sync {name}"))?;
        self.source.still_stands()?;
        self.dest
            .rename(&name, &segment::name(part.number))
            .and_then(|()| self.dest.sync_names())
            .with_context(|| format!("failed to rename {name}"))?;
        self.copied += part.written;
        self.segments = usize::try_from(part.number)? + 1;
        self.settled = self.proof.position;
        self.part = None;
        (self.progress)(self.seen, self.total);
        Ok(())
    }

    fn done(self, before: &Before) -> BackedUp {
        let kept = match self.rewrites {
            true => &before.lens[..self.first.min(before.lens.len())],
            false => &before.lens[..],
        };
        let reused_bytes = kept.iter().sum();
        BackedUp {
            head: hex(&self.proof.head),
            position: self.proof.position,
            new_events: self.new_events,
            segments: self.segments as u64,
            bytes: self.copied + reused_bytes,
            copied_bytes: self.copied,
            reused_bytes,
        }
    }
}

impl Part {
    fn write(&mut self) -> anyhow::Result<()> {
        let name = unfinished(self.number);
        self.file
            .write_all_at(&self.pending, self.written)
            .with_context(|| format!("failed to write {name}"))?;
        self.written += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }
}

fn unfinished(number: u32) -> String {
    format!("{}{UNFINISHED}", segment::name(number))
}
