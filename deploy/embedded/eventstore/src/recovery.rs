//! Opening a log: finding the index of what is finished, reading the rest, cutting a torn
//! tail.
//!
//! # Invariants
//!
//! * Only what was never acknowledged may be torn: the last group of the last segment.
//!   A record tells what was durable when it was written, so damage in front of a later
//!   group is an error that names file and offset, and the node does not open.
//! * A batch is there whole or not at all.
//! * What is served after opening is durable: the last group and its segment's header are
//!   written once more and synced, since their sync may be what failed; the segments' names
//!   are synced too. Only then is anything of the last segment put into an index file.
//! * A segment that was begun and not finished says nothing about the one before it, which
//!   is then the last: a kill may have torn a later group of that one.
//! * An index file is used only if the log has what it says (`adopt`).

mod adopt;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, bail, ensure};

use crate::disk::{Disk, DiskFile};
use crate::indexer::Indexer;
use crate::limits::PARTS_PER_SEGMENT;
use crate::metadata::{self, Rules};
use crate::part::memory::{Extent, Fresh, Memory};
use crate::part::{self, Part, Spot};
use crate::record::{self, Damage, Hash, Record};
use crate::segment::{self, Header, Scan};
use crate::store::Store;
use crate::unreadable::Unreadable;
use crate::view::{Segment, View};

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

impl Tail {
    /// Nothing, at this place.
    pub(crate) fn extent(&self) -> Extent {
        Extent {
            segment: self.segment,
            from: self.offset,
            to: self.offset,
            after: self.position,
            last: self.position,
            created: self.created,
            chain: self.chain,
        }
    }
}

/// Reads the log of this disk, or begins one.
pub(crate) fn open(disk: &Arc<dyn Disk>, segment_bytes: u64) -> anyhow::Result<(Arc<Store>, Tail)> {
    loop {
        let error = match try_open(disk, segment_bytes) {
            Ok(opened) => return Ok(opened),
            Err(error) => error,
        };
        let unreadable = error.downcast_ref::<Unreadable>();
        let index = unreadable
            .map(|it| it.file.clone())
            .filter(|file| part::encode::covered_by(file).is_some());
        let Some(index) = index else {
            return Err(error);
        };
        // There is one file less each time, and the log has all that was in it.
        tracing::warn!(file = %index, "removing a damaged index: it is made again");
        disk.remove(&index)
            .with_context(|| format!("failed to remove {index}"))?;
    }
}

fn try_open(disk: &Arc<dyn Disk>, segment_bytes: u64) -> anyhow::Result<(Arc<Store>, Tail)> {
    let names = disk.names().context("failed to list the segments")?;
    let mut numbers: Vec<u32> = names
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

    let mut recovery = Recovery::new(disk, &names, segment_bytes);
    for number in numbers.iter().copied() {
        let last = numbers.last() == Some(&number);
        recovery
            .segment(number, last)
            .with_context(|| format!("failed to open {}", segment::name(number)))?;
    }
    recovery.index_files.all_done(&**disk)?;
    if let Some(number) = unfinished {
        let file = segment::name(number);
        tracing::warn!(
            file,
            "removing the last segment: it was begun and not finished"
        );
        disk.remove(&file)
            .with_context(|| format!("failed to remove {file}"))?;
    }
    if recovery.tail.is_none() {
        recovery.begin().context("failed to begin the log")?;
    }
    // A kill may have come between the making of a segment and the sync of its name.
    disk.sync_names()
        .context("failed to make the names of the segments durable")?;
    let tail = recovery.tail.context("a log has a segment")?;
    Ok((recovery.store, tail))
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

struct Recovery<'a> {
    disk: &'a Arc<dyn Disk>,
    store: Arc<Store>,
    index_files: adopt::IndexFiles,
    part_bytes: u64,
    /// Behind the last whole batch.
    tail: Option<Tail>,
}

/// A batch as far as it was read.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) records: Vec<(Record, Spot)>,
}

