//! What a file says about itself, before any demuxer believes it.
//!
//! # Invariants
//!
//! * A box, segment or chunk that ends behind the end of the file was cut off: the file is
//!   refused here, for a demuxer would play what there is and end without a word.
//! * Reads are few and bounded: headers and one index.

mod ebml;
mod riff;
mod transport;

use bytes::Bytes;

use super::coverage::{tolerance, truncated};
use super::front_end::unreadable;
use super::index::Index;
use super::source_element::SourceLink;
use crate::failure::{Code, Failure};
use crate::fragment::{Boxes, be32, be64, child, path};

/// Boxes on the top level that are looked at; a fragmented file can have many more.
const BOXES_MAX: usize = 4096;
/// The largest index that is read into memory.
pub(crate) const INDEX_BYTES_MAX: u64 = 64 << 20;

/// What an ISO file says of its movie.
#[derive(Default, Debug)]
pub(crate) struct Movie {
    pub(crate) tracks: u32,
    /// `None` where it is too large, or no plain table of samples.
    pub(crate) index: Option<Index>,
}

/// Checks the file's own lengths. `None`: this container declares none that we read.
pub(crate) fn check(link: &SourceLink, container: &str) -> Result<Option<Movie>, Failure> {
    match container {
        "video/quicktime" | "audio/x-m4a" | "application/x-3gp" => movie(link).map(Some),
        "video/x-matroska"
        | "audio/x-matroska"
        | "video/webm"
        | "audio/webm"
        | "video/x-matroska-3d" => ebml::check(link).map(|()| None),
        "video/x-msvideo" | "audio/x-wav" => riff::check(link).map(|()| None),
        "video/mpegts" => transport::check(link).map(|()| None),
        _ => Ok(None),
    }
}

fn cut_off(says: u64, has: u64) -> Failure {
    let message = format!("the file is incomplete: it says it has {says} bytes, but it has {has}");
    Failure::new(Code::SourceTruncated, message)
}

/// Top-level kinds; anything else behind the movie is somebody's appendix.
const KNOWN: &[&[u8; 4]] = &[
    b"ftyp", b"moov", b"mdat", b"moof", b"free", b"skip", b"wide", b"mfra", b"uuid", b"meta",
    b"sidx", b"styp", b"pdin", b"udta",
];

/// Walks an ISO file box by box, and reads its index.
pub(crate) fn movie(link: &SourceLink) -> Result<Movie, Failure> {
    let mut at = 0u64;
    let mut movie = None;
    for _ in 0..BOXES_MAX {
        if at + 8 > link.size {
            break;
        }
        let head = link.read(at, 16).map_err(|_| unreadable())?;
        let (Some(size), Some(kind)) = (be32(&head, 0), head.get(4..8)) else {
            break;
        };
        if !KNOWN.iter().any(|known| known.as_slice() == kind) {
            break;
        }
        let size = match size {
            0 => link.size - at,
            1 => be64(&head, 8).unwrap_or(0),
            size => u64::from(size),
        };
        if size < 8 {
            break;
        }
        let end = at.saturating_add(size);
        if end > link.size {
            let found = movie.as_ref().and_then(|movie| found(movie, link.size));
            return Err(found.unwrap_or_else(|| cut_off(end, link.size)));
        }
        if kind == b"moov" && size <= INDEX_BYTES_MAX {
            let bytes = read_all(link, at + 8, size - 8)?;
            movie = Some(read_movie(&Bytes::from(bytes))?);
        } else if kind == b"moov" {
            movie = Some(Movie::default());
        }
        at = end;
    }
    movie.ok_or_else(|| {
        Failure::new(
            Code::SourceTruncated,
            "the file is incomplete: its index is missing",
        )
    })
}

/// How much of a movie whose index came first is there, where a file ends after so many bytes.
fn found(movie: &Movie, bytes: u64) -> Option<Failure> {
    let index = movie.index.as_ref()?;
    let tracks = || index.video.iter().chain(&index.audio);
    let declared_ns = tracks().map(|track| track.to_ns(track.samples.duration()));
    let found_ns = tracks().map(|track| {
        let missing = track.samples.walk().find(|sample| sample.end() > bytes);
        let until = missing.map_or(track.samples.duration(), |sample| sample.time);
        track.to_ns(until)
    });
    Some(truncated(declared_ns.max()?, found_ns.max()?))
}

fn read_all(link: &SourceLink, from: u64, length: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < length {
        let left = length - bytes.len() as u64;
        let part = link
            .read(from + bytes.len() as u64, left.min(1 << 20) as u32)
            .map_err(|_| unreadable())?;
        if part.is_empty() {
            break;
        }
        bytes.extend_from_slice(&part);
    }
    Ok(bytes)
}

