//! The best of what fits, without going through all of it.
//!
//! # Invariants
//!
//! * What is passed over could not have come into the page: the factors on a score have a maximum.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::atomic::{AtomicU32, Ordering},
};

use domain::id::{Owner, VideoId};
use tantivy::{
    DocId, Score, SegmentOrdinal, SegmentReader,
    collector::{Collector, SegmentCollector},
    query::Weight,
};

use super::{
    ranking::{Factors, Place, threshold_of},
    schema::{CREATED, ID_HIGH, ID_LOW},
    sight::{Filter, Sight},
};

pub(super) struct Best<'a> {
    places_max: usize,
    viewer: Option<&'a Owner>,
    filter: &'a Filter,
    factors: Factors<'a>,
    /// The lowest score that is among the best so far, in any segment; as bits, which for positive
    /// numbers have their order.
    lowest: AtomicU32,
}

impl<'a> Best<'a> {
    pub(super) fn new(
        places_max: usize,
        viewer: Option<&'a Owner>,
        filter: &'a Filter,
        factors: Factors<'a>,
    ) -> Self {
        Self {
            places_max,
            viewer,
            filter,
            factors,
            lowest: AtomicU32::new(0),
        }
    }
}

/// Never asked: segments are gone through as a whole.
pub(super) struct Whole(Vec<Place>);

impl SegmentCollector for Whole {
    type Fruit = Vec<Place>;

    fn collect(&mut self, _: DocId, _: Score) {}

    fn harvest(self) -> Vec<Place> {
        self.0
    }
}

impl Collector for Best<'_> {
    type Fruit = Vec<Place>;
    type Child = Whole;

    fn for_segment(&self, _: SegmentOrdinal, _: &SegmentReader) -> tantivy::Result<Whole> {
        Ok(Whole(vec![]))
    }

    fn requires_scoring(&self) -> bool {
        true
    }

    fn collect_segment(
        &self,
        weight: &dyn Weight,
        _: SegmentOrdinal,
        segment: &SegmentReader,
    ) -> tantivy::Result<Vec<Place>> {
        if segment.max_doc() == 0 {
            return Ok(vec![]);
        }
        let sight = Sight::new(segment, self.viewer, self.filter)?;
        let columns = segment.fast_fields();
        let created = columns.column_first_or_default::<i64>(CREATED)?;
        let high = columns.column_first_or_default::<u64>(ID_HIGH)?;
        let low = columns.column_first_or_default::<u64>(ID_LOW)?;
        let factor_max = self.factors.max(created.max_value());
        let mut best: BinaryHeap<Reverse<Place>> = BinaryHeap::new();
        let so_far = f32::from_bits(self.lowest.load(Ordering::Relaxed));
        // Below all there is, until there are enough.
        let mut threshold = match so_far > 0.0 {
            true => threshold_of(so_far, factor_max),
            false => Score::MIN,
        };
        weight.for_each_pruning(threshold, segment, &mut |doc, score| {
            if !sight.sees(doc) {
                return threshold;
            }
            let (created_ms, id_low) = (created.get_val(doc), low.get_val(doc));
            let score = score * self.factors.of(id_low, created_ms);
            let video = VideoId(uuid::Uuid::from_u64_pair(high.get_val(doc), id_low));
            best.push(Reverse(Place::new(score, created_ms, video)));
            if best.len() > self.places_max {
                best.pop();
            }
            if best.len() == self.places_max
                && let Some(Reverse(lowest)) = best.peek()
            {
                threshold = threshold.max(threshold_of(lowest.score, factor_max));
            }
            threshold
        })?;
        if best.len() == self.places_max
            && let Some(Reverse(lowest)) = best.peek()
        {
            self.lowest
                .fetch_max(lowest.score.to_bits(), Ordering::Relaxed);
        }
        Ok(best.into_iter().map(|Reverse(place)| place).collect())
    }

    fn merge_fruits(&self, segments: Vec<Vec<Place>>) -> tantivy::Result<Vec<Place>> {
        let mut best: Vec<Place> = segments.into_iter().flatten().collect();
        best.sort_unstable_by(|a, b| b.cmp(a));
        best.truncate(self.places_max);
        Ok(best)
    }
}
