//! H.264 as an MP4 describes it: the sample entry, the parameter sets, the units of a sample.
//!
//! # Invariants
//!
//! * What decoders in phones and browsers do not all play is not told here: more than 8 bits,
//!   other than 4:2:0, interlaced, above level 5.2, slice groups, wide gamut, HDR, pixels that
//!   are not square.
//! * A sample is units with their lengths in front, which add up to it exactly.

use bytes::Bytes;

use super::bits::Bits;
use crate::fragment::{Boxes, be32, child};

/// A visual sample entry has so many bytes before its boxes.
const ENTRY_BYTES: usize = 78;
/// The highest level that is passed through: 5.2.
const LEVEL_MAX: u8 = 52;
/// Decoder configurations are some dozens of bytes.
const CONFIG_BYTES_MAX: usize = 4096;

const SLICE: u8 = 1;
const IDR: u8 = 5;
const SEQUENCE: u8 = 7;

/// An `avc1` sample entry that players play as it is.
#[derive(Debug)]
pub(crate) struct Avc {
    /// The content of `avcC`.
    pub(crate) config: Bytes,
    /// The content of `colr`, where it is one that MP4 knows.
    pub(crate) colour: Option<Bytes>,
    pub(crate) width: u32,
    pub(crate) height: u32,
    sequence: Bytes,
    length_bytes: usize,
}

impl Avc {
    pub(super) fn read(moov: &Bytes, entry: &[u8]) -> Option<Avc> {
        let boxes = entry.get(ENTRY_BYTES..)?;
        let config = child(boxes, b"avcC").filter(|config| config.len() <= CONFIG_BYTES_MAX)?;
        let sets = Sets::read(config)?;
        let sps = Sps::read(sets.sequence)?;
        let colour = child(boxes, b"colr").filter(|colr| colr.starts_with(b"nclx"));
        let coded = |at: usize| entry.get(at..at + 2).map(|two| [two[0], two[1]]);
        let sides = [coded(24)?, coded(26)?].map(|two| u32::from(u16::from_be_bytes(two)));
        if sides != [sps.width, sps.height] || !is_plain(boxes) {
            return None;
        }
        Some(Avc {
            config: moov.slice_ref(config),
            colour: colour.map(|colr| moov.slice_ref(colr)),
            width: sps.width,
            height: sps.height,
            sequence: moov.slice_ref(sets.sequence),
            length_bytes: sets.length_bytes,
        })
    }

    /// The units of a sample: kind and content. The last item is an error where the lengths
    /// do not add up to the sample.
    pub(crate) fn units<'a>(&self, sample: &'a [u8]) -> Units<'a> {
        Units {
            rest: sample,
            length_bytes: self.length_bytes,
        }
    }

    /// Whether the beginning of this sample says that decoding can begin with it, with the
    /// parameters that the index has. `None`: that much does not tell.
    pub(crate) fn begins_anew(&self, beginning: &[u8]) -> Option<bool> {
        let mut rest = beginning;
        loop {
            let (length, behind) = length(rest, self.length_bytes)?;
            match kind(behind.get(..length.min(1))?) {
                IDR => return Some(true),
                SLICE..IDR => return Some(false),
                SEQUENCE if behind.get(..length)? != self.sequence => return Some(false),
                _ => rest = behind.get(length..)?,
            }
        }
    }

    /// Whether this sample is, or begins with, an IDR picture.
    pub(crate) fn begins_with_idr(&self, sample: &[u8]) -> bool {
        let mut kinds = self.units(sample).filter_map(|unit| Some(unit.ok()?.0));
        kinds.find(|kind| (SLICE..=IDR).contains(kind)) == Some(IDR)
    }
}

/// The lengths in front of the units say something else than the sample is long.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Damaged;

pub(crate) struct Units<'a> {
    rest: &'a [u8],
    length_bytes: usize,
}

impl<'a> Iterator for Units<'a> {
    type Item = Result<(u8, &'a [u8]), Damaged>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let next = || {
            let (length, behind) = length(self.rest, self.length_bytes)?;
            behind.split_at_checked(length)
        };
        let Some((unit, behind)) = next() else {
            self.rest = &[];
            return Some(Err(Damaged));
        };
        self.rest = behind;
        Some(Ok((kind(unit), unit)))
    }
}

/// How long the unit is that is next, and what is behind that number.
fn length(bytes: &[u8], length_bytes: usize) -> Option<(usize, &[u8])> {
    let (length, behind) = bytes.split_at_checked(length_bytes)?;
    let length = length
        .iter()
        .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    Some((length, behind))
}

/// The kind of a unit; one of no bytes is of none.
fn kind(unit: &[u8]) -> u8 {
    unit.first().map_or(0, |head| head & 0x1f)
}

/// No stretched or clipped pixels, no second layer, no colours that need a better screen.
fn is_plain(boxes: &[u8]) -> bool {
    Boxes(boxes).all(|(kind, content)| match &kind {
        b"pasp" => be32(content, 0).is_some() && be32(content, 0) == be32(content, 4),
        b"colr" if matches!(content.get(..4), Some(b"nclx" | b"nclc")) => {
            let code = |at: usize| content.get(at + 1).copied().unwrap_or(0);
            is_plain_colour(code(4), code(6), code(8))
        }
        b"clap" | b"dvcC" | b"dvvC" | b"mdcv" | b"clli" => false,
        _ => true,
    })
}

/// Primaries, transfer and matrix of standard range and gamut, or unspecified.
fn is_plain_colour(primaries: u8, transfer: u8, matrix: u8) -> bool {
    matches!(primaries, 1 | 2 | 4..=7)
        && matches!(transfer, 1 | 2 | 4..=7 | 13)
        && matches!(matrix, 1 | 2 | 4..=7)
}

