//! AAC as an MP4 describes it.
//!
//! # Invariants
//!
//! * Only plain AAC-LC with frames of 1024 samples is told: what it is extended with (SBR, PS)
//!   not every player hears alike, and would make other sample rates of it.

use bytes::Bytes;

use super::bits::Bits;
use crate::fragment::child;

/// Samples in one frame.
pub(crate) const FRAME_SAMPLES: u32 = 1024;

/// The bytes of a sound sample entry before its boxes, by the version QuickTime gives it.
const ENTRY_BYTES: [usize; 3] = [28, 44, 64];
/// Descriptors of a decoder are some dozens of bytes.
const ESDS_BYTES_MAX: usize = 4096;
/// MPEG-4 audio, as object types are numbered in `esds`.
const MPEG4_AUDIO: u8 = 0x40;
/// AAC-LC among the object types of MPEG-4 audio.
const LOW_COMPLEXITY: u32 = 2;
/// Sample rates by their index.
const RATES: [u32; 13] = [
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8000,
    7350,
];

/// An `mp4a` sample entry of AAC-LC.
#[derive(Debug)]
pub(crate) struct Aac {
    /// The content of `esds`.
    pub(crate) esds: Bytes,
    pub(crate) channels: u32,
    pub(crate) sample_rate: u32,
}

impl Aac {
    pub(super) fn read(moov: &Bytes, entry: &[u8]) -> Option<Aac> {
        let version = u16::from_be_bytes([*entry.get(8)?, *entry.get(9)?]);
        let boxes = entry.get(*ENTRY_BYTES.get(usize::from(version))?..)?;
        // QuickTime wraps it.
        let esds = child(boxes, b"esds").or_else(|| child(child(boxes, b"wave")?, b"esds"))?;
        if esds.len() > ESDS_BYTES_MAX {
            return None;
        }
        let (channels, sample_rate) = sound(decoder_config(esds)?)?;
        Some(Aac {
            esds: moov.slice_ref(esds),
            channels,
            sample_rate,
        })
    }
}

/// Finds what the decoder is configured with: descriptors within descriptors.
fn decoder_config(esds: &[u8]) -> Option<&[u8]> {
    let stream = descriptor(esds.get(4..)?, 3)?;
    let flags = *stream.get(2)?;
    // It depends on another stream, has an address, or a clock of its own: not such files.
    if flags & 0xe0 != 0 {
        return None;
    }
    let decoder = descriptor(stream.get(3..)?, 4)?;
    if *decoder.first()? != MPEG4_AUDIO {
        return None;
    }
    descriptor(decoder.get(13..)?, 5)
}

/// The content of the descriptor that is first here, if it has this tag.
fn descriptor(bytes: &[u8], tag: u8) -> Option<&[u8]> {
    let (found, mut rest) = bytes.split_first()?;
    if *found != tag {
        return None;
    }
    let mut length = 0usize;
    for _ in 0..4 {
        let (byte, behind) = rest.split_first()?;
        length = length << 7 | usize::from(byte & 0x7f);
        rest = behind;
        if byte & 0x80 == 0 {
            break;
        }
    }
    rest.get(..length)
}

/// Channels and sample rate, of plain AAC-LC only.
fn sound(config: &[u8]) -> Option<(u32, u32)> {
    let mut bits = Bits::new(config);
    if bits.number(5)? != LOW_COMPLEXITY {
        return None;
    }
    let rate = match bits.number(4)? {
        15 => bits.number(24)?,
        index => *RATES.get(index as usize)?,
    };
    let channels = bits.number(4)?;
    // Frames of 960 samples, or what scalable coding adds.
    if bits.number(3)? != 0 || !matches!(channels, 1 | 2) {
        return None;
    }
    let is_extended =
        bits.number(11) == Some(0x2b7) && bits.number(5) == Some(5) && bits.bit() == Some(true);
    (!is_extended).then_some((channels, rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn esds(config: &[u8]) -> Vec<u8> {
        let nested = |tag: u8, content: &[u8]| {
            [&[tag, 0x80, 0x80, 0x80, content.len() as u8], content].concat()
        };
        let mut decoder = vec![MPEG4_AUDIO, 0x15, 0, 0, 0];
        decoder.extend([0; 8]);
        decoder.extend(nested(5, config));
        let mut stream = vec![0, 1, 0];
        stream.extend(nested(4, &decoder));
        [vec![0; 4], nested(3, &stream)].concat()
    }

    fn heard(config: &[u8]) -> Option<(u32, u32)> {
        decoder_config(&esds(config)).and_then(sound)
    }

    #[test]
    fn plain_sound_is_told() {
        assert_eq!(heard(&[0x11, 0x90]), Some((2, 48_000)));
        assert_eq!(heard(&[0x12, 0x08]), Some((1, 44_100)));
        // An extension that says that there is none.
        assert_eq!(heard(&[0x11, 0x90, 0x56, 0xe5, 0x00]), Some((2, 48_000)));
    }

    #[test]
    fn sound_that_is_extended_is_not() {
        assert_eq!(heard(&[0x11, 0x90, 0x56, 0xe5, 0x80]), None, "SBR on top");
        assert_eq!(heard(&[0x2b, 0x11, 0x88, 0x00]), None, "SBR instead");
        assert_eq!(heard(&[0x11, 0xb0]), None, "5.1");
        assert_eq!(heard(&[0x11, 0x94]), None, "short frames");
        assert_eq!(heard(&[]), None);
    }
}
