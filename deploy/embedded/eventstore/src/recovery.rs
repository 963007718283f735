//! Opening a log: reading every segment, building the index, cutting a torn tail.
//!
//! # Invariants
//!
//! * Only what was never acknowledged may be torn: the last group of the last segment.
//!   A record tells what was durable when it was written, so damage in front of a later
//!   group is an error that names file and offset, and the node does not open.
//! * A batch is there whole or not at all.
//! * What is served after opening is durable: the last group and its segment's header are
//!   written once more and synced, since their sync may be what failed; the segments' names
//!   are synced too.
//! * A segment that was begun and not finished says nothing about the one before it, which
//!   is then the last: a kill may have torn a later group of that one.

use std::io;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};

use crate::disk::{Disk, DiskFile};
use crate::index::{Fresh, Index, Segment, Spot};
use crate::metadata::{self, Rules};
use crate::record::{self, Damage, Hash, Record};
use crate::segment::{self, Header, Scan};

/// Where the next group goes.
#[derive(Clone)]
pub(crate) struct Tail {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) segment: u32,
    pub(crate) offset: u64,
    pub(crate) position: u64,
    pub(crate) created: u64,
    pub(crate) chain: Hash,
}

/// Reads the log of this disk, or begins one.
pub(crate) fn open(disk: &dyn Disk) -> anyhow::Result<(Index, Tail)> {
    let mut numbers: Vec<u32> = disk
        .names()
        .context("failed to list the segments")?
        .iter()
        .filter_map(|name| segment::number(name))
        .collect();
    numbers.sort_unstable();

    for (place, number) in numbers.iter().copied().enumerate() {
        ensure!(
            usize::try_from(number) == Ok(place),
            "the log is damaged: {} is missing",
            segment::name(u32::try_from(place).unwrap_or(u32::MAX)),
        );
    }
    let begun_only = |number: u32| {
        let name = segment::name(number);
        let look = || is_unfinished(&mut Scan::new(disk.open(&name)?)?);
        look().with_context(|| format!("failed to open {name}"))
    };
    let unfinished = match numbers.last().copied() {
        Some(last) if begun_only(last)? => numbers.pop(),
        _ => None,
    };

    let mut recovery = Recovery::default();
    for number in numbers.iter().copied() {
        let last = numbers.last() == Some(&number);
        recovery
            .segment(disk, number, last)
            .with_context(|| format!("failed to open {}", segment::name(number)))?;
    }
    if let Some(number) = unfinished {
        let file = segment::name(number);
        tracing::warn!(
            file,
            "removing the last segment: it was begun and not finished"
        );
        disk.remove(&file)
            .with_context(|| format!("failed to remove {file}"))?;
    }
    let file = match recovery.index.segments.last() {
        Some(last) => last.file.clone(),
        None => recovery.begin(disk).context("failed to begin the log")?,
    };
    // A kill may have come between the making of a segment and the sync of its name.
    disk.sync_names()
        .context("failed to make the names of the segments durable")?;
    let end = recovery.end;
    Ok(recovery.done(file, end))
}

/// Whether a segment was begun and not finished: its header, which is durable before any
/// record behind it, is not there, and no record is.
pub(crate) fn is_unfinished(scan: &mut Scan) -> io::Result<bool> {
    let header = Header::decode(&scan.bytes(0, segment::HEADER_BYTES)?);
    Ok(header.is_none() && scan.proof_of_durability(0, 0)?.is_none())
}

/// Makes a segment's file with its header. It is durable only after [`settle`].
pub(crate) fn create(disk: &dyn Disk, header: Header) -> io::Result<Arc<dyn DiskFile>> {
    let file = disk.create(&segment::name(header.number))?;
    file.write_all_at(&header.encode(), 0)?;
    Ok(file)
}

/// Makes a new segment durable, header and name.
pub(crate) fn settle(disk: &dyn Disk, file: &dyn DiskFile) -> io::Result<()> {
    file.sync_data()?;
    disk.sync_names()
}

#[derive(Default)]
struct Recovery {
    index: Index,
    position: u64,
    created: u64,
    chain: Hash,
    /// Where the last segment's last whole batch ends.
    end: u64,
}

/// A batch as far as it was read.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) records: Vec<(Record, Spot)>,
}

impl Recovery {
    fn segment(&mut self, disk: &dyn Disk, number: u32, last: bool) -> anyhow::Result<()> {
        let file = disk.open(&segment::name(number))?;
        let mut scan = Scan::new(file.clone())?;
        let found = Header::decode(&scan.bytes(0, segment::HEADER_BYTES)?);
        let Some(found) = found else {
            bail!("the log is damaged at offset 0: the segment's header is not intact");
        };
        ensure!(
            found.number == number && found.after == self.position && found.chain == self.chain,
            "the log is damaged at offset 0: the segment does not follow the one before",
        );
        self.add_file(number, file.clone());
        let group_at = self.records(&mut scan, number, last)?;
        if last {
            harden(&*file, &mut scan, group_at, self.end)?;
        }
        Ok(())
    }

