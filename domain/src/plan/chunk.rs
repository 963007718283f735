//! Chunks: how the segments of a film are shared out among encodes.
//!
//! # Invariants
//!
//! * Chunks follow each other without a gap, from the first segment to the end.
//! * The last one has no end: what a file has beyond its declared duration belongs to it.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// A film up to here is one chunk: cutting it costs more than it gains.
const WHOLE_US_MAX: u64 = 12_000_000;
/// The first chunk is short: it is what viewers wait for.
const FIRST_US: u64 = 4_000_000;
const CHUNK_US_MIN: u64 = 4_000_000;
const CHUNK_US_MAX: u64 = 60_000_000;
/// How many chunks each slot gets at least, where they are not too short: the last ones to end
/// leave slots idle. More would cost more than they gain: each begins with empty buffers and an
/// encoder that knows nothing, and one alone still keeps more than a core busy.
const CHUNKS_PER_SLOT: u64 = 2;

/// Some segments in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Chunk {
    pub first: u32,
    /// How many; all that are left where it is not said.
    pub segments: Option<u32>,
}

impl Chunk {
    pub fn range(&self) -> Range<u32> {
        let end = self
            .segments
            .map_or(u32::MAX, |count| self.first.saturating_add(count));
        self.first..end
    }
}

/// The chunks of a film with these boundaries, where `slots` tasks run at a time.
pub(super) fn all(boundaries_us: &[u64], duration_ms: u64, slots: u32) -> Vec<Chunk> {
    let end_us = duration_ms * 1000;
    let mut chunks = vec![];
    let mut first = 0;
    if end_us > WHOLE_US_MAX {
        let each_us = end_us / (CHUNKS_PER_SLOT * u64::from(slots.max(1)));
        let each_us = each_us.clamp(CHUNK_US_MIN, CHUNK_US_MAX);
        let mut wanted_us = FIRST_US;
        for (index, us) in boundaries_us.iter().enumerate().skip(1) {
            // What is left is not worth a chunk of its own.
            let is_rest = us + CHUNK_US_MIN / 2 > end_us;
            if us - boundaries_us[first] >= wanted_us && !is_rest {
                chunks.push(Chunk {
                    first: first as u32,
                    segments: Some((index - first) as u32),
                });
                first = index;
                wanted_us = each_us;
            }
        }
    }
    chunks.push(Chunk {
        first: first as u32,
        segments: None,
    });
    chunks
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn every_two_seconds(duration_ms: u64) -> Vec<u64> {
        (0..duration_ms.div_ceil(2000))
            .map(|n| n * 2_000_000)
            .collect()
    }

    fn lengths(duration_ms: u64, slots: u32) -> Vec<Option<u32>> {
        let chunks = all(&every_two_seconds(duration_ms), duration_ms, slots);
        chunks.iter().map(|chunk| chunk.segments).collect()
    }

    #[test]
    fn a_short_film_is_one_chunk() {
        assert_eq!(lengths(12_000, 64), [None]);
        assert_eq!(lengths(33, 1), [None]);
    }

    #[test]
    fn the_first_chunk_is_short_and_the_others_follow_the_slots() {
        let minute = lengths(60_000, 2);
        assert_eq!(minute, [Some(2), Some(8), Some(8), Some(8), None]);
        let hour = lengths(3_600_000, 2);
        assert_eq!(hour[..3], [Some(2), Some(30), Some(30)]);
        let many_cores = lengths(60_000, 64);
        assert!(
            many_cores[1..many_cores.len() - 1]
                .iter()
                .all(|n| *n == Some(2))
        );
    }

    #[test]
    fn segments_of_any_length_make_chunks() {
        let boundaries = [0, 10_000_000, 20_000_000, 21_000_000, 31_000_000];
        let chunks = all(&boundaries, 41_000, 2);
        let firsts: Vec<u32> = chunks.iter().map(|chunk| chunk.first).collect();
        assert_eq!(firsts, [0, 1, 3]);
    }

    proptest! {
        #[test]
        fn chunks_cover_all_segments_once(
            gaps_ms in prop::collection::vec(1u64..10_000, 0..200),
            last_ms in 1u64..10_000,
            slots in 0u32..100,
        ) {
            let mut boundaries = vec![0];
            for gap in gaps_ms {
                boundaries.push(boundaries.last().unwrap() + gap * 1000);
            }
            let duration_ms = boundaries.last().unwrap() / 1000 + last_ms;
            let chunks = all(&boundaries, duration_ms, slots);
            let mut next = 0;
            for chunk in &chunks[..chunks.len() - 1] {
                prop_assert_eq!(chunk.first, next);
                next = chunk.range().end;
            }
            let last = chunks.last().unwrap();
            prop_assert_eq!((last.first, last.segments), (next, None));
            prop_assert!((next as usize) < boundaries.len());
        }
    }
}
