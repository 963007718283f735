//! Reading a log from one end to the other without changing it: for looking and proving.
//!
//! # Invariants
//!
//! * Nothing is written, locked or made: a node may be running on the same folder. What is
//!   seen then is a prefix of its log that ends with a whole batch.
//! * Every checksum, the chain and the order are checked; damage is an error that names
//!   file, offset and position. Only a torn tail is none.

use std::fs::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};

use crate::index::Spot;
use crate::record::{self, Damage, Hash, Record};
use crate::recovery::{self, Batch};
use crate::segment::{self, Header, Scan};

/// What was there besides the records.
#[derive(Default)]
pub(crate) struct End {
    pub(crate) segments: usize,
    pub(crate) bytes: u64,
    /// Bytes behind the last whole batch.
    pub(crate) torn_bytes: u64,
}

/// Shows every record at and after `from`, and perhaps some before it, in order.
pub(crate) fn walk(
    dir: &Path,
    from: u64,
    mut show: impl FnMut(&Record, Spot) -> anyhow::Result<ControlFlow<()>>,
) -> anyhow::Result<End> {
    let mut scans = open(dir)?;
    let mut end = End::default();
    if let Some(last) = scans.last_mut() {
        end.segments = usize::try_from(last.number)? + 1;
        if recovery::is_unfinished(&mut last.scan)? {
            end.torn_bytes = last.scan.len;
            end.segments -= 1;
            scans.pop();
        }
    }
    let first = first_needed(&mut scans, from)?;
    let count = scans.len();
    let mut walk = Walk::default();
    for (at, part) in scans.iter_mut().enumerate().skip(first) {
        end.bytes += part.scan.len;
        let done = walk.segment(part, at == first, at + 1 == count, &mut end, &mut show)?;
        if done.is_break() {
            break;
        }
    }
    Ok(end)
}

/// Where in the log something is, in the words of every message about it.
pub(crate) fn place(spot: Spot, position: u64) -> String {
    at(spot.segment, u64::from(spot.offset), position)
}

struct Part {
    number: u32,
    scan: Scan,
}

#[derive(Default)]
struct Walk {
    position: u64,
    chain: Hash,
}

fn open(dir: &Path) -> anyhow::Result<Vec<Part>> {
    let names = std::fs::read_dir(dir)
        .and_then(|entries| {
            entries
                .map(|it| Ok(it?.file_name()))
                .collect::<Result<Vec<_>, _>>()
        })
        .with_context(|| format!("failed to list {}", dir.display()))?;
    let mut numbers: Vec<u32> = names
        .iter()
        .filter_map(|name| segment::number(name.to_str()?))
        .collect();
    numbers.sort_unstable();
    ensure!(!numbers.is_empty(), "there is no log in {}", dir.display());
    let mut parts = vec![];
    for (number, there) in (0..).zip(numbers) {
        let name = segment::name(number);
        ensure!(number == there, "the log is damaged: {name} is missing");
        let path: PathBuf = dir.join(&name);
        let scan = File::open(path)
            .and_then(|file| Scan::new(Arc::new(file)))
            .with_context(|| format!("failed to open {name}"))?;
        parts.push(Part { number, scan });
    }
    Ok(parts)
}

/// The last segment that begins at or before this position.
fn first_needed(parts: &mut [Part], from: u64) -> anyhow::Result<usize> {
    for at in (1..parts.len()).rev() {
        if header(&mut parts[at])?.after < from {
            return Ok(at);
        }
    }
    Ok(0)
}

fn header(part: &mut Part) -> anyhow::Result<Header> {
    let bytes = part.scan.bytes(0, segment::HEADER_BYTES)?;
    Header::decode(&bytes).with_context(|| {
        let name = segment::name(part.number);
        format!("the log is damaged at offset 0 of {name}: the segment's header is not intact")
    })
}

impl Walk {
    fn segment(
        &mut self,
        part: &mut Part,
        first: bool,
        last: bool,
        end: &mut End,
        show: &mut impl FnMut(&Record, Spot) -> anyhow::Result<ControlFlow<()>>,
    ) -> anyhow::Result<ControlFlow<()>> {
        let header = header(part)?;
        if first && part.number > 0 {
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
        let mut chain = self.chain;
        while offset < part.scan.len {
            let scan = &mut part.scan;
            match recovery::next(scan, part.number, offset, self.position, &batch, &mut chain)? {
                Ok(found) => {
                    offset += u64::from(found.1.len);
                    let place = found.0.place;
                    batch.records.push(found);
                    if place.batch_index + 1 < place.batch_count {
                        continue;
                    }
                    for (record, spot) in std::mem::take(&mut batch).records {
                        if show(&record, spot)?.is_break() {
                            return Ok(ControlFlow::Break(()));
                        }
                    }
                    (self.position, self.chain, whole) = (place.position, chain, offset);
                }
                Err(damage) => {
                    self.torn(part, last, offset, whole, damage, &batch)?;
                    break;
                }
            }
        }
        if offset >= part.scan.len && !batch.records.is_empty() {
            self.torn(part, last, offset, whole, Damage::Batch, &batch)?;
        }
        end.torn_bytes += part.scan.len - whole;
        Ok(ControlFlow::Continue(()))
    }

    /// Nothing, if this may be the torn tail of the log.
    fn torn(
        &self,
        part: &mut Part,
        last: bool,
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
        if last && later.is_none() {
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