impl<'a> Recovery<'a> {
    fn new(disk: &'a Arc<dyn Disk>, names: &[String], segment_bytes: u64) -> Self {
        let nothing = Memory::begin(Extent::default());
        let view = View {
            segments: Vec::new(),
            parts: vec![Part::in_memory(nothing)],
        };
        Self {
            disk,
            store: Arc::new(Store::new(view)),
            index_files: adopt::IndexFiles::among(names),
            part_bytes: segment_bytes / PARTS_PER_SEGMENT,
            tail: None,
        }
    }

    fn segment(&mut self, number: u32, last: bool) -> anyhow::Result<()> {
        let name = segment::name(number);
        let file = self.disk.open(&name)?;
        let mut scan = Scan::new(file.clone())?;
        let Some(found) = scan.header()? else {
            bail!("the log is damaged at offset 0: the segment's header is not intact");
        };
        let before = self.tail.as_ref();
        let position = before.map_or(0, |tail| tail.position);
        let chain = before.map_or([0; 32], |tail| tail.chain);
        ensure!(
            found.number == number && found.after == position && found.chain == chain,
            "the log is damaged at offset 0: the segment does not follow the one before",
        );
        let tail = Tail {
            created: before.map_or(0, |tail| tail.created),
            offset: segment::HEADER_BYTES as u64,
            segment: number,
            file: file.clone(),
            position,
            chain,
        };
        let name = name.into();
        self.store.begin_segment(Segment { name, file }, &tail);
        let mut tail = self.adopt(tail, scan.len)?;
        let group_at = self.records(&mut scan, &mut tail, last)?;
        self.index_files.done_with(&**self.disk, &tail)?;
        if last {
            harden(&*tail.file, &mut scan, group_at, tail.offset)?;
        } else {
            // It is durable, since another segment was begun behind it.
            self.index();
        }
        self.tail = Some(tail);
        Ok(())
    }

    /// Uses the index files there are of this segment, one behind the other.
    fn adopt(&mut self, mut tail: Tail, len: u64) -> anyhow::Result<Tail> {
        loop {
            let view = self.store.view();
            let Some(part) = self.index_files.next(&**self.disk, &view, &tail, len)? else {
                return Ok(tail);
            };
            let extent = *part.extent();
            tail.offset = extent.to;
            tail.position = extent.last;
            tail.created = extent.created;
            tail.chain = extent.chain;
            self.store.adopt(Part::in_file(part), &tail);
        }
    }

    /// Puts finished parts into files, so that memory does not grow with the log.
    fn index(&self) {
        let indexer = Indexer::new(self.disk.clone(), self.store.clone());
        if let Err(error) = indexer.work(&AtomicBool::new(false)) {
            tracing::warn!("the index stays in memory for now: {error:#}");
        }
    }

    /// Reads the records from the tail on; returns where the last group begins.
    fn records(&mut self, scan: &mut Scan, tail: &mut Tail, last: bool) -> anyhow::Result<u64> {
        let mut offset = tail.offset;
        let mut part_from = offset;
        let mut batch = Batch::default();
        let mut chain = tail.chain;
        let mut group = (offset, u64::MAX);
        while offset < scan.len {
            let number = tail.segment;
            let damage = match next(scan, number, offset, tail.position, &batch, &mut chain)? {
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
                    (tail.offset, tail.chain) = (offset, chain);
                    self.accept(std::mem::take(&mut batch), tail)
                        .with_context(|| format!("the log is damaged at offset {at}"))?;
                    if tail.offset - part_from >= self.part_bytes {
                        self.store.begin_part(tail);
                        part_from = tail.offset;
                    }
                    continue;
                }
                Err(damage) => damage,
            };
            cut(scan, tail, last, offset, damage, &batch)?;
            return Ok(group.0.min(tail.offset));
        }
        if !batch.records.is_empty() {
            cut(scan, tail, last, offset, Damage::Batch, &batch)?;
        }
        Ok(group.0.min(tail.offset))
    }

    fn accept(&mut self, batch: Batch, tail: &mut Tail) -> anyhow::Result<()> {
        let mut events = Vec::with_capacity(batch.records.len());
        for (record, spot) in batch.records {
            tail.position = record.place.position;
            tail.created = tail.created.max(record.place.created);
            events.push(fresh(record, spot));
        }
        Ok(self.store.publish(events, tail)?)
    }

    /// Makes the first segment, all but the sync of its name.
    fn begin(&mut self) -> io::Result<()> {
        let header = Header {
            number: 0,
            after: 0,
            created: 0,
            chain: [0; 32],
        };
        let file = create(&**self.disk, header)?;
        file.sync_data()?;
        let tail = Tail {
            file: file.clone(),
            segment: 0,
            offset: segment::HEADER_BYTES as u64,
            position: 0,
            created: 0,
            chain: header.chain,
        };
        let name = segment::name(0).into();
        self.store.begin_segment(Segment { name, file }, &tail);
        self.tail = Some(tail);
        Ok(())
    }
}

