//! Reading a log from one end to the other without changing it: for looking and proving.
//!
//! # Invariants
//!
//! * Nothing is written, locked or made: a node may be running on the same folder. What is
//!   seen then is a prefix of its log that ends with a whole batch.
//! * Every checksum, the chain and the order are checked; damage is an error that names
//!   file, offset and position. Only a torn tail is none.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;

use crate::disk::{Disk, DiskFile};
use crate::part::Spot;
use crate::record::{self, Damage, Hash, Record};
use crate::recovery::{self, Batch};
use crate::segment::{self, Header, Scan};

/// The segments of a log.
pub(crate) struct Log<'a> {
    open: Box<Open<'a>>,
    count: usize,
    /// Bytes of a last segment that was begun and not finished, which is not among them.
    unfinished_bytes: u64,
}

/// Opens a segment for reading. Done one at a time: a log may have more of them than a
/// process may have files open.
type Open<'a> = dyn Fn(&str) -> io::Result<Arc<dyn DiskFile>> + 'a;

/// A record, and what it stands in the file as.
pub(crate) struct Found {
    pub(crate) record: Record,
    pub(crate) spot: Spot,
    /// The very bytes that were checked.
    pub(crate) frame: Bytes,
}

/// What was there besides the records.
#[derive(Default)]
pub(crate) struct End {
    pub(crate) segments: usize,
    pub(crate) bytes: u64,
    /// Bytes behind the last whole batch.
    pub(crate) torn_bytes: u64,
}

/// Where in the log something is, in the words of every message about it.
pub(crate) fn place(spot: Spot, position: u64) -> String {
    at(spot.segment, u64::from(spot.offset), position)
}

struct Part {
    number: u32,
    scan: Scan,
    first: bool,
    last: bool,
}

#[derive(Default)]
struct Walk {
    position: u64,
    chain: Hash,
}

impl<'a> Log<'a> {
    /// The log in this folder, whoever has it.
    pub(crate) fn at(dir: &'a Path) -> anyhow::Result<Self> {
        let names = std::fs::read_dir(dir)
            .and_then(|entries| {
                entries
                    .map(|it| Ok(it?.file_name().to_string_lossy().into_owned()))
                    .collect::<Result<Vec<_>, _>>()
            })
            .with_context(|| format!("failed to list {}", dir.display()))?;
        ensure!(
            names.iter().any(|name| segment::number(name).is_some()),
            "there is no log in {}",
            dir.display()
        );
        Self::of(
            &names,
            Box::new(|name| Ok(Arc::new(File::open(dir.join(name))?))),
        )
    }

    /// The log of this disk, which may be none yet.
    pub(crate) fn on(disk: &'a dyn Disk) -> anyhow::Result<Self> {
        let names = disk.names().context("failed to list the segments")?;
        Self::of(&names, Box::new(|name| disk.open(name)))
    }

    fn of(names: &[String], open: Box<Open<'a>>) -> anyhow::Result<Self> {
        let mut numbers: Vec<u32> = names.iter().filter_map(|it| segment::number(it)).collect();
        numbers.sort_unstable();
        for (number, there) in (0..).zip(numbers.iter().copied()) {
            let name = segment::name(number);
            ensure!(number == there, "the log is damaged: {name} is missing");
        }
        let mut log = Self {
            open,
            count: numbers.len(),
            unfinished_bytes: 0,
        };
        let Some(last) = log.count.checked_sub(1) else {
            return Ok(log);
        };
        match log.scan(last) {
            Ok(mut scan) => {
                if recovery::is_unfinished(&mut scan)? {
                    log.unfinished_bytes = scan.len;
                    log.count = last;
                }
            }
            // A node takes back a last segment for which it finds no room.
            Err(error) if error.kind() == io::ErrorKind::NotFound => log.count = last,
            Err(error) => return Err(error).with_context(|| failed_to_open(last)),
        }
        Ok(log)
    }

    pub(crate) fn segments(&self) -> usize {
        self.count
    }

    pub(crate) fn segment_bytes(&self, at: usize) -> anyhow::Result<u64> {
        let scan = self.scan(at).with_context(|| failed_to_open(at))?;
        Ok(scan.len)
    }

    pub(crate) fn header(&self, at: usize) -> anyhow::Result<Header> {
        let scan = self.scan(at).with_context(|| failed_to_open(at))?;
        header(&scan, at)
    }

    /// The last segment that begins before this position.
    pub(crate) fn first_needed(&self, from: u64) -> anyhow::Result<usize> {
        for at in (1..self.count).rev() {
            if self.header(at)?.after < from {
                return Ok(at);
            }
        }
        Ok(0)
    }

