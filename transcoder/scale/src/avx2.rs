//! The two passes on processors with AVX2: what `lib.rs` says of them, in its instructions.
//!
//! Compilers add up along a row one result at a time, and most of that is adding up the lanes of a
//! register. Here eight results share it.
//!
//! # Invariants
//!
//! * The results are those of the plain code, to the bit.
//! * Only four functions touch memory by its address, each behind a slice or an array of the right
//!   length: nothing else is unsafe.

use std::arch::x86_64::{
    __m256i, _mm_loadu_si128, _mm_packs_epi32, _mm_packus_epi16, _mm_storel_epi64,
    _mm256_add_epi32, _mm256_cvtepu8_epi16, _mm256_extracti128_si256, _mm256_hadd_epi32,
    _mm256_loadu_si256, _mm256_madd_epi16, _mm256_packs_epi32, _mm256_permute2x128_si256,
    _mm256_set1_epi32, _mm256_setzero_si256, _mm256_srai_epi32, _mm256_storeu_si256,
    _mm256_unpackhi_epi16, _mm256_unpacklo_epi16,
};

use super::{BETWEEN_BITS, LANES, WEIGHT_BITS, between, dot, rounded, weights::Weights};

/// Values of a row in a register, and registers of them that are added up at once.
const COLUMNS: usize = 16;
const SIDES: usize = 2;
/// Results along a row that are added up at once.
const RESULTS: usize = 8;
const BETWEEN_SHIFT: i32 = (WEIGHT_BITS - BETWEEN_BITS) as i32;
const RESULT_SHIFT: i32 = (WEIGHT_BITS + BETWEEN_BITS) as i32;

#[target_feature(enable = "avx2")]
pub(crate) fn add_rows(rows: &[u8], stride: usize, weights: &[i16], out: &mut [i16]) {
    let half = _mm256_set1_epi32(1 << (BETWEEN_SHIFT - 1));
    let (pairs, last) = weights.as_chunks::<2>();
    let (blocks, rest) = out.as_chunks_mut::<{ SIDES * COLUMNS }>();
    for (number, block) in blocks.iter_mut().enumerate() {
        let x = number * block.len();
        let (mut low, mut high) = ([half; SIDES], [half; SIDES]);
        let mut at = x;
        for [one, two] in pairs {
            let weights = both(*one, *two);
            let (upper, lower) = (&rows[at..], &rows[at + stride..]);
            for side in 0..SIDES {
                let a = values(&upper[side * COLUMNS..]);
                let b = values(&lower[side * COLUMNS..]);
                let products = _mm256_madd_epi16(_mm256_unpacklo_epi16(a, b), weights);
                low[side] = _mm256_add_epi32(low[side], products);
                let products = _mm256_madd_epi16(_mm256_unpackhi_epi16(a, b), weights);
                high[side] = _mm256_add_epi32(high[side], products);
            }
            at += 2 * stride;
        }
        if let [last] = last {
            let (weights, none) = (both(*last, 0), _mm256_setzero_si256());
            for side in 0..SIDES {
                let a = values(&rows[at + side * COLUMNS..]);
                let products = _mm256_madd_epi16(_mm256_unpacklo_epi16(a, none), weights);
                low[side] = _mm256_add_epi32(low[side], products);
                let products = _mm256_madd_epi16(_mm256_unpackhi_epi16(a, none), weights);
                high[side] = _mm256_add_epi32(high[side], products);
            }
        }
        let (sides, _) = block.as_chunks_mut::<COLUMNS>();
        for (side, block) in sides.iter_mut().enumerate() {
            let low = _mm256_srai_epi32::<BETWEEN_SHIFT>(low[side]);
            let high = _mm256_srai_epi32::<BETWEEN_SHIFT>(high[side]);
            // Halves were taken apart as they are put together here.
            store(block, _mm256_packs_epi32(low, high));
        }
    }
    let x = blocks.len() * SIDES * COLUMNS;
    for (column, out) in rest.iter_mut().enumerate() {
        let values = weights.iter().enumerate();
        let products = values
            .map(|(row, weight)| i32::from(*weight) * i32::from(rows[row * stride + x + column]));
        *out = between(products.sum());
    }
}

