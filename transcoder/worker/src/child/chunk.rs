//! Which pictures of the film an encode makes.
//!
//! # Invariants
//!
//! * Pictures are counted from the beginning of the whole film, whatever chunk they are made
//!   in: picture `n` is shown at `n / rate`.
//! * Every planned segment has at least one picture, so that the segments of all renditions
//!   and chunks have the numbers they were planned with.

use protocol::EncodeSpec;

use super::video_graph::frame_rate;
use crate::failure::{Code, Failure};

/// Pictures per second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rate {
    pub(crate) num: u32,
    pub(crate) den: u32,
}

impl Rate {
    /// The picture shown nearest to this time.
    pub(crate) fn nearest(self, ns: u64) -> u64 {
        let scaled = u128::from(ns) * u128::from(self.num);
        let unit = u128::from(self.den) * 1_000_000_000;
        ((scaled + unit / 2) / unit) as u64
    }

    /// When a picture is shown.
    pub(crate) fn at_ns(self, picture: u64) -> u64 {
        let ns = u128::from(picture) * u128::from(self.den) * 1_000_000_000;
        (ns / u128::from(self.num)) as u64
    }

    /// The picture each segment begins with: the nearest, but never that of another segment.
    fn pictures_at(self, boundaries_us: &[u64]) -> Vec<u64> {
        let mut next = 0;
        let mut pictures = Vec::with_capacity(boundaries_us.len());
        for us in boundaries_us {
            let picture = self.nearest(us.saturating_mul(1000)).max(next);
            next = picture + 1;
            pictures.push(picture);
        }
        pictures
    }
}

/// A chunk: some segments of the film, in a row.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    pub(crate) rate: Rate,
    /// The picture each segment of the whole film begins with, ascending, the first is 0.
    starts: Vec<u64>,
    first: usize,
    /// The first segment that is no longer of it; none where it goes on to the end.
    after: Option<usize>,
}

impl Chunk {
    pub(crate) fn of(spec: &EncodeSpec) -> Result<Chunk, Failure> {
        let mut rates = spec.targets.iter().map(frame_rate);
        let rate = rates.next().ok_or_else(|| bug("an encode of nothing"))?;
        if rates.any(|other| other != rate) {
            return Err(bug("an encode of several frame rates"));
        }
        let starts = rate.pictures_at(&spec.boundaries_us);
        let first = spec.first_segment as usize;
        if starts.first() != Some(&0) || first >= starts.len() {
            return Err(bug("a chunk outside of the film"));
        }
        let after = first.saturating_add(spec.segments as usize);
        let to_the_end = spec.segments == 0 || after >= starts.len();
        Ok(Chunk {
            rate,
            starts,
            first,
            after: (!to_the_end).then_some(after),
        })
    }

    /// The number of its first segment.
    pub(crate) fn first_segment(&self) -> u32 {
        self.first as u32
    }

    /// How many segments it has.
    pub(crate) fn segments(&self) -> u32 {
        self.starts().len() as u32
    }

    /// The picture each of its segments begins with.
    pub(crate) fn starts(&self) -> &[u64] {
        &self.starts[self.first..self.after.unwrap_or(self.starts.len())]
    }

    /// Its first picture.
    pub(crate) fn begin(&self) -> u64 {
        self.starts[self.first]
    }

    /// The first picture that is no longer of it.
    pub(crate) fn end(&self) -> Option<u64> {
        self.after.map(|after| self.starts[after])
    }

    pub(crate) fn begin_ns(&self) -> u64 {
        self.rate.at_ns(self.begin())
    }

    pub(crate) fn end_ns(&self) -> Option<u64> {
        self.end().map(|picture| self.rate.at_ns(picture))
    }

    /// How many pictures a film has whose track ends here: a track that ends before the last
    /// segment begins is shorter than the film, and its last picture stays.
    pub(crate) fn pictures_of_film(&self, track_end_ns: u64, declared_ns: u64) -> u64 {
        let last_start = self.starts[self.starts.len() - 1];
        let pictures = self.rate.nearest(track_end_ns);
        if pictures > last_start {
            return pictures;
        }
        self.rate.nearest(declared_ns).max(last_start + 1)
    }
}

fn bug(what: &str) -> Failure {
    Failure::new(
        Code::ProcessingCrashed,
        format!("the worker was asked for {what}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::VideoTarget;

    fn rate(num: u32, den: u32) -> Rate {
        Rate { num, den }
    }

    fn spec(first_segment: u32, segments: u32) -> EncodeSpec {
        let target = VideoTarget {
            frame_rate_num: 30_000,
            frame_rate_den: 1001,
            ..VideoTarget::default()
        };
        EncodeSpec {
            boundaries_us: vec![0, 2_002_000, 4_004_000, 6_006_000],
            targets: vec![target],
            first_segment,
            segments,
            ..EncodeSpec::default()
        }
    }

    #[test]
    fn a_boundary_is_the_nearest_picture() {
        let ntsc = rate(30_000, 1001);
        assert_eq!(ntsc.pictures_at(&[0, 2_002_000, 4_004_000]), [0, 60, 120]);
        assert_eq!(rate(25, 1).pictures_at(&[0, 10, 2_000_000]), [0, 1, 50]);
    }

    #[test]
    fn a_chunk_has_its_segments_and_no_others() {
        let chunk = Chunk::of(&spec(1, 2)).unwrap();
        assert_eq!(chunk.starts(), [60, 120]);
        assert_eq!((chunk.begin(), chunk.end()), (60, Some(180)));
        assert_eq!(chunk.begin_ns(), 2_002_000_000);
    }

    #[test]
    fn the_last_chunk_goes_on_to_the_end() {
        for segments in [0, 2, 9] {
            let chunk = Chunk::of(&spec(2, segments)).unwrap();
            assert_eq!(chunk.starts(), [120, 180]);
            assert_eq!(chunk.end(), None);
        }
    }

    #[test]
    fn a_chunk_outside_of_the_film_is_refused() {
        assert!(Chunk::of(&spec(4, 1)).is_err());
    }

    #[test]
    fn renditions_of_different_rates_are_not_made_together() {
        let mut mixed = spec(0, 0);
        mixed.targets.push(VideoTarget {
            frame_rate_num: 15,
            frame_rate_den: 1,
            ..VideoTarget::default()
        });
        assert!(Chunk::of(&mixed).is_err());
    }

    #[test]
    fn a_track_that_ends_before_the_last_segment_begins_is_held() {
        const S: u64 = 1_001_000_000;
        let chunk = Chunk::of(&spec(0, 0)).unwrap();
        assert_eq!(chunk.pictures_of_film(7 * S, 9 * S), 210);
        assert_eq!(chunk.pictures_of_film(3 * S, 9 * S), 270);
        assert_eq!(chunk.pictures_of_film(3 * S, 4 * S), 181);
    }
}