    /// Shows every record from the beginning of a segment on, in order, whole batches.
    pub(crate) fn walk(
        &self,
        first: usize,
        mut show: impl FnMut(&Found) -> anyhow::Result<ControlFlow<()>>,
    ) -> anyhow::Result<End> {
        let mut end = End {
            segments: self.count,
            bytes: 0,
            torn_bytes: self.unfinished_bytes,
        };
        let mut walk = Walk::default();
        for at in first..self.count {
            let mut part = Part {
                number: u32::try_from(at)?,
                scan: self.scan(at).with_context(|| failed_to_open(at))?,
                first: at == first,
                last: at + 1 == self.count,
            };
            end.bytes += part.scan.len;
            if walk.segment(&mut part, &mut end, &mut show)?.is_break() {
                break;
            }
        }
        Ok(end)
    }

    fn scan(&self, at: usize) -> io::Result<Scan> {
        let number = u32::try_from(at).map_err(io::Error::other)?;
        Scan::new((self.open)(&segment::name(number))?)
    }
}

fn header(scan: &Scan, at: usize) -> anyhow::Result<Header> {
    let name = || segment::name(u32::try_from(at).unwrap_or(u32::MAX));
    let header = scan.header();
    header
        .with_context(|| failed_to_open(at))?
        .with_context(|| {
            let name = name();
            format!("the log is damaged at offset 0 of {name}: the segment's header is not intact")
        })
}

impl Walk {
    fn segment(
        &mut self,
        part: &mut Part,
        end: &mut End,
        show: &mut impl FnMut(&Found) -> anyhow::Result<ControlFlow<()>>,
    ) -> anyhow::Result<ControlFlow<()>> {
        let header = header(&part.scan, usize::try_from(part.number)?)?;
        if part.first && part.number > 0 {
            (self.position, self.chain) = (header.after, header.chain);
        }
        let follows = (part.number, self.position, self.chain);
        ensure!(
            (header.number, header.after, header.chain) == follows,
            "the log is damaged at offset 0 of {}: the segment does not follow the one before",
            segment::name(part.number),
        );
        let mut offset = segment::HEADER_BYTES as u64;
        let mut whole = offset;
        let mut batch = Batch::default();
        let mut frames = vec![];
        let mut chain = self.chain;
        while offset < part.scan.len {
            let scan = &mut part.scan;
            match recovery::next(scan, part.number, offset, self.position, &batch, &mut chain)? {
                Ok(found) => {
                    let len = found.1.len;
                    frames.push(scan.bytes(offset, usize::try_from(len)?)?);
                    offset += u64::from(len);
                    let place = found.0.place;
                    batch.records.push(found);
                    if place.batch_index + 1 < place.batch_count {
                        continue;
                    }
                    let records = std::mem::take(&mut batch).records.into_iter();
                    for ((record, spot), frame) in records.zip(frames.drain(..)) {
                        let found = Found {
                            record,
                            spot,
                            frame,
                        };
                        if show(&found)?.is_break() {
                            return Ok(ControlFlow::Break(()));
                        }
                    }
                    (self.position, self.chain, whole) = (place.position, chain, offset);
                }
                Err(damage) => {
                    self.torn(part, offset, whole, damage, &batch)?;
                    break;
                }
            }
        }
        if offset >= part.scan.len && !batch.records.is_empty() {
            self.torn(part, offset, whole, Damage::Batch, &batch)?;
        }
        end.torn_bytes += part.scan.len - whole;
        Ok(ControlFlow::Continue(()))
    }

    /// Nothing, if this may be the torn tail of the log.
    fn torn(
        &self,
        part: &mut Part,
        offset: u64,
        whole: u64,
        damage: Damage,
        batch: &Batch,
    ) -> anyhow::Result<()> {
        let begun = batch
            .records
            .first()
            .map_or(self.position + 1, |(record, _)| record.place.position);
        let later = part.scan.proof_of_durability(whole + 1, begun)?;
        if part.last && later.is_none() {
            return Ok(());
        }
        let header = part.scan.bytes(offset, record::NAMED_HEADER_BYTES_MAX)?;
        let expected = begun + batch.records.len() as u64;
        let position = record::intact_place(&header).map_or(expected, |place| place.position);
        bail!(
            "the log is damaged at {}: {damage}",
            at(part.number, offset, position)
        );
    }
}

fn at(number: u32, offset: u64, position: u64) -> String {
    let file = segment::name(number);
    format!("offset {offset} of {file}, position {position}")
}

fn failed_to_open(at: usize) -> String {
    let name = segment::name(u32::try_from(at).unwrap_or(u32::MAX));
    format!("failed to open {name}")
}
