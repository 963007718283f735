//! From pictures at any time to pictures at a constant rate: each is the nearest one of the
//! source, but none comes more than half a picture before its time.
//!
//! # Invariants
//!
//! * Which picture of the source picture `n` is depends on the times of the source alone,
//!   not on where reading began: every chunk of a film chooses as a single encode of it does.
//! * Times are compared as fractions. Rounding them first would let chunks disagree where a
//!   picture lies half way between two others.

mod element;

use super::chunk::Rate;

pub(crate) use element::{GridElement, NAME, ORIGIN, Order, register};

/// The next picture to be made, and the last one of the source that was seen.
#[derive(Debug)]
struct Grid {
    rate: Rate,
    next: u64,
    /// The first picture that is not made any more.
    until: Option<u64>,
    held: Option<Seen>,
}

/// When a picture of the source is shown, and when it no longer is.
#[derive(Clone, Copy, Debug)]
struct Seen {
    at_ns: u64,
    end_ns: u64,
}

/// What becomes of a picture of the source.
#[derive(Debug, PartialEq, Eq)]
enum Taken {
    /// The one held until now is made so many times, and this one is held.
    Instead { times: u64 },
    /// It is not shown after the one held: let go.
    Late,
}

impl Grid {
    fn new(rate: Rate, from: u64, until: Option<u64>) -> Grid {
        Grid {
            rate,
            next: from,
            until,
            held: None,
        }
    }

    fn is_complete(&self) -> bool {
        self.until.is_some_and(|until| self.next >= until)
    }

    fn take(&mut self, seen: Seen) -> Taken {
        let Some(held) = self.held else {
            self.held = Some(seen);
            return Taken::Instead { times: 0 };
        };
        if seen.at_ns <= held.at_ns {
            return Taken::Late;
        }
        self.held = Some(seen);
        let halves = u128::from(held.at_ns) + u128::from(seen.at_ns);
        // The pictures up to half way between the two, and that moment itself.
        let unit = 2 * 1_000_000_000 * u128::from(self.rate.den);
        let half_way = (halves * u128::from(self.rate.num) / unit) as u64 + 1;
        // Half way may be seconds away where pictures are: none is shown before its time.
        let first_after = half_way.max(self.rate.nearest(seen.at_ns));
        Taken::Instead {
            times: self.advance(first_after),
        }
    }

    /// When the last picture of the source is over; none where there was no picture at all.
    fn end_ns(&self) -> Option<u64> {
        let Seen { at_ns, end_ns } = self.held?;
        let shortest = self.rate.at_ns(1);
        Some(if end_ns > at_ns {
            end_ns
        } else {
            at_ns + shortest
        })
    }

    /// How many times the last picture of the source is made, of a film of so many pictures.
    fn finish(&mut self, pictures: u64) -> u64 {
        self.advance(pictures)
    }

    fn advance(&mut self, to: u64) -> u64 {
        let to = self.until.map_or(to, |until| to.min(until)).max(self.next);
        let times = to - self.next;
        self.next = to;
        times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NTSC: Rate = Rate {
        num: 30_000,
        den: 1001,
    };

    /// Which picture of the source each picture of the grid is, for these times in ns.
    fn made(rate: Rate, from: u64, until: Option<u64>, times: &[u64]) -> Vec<usize> {
        let mut grid = Grid::new(rate, from, until);
        let mut made = Vec::new();
        let mut held = 0;
        for (number, at_ns) in times.iter().enumerate() {
            let seen = Seen {
                at_ns: *at_ns,
                end_ns: *at_ns,
            };
            if let Taken::Instead { times } = grid.take(seen) {
                made.extend((0..times).map(|_| held));
                held = number;
            }
        }
        let pictures = rate.nearest(grid.end_ns().unwrap());
        let times_last = grid.finish(pictures);
        made.extend((0..times_last).map(|_| held));
        made
    }

    #[test]
    fn a_constant_rate_is_left_as_it_is() {
        let times: Vec<u64> = (0..100).map(|n| NTSC.at_ns(n)).collect();
        assert_eq!(made(NTSC, 0, None, &times), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn half_the_rate_is_every_other_picture() {
        let times: Vec<u64> = (0..100u64).map(|n| n * 1_000_000_000 / 60).collect();
        let rate = Rate { num: 30, den: 1 };
        let every_other: Vec<usize> = (0..100).step_by(2).collect();
        assert_eq!(made(rate, 0, None, &times), every_other);
    }

    #[test]
    fn a_late_first_picture_is_there_from_the_beginning() {
        let rate = Rate { num: 10, den: 1 };
        let times = [250_000_000, 350_000_000, 400_000_000];
        assert_eq!(made(rate, 0, None, &times), [0, 0, 0, 0, 2]);
    }

    #[test]
    fn a_picture_that_stays_long_stays_until_the_next_ones_time() {
        let rate = Rate { num: 10, den: 1 };
        let times = [0, 400_000_000, 1_000_000_000];
        assert_eq!(
            made(rate, 0, None, &times),
            [0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 2]
        );
    }

    #[test]
    fn chunks_choose_as_a_single_encode_does() {
        // Irregular times, and some exactly half way between two pictures.
        let mut at = 0u64;
        let times: Vec<u64> = (0..400u64)
            .map(|n| {
                at += [8_333_333, 16_666_667, 50_000_000, 1_000_000][(n * n % 7 % 4) as usize];
                at
            })
            .collect();
        for rate in [NTSC, Rate { num: 25, den: 1 }, Rate { num: 60, den: 1 }] {
            let whole = made(rate, 0, None, &times);
            for length in [1, 7, 50] {
                let mut stitched = Vec::new();
                for from in (0..whole.len()).step_by(length) {
                    let until = from + length;
                    let until = (until < whole.len()).then_some(until as u64);
                    // Reading begins with the last picture before the chunk.
                    let moment = rate.at_ns(from as u64);
                    let first = times.iter().rposition(|at| *at <= moment).unwrap_or(0);
                    let part = made(rate, from as u64, until, &times[first..]);
                    stitched.extend(part.iter().map(|number| number + first));
                }
                assert_eq!(stitched, whole);
            }
        }
    }

    #[test]
    fn a_picture_that_goes_back_in_time_is_let_go() {
        let rate = Rate { num: 10, den: 1 };
        let times = [0, 100_000_000, 50_000_000, 200_000_000];
        assert_eq!(made(rate, 0, None, &times), [0, 1, 3]);
    }
}
