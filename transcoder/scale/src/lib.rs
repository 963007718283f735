//! Scales planes of 8-bit pictures.
//!
//! The scaler of GStreamer 1.22 costs more the smaller its result, darkens pictures at a third
//! of their size, and leaves less detail than the one people compare us with. Half of a
//! ladder's time beside its encoders went into it.
//!
//! # Invariants
//!
//! * A plane of one value stays at this value: the weights of every result add up to one.
//! * Nothing moves: the middle of the picture is the middle of the result.
//! * Rows come first, for they are added up whole; what is left of them is added up along.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod weights;

use weights::Weights;

/// Fractional bits of a weight.
const WEIGHT_BITS: u32 = 14;
/// Fractional bits kept between the two passes.
const BETWEEN_BITS: u32 = 6;
/// Pixels added up at once: as many as fit the registers.
const BLOCK: usize = 64;
/// Weights of a row are added up so many at once; the last are 0.
const LANES: usize = 16;

/// From planes of one size to planes of another.
pub struct Scaler {
    from: Size,
    to: Size,
    down: Weights,
    along: Weights,
    row: Vec<i16>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size {
    pub width: usize,
    pub height: usize,
}

/// A plane to be read; rows begin `stride` bytes apart.
#[derive(Clone, Copy)]
pub struct Plane<'a> {
    pub bytes: &'a [u8],
    pub stride: usize,
}

impl Scaler {
    pub fn new(from: Size, to: Size) -> Scaler {
        let along = Weights::new(from.width, to.width, LANES);
        Scaler {
            from,
            to,
            down: Weights::new(from.height, to.height, 1),
            row: vec![0; from.width + along.taps()],
            along,
        }
    }

    /// Fills `to`, whose rows begin `stride` bytes apart.
    ///
    /// # Panics
    ///
    /// When a plane is smaller than the size it was said to have.
    pub fn scale(&mut self, from: Plane<'_>, to: &mut [u8], stride: usize) {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has just been asked.
            unsafe { self.scale_on_avx2(from, to, stride) };
            return;
        }
        self.scale_anywhere(from, to, stride);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn scale_on_avx2(&mut self, from: Plane<'_>, to: &mut [u8], stride: usize) {
        let Size { width, height } = self.to;
        for (number, out) in to.chunks_mut(stride.max(1)).take(height).enumerate() {
            let (first, weights) = self.down.of(number);
            let rows = &from.bytes[first * from.stride..];
            avx2::add_rows(rows, from.stride, weights, &mut self.row[..self.from.width]);
            avx2::add_along(&self.row, &self.along, &mut out[..width]);
        }
    }

    /// Plain code: compilers make of it what the processor at hand does best.
    #[inline(always)]
    fn scale_anywhere(&mut self, from: Plane<'_>, to: &mut [u8], stride: usize) {
        let Size { width, height } = self.to;
        for (number, out) in to.chunks_mut(stride.max(1)).take(height).enumerate() {
            let (first, weights) = self.down.of(number);
            let rows = &from.bytes[first * from.stride..];
            add_rows(rows, from.stride, weights, &mut self.row[..self.from.width]);
            add_along(&self.row, &self.along, &mut out[..width]);
        }
    }
}

/// The weighted sum of rows.
#[inline(always)]
fn add_rows(rows: &[u8], stride: usize, weights: &[i16], out: &mut [i16]) {
    let mut blocks = out.chunks_exact_mut(BLOCK);
    let mut x = 0;
    for block in &mut blocks {
        let mut sums = [0i32; BLOCK];
        for (number, weight) in weights.iter().enumerate() {
            let at = number * stride + x;
            let row = &rows[at..at + BLOCK];
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += i32::from(*weight) * i32::from(*value);
            }
        }
        for (out, sum) in block.iter_mut().zip(sums) {
            *out = between(sum);
        }
        x += BLOCK;
    }
    for (rest, out) in blocks.into_remainder().iter_mut().enumerate() {
        let values = weights.iter().enumerate();
        let sum = values
            .map(|(number, weight)| {
                i32::from(*weight) * i32::from(rows[number * stride + x + rest])
            })
            .sum();
        *out = between(sum);
    }
}

#[inline(always)]
fn between(sum: i32) -> i16 {
    const SHIFT: u32 = WEIGHT_BITS - BETWEEN_BITS;
    // Overshooting at an edge is below a half more than white: far from the limit.
    ((sum + (1 << (SHIFT - 1))) >> SHIFT) as i16
}

/// The weighted sums along a row.
#[inline(always)]
fn add_along(row: &[i16], weights: &Weights, out: &mut [u8]) {
    for (number, out) in out.iter_mut().enumerate() {
        let (first, weights) = weights.of(number);
        *out = rounded(dot(&row[first..first + weights.len()], weights));
    }
}

#[inline(always)]
fn dot(values: &[i16], weights: &[i16]) -> i32 {
    let pairs = values.iter().zip(weights);
    pairs
        .map(|(value, weight)| i32::from(*value) * i32::from(*weight))
        .sum()
}

#[inline(always)]
fn rounded(sum: i32) -> u8 {
    const SHIFT: u32 = WEIGHT_BITS + BETWEEN_BITS;
    ((sum + (1 << (SHIFT - 1))) >> SHIFT).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests;
