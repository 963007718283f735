//! Writes CMAF: the init segment of a track, and its samples as fragments.
//!
//! # Invariants
//!
//! * One fragment is one segment: `moof`, `mdat`, all lengths known before the first byte.
//! * Durations are the source's own, in its timescale; the decode time of a fragment is the
//!   sum of those before. No composition offset is negative: an edit in the init segment
//!   takes back what that delays, so that time 0 is the first picture or sound to be seen
//!   or heard.

use super::index::Sample;
use super::index::aac::Aac;
use super::index::avc::Avc;
use crate::fragment;

/// The only track of every file we write.
const TRACK: u32 = 1;
/// A sample that decoding can begin with, and one that depends on others.
const KEY: u32 = 0x0200_0000;
const NO_KEY: u32 = 0x0101_0000;
/// Speed and matrices are fixed-point numbers.
const ONE: u32 = 0x0001_0000;
const MATRIX: [u32; 9] = [ONE, 0, 0, 0, ONE, 0, 0, 0, 0x4000_0000];

/// What a track is made of.
#[derive(Clone, Copy)]
pub(crate) enum Medium<'a> {
    Picture(&'a Avc),
    Sound(&'a Aac),
}

/// Appends a box whose content `fill` writes.
pub(super) fn boxed(out: &mut Vec<u8>, kind: &[u8; 4], fill: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend([0; 4]);
    out.extend(kind);
    fill(out);
    let size = u32::try_from(out.len() - at).expect("headers are smaller than 4 GiB");
    out[at..at + 4].copy_from_slice(&size.to_be_bytes());
}

/// Appends a box that begins with its version and flags.
pub(super) fn full(
    out: &mut Vec<u8>,
    kind: &[u8; 4],
    version_and_flags: u32,
    fill: impl FnOnce(&mut Vec<u8>),
) {
    boxed(out, kind, |out| {
        numbers(out, &[version_and_flags]);
        fill(out);
    });
}

pub(super) fn numbers(out: &mut Vec<u8>, numbers: &[u32]) {
    for number in numbers {
        out.extend(number.to_be_bytes());
    }
}

/// The init segment; the film begins `begin` after the decode time of its first sample.
pub(crate) fn init(medium: Medium, timescale: u32, begin: u32) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(1024);
    boxed(&mut out, b"ftyp", |out| {
        out.extend(b"cmfc");
        numbers(out, &[0]);
        out.extend(b"iso6cmfc");
    });
    boxed(&mut out, b"moov", |out| {
        full(out, b"mvhd", 0, |out| {
            numbers(out, &[0, 0, timescale, 0, ONE, 0x0100_0000, 0, 0]);
            numbers(out, &MATRIX);
            numbers(out, &[0, 0, 0, 0, 0, 0, TRACK + 1]);
        });
        boxed(out, b"trak", |out| track(out, medium, timescale));
        boxed(out, b"mvex", |out| {
            full(out, b"trex", 0, |out| {
                numbers(out, &[TRACK, 1, 0, 0, KEY]);
            });
        });
    });
    fragment::with_delay(&out, begin)
}

fn track(out: &mut Vec<u8>, medium: Medium, timescale: u32) {
    let (volume, width, height) = match medium {
        Medium::Picture(avc) => (0, avc.width, avc.height),
        Medium::Sound(_) => (0x0100_0000, 0, 0),
    };
    // Enabled, in the movie, in its preview.
    full(out, b"tkhd", 7, |out| {
        numbers(out, &[0, 0, TRACK, 0, 0, 0, 0, 0, volume]);
        numbers(out, &MATRIX);
        numbers(out, &[width << 16, height << 16]);
    });
    boxed(out, b"mdia", |out| {
        full(out, b"mdhd", 0, |out| {
            // "und": the language is not told.
            numbers(out, &[0, 0, timescale, 0, 0x55c4_0000]);
        });
        full(out, b"hdlr", 0, |out| {
            let kind = match medium {
                Medium::Picture(_) => b"vide",
                Medium::Sound(_) => b"soun",
            };
            numbers(out, &[0]);
            out.extend(kind);
            out.extend([0; 13]);
        });
        boxed(out, b"minf", |out| {
            match medium {
                Medium::Picture(_) => full(out, b"vmhd", 1, |out| numbers(out, &[0, 0])),
                Medium::Sound(_) => full(out, b"smhd", 0, |out| numbers(out, &[0])),
            }
            boxed(out, b"dinf", |out| {
                full(out, b"dref", 0, |out| {
                    numbers(out, &[1]);
                    full(out, b"url ", 1, |_| {});
                });
            });
            boxed(out, b"stbl", |out| sample_table(out, medium));
        });
    });
}

