//! In which order what fits is shown.
//!
//! ```text
//! score = BM25F × (1 + popularity × ln(1 + views) / ln(1 + views_full))
//!               × (1 + recency × 0.5 ^ (age / half_life))
//! ```
//!
//! BM25F is BM25 (k1 = 1.2, b = 0.75) over one text in which title and tags are repeated by their
//! weights. Both factors are at least 1 and have a maximum, so that a view never counts more than a
//! word, and what cannot come into the page any more is not gone through.
//!
//! # Invariants
//!
//! * The same log, the same views and the same hour give the same order, whatever the segments.
//! * Of equals the newer comes first, then the smaller id.

use domain::id::VideoId;

use super::views::Views;

/// How much words count by where they stand. Part of the index: with others it is built anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Weights {
    /// A description's is 1.
    pub title: u8,
    pub tags: u8,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ranking {
    pub weights: Weights,
    /// What a video of `views_full` views or more gains: 0.5 is half as much again.
    pub popularity: f32,
    pub views_full: u32,
    /// What a video of today gains.
    pub recency: f32,
    pub half_life_days: u32,
}

impl Default for Ranking {
    fn default() -> Self {
        Self {
            weights: Weights { title: 3, tags: 2 },
            popularity: 0.5,
            views_full: 1_000_000,
            recency: 0.25,
            half_life_days: 30,
        }
    }
}

const DAY_MS: f32 = 24.0 * 60.0 * 60.0 * 1000.0;

/// Words of one text are summed up in an order that depends on segments: what differs by less is equal.
const SCORE_BITS_KEPT: u32 = 0xffff_ff00;

/// What is looked at in order to be sure not to lose any, because of those bits.
const MARGIN: f32 = 0.9999;

/// The ranking at one moment.
#[derive(Clone, Copy)]
pub(super) struct Factors<'a> {
    ranking: Ranking,
    views: &'a Views,
    now_ms: i64,
}

impl<'a> Factors<'a> {
    pub(super) fn new(ranking: Ranking, views: &'a Views, now_ms: i64) -> Self {
        Self {
            ranking,
            views,
            now_ms,
        }
    }

    /// What the BM25F of a video is multiplied with.
    pub(super) fn of(&self, id_low: u64, created_ms: i64) -> f32 {
        (1.0 + self.popularity(self.views.of(id_low))) * (1.0 + self.recency(created_ms))
    }

    /// No video created up to then has more.
    pub(super) fn max(&self, newest_ms: i64) -> f32 {
        (1.0 + self.popularity(self.views.max())) * (1.0 + self.recency(newest_ms))
    }

    fn popularity(&self, views: u32) -> f32 {
        if views == 0 {
            return 0.0;
        }
        let full = self.ranking.views_full.max(1) as f32;
        let share = (views as f32).ln_1p() / full.ln_1p();
        self.ranking.popularity * share.min(1.0)
    }

    fn recency(&self, created_ms: i64) -> f32 {
        let half_life = self.ranking.half_life_days.max(1) as f32 * DAY_MS;
        let age = self.now_ms.saturating_sub(created_ms).max(0) as f32;
        self.ranking.recency * (-age / half_life).exp2()
    }
}

/// A place in the order; the larger comes first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Place {
    pub score: f32,
    created_ms: i64,
    pub video: VideoId,
}

impl Place {
    pub(super) fn new(score: f32, created_ms: i64, video: VideoId) -> Self {
        Self {
            score: rounded(score),
            created_ms,
            video,
        }
    }
}

/// What a BM25F must be above, where no factor is larger than `factor_max`, to come near `score`.
pub(super) fn threshold_of(score: f32, factor_max: f32) -> f32 {
    score / factor_max * MARGIN
}

fn rounded(score: f32) -> f32 {
    f32::from_bits(score.to_bits() & SCORE_BITS_KEPT)
}

impl Eq for Place {}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let scores = self.score.total_cmp(&other.score);
        let newer = self.created_ms.cmp(&other.created_ms);
        scores.then(newer).then(other.video.cmp(&self.video))
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_800_000_000_000;
    const DAY: i64 = DAY_MS as i64;

    #[test]
    fn a_factor_is_what_the_formula_says() {
        let views = Views::of_pairs([(1, 1_000_000), (2, 999), (3, 2_000_000_000)]);
        let factors = Factors::new(Ranking::default(), &views, NOW_MS);
        let long_ago = NOW_MS - 3650 * DAY;
        let near = |a: f32, b: f32| (a - b).abs() < 1e-3;
        assert!(near(factors.of(0, long_ago), 1.0), "nobody's and old");
        assert!(near(factors.of(0, NOW_MS), 1.25), "of today");
        assert!(near(factors.of(0, NOW_MS + DAY), 1.25), "of tomorrow");
        assert!(
            near(factors.of(0, NOW_MS - 30 * DAY), 1.125),
            "a half-life old"
        );
        assert!(near(factors.of(1, long_ago), 1.5));
        assert!(
            near(factors.of(2, long_ago), 1.25),
            "a thousand views: half of it"
        );
        assert!(near(factors.of(3, long_ago), 1.5), "there is a maximum");
        assert!(near(factors.max(NOW_MS), 1.5 * 1.25));
    }

    #[test]
    fn of_equals_the_newer_comes_first() {
        let video = |n| VideoId(uuid::Uuid::from_u128(n));
        let mut places = [
            Place::new(2.0, 5, video(1)),
            Place::new(2.000_001, 6, video(2)),
            Place::new(2.0, 5, video(0)),
            Place::new(2.1, 1, video(3)),
        ];
        places.sort_by(|a, b| b.cmp(a));
        assert_eq!(places.map(|place| place.video), [3, 2, 0, 1].map(video));
    }

    #[test]
    fn what_is_not_above_the_threshold_does_not_come_first() {
        for score in [0.1_f32, 1.0, 7.3, 1234.5] {
            for factor in [1.0_f32, 1.3, 1.875] {
                let place = Place::new(score, 0, VideoId::default());
                let below = threshold_of(place.score, factor);
                assert!(rounded(below * factor) < place.score);
                assert!(below * factor > place.score * 0.999);
            }
        }
    }
}