#[target_feature(enable = "avx2")]
pub(crate) fn add_along(row: &[i16], weights: &Weights, out: &mut [u8]) {
    // Sums of a length that is known beforehand are several times as fast.
    match weights.taps() / LANES {
        1 => add_along_of::<1>(row, weights, out),
        2 => add_along_of::<2>(row, weights, out),
        3 => add_along_of::<3>(row, weights, out),
        4 => add_along_of::<4>(row, weights, out),
        _ => super::add_along(row, weights, out),
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn add_along_of<const PARTS: usize>(row: &[i16], weights: &Weights, out: &mut [u8]) {
    let half = _mm256_set1_epi32(1 << (RESULT_SHIFT - 1));
    let (parts, _) = weights.all().as_chunks::<LANES>();
    let (parts, _) = parts.as_chunks::<PARTS>();
    let (eights, _) = parts.as_chunks::<RESULTS>();
    let (firsts, _) = weights.firsts().as_chunks::<RESULTS>();
    let (blocks, rest) = out.as_chunks_mut::<RESULTS>();
    for ((block, firsts), weights) in blocks.iter_mut().zip(firsts).zip(eights) {
        let mut sums = [_mm256_setzero_si256(); RESULTS];
        for result in 0..RESULTS {
            let values = &row[firsts[result]..firsts[result] + PARTS * LANES];
            for part in 0..PARTS {
                let values = load(&values[part * LANES..]);
                let products = _mm256_madd_epi16(load(&weights[result][part]), values);
                sums[result] = _mm256_add_epi32(sums[result], products);
            }
        }
        let [a, b, c, d, e, f, g, h] = sums;
        let one = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
        let two = _mm256_hadd_epi32(_mm256_hadd_epi32(e, f), _mm256_hadd_epi32(g, h));
        // Each has the sums of its four results' lower lanes, then of their upper ones.
        let lower = _mm256_permute2x128_si256::<0x20>(one, two);
        let upper = _mm256_permute2x128_si256::<0x31>(one, two);
        let all = _mm256_add_epi32(_mm256_add_epi32(lower, upper), half);
        store_bytes(block, _mm256_srai_epi32::<RESULT_SHIFT>(all));
    }
    let done = blocks.len() * RESULTS;
    for (result, out) in rest.iter_mut().enumerate() {
        let (first, weights) = weights.of(done + result);
        *out = rounded(dot(&row[first..first + weights.len()], weights));
    }
}

/// Two weights for each pair of values.
#[inline]
#[target_feature(enable = "avx2")]
fn both(one: i16, two: i16) -> __m256i {
    let (one, two) = (one.cast_unsigned(), two.cast_unsigned());
    _mm256_set1_epi32((u32::from(two) << 16 | u32::from(one)).cast_signed())
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(values: &[i16]) -> __m256i {
    let values = &values[..LANES];
    // SAFETY: 32 bytes are read, which the slice has.
    unsafe { _mm256_loadu_si256(values.as_ptr().cast()) }
}

/// The first values of a row.
#[inline]
#[target_feature(enable = "avx2")]
fn values(row: &[u8]) -> __m256i {
    let values = &row[..COLUMNS];
    // SAFETY: 16 bytes are read, which the slice has.
    _mm256_cvtepu8_epi16(unsafe { _mm_loadu_si128(values.as_ptr().cast()) })
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(out: &mut [i16; COLUMNS], values: __m256i) {
    // SAFETY: 32 bytes are written, which the array has.
    unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), values) };
}

/// As bytes; what is below black or above white ends there.
#[inline]
#[target_feature(enable = "avx2")]
fn store_bytes(out: &mut [u8; RESULTS], values: __m256i) {
    let words = _mm_packs_epi32(
        _mm256_extracti128_si256::<0>(values),
        _mm256_extracti128_si256::<1>(values),
    );
    // SAFETY: 8 bytes are written, which the array has.
    unsafe { _mm_storel_epi64(out.as_mut_ptr().cast(), _mm_packus_epi16(words, words)) };
}
