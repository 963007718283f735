//! The index of an MP4 or MOV file: what its tracks are, and where and when their samples.
//!
//! # Invariants
//!
//! * In memory is the index as it stands in the file (at most [`super::declared::INDEX_BYTES_MAX`])
//!   and nothing per sample: its tables count in runs, and are walked, not unfolded. Twelve
//!   hours of picture and sound come to about 40 MB.
//! * Nothing here trusts a length or a count: whatever does not fit into its box is not there.
//! * A fragmented file has no such index.

pub(crate) mod aac;
pub(crate) mod avc;
mod bits;
mod pace;
mod samples;

use bytes::Bytes;

use crate::fragment::{Boxes, be32, be64, child, path};
use aac::Aac;
use avc::Avc;
pub(crate) use pace::Pace;
pub(crate) use samples::{Sample, Samples, Walk};

/// The first track of each kind: these are what every task takes.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) video: Option<Track>,
    pub(crate) audio: Option<Track>,
}

/// One track.
#[derive(Debug)]
pub(crate) struct Track {
    /// Units per second of all its times.
    pub(crate) timescale: u32,
    pub(crate) entry: Entry,
    pub(crate) edit: Edit,
    pub(crate) samples: Samples,
    /// Enabled, neither turned nor stretched, its samples in this same file, and the first of
    /// its kind by every order: nobody could take another track for it.
    pub(crate) is_plain: bool,
    /// What the track's header says it is shown as, in whole pixels; 0: nothing.
    pub(crate) shown_width: u32,
    pub(crate) shown_height: u32,
}

/// What the samples are; only what players commonly play is told apart.
#[derive(Debug)]
pub(crate) enum Entry {
    Avc(Avc),
    Aac(Aac),
    Other,
}

/// Which part of the track is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edit {
    /// All of it.
    Absent,
    /// From this media time on, at normal speed; up to an end, unless that is the track's own.
    From { start: u64, end: Option<u64> },
    /// Late, in pieces, or at another speed.
    Other,
}

impl Index {
    /// Reads what is in a `moov` box. `None`: the samples are not in its tables.
    pub(crate) fn read(moov: &Bytes) -> Option<Index> {
        if child(moov, b"mvex").is_some() {
            return None;
        }
        let movie_scale = child(moov, b"mvhd").and_then(timescale)?;
        let first = |kind: &[u8; 4]| {
            let mut of_kind = Boxes(moov)
                .filter(|(name, trak)| name == b"trak" && handler(trak) == Some(kind))
                .map(|(_, trak)| trak);
            let trak = of_kind.next()?;
            // Some programs take the first, some that with the lowest number.
            let is_first = of_kind.all(|other| track_id(other) > track_id(trak));
            let mut track = Track::read(moov, trak, movie_scale)?;
            track.is_plain &= is_first;
            Some(track)
        };
        Some(Index {
            video: first(b"vide"),
            audio: first(b"soun"),
        })
    }
}

impl Track {
    fn read(moov: &Bytes, trak: &[u8], movie_scale: u32) -> Option<Track> {
        let mdia = child(trak, b"mdia")?;
        let timescale = child(mdia, b"mdhd").and_then(timescale)?;
        let minf = child(mdia, b"minf")?;
        let stbl = child(minf, b"stbl")?;
        let header = Header::read(child(trak, b"tkhd")?)?;
        Some(Track {
            timescale,
            entry: entry(moov, child(stbl, b"stsd")?),
            edit: edit(trak, timescale, movie_scale),
            samples: Samples::read(moov, stbl)?,
            is_plain: header.is_plain && is_self_contained(minf),
            shown_width: header.width,
            shown_height: header.height,
        })
    }

    /// Bits per second on average, in thousands.
    pub(crate) fn bitrate_kbps(&self) -> u32 {
        let units = u128::from(self.samples.duration().max(1));
        let bits = u128::from(self.samples.bytes()) * 8;
        u32::try_from(bits * u128::from(self.timescale) / units / 1000).unwrap_or(u32::MAX)
    }

    pub(crate) fn pace(&self) -> Pace {
        Pace::of(&self.samples, self.timescale)
    }

    /// The media time that is 0 for whoever watches.
    pub(crate) fn origin(&self) -> Option<u64> {
        match self.edit {
            Edit::Absent => Some(0),
            Edit::From { start, .. } => Some(start),
            Edit::Other => None,
        }
    }