/// The parameter sets in an `avcC`.
struct Sets<'a> {
    sequence: &'a [u8],
    length_bytes: usize,
}

impl<'a> Sets<'a> {
    fn read(config: &'a [u8]) -> Option<Self> {
        let (head, rest) = config.split_at_checked(6)?;
        let [1, _, _, _, lengths, sequences] = head else {
            return None;
        };
        if sequences & 0x1f != 1 {
            return None;
        }
        let (sequence, rest) = set(rest)?;
        let (pictures, mut rest) = rest.split_first()?;
        for _ in 0..*pictures {
            let (picture, behind) = set(rest)?;
            if slice_groups(picture)? > 1 {
                return None;
            }
            rest = behind;
        }
        Some(Sets {
            sequence,
            length_bytes: usize::from(lengths & 3) + 1,
        })
    }
}

/// One parameter set with its length in front, and what is behind it.
fn set(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

/// How many slice groups a picture parameter set speaks of.
fn slice_groups(picture: &[u8]) -> Option<u32> {
    let payload = unescaped(picture);
    let mut bits = Bits::new(payload.get(1..)?);
    let (_picture, _sequence) = (bits.golomb()?, bits.golomb()?);
    let (_entropy, _order) = (bits.bit()?, bits.bit()?);
    bits.golomb()?.checked_add(1)
}

/// A unit without the bytes that keep start codes out of it.
fn unescaped(unit: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(unit.len());
    let mut zeros = 0;
    for byte in unit {
        if zeros >= 2 && *byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        plain.push(*byte);
    }
    plain
}

/// What a sequence parameter set that players play says: the size of the picture, as shown.
struct Sps {
    width: u32,
    height: u32,
}

impl Sps {
    fn read(unit: &[u8]) -> Option<Sps> {
        let plain = unescaped(unit);
        let [head, profile, _constraints, level] = plain.get(..4)?.try_into().ok()?;
        let is_known = head & 0x1f == SEQUENCE && matches!(profile, 66 | 77 | 100);
        if !is_known || level > LEVEL_MAX {
            return None;
        }
        let mut bits = Bits::new(&plain[4..]);
        let _id = bits.golomb()?;
        if profile == 100 {
            if !is_8_bit_420(&mut bits)? {
                return None;
            }
            skip_scaling(&mut bits)?;
        }
        let _frame_numbers = bits.golomb()?;
        skip_order(&mut bits)?;
        let (_references, _gaps) = (bits.golomb()?, bits.bit()?);
        let (columns, rows) = (bits.golomb()?, bits.golomb()?);
        let is_progressive = bits.bit()?;
        if !is_progressive {
            return None;
        }
        let _direct = bits.bit()?;
        let mut cropped = [0; 4];
        if bits.bit()? {
            for side in &mut cropped {
                *side = bits.golomb()?.checked_mul(2)?;
            }
        }
        let is_plain = !bits.bit()? || is_plain_usability(&mut bits)?;
        let [left, right, top, bottom] = cropped;
        let side = |blocks: u32, begin: u32, end: u32| {
            let coded = blocks.checked_add(1)?.checked_mul(16)?;
            coded.checked_sub(begin.checked_add(end)?)
        };
        is_plain.then_some(Sps {
            width: side(columns, left, right)?,
            height: side(rows, top, bottom)?,
        })
    }
}

fn is_8_bit_420(bits: &mut Bits) -> Option<bool> {
    let chroma = bits.golomb()?;
    let (luma_depth, chroma_depth) = (bits.golomb()?, bits.golomb()?);
    let is_lossless = bits.bit()?;
    Some(chroma == 1 && luma_depth == 0 && chroma_depth == 0 && !is_lossless)
}

/// Scaling lists: of no interest, but in the way.
fn skip_scaling(bits: &mut Bits) -> Option<()> {
    if !bits.bit()? {
        return Some(());
    }
    // High profile has 8 of them; 4:4:4 has 12, and was refused before.
    for list in 0..8 {
        if !bits.bit()? {
            continue;
        }
        let (mut last, mut next) = (8i32, 8i32);
        for _ in 0..if list < 6 { 16 } else { 64 } {
            if next != 0 {
                next = last.checked_add(bits.signed_golomb()?)?.rem_euclid(256);
            }
            last = if next == 0 { last } else { next };
        }
    }
    Some(())
}

/// How the order of pictures is told.
fn skip_order(bits: &mut Bits) -> Option<()> {
    match bits.golomb()? {
        0 => {
            let _numbers = bits.golomb()?;
        }
        1 => {
            let _always_zero = bits.bit()?;
            let (_non_reference, _fields) = (bits.signed_golomb()?, bits.signed_golomb()?);
            let cycle = bits.golomb()?;
            if cycle > 255 {
                return None;
            }
            for _ in 0..cycle {
                let _offset = bits.signed_golomb()?;
            }
        }
        2 => {}
        _ => return None,
    }
    Some(())
}

/// Square pixels, and plain colours.
fn is_plain_usability(bits: &mut Bits) -> Option<bool> {
    let mut is_square = true;
    if bits.bit()? {
        is_square = match bits.number(8)? {
            0 | 1 => true,
            255 => bits.number(16)? == bits.number(16)?,
            _ => false,
        };
    }
    if bits.bit()? {
        let _overscan = bits.bit()?;
    }
    if !bits.bit()? {
        return Some(is_square);
    }
    let _format = bits.number(3)?;
    let _full_range = bits.bit()?;
    if !bits.bit()? {
        return Some(is_square);
    }
    let mut code = || bits.number(8).map(|code| code as u8);
    Some(is_square && is_plain_colour(code()?, code()?, code()?))
}
