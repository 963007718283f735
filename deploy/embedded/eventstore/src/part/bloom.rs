//! The filter in front of a part's streams: says of a stream for certain that it is not
//! there, or that it may be.
//!
//! A blocked Bloom filter (Putze, Sanders, Singler 2007): all bits of a key are in one
//! block, so that asking reads one page.

use super::Key;

pub(super) const BLOCK_BYTES: usize = 48;
const BLOCK_BITS: u64 = 384;
/// With 12 bits a key and 7 of them set, 1 % of absent streams are looked for in vain.
const KEYS_PER_BLOCK: usize = 32;
const BITS_PER_KEY: u32 = 7;

pub(super) type Block = [u8; BLOCK_BYTES];

pub(super) fn build<'a>(keys: impl ExactSizeIterator<Item = &'a Key>) -> Vec<Block> {
    let mut blocks = vec![[0; BLOCK_BYTES]; keys.len().div_ceil(KEYS_PER_BLOCK)];
    let count = u32::try_from(blocks.len()).expect("there are fewer blocks than streams");
    for key in keys {
        let block = &mut blocks[block_of(key, count) as usize];
        bits(key).for_each(|bit| block[bit / 8] |= 1 << (bit % 8));
    }
    blocks
}

/// Which of so many blocks answers for this key.
pub(super) fn block_of(key: &Key, blocks: u32) -> u32 {
    let scaled = (u128::from(low(key)) * u128::from(blocks)) >> 64;
    u32::try_from(scaled).expect("it is less than the number of blocks")
}

pub(super) fn may_have(block: &[u8], key: &Key) -> bool {
    bits(key).all(|bit| block[bit / 8] & (1 << (bit % 8)) != 0)
}

fn bits(key: &Key) -> impl Iterator<Item = usize> {
    let high = u64::from_le_bytes(*key.first_chunk().expect("a key has 16 bytes"));
    (0..BITS_PER_KEY).map(move |at| {
        let nine = (high >> (9 * at)) & 511;
        usize::try_from((nine * BLOCK_BITS) >> 9).expect("it is less than a block's bits")
    })
}

fn low(key: &Key) -> u64 {
    u64::from_le_bytes(*key.last_chunk().expect("a key has 16 bytes"))
}

#[cfg(test)]
mod tests {
    use super::super::key;
    use super::*;

    #[test]
    fn what_was_put_in_may_be_there_and_little_else() {
        let keys: Vec<_> = (0..5000).map(|n| key(&format!("video-{n}"))).collect();
        let blocks = build(keys.iter());
        let count = u32::try_from(blocks.len()).unwrap();
        let asked = |key: &Key| may_have(&blocks[block_of(key, count) as usize], key);

        assert!(keys.iter().all(asked));
        let false_positives = (0..10_000)
            .filter(|n| asked(&key(&format!("job-{n}"))))
            .count();
        assert!(false_positives < 300, "{false_positives} of 10,000");
    }
}