    /// Reads all records; returns where the last group begins.
    fn records(&mut self, scan: &mut Scan, number: u32, last: bool) -> anyhow::Result<u64> {
        let mut offset = segment::HEADER_BYTES as u64;
        self.end = offset;
        let mut batch = Batch::default();
        let mut chain = self.chain;
        let mut group = (offset, u64::MAX);
        while offset < scan.len {
            let damage = match next(scan, number, offset, self.position, &batch, &mut chain)? {
                Ok((record, spot)) => {
                    let at = offset;
                    offset += u64::from(spot.len);
                    let whole = record.place.batch_index + 1 == record.place.batch_count;
                    if record.place.durable != group.1 {
                        group = (at, record.place.durable);
                    }
                    batch.records.push((record, spot));
                    if !whole {
                        continue;
                    }
                    self.accept(std::mem::take(&mut batch), chain)
                        .with_context(|| format!("the log is damaged at offset {at}"))?;
                    self.end = offset;
                    continue;
                }
                Err(damage) => damage,
            };
            self.cut(scan, number, last, offset, damage, &batch)?;
            return Ok(group.0.min(self.end));
        }
        if !batch.records.is_empty() {
            self.cut(scan, number, last, offset, Damage::Batch, &batch)?;
        }
        Ok(group.0.min(self.end))
    }

    fn accept(&mut self, batch: Batch, chain: Hash) -> Result<(), Damage> {
        for (record, spot) in batch.records {
            self.position = record.place.position;
            self.created = self.created.max(record.place.created);
            self.index.add(fresh(record, spot))?;
        }
        self.chain = chain;
        Ok(())
    }

    /// Decides what damage at `offset` means: a tail that was never acknowledged ends
    /// the log; anything else is an error.
    fn cut(
        &self,
        scan: &mut Scan,
        number: u32,
        last: bool,
        offset: u64,
        damage: Damage,
        batch: &Batch,
    ) -> anyhow::Result<()> {
        let position = batch
            .records
            .first()
            .map_or(self.position + 1, |(record, _)| record.place.position);
        let file = segment::name(number);
        ensure!(
            last,
            "the log is damaged at offset {offset} of {file}: {damage}"
        );
        if let Some(later) = scan.proof_of_durability(self.end + 1, position)? {
            bail!(
                "the log is damaged at offset {offset} of {file}: {damage}; \
                 it is not a torn tail, since the record at {later} came after it was durable"
            );
        }
        tracing::warn!(
            file,
            offset,
            cut_at = self.end,
            cut_bytes = scan.len - self.end,
            "cut the torn tail of the log: {damage}"
        );
        Ok(())
    }

    /// Makes the first segment, all but the sync of its name.
    fn begin(&mut self, disk: &dyn Disk) -> io::Result<Arc<dyn DiskFile>> {
        let header = Header {
            number: 0,
            after: self.position,
            created: self.created,
            chain: self.chain,
        };
        let file = create(disk, header)?;
        file.sync_data()?;
        self.end = segment::HEADER_BYTES as u64;
        self.add_file(header.number, file.clone());
        Ok(file)
    }

    fn add_file(&mut self, number: u32, file: Arc<dyn DiskFile>) {
        let name = segment::name(number).into();
        self.index.segments.push(Segment { name, file });
    }

    fn done(self, file: Arc<dyn DiskFile>, offset: u64) -> (Index, Tail) {
        let segment = u32::try_from(self.index.segments.len() - 1)
            .expect("segments are numbered with 32 bits");
        let tail = Tail {
            file,
            segment,
            offset,
            position: self.position,
            created: self.created,
            chain: self.chain,
        };
        (self.index, tail)
    }
}

/// The record at `offset`, if it is intact and follows the batches up to `position` and
/// what there is of its own.
pub(crate) fn next(
    scan: &mut Scan,
    number: u32,
    offset: u64,
    position: u64,
    batch: &Batch,
    chain: &mut Hash,
) -> io::Result<Result<(Record, Spot), Damage>> {
    let frame = match scan.frame(offset)? {
        Ok(frame) => frame,
        Err(damage) => return Ok(Err(damage)),
    };
    let record = match record::decode(&frame) {
        Ok(record) => record,
        Err(damage) => return Ok(Err(damage)),
    };
    let before = batch.records.last().map(|(record, _)| record.place);
    let follows = before.map_or(position, |place| place.position) < record.place.position;
    let index = before.map_or(0, |place| place.batch_index + 1);
    let count = before.map_or(record.place.batch_count, |place| place.batch_count);
    if record.chain != record::expected_chain(&frame, chain) {
        return Ok(Err(Damage::Chain));
    }
    if !follows {
        return Ok(Err(Damage::Position));
    }
    if record.place.batch_index != index || record.place.batch_count != count || count <= index {
        return Ok(Err(Damage::Batch));
    }
    let (Ok(offset), Ok(len)) = (u32::try_from(offset), u32::try_from(frame.len())) else {
        return Ok(Err(Damage::Length));
    };
    *chain = record.chain;
    let spot = Spot {
        segment: number,
        offset,
        len,
    };
    Ok(Ok((record, spot)))
}

/// Cuts the file at `end` and makes what is before durable: the last group and the header,
/// either of which may be seen only because a sync failed.
fn harden(file: &dyn DiskFile, scan: &mut Scan, group_at: u64, end: u64) -> anyhow::Result<()> {
    let len = usize::try_from(end - group_at).context("the last group is too long")?;
    let header = scan.bytes(0, segment::HEADER_BYTES)?;
    let group = scan.bytes(group_at, len)?;
    if scan.len > end {
        file.truncate(end).context("failed to cut the torn tail")?;
    }
    file.write_all_at(&header, 0)
        .and_then(|()| file.write_all_at(&group, group_at))
        .and_then(|()| file.sync_data())
        .context("failed to make the last group durable")
}

fn fresh(record: Record, spot: Spot) -> Fresh {
    let rules = metadata::described_by(&record.stream).map(|_| Rules::of(&record.draft.data));
    Fresh {
        stream: record.stream,
        kind: record.draft.kind,
        id: record.draft.id,
        position: record.place.position,
        revision: record.place.revision,
        created: record.place.created,
        spot,
        rules,
    }
}