/// Compares what the movie's header claims with what its tracks hold.
fn read_movie(moov: &Bytes) -> Result<Movie, Failure> {
    let traks: Vec<&[u8]> = Boxes(moov)
        .filter(|(kind, _)| kind == b"trak")
        .map(|(_, content)| content)
        .collect();
    let movie = Movie {
        tracks: traks.len() as u32,
        index: Index::read(moov),
    };
    let fragmented = child(moov, b"mvex").is_some();
    let edited = traks
        .iter()
        .any(|trak| child(trak, b"edts").is_some_and(has_empty_edit));
    let declared_ns = child(moov, b"mvhd").and_then(duration_ns);
    if let Some(declared_ns) = declared_ns.filter(|_| !fragmented && !edited) {
        let held: Vec<u64> = traks.iter().filter_map(|trak| held_ns(trak)).collect();
        let longest_ns = held.iter().copied().max().unwrap_or(declared_ns);
        if longest_ns + tolerance(declared_ns) < declared_ns {
            return Err(truncated(declared_ns, longest_ns));
        }
    }
    Ok(movie)
}

/// Timescale and duration stand alike in `mvhd` and `mdhd`.
fn duration_ns(header: &[u8]) -> Option<u64> {
    let (scale, units) = match header.first()? {
        1 => (be32(header, 20)?, be64(header, 24)?),
        _ => (be32(header, 12)?, u64::from(be32(header, 16)?)),
    };
    to_ns(units, scale)
}

fn to_ns(units: u64, scale: u32) -> Option<u64> {
    let ns = u128::from(units) * 1_000_000_000 / u128::from(scale.max(1));
    u64::try_from(ns).ok()
}

/// How long what the sample table holds may be shown.
fn held_ns(trak: &[u8]) -> Option<u64> {
    let mdia = child(trak, b"mdia")?;
    let mdhd = child(mdia, b"mdhd")?;
    let scale = match mdhd.first()? {
        1 => be32(mdhd, 20)?,
        _ => be32(mdhd, 12)?,
    };
    let stts = path(mdia, &[b"minf", b"stbl", b"stts"])?;
    let entries = be32(stts, 4)? as usize;
    let mut units = 0u64;
    for entry in stts.get(8..)?.chunks_exact(8).take(entries) {
        let run = u64::from(be32(entry, 0)?) * u64::from(be32(entry, 4)?);
        units = units.saturating_add(run);
    }
    to_ns(units.saturating_add(reordered(mdia)), scale)
}

/// How far beyond the sum of its durations a track may be shown, which count from when pictures
/// are decoded: where some stay long, a picture can be decoded long before it is shown.
fn reordered(mdia: &[u8]) -> u64 {
    let Some(ctts) = path(mdia, &[b"minf", b"stbl", b"ctts"]) else {
        return 0;
    };
    let entries = be32(ctts, 4).unwrap_or(0) as usize;
    let rows = ctts.get(8..).unwrap_or_default().chunks_exact(8);
    let shifts = rows.take(entries).filter_map(|row| be32(row, 4));
    let (least, most) = shifts.fold((i32::MAX, i32::MIN), |(least, most), shift| {
        (least.min(shift as i32), most.max(shift as i32))
    });
    u64::try_from(i64::from(most) - i64::from(least)).unwrap_or(0)
}

/// An edit that shows nothing makes a movie longer than its tracks.
fn has_empty_edit(edts: &[u8]) -> bool {
    let Some(elst) = child(edts, b"elst") else {
        return false;
    };
    let wide = elst.first() == Some(&1);
    let (stride, at) = if wide { (20, 8) } else { (12, 4) };
    elst.get(8..).is_some_and(|entries| {
        entries.chunks_exact(stride).any(|entry| {
            let time = entry.get(at..at + stride - at - 4);
            time.is_some_and(|time| time.iter().all(|byte| *byte == 0xff))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::cmaf::{boxed, full, numbers};
    use super::*;

    #[test]
    fn a_picture_decoded_long_before_it_is_shown_is_held_by_its_track() {
        // Pictures that stay for 30, 50, 40 s and a moment, with references among them.
        let mut trak = vec![];
        boxed(&mut trak, b"mdia", |out| {
            full(out, b"mdhd", 0, |out| numbers(out, &[0, 0, 10, 0, 0]));
            boxed(out, b"minf", |out| {
                boxed(out, b"stbl", |out| {
                    full(out, b"stts", 0, |out| {
                        numbers(out, &[3, 1, 300, 1, 500, 2, 150]);
                    });
                    full(out, b"ctts", 0, |out| {
                        numbers(out, &[4, 1, 800, 1, 1700, 1, 300, 1, 500]);
                    });
                });
            });
        });
        let sum_s = 30 + 50 + 30;
        assert_eq!(held_ns(&trak), Some((sum_s + 140) * 1_000_000_000));
    }
}
