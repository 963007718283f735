//! MPEG transport streams: how often they tell the time.
//!
//! The standard asks for a clock reference every 0.1 s. Where two are more than 0.5 s apart, the
//! demuxer takes the gap for a cut and shortens it: a film of a picture a second would come out at
//! twice its speed, and seem to lack its end.
//!
//! # Invariants
//!
//! * Only the file's beginning is read.
//! * A file with a single gap, or too few references to tell, is left to the demuxer.

use super::super::front_end::unreadable;
use super::super::source_element::SourceLink;
use crate::failure::{Code, Failure};

/// A picture of a slow film may take a MiB.
const HEAD_BYTES: u32 = 4 << 20;

/// Fewer references do not tell how far apart they are.
const GAPS_MIN: usize = 3;

/// What the demuxer takes for a cut, in units of 1/90,000 s.
const GAP_MAX: u64 = 45_000;

const SYNC: u8 = 0x47;

/// References are 33 bits.
const WRAP: u64 = 1 << 33;

/// Refuses a stream whose clock references are, as a rule, farther apart than can be read.
pub(super) fn check(link: &SourceLink) -> Result<(), Failure> {
    let head = link.read(0, HEAD_BYTES).map_err(|_| unreadable())?;
    let Some(gap) = usual_gap(&head).filter(|gap| *gap > GAP_MAX) else {
        return Ok(());
    };
    let message = format!(
        "the clock references of this transport stream are {:.1} s apart, at most 0.5 s can be read; \
         put its tracks into MP4 as they are, for example with `ffmpeg -i FILE.ts -c copy FILE.mp4`",
        gap as f64 / 90_000.0
    );
    Err(Failure::new(Code::SourceUnsupported, message))
}

/// How far apart most references are, of the first track that has any.
fn usual_gap(head: &[u8]) -> Option<u64> {
    let (at, stride) = layout(head)?;
    let packets = head.get(at..)?.chunks_exact(stride);
    let mut of = None;
    let references: Vec<u64> = packets
        .filter_map(reference)
        .filter(|(track, _)| of.get_or_insert(*track) == track)
        .map(|(_, reference)| reference)
        .collect();
    let mut gaps: Vec<u64> = references
        .windows(2)
        .map(|pair| pair[1].wrapping_sub(pair[0]) % WRAP)
        .collect();
    gaps.sort_unstable();
    gaps.get(gaps.len() / 2)
        .copied()
        .filter(|_| gaps.len() >= GAPS_MIN)
}

/// Where the first packet begins, and how far it is to the next: cameras put a time before each.
fn layout(head: &[u8]) -> Option<(usize, usize)> {
    [(0, 188), (4, 192)].into_iter().find(|(at, stride)| {
        let mut begins = head.iter().skip(*at).step_by(*stride).take(5);
        begins.len() > 0 && begins.all(|byte| *byte == SYNC)
    })
}

/// The clock reference in a packet, and whose it is.
fn reference(packet: &[u8]) -> Option<(u16, u64)> {
    let &[SYNC, high, low, control, length, flags, a, b, c, d, e, ..] = packet else {
        return None;
    };
    let has_reference = control & 0x20 != 0 && length >= 7 && flags & 0x10 != 0;
    let seconds = u32::from_be_bytes([a, b, c, d]);
    let reference = u64::from(seconds) << 1 | u64::from(e >> 7);
    has_reference.then(|| (u16::from_be_bytes([high & 0x1f, low]), reference))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream of packets with these references, between packets of another track with its own.
    fn stream(references: &[u64], before: usize) -> Vec<u8> {
        let mut stream = vec![];
        for reference in references {
            for (track, reference) in [(0x100u16, *reference), (0x101, 7)] {
                let mut packet = vec![0xff; 188];
                packet[..12].copy_from_slice(&[SYNC, 0, 0, 0x30, 7, 0x10, 0, 0, 0, 0, 0, 0]);
                packet[1..3].copy_from_slice(&track.to_be_bytes());
                packet[6..10].copy_from_slice(&((reference >> 1) as u32).to_be_bytes());
                packet[10] = (reference as u8 & 1) << 7;
                stream.extend(std::iter::repeat_n(0, before));
                stream.extend(packet);
            }
        }
        stream
    }

    #[test]
    fn the_gap_is_that_of_most_references_of_the_first_track() {
        let second = [1, 90_001, 180_001, 190_001, 280_001];
        assert_eq!(usual_gap(&stream(&second, 0)), Some(90_000));
        assert_eq!(usual_gap(&stream(&second, 4)), Some(90_000));
    }

    #[test]
    fn references_begin_again_at_zero() {
        let wrapped = [WRAP - 6000, WRAP - 3000, 0, 3000];
        assert_eq!(usual_gap(&stream(&wrapped, 0)), Some(3000));
    }

    #[test]
    fn too_few_references_and_no_stream_tell_nothing() {
        assert_eq!(usual_gap(&stream(&[0, 90_000, 180_000], 0)), None);
        assert_eq!(usual_gap(&[]), None);
        assert_eq!(usual_gap(b"no stream at all"), None);
    }
}
