//! How much each value of a row or column counts for each of the result.
//!
//! # Invariants
//!
//! * The weights of a result add up to exactly one.
//! * Beyond the edges lies what is at the edge.

use std::f64::consts::PI;

use super::WEIGHT_BITS;

/// How far Lanczos' kernel reaches, in values of the smaller of the two sizes.
const REACH: f64 = 3.0;

pub(crate) struct Weights {
    taps: usize,
    firsts: Vec<usize>,
    all: Vec<i16>,
}

impl Weights {
    /// Their number is a multiple of `lanes`.
    pub(crate) fn new(from: usize, to: usize, lanes: usize) -> Weights {
        let (from, to) = (from.max(1), to.max(1));
        let ratio = from as f64 / to as f64;
        // Smaller results take in all values they stand for.
        let spread = ratio.max(1.0);
        let used = ((2.0 * REACH * spread).ceil() as usize + 1).min(from);
        let taps = used.next_multiple_of(lanes);
        let mut firsts = Vec::with_capacity(to);
        let mut all = Vec::with_capacity(to * taps);
        for number in 0..to {
            let middle = (number as f64 + 0.5) * ratio - 0.5;
            let lowest = (middle - REACH * spread).ceil() as i64;
            let first = lowest.clamp(0, (from - used) as i64);
            let mut weights = vec![0.0; used];
            for at in lowest..=(middle + REACH * spread).floor() as i64 {
                let inside = at.clamp(first, first + used as i64 - 1) - first;
                weights[inside as usize] += lanczos((at as f64 - middle) / spread);
            }
            firsts.push(first as usize);
            all.extend(whole(&weights));
            all.resize((number + 1) * taps, 0);
        }
        Weights { taps, firsts, all }
    }

    pub(crate) fn taps(&self) -> usize {
        self.taps
    }

    /// The first value that counts for each result.
    pub(crate) fn firsts(&self) -> &[usize] {
        &self.firsts
    }

    /// The weights of all results, one after the other.
    pub(crate) fn all(&self) -> &[i16] {
        &self.all
    }

    /// The first value that counts for a result, and the weights from there on.
    #[inline(always)]
    pub(crate) fn of(&self, number: usize) -> (usize, &[i16]) {
        let at = number * self.taps;
        (self.firsts[number], &self.all[at..at + self.taps])
    }
}

fn lanczos(distance: f64) -> f64 {
    if distance.abs() >= REACH {
        return 0.0;
    }
    sinc(distance) * sinc(distance / REACH)
}

fn sinc(x: f64) -> f64 {
    let x = x * PI;
    if x == 0.0 { 1.0 } else { x.sin() / x }
}

/// As fixed-point numbers; what rounding leaves over goes to the largest.
fn whole(weights: &[f64]) -> Vec<i16> {
    let one = f64::from(1 << WEIGHT_BITS);
    let sum: f64 = weights.iter().sum();
    let mut whole: Vec<i16> = weights
        .iter()
        .map(|weight| (weight / sum * one).round() as i16)
        .collect();
    let missing = (1 << WEIGHT_BITS) - whole.iter().map(|weight| i32::from(*weight)).sum::<i32>();
    if let Some(largest) = whole.iter_mut().max() {
        *largest += missing as i16;
    }
    whole
}
