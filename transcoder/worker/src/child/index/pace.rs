//! How many pictures a second a track has, by its own table.
//!
//! # Invariants
//!
//! * Nothing per sample is held: the table's runs are walked twice.
//! * What is left after rounding to the track's clock is alike: a tick more or less.

use super::samples::Samples;

/// A slower track whose pictures do not all stay alike is better shown at a higher rate: on a
/// coarse grid a picture that comes between two others would be seen long before or after its time.
const VARYING_RATE_MIN: u64 = 15;
/// Rates are exact as fractions of at most so much, and to a thousandth otherwise.
const NUMERATOR_MAX: u64 = 100_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// All pictures stay equally long.
    Constant,
    /// Most of them do, so many a second.
    Mostly {
        num: u32,
        den: u32,
    },
    Varying,
}

impl Pace {
    pub(super) fn of(samples: &Samples, timescale: u32) -> Pace {
        let usual = most_voted(samples);
        let (mut alike, mut units, mut all) = (0u64, 0u64, 0u64);
        for (count, duration) in samples.runs() {
            let count = u64::from(count);
            all += count;
            if duration.abs_diff(usual) <= 1 {
                alike += count;
                units = units.saturating_add(count.saturating_mul(u64::from(duration)));
            }
        }
        if alike == all {
            return Pace::Constant;
        }
        let per_second = alike.saturating_mul(u64::from(timescale));
        // The last one often stays for another time than all others.
        let is_steady = alike + 1 == all && alike > 1;
        let is_fast = per_second >= units.saturating_mul(VARYING_RATE_MIN);
        if units == 0 || 2 * alike <= all || !(is_steady || is_fast) {
            return Pace::Varying;
        }
        let (num, den) = fraction(per_second, units);
        Pace::Mostly { num, den }
    }
}

/// The duration that more than half of all samples have, if there is one.
fn most_voted(samples: &Samples) -> u32 {
    let (mut candidate, mut votes) = (0, 0u64);
    for (count, duration) in samples.runs() {
        let count = u64::from(count);
        if duration == candidate {
            votes += count;
        } else if votes >= count {
            votes -= count;
        } else {
            (candidate, votes) = (duration, count - votes);
        }
    }
    candidate
}

fn fraction(num: u64, den: u64) -> (u32, u32) {
    let common = divisor(num, den);
    let exact = (num / common, den / common);
    let (num, den) = match exact.0.max(exact.1) <= NUMERATOR_MAX {
        true => exact,
        false if num >= den => (rounded(num, den), 1000),
        false => (1000, rounded(den, num)),
    };
    let common = divisor(num, den);
    ((num / common) as u32, (den / common) as u32)
}

/// So many thousandths; of what is a rate or a duration of ours, less than `u32::MAX`.
fn rounded(large: u64, small: u64) -> u64 {
    let thousandths = (u128::from(large) * 1000 + u128::from(small) / 2) / u128::from(small);
    thousandths.min(u128::from(u32::MAX)) as u64
}

fn divisor(mut a: u64, mut b: u64) -> u64 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a.max(1)
}

#[cfg(test)]
mod tests {
    use super::super::super::cmaf::{full, numbers};
    use super::*;
    use bytes::Bytes;

    fn pace(timescale: u32, durations: &[u32]) -> Pace {
        let count = durations.len() as u32;
        let mut stbl = vec![];
        full(&mut stbl, b"stts", 0, |out| {
            numbers(out, &[count]);
            for duration in durations {
                numbers(out, &[1, *duration]);
            }
        });
        full(&mut stbl, b"stsz", 0, |out| numbers(out, &[1, count]));
        full(&mut stbl, b"stsc", 0, |out| numbers(out, &[1, 1, count, 1]));
        full(&mut stbl, b"stco", 0, |out| numbers(out, &[1, 0]));
        let stbl = Bytes::from(stbl);
        Pace::of(&Samples::read(&stbl, &stbl).unwrap(), timescale)
    }

    fn with(durations: &[u32], more: &[u32]) -> Vec<u32> {
        durations.iter().chain(more).copied().collect()
    }

    #[test]
    fn what_only_rounding_changes_is_constant() {
        assert_eq!(pace(1000, &[33, 33, 34].repeat(20)), Pace::Constant);
        assert_eq!(pace(1000, &[5000]), Pace::Constant);
    }

    #[test]
    fn a_few_long_pictures_do_not_lower_the_rate() {
        let mostly = with(&[33, 33, 34].repeat(30), &[5000, 5000, 2000]);
        assert_eq!(pace(1000, &mostly), Pace::Mostly { num: 30, den: 1 });
        let ntsc = with(&[1001; 40], &[90_000; 30]);
        assert_eq!(
            pace(30_000, &ntsc),
            Pace::Mostly {
                num: 30_000,
                den: 1001
            }
        );
    }

    #[test]
    fn a_last_picture_may_stay_for_another_time() {
        let slow = with(&[1000; 30], &[7000]);
        assert_eq!(pace(1000, &slow), Pace::Mostly { num: 1, den: 1 });
    }

    #[test]
    fn slow_pictures_that_come_at_any_time_have_no_rate() {
        assert_eq!(pace(1000, &[1000, 5000, 5000, 7000]), Pace::Varying);
        let slides = with(&[5000; 10], &[3000, 4000]);
        assert_eq!(pace(1000, &slides), Pace::Varying);
        assert_eq!(pace(1000, &[20, 100, 60].repeat(16)), Pace::Varying);
        assert_eq!(pace(1000, &[10, 0]), Pace::Varying);
    }
}
