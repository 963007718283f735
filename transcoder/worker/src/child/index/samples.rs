//! The sample table of one track, walked from its beginning.
//!
//! # Invariants
//!
//! * The tables stay as they are in the file, counted in runs; a walk holds a few numbers.
//! * A walk ends early where a table does: [`Samples::walk`] says how far it came, and less
//!   than `count` means that the index contradicts itself.
//! * At most [`SAMPLES_MAX`] samples: 12 hours at 60 pictures, or 90 pieces of sound, a second.

use bytes::Bytes;

use crate::fragment::{be32, be64, child};

/// A track with more is not passed through.
const SAMPLES_MAX: u32 = 4 << 20;

/// Where, when and how large.
#[derive(Debug)]
pub(crate) struct Samples {
    count: u32,
    /// All of this size; 0: as the table says.
    size: u32,
    sizes: Bytes,
    durations: Bytes,
    /// Empty: shown when decoded.
    shifts: Bytes,
    chunks: Bytes,
    offsets: Bytes,
    offsets_are_wide: bool,
    /// `None`: every sample is a key frame.
    keys: Option<Bytes>,
}

/// One piece of a track: a picture, or some sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Its place in the file.
    pub(crate) offset: u64,
    pub(crate) size: u32,
    /// When it is decoded, and until the next one is.
    pub(crate) time: u64,
    pub(crate) duration: u32,
    /// How much later it is shown.
    pub(crate) shift: i32,
    pub(crate) is_key: bool,
}

impl Sample {
    pub(crate) fn shown(&self) -> i64 {
        self.time as i64 + i64::from(self.shift)
    }

    /// The first byte behind it.
    pub(crate) fn end(&self) -> u64 {
        self.offset.saturating_add(u64::from(self.size))
    }
}

impl Samples {
    pub(super) fn read(moov: &Bytes, stbl: &[u8]) -> Option<Samples> {
        let table = |kind: &[u8; 4], stride: usize| rows(moov, child(stbl, kind)?, 4, stride);
        let stsz = child(stbl, b"stsz")?;
        let (size, count) = (be32(stsz, 4)?, be32(stsz, 8)?);
        if count == 0 || count > SAMPLES_MAX {
            return None;
        }
        let wide = child(stbl, b"co64").is_some();
        Some(Samples {
            count,
            size,
            sizes: match size {
                0 => rows(moov, stsz, 8, 4)?,
                _ => Bytes::new(),
            },
            durations: table(b"stts", 8)?,
            shifts: match child(stbl, b"ctts") {
                Some(ctts) => rows(moov, ctts, 4, 8)?,
                None => Bytes::new(),
            },
            chunks: table(b"stsc", 12)?,
            offsets: match wide {
                true => table(b"co64", 8)?,
                false => table(b"stco", 4)?,
            },
            offsets_are_wide: wide,
            keys: match child(stbl, b"stss") {
                Some(stss) => Some(rows(moov, stss, 4, 4)?),
                None => None,
            },
        })
    }

    /// The size of all of them.
    pub(crate) fn bytes(&self) -> u64 {
        if self.size > 0 {
            return u64::from(self.size) * u64::from(self.count);
        }
        let each = self.sizes.chunks_exact(4).filter_map(|row| be32(row, 0));
        each.map(u64::from).sum()
    }

    /// How long all of them are, one after the other.
    pub(crate) fn duration(&self) -> u64 {
        let runs = self.runs();
        let units = runs.map(|(count, duration)| u64::from(count) * u64::from(duration));
        units.fold(0, u64::saturating_add)
    }

    /// How many samples in a row have which duration.
    pub(super) fn runs(&self) -> impl Iterator<Item = (u32, u32)> {
        let rows = self.durations.chunks_exact(8);
        rows.filter_map(|row| Some((be32(row, 0)?, be32(row, 4)?)))
    }

    /// The least that a sample is shown after it is decoded.
    pub(crate) fn shift_min(&self) -> i32 {
        let shifts = self.shifts.chunks_exact(8);
        let least = shifts.filter_map(|row| Some(be32(row, 4)? as i32)).min();
        least.unwrap_or(0)
    }