/// Decides what damage at `offset` means: a tail that was never acknowledged ends the
/// log; anything else is an error.
fn cut(
    scan: &mut Scan,
    tail: &Tail,
    last: bool,
    offset: u64,
    damage: Damage,
    batch: &Batch,
) -> anyhow::Result<()> {
    let position = batch
        .records
        .first()
        .map_or(tail.position + 1, |(record, _)| record.place.position);
    let file = segment::name(tail.segment);
    ensure!(
        last,
        "the log is damaged at offset {offset} of {file}: {damage}"
    );
    if let Some(later) = scan.proof_of_durability(tail.offset + 1, position)? {
        bail!(
            "the log is damaged at offset {offset} of {file}: {damage}; \
             it is not a torn tail, since the record at {later} came after it was durable"
        );
    }
    tracing::warn!(
        file,
        offset,
        cut_at = tail.offset,
        cut_bytes = scan.len - tail.offset,
        "cut the torn tail of the log: {damage}"
    );
    Ok(())
}

/// The index of a finished part, made again from the log.
pub(crate) fn read_again(view: &View, extent: &Extent) -> anyhow::Result<Memory> {
    let segment = &view.segments[extent.segment as usize];
    let mut scan = Scan::new(segment.file.clone())?;
    let mut memory = Memory::begin(*extent);
    let mut offset = extent.from;
    let (mut position, mut chain) = (extent.after, extent.chain);
    while offset < extent.to {
        let damaged = || format!("the log is damaged at offset {offset} of {}", segment.name);
        let frame = scan.frame(offset)?.with_context(damaged)?;
        let record = record::decode(&frame).with_context(damaged)?;
        let spot = spot(&record, extent.segment, offset, frame.len()).with_context(damaged)?;
        ensure!(record.place.position > position, damaged());
        offset += u64::from(spot.len);
        (position, chain) = (record.place.position, record.chain);
        memory.add(fresh(record, spot))?;
    }
    ensure!(
        offset == extent.to && chain == extent.chain,
        "{} is not the segment that the index was made of",
        segment.name,
    );
    Ok(memory)
}

/// How far positions may count up from one record to the next: a segment, whose offsets fit
/// 32 bits, then spans less than 2^32 positions, on which the index relies.
const POSITION_STEPS_MAX: u64 = 64;

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
    let last = before.map_or(position, |place| place.position);
    let follows = record.place.position.checked_sub(last);
    let follows = follows.is_some_and(|steps| (1..=POSITION_STEPS_MAX).contains(&steps));
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
    let spot = match spot(&record, number, offset, frame.len()) {
        Ok(spot) => spot,
        Err(damage) => return Ok(Err(damage)),
    };
    *chain = record.chain;
    Ok(Ok((record, spot)))
}

fn spot(record: &Record, segment: u32, offset: u64, len: usize) -> Result<Spot, Damage> {
    let (Ok(offset), Ok(len)) = (u32::try_from(offset), u32::try_from(len)) else {
        return Err(Damage::Length);
    };
    Ok(Spot {
        position: record.place.position,
        segment,
        offset,
        len,
    })
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

/// What the index gets of a record. What older parts have of its stream is left open.
fn fresh(record: Record, spot: Spot) -> Fresh {
    let described = metadata::described_by(&record.stream);
    let described = described.map(|_| (Rules::of(&record.draft.data), None));
    Fresh {
        base: None,
        stream: record.stream,
        kind: record.draft.kind,
        id: record.draft.id,
        revision: record.place.revision,
        spot,
        described,
    }
}
