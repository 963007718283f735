//! All parts of the log and all segments, at one moment.
//!
//! # Invariants
//!
//! * The last part is the one being written; it is in memory. All others never change.
//! * A view stays readable for as long as somebody has it, whatever is merged or removed
//!   meanwhile.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use crate::disk::DiskFile;
use crate::part::memory::{Extent, Memory};
use crate::part::{Base, Body, Entry, Item, Name, Part, Row, Spot};
use crate::record::{self, Place, Record};
use crate::unreadable::Unreadable;

/// A file of the log.
#[derive(Clone)]
pub(crate) struct Segment {
    pub(crate) name: Arc<str>,
    pub(crate) file: Arc<dyn DiskFile>,
}

#[derive(Clone, Default)]
pub(crate) struct View {
    pub(crate) segments: Vec<Segment>,
    /// Oldest first.
    pub(crate) parts: Vec<Part>,
}

/// Entries of one part, in log order.
pub(crate) struct Run {
    pub(crate) part: Part,
    pub(crate) entries: Vec<Entry>,
}

impl View {
    /// The part being written.
    pub(crate) fn active(&self) -> &Part {
        self.parts.last().expect("a view has a part to write to")
    }

    /// What the newest finished part that knows this stream says, of those that go on
    /// behind `floor`.
    pub(crate) fn newest_row(&self, name: &Name, floor: u64) -> Result<Option<Row>, Unreadable> {
        self.newest_before(self.parts.len() - 1, name, floor)
    }

    /// What the part being written says of this stream.
    pub(crate) fn active_row(&self, name: &Name) -> Result<Option<Row>, Unreadable> {
        self.row(self.parts.len() - 1, name)
    }

    /// What this part says of this stream, complete.
    pub(crate) fn row(&self, at: usize, name: &Name) -> Result<Option<Row>, Unreadable> {
        let part = &self.parts[at];
        match part.row(name)? {
            Some(row) if !row.settled => {
                let older = self.newest_before(at, name, 0)?;
                part.settle(name, older.map(|row| row.base()).unwrap_or_default())?;
                part.row(name)
            }
            row => Ok(row),
        }
    }