/// What samples are like; where they are stands in the fragments.
fn sample_table(out: &mut Vec<u8>, medium: Medium) {
    full(out, b"stsd", 0, |out| {
        numbers(out, &[1]);
        match medium {
            Medium::Picture(avc) => boxed(out, b"avc1", |out| {
                numbers(out, &[0, 1, 0, 0, 0, 0]);
                numbers(out, &[avc.width << 16 | avc.height]);
                // 72 pixels per inch, one picture per sample, no name, 24 bits of colour.
                numbers(out, &[0x0048_0000, 0x0048_0000, 0, 1 << 16]);
                out.extend([0; 30]);
                numbers(out, &[0x0018_ffff]);
                boxed(out, b"avcC", |out| out.extend(&avc.config));
                if let Some(colour) = &avc.colour {
                    boxed(out, b"colr", |out| out.extend(colour));
                }
            }),
            Medium::Sound(aac) => boxed(out, b"mp4a", |out| {
                numbers(out, &[0, 1, 0, 0, aac.channels << 16 | 16, 0]);
                numbers(out, &[aac.sample_rate << 16]);
                boxed(out, b"esds", |out| out.extend(&aac.esds));
            }),
        }
    });
    for kind in [b"stts", b"stsc", b"stco"] {
        full(out, kind, 0, |out| numbers(out, &[0]));
    }
    full(out, b"stsz", 0, |out| numbers(out, &[0, 0]));
}

/// The head of a segment: everything but the samples' bytes, which follow it in their order.
///
/// `time` is its decode time, `shift` what is added to every composition offset.
pub(crate) fn segment_head(number: u32, time: u64, samples: &[Sample], shift: i32) -> Vec<u8> {
    let bytes: u64 = samples.iter().map(|sample| u64::from(sample.size)).sum();
    let mut out = Vec::with_capacity(128 + samples.len() * 16);
    let mut data_offset_at = 0;
    boxed(&mut out, b"moof", |out| {
        full(out, b"mfhd", 0, |out| numbers(out, &[number]));
        boxed(out, b"traf", |out| {
            // Data is counted from this very box on.
            full(out, b"tfhd", 0x0002_0000, |out| numbers(out, &[TRACK]));
            full(out, b"tfdt", 0x0100_0000, |out| {
                out.extend(time.to_be_bytes())
            });
            let columns = Columns::of(samples, shift);
            full(out, b"trun", 0x0100_0201 | columns.flags(), |out| {
                numbers(out, &[samples.len() as u32]);
                data_offset_at = out.len();
                numbers(out, &[0]);
                for sample in samples {
                    columns.write(out, sample, shift);
                }
            });
        });
    });
    let data_offset = out.len() as u32 + 8;
    out[data_offset_at..data_offset_at + 4].copy_from_slice(&data_offset.to_be_bytes());
    let size = u32::try_from(bytes + 8).expect("a segment is smaller than 4 GiB");
    numbers(&mut out, &[size]);
    out.extend(b"mdat");
    out
}

/// What is said of each sample, besides its duration and size.
struct Columns {
    has_flags: bool,
    has_shifts: bool,
}

impl Columns {
    fn of(samples: &[Sample], shift: i32) -> Columns {
        let has_no_key = samples.iter().any(|sample| !sample.is_key);
        Columns {
            has_flags: has_no_key,
            has_shifts: samples.iter().any(|sample| sample.shift != -shift),
        }
    }

    fn flags(&self) -> u32 {
        let flags = if self.has_flags { 0x400 } else { 0 };
        let shifts = if self.has_shifts { 0x800 } else { 0 };
        0x100 | flags | shifts
    }

    fn write(&self, out: &mut Vec<u8>, sample: &Sample, shift: i32) {
        numbers(out, &[sample.duration, sample.size]);
        if self.has_flags {
            numbers(out, &[if sample.is_key { KEY } else { NO_KEY }]);
        }
        if self.has_shifts {
            numbers(out, &[sample.shift.saturating_add(shift) as u32]);
        }
    }
}