    pub(crate) fn walk(&self) -> Walk<'_> {
        Walk {
            table: self,
            number: 0,
            time: 0,
            durations: Runs::new(&self.durations),
            shifts: Runs::new(&self.shifts),
            chunk: Chunk::default(),
            key: 0,
        }
    }
}

/// The rows of a table that says at this place how many it has.
fn rows(moov: &Bytes, table: &[u8], at: usize, stride: usize) -> Option<Bytes> {
    let length = (be32(table, at)? as usize).checked_mul(stride)?;
    let from = at + 4;
    let rows = table.get(from..from.checked_add(length)?)?;
    Some(moov.slice_ref(rows))
}

/// A table of `u32 how many, u32 value`.
#[derive(Clone)]
struct Runs<'a> {
    rows: std::slice::ChunksExact<'a, u8>,
    left: u32,
    value: u32,
}

impl<'a> Runs<'a> {
    fn new(rows: &'a [u8]) -> Self {
        Runs {
            rows: rows.chunks_exact(8),
            left: 0,
            value: 0,
        }
    }

    fn next(&mut self) -> Option<u32> {
        while self.left == 0 {
            let row = self.rows.next()?;
            (self.left, self.value) = (be32(row, 0)?, be32(row, 4)?);
        }
        self.left -= 1;
        Some(self.value)
    }
}

/// The chunk that a walk is in.
#[derive(Clone, Default)]
struct Chunk {
    /// How many were begun.
    number: u32,
    /// Samples of it that are still to come, and where the next one begins.
    left: u32,
    at: u64,
    /// The row of the table of chunks that holds for it.
    row: usize,
}

impl Chunk {
    fn begin_next(&mut self, table: &Samples) -> Option<()> {
        let place = self.number as usize;
        self.at = match table.offsets_are_wide {
            true => be64(&table.offsets, place.checked_mul(8)?)?,
            false => u64::from(be32(&table.offsets, place.checked_mul(4)?)?),
        };
        self.number += 1;
        let next_row = (self.row + 1) * 12;
        if be32(&table.chunks, next_row).is_some_and(|first| first <= self.number) {
            self.row += 1;
        }
        let row = table.chunks.get(self.row * 12..self.row * 12 + 12)?;
        let is_described = be32(row, 8)? == 1;
        if be32(row, 0)? > self.number || !is_described {
            return None;
        }
        self.left = be32(row, 4)?;
        Some(())
    }
}

/// One sample after the other, in the order in which they are decoded.
#[derive(Clone)]
pub(crate) struct Walk<'a> {
    table: &'a Samples,
    number: u32,
    time: u64,
    durations: Runs<'a>,
    shifts: Runs<'a>,
    chunk: Chunk,
    /// The first row of the table of key frames that is not behind us.
    key: usize,
}

impl Walk<'_> {
    /// Whether every sample has been passed.
    pub(crate) fn is_whole(&self) -> bool {
        self.number == self.table.count
    }

    fn size(&self) -> Option<u32> {
        match self.table.size {
            0 => be32(&self.table.sizes, self.number as usize * 4),
            size => Some(size),
        }
    }

    /// Whether the sample that is next begins anew.
    fn is_key(&mut self) -> bool {
        let Some(keys) = &self.table.keys else {
            return true;
        };
        while let Some(number) = be32(keys, self.key * 4) {
            if number > self.number {
                return number == self.number + 1;
            }
            self.key += 1;
        }
        false
    }
}

impl Iterator for Walk<'_> {
    type Item = Sample;

    fn next(&mut self) -> Option<Sample> {
        if self.is_whole() {
            return None;
        }
        let size = self.size()?;
        let duration = self.durations.next()?;
        let shift = match self.table.shifts.is_empty() {
            true => 0,
            // Signed in every version: those who must not write negative ones do.
            false => self.shifts.next()? as i32,
        };
        while self.chunk.left == 0 {
            self.chunk.begin_next(self.table)?;
        }
        let sample = Sample {
            offset: self.chunk.at,
            size,
            time: self.time,
            duration,
            shift,
            is_key: self.is_key(),
        };
        self.chunk.left -= 1;
        self.chunk.at = sample.end();
        self.number += 1;
        self.time += u64::from(duration);
        Some(sample)
    }
}