    fn newest_before(&self, at: usize, name: &Name, floor: u64) -> Result<Option<Row>, Unreadable> {
        for older in (0..at).rev() {
            if self.parts[older + 1].after <= floor {
                break;
            }
            if let Some(row) = self.row(older, name)? {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    /// Begins a part; the one before it, unless it is empty, is finished.
    pub(crate) fn begin_part(&mut self, extent: Extent) {
        if self
            .parts
            .last()
            .is_some_and(|last| last.after == extent.after)
        {
            self.parts.pop();
        }
        self.parts.push(Part::in_memory(Memory::begin(extent)));
    }

    /// Where in `parts` the one with this position is.
    fn part_of(&self, position: u64) -> usize {
        let after = self.parts.partition_point(|part| part.after < position);
        after.saturating_sub(1)
    }

    /// Up to `max` entries at and after this position, in log order.
    pub(crate) fn forward(&self, from: u64, max: usize) -> Result<Vec<Run>, Unreadable> {
        let mut runs = Vec::new();
        let mut left = max;
        for part in &self.parts[self.part_of(from)..] {
            if left == 0 {
                break;
            }
            let entries = part.forward(from, left)?;
            left -= entries.len();
            runs.push(Run {
                part: part.clone(),
                entries,
            });
        }
        Ok(runs)
    }

    /// The last `max` entries before this position, the newest first.
    pub(crate) fn backward(&self, before: u64, max: usize) -> Result<Vec<Run>, Unreadable> {
        let mut runs = Vec::new();
        let mut left = max;
        for part in self.parts[..=self.part_of(before)].iter().rev() {
            if left == 0 {
                break;
            }
            let mut entries = part.backward(before, left)?;
            left -= entries.len();
            entries.reverse();
            runs.push(Run {
                part: part.clone(),
                entries,
            });
        }
        Ok(runs)
    }

    /// Reads these records. Neighbours are read at once.
    pub(crate) fn load(&self, spots: &[Spot]) -> Result<Vec<Record>, Unreadable> {
        let mut records = Vec::with_capacity(spots.len());
        let mut rest = spots;
        while let Some(first) = rest.first() {
            let neighbours = rest
                .windows(2)
                .take_while(|pair| follows(pair[0], pair[1]))
                .count();
            let (run, after) = rest.split_at(neighbours + 1);
            rest = after;
            let segment = self.segment(*first)?;
            let bytes = read(segment, run)?;
            let mut at = 0;
            for spot in run {
                let frame = bytes.slice(at..at + spot.len as usize);
                at += spot.len as usize;
                let offset = u64::from(spot.offset);
                let record = record::decode(&frame)
                    .map_err(|damage| Unreadable::record(&segment.name, offset, damage))?;
                if record.place.position != spot.position {
                    let why = "it is not the one that the index says";
                    return Err(Unreadable::record(&segment.name, offset, why));
                }
                records.push(record);
            }
        }
        Ok(records)
    }

    /// Where this record stands, and its id, from its header alone.
    pub(crate) fn identity(&self, spot: Spot) -> Result<(Place, Uuid), Unreadable> {
        let segment = self.segment(spot)?;
        let offset = u64::from(spot.offset);
        let mut header = vec![0; (spot.len as usize).min(record::NAMED_HEADER_BYTES_MAX)];
        segment
            .file
            .read_exact_at(&mut header, offset)
            .map_err(|error| Unreadable::record(&segment.name, offset, error))?;
        record::intact_identity(&header)
            .filter(|(place, _)| place.position == spot.position)
            .ok_or_else(|| {
                let why = "it is not the one that the index says, or damaged";
                Unreadable::record(&segment.name, offset, why)
            })
    }

    fn segment(&self, spot: Spot) -> Result<&Segment, Unreadable> {
        self.segments.get(spot.segment as usize).ok_or_else(|| {
            let name = crate::segment::name(spot.segment).into();
            Unreadable::record(&name, u64::from(spot.offset), "there is no such segment")
        })
    }

    /// Parts that are only in memory, besides the one being written.
    pub(crate) fn unwritten(&self) -> usize {
        let frozen = self.parts[..self.parts.len() - 1].iter();
        frozen
            .filter(|part| matches!(part.body, Body::Memory(_)))
            .count()
    }
}

/// The events of one stream, found part by part, from the newest back.
pub(crate) struct Events<'a> {
    view: &'a View,
    name: Name<'a>,
    base: Base,
    /// Newest first.
    rows: Vec<(usize, Row)>,
}

impl<'a> Events<'a> {
    /// Of a stream that stands at `base` in this view.
    pub(crate) fn new(view: &'a View, stream: &'a str, base: Base) -> Self {
        Self {
            view,
            name: Name::new(stream),
            base,
            rows: Vec::new(),
        }
    }

    /// The revision that the next one will have.
    pub(crate) fn next_revision(&self) -> u64 {
        self.base.next_revision
    }

    /// The events at these revisions, all of which exist.
    pub(crate) fn items(&mut self, revisions: Range<u64>) -> Result<Vec<Item>, Unreadable> {
        if revisions.is_empty() {
            return Ok(Vec::new());
        }
        self.reach(revisions.start)?;
        let mut items = Vec::new();
        for (part, row) in self.rows.iter().rev() {
            let from = revisions.start.max(row.first);
            let to = revisions.end.min(row.next_revision());
            if from < to {
                items.extend(self.view.parts[*part].items(row, from..to)?);
            }
        }
        if items.len() as u64 == revisions.end - revisions.start {
            return Ok(items);
        }
        // Any of them may be the one that is wrong.
        let parts = self.rows.iter().map(|(part, _)| &self.view.parts[*part]);
        let wrong = parts
            .map(Part::contradiction)
            .fold(None, |_, wrong| Some(wrong));
        Err(wrong.unwrap_or_else(|| self.view.active().contradiction()))
    }

    pub(crate) fn item(&mut self, revision: u64) -> Result<Option<Item>, Unreadable> {
        if revision >= self.base.next_revision {
            return Ok(None);
        }
        Ok(self.items(revision..revision + 1)?.pop())
    }

    /// Finds all rows down to the one with this revision.
    fn reach(&mut self, revision: u64) -> Result<(), Unreadable> {
        loop {
            let position = match self.rows.last() {
                Some((_, row)) if row.first <= revision => return Ok(()),
                Some((_, row)) => row.before,
                None => self.base.last_position,
            };
            if position == 0 {
                return Ok(());
            }
            let part = self.view.part_of(position);
            let older = self.rows.last().is_none_or(|(newer, _)| part < *newer);
            match self.view.row(part, &self.name)? {
                Some(row) if older => self.rows.push((part, row)),
                Some(_) | None => return Err(self.view.parts[part].contradiction()),
            }
        }
    }
}

fn follows(first: Spot, second: Spot) -> bool {
    first.segment == second.segment && first.offset.checked_add(first.len) == Some(second.offset)
}

fn read(segment: &Segment, run: &[Spot]) -> Result<Bytes, Unreadable> {
    let offset = u64::from(run[0].offset);
    if run
        .iter()
        .any(|spot| spot.len as usize > record::FRAME_BYTES_MAX)
    {
        let why = "it is longer than a record can be";
        return Err(Unreadable::record(&segment.name, offset, why));
    }
    let len = run.iter().map(|spot| spot.len as usize).sum();
    let mut bytes = vec![0; len];
    segment
        .file
        .read_exact_at(&mut bytes, offset)
        .map_err(|error| Unreadable::record(&segment.name, offset, error))?;
    Ok(bytes.into())
}