    /// A media time as whoever watches counts it, to the nearest microsecond. `None`: before 0.
    pub(crate) fn us(&self, at: i64) -> Option<u64> {
        let since = u64::try_from(i128::from(at) - i128::from(self.origin()?)).ok()?;
        let scale = u128::from(self.timescale);
        let us = (u128::from(since) * 1_000_000 + scale / 2) / scale;
        u64::try_from(us).ok()
    }

    pub(crate) fn to_ns(&self, units: u64) -> u64 {
        let ns = u128::from(units) * 1_000_000_000 / u128::from(self.timescale);
        u64::try_from(ns).unwrap_or(u64::MAX)
    }
}

fn handler(trak: &[u8]) -> Option<&[u8; 4]> {
    let hdlr = path(trak, &[b"mdia", b"hdlr"])?;
    hdlr.get(8..12)?.try_into().ok()
}

fn track_id(trak: &[u8]) -> Option<u32> {
    let tkhd = child(trak, b"tkhd")?;
    be32(tkhd, if tkhd.first() == Some(&1) { 20 } else { 12 })
}

/// The timescale stands alike in `mvhd` and `mdhd`.
fn timescale(header: &[u8]) -> Option<u32> {
    let at = if header.first()? == &1 { 20 } else { 12 };
    be32(header, at).filter(|scale| *scale > 0)
}

/// What a `tkhd` says of the picture.
struct Header {
    is_plain: bool,
    width: u32,
    height: u32,
}

impl Header {
    fn read(tkhd: &[u8]) -> Option<Header> {
        let is_enabled = tkhd.get(3)? & 1 == 1;
        let matrix = if tkhd.first()? == &1 { 52 } else { 40 };
        let one = 0x0001_0000;
        let upright = [one, 0, 0, 0, one, 0, 0, 0, 0x4000_0000];
        let mut is_upright = true;
        for (number, value) in upright.into_iter().enumerate() {
            is_upright &= be32(tkhd, matrix + number * 4)? == value;
        }
        Some(Header {
            is_plain: is_enabled && is_upright,
            width: be32(tkhd, matrix + 36)? >> 16,
            height: be32(tkhd, matrix + 40)? >> 16,
        })
    }
}

/// Whether the one place that samples are in is this file.
fn is_self_contained(minf: &[u8]) -> bool {
    let dref = path(minf, &[b"dinf", b"dref"]);
    dref.is_some_and(|dref| {
        let one = be32(dref, 4) == Some(1);
        let here = dref.get(8..).and_then(|entries| Boxes(entries).next());
        one && here.is_some_and(|(_, content)| content.get(3).is_some_and(|flag| flag & 1 == 1))
    })
}

/// The one sample entry; a track with several changes on its way.
fn entry(moov: &Bytes, stsd: &[u8]) -> Entry {
    if be32(stsd, 4) != Some(1) {
        return Entry::Other;
    }
    let read = || {
        let (kind, content) = Boxes(stsd.get(8..)?).next()?;
        match &kind {
            b"avc1" => Avc::read(moov, content).map(Entry::Avc),
            b"mp4a" => Aac::read(moov, content).map(Entry::Aac),
            _ => None,
        }
    };
    read().unwrap_or(Entry::Other)
}

fn edit(trak: &[u8], timescale: u32, movie_scale: u32) -> Edit {
    let Some(elst) = path(trak, &[b"edts", b"elst"]) else {
        return Edit::Absent;
    };
    let read = || {
        let one = be32(elst, 4)? == 1;
        let (duration, start, rate) = match elst.first()? {
            1 => (be64(elst, 8)?, be64(elst, 16)?, be32(elst, 24)?),
            _ => {
                let start = be32(elst, 12)? as i32;
                let start = u64::try_from(start).ok()?;
                (u64::from(be32(elst, 8)?), start, be32(elst, 16)?)
            }
        };
        let is_plain = one && start <= i64::MAX as u64 && rate == 0x0001_0000;
        is_plain.then_some((duration, start))
    };
    match read() {
        None if be32(elst, 4) == Some(0) => Edit::Absent,
        None => Edit::Other,
        Some((0, start)) => Edit::From { start, end: None },
        Some((duration, start)) => {
            let units = u128::from(duration) * u128::from(timescale) / u128::from(movie_scale);
            let units = u64::try_from(units).unwrap_or(u64::MAX);
            let end = Some(start.saturating_add(units));
            Edit::From { start, end }
        }
    }
}

#[cfg(test)]
mod tests;
