//! How many fit, and how they spread over tags, durations and heights.
//!
//! # Invariants
//!
//! * Only what the viewer may find is counted.
//! * Of a segment at most [`TAGS_OF_A_SEGMENT_MAX`] tags are compared with those of others.

use std::collections::HashMap;

use domain::id::Owner;
use tantivy::{
    DocId, Score, SegmentOrdinal, SegmentReader,
    collector::{Collector, SegmentCollector},
    columnar::{Column, StrColumn},
};

use super::{
    schema::{DURATION, HEIGHT, TAG},
    sight::{Filter, Sight},
};

/// The most frequent tags.
pub const TAGS_MAX: usize = 20;

const TAGS_OF_A_SEGMENT_MAX: usize = 1_000;

/// Where buckets of durations begin, in ms; each ends where the next begins.
pub const DURATIONS_MS: [u64; 4] = [0, 4 * 60_000, 20 * 60_000, 60 * 60_000];

/// Where buckets of heights begin.
pub const HEIGHTS: [u64; 6] = [0, 480, 720, 1080, 1440, 2160];

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facets {
    /// Most frequent first.
    pub tags: Vec<(String, u64)>,
    /// As many as [`DURATIONS_MS`].
    pub durations: [u64; DURATIONS_MS.len()],
    /// As many as [`HEIGHTS`].
    pub heights: [u64; HEIGHTS.len()],
}

#[derive(Debug, Default)]
pub(super) struct Tallied {
    pub total: usize,
    pub facets: Facets,
}

pub(super) struct Tally<'a> {
    pub viewer: Option<&'a Owner>,
    pub filter: &'a Filter,
    /// Whether more than the total is asked for.
    pub facets: bool,
}

pub(super) struct OfSegment {
    sight: Sight,
    total: usize,
    columns: Option<Columns>,
}

struct Columns {
    tags: Option<StrColumn>,
    by_tag: HashMap<u64, u64>,
    duration: Option<Column<u64>>,
    height: Option<Column<u64>>,
    durations: [u64; DURATIONS_MS.len()],
    heights: [u64; HEIGHTS.len()],
}

impl Collector for Tally<'_> {
    type Fruit = Tallied;
    type Child = OfSegment;

    fn for_segment(
        &self,
        _: SegmentOrdinal,
        segment: &SegmentReader,
    ) -> tantivy::Result<OfSegment> {
        let columns = segment.fast_fields();
        let columns = match self.facets {
            true => Some(Columns {
                tags: columns.str(TAG)?,
                by_tag: HashMap::new(),
                duration: columns.column_opt(DURATION)?,
                height: columns.column_opt(HEIGHT)?,
                durations: Default::default(),
                heights: Default::default(),
            }),
            false => None,
        };
        Ok(OfSegment {
            sight: Sight::new(segment, self.viewer, self.filter)?,
            total: 0,
            columns,
        })
    }

    fn requires_scoring(&self) -> bool {
        false
    }

    fn merge_fruits(&self, segments: Vec<tantivy::Result<Tallied>>) -> tantivy::Result<Tallied> {
        let mut all = Tallied::default();
        let mut tags: HashMap<String, u64> = HashMap::new();
        for segment in segments {
            let Tallied { total, facets } = segment?;
            all.total += total;
            add(&mut all.facets.durations, &facets.durations);
            add(&mut all.facets.heights, &facets.heights);
            for (tag, count) in facets.tags {
                *tags.entry(tag).or_default() += count;
            }
        }
        all.facets.tags = most_frequent(tags.into_iter().collect(), TAGS_MAX);
        Ok(all)
    }
}

impl SegmentCollector for OfSegment {
    type Fruit = tantivy::Result<Tallied>;

    fn collect(&mut self, doc: DocId, _: Score) {
        if !self.sight.sees(doc) {
            return;
        }
        self.total += 1;
        if let Some(columns) = &mut self.columns {
            columns.collect(doc);
        }
    }

    fn harvest(self) -> tantivy::Result<Tallied> {
        let facets = match self.columns {
            Some(columns) => columns.facets()?,
            None => Facets::default(),
        };
        Ok(Tallied {
            total: self.total,
            facets,
        })
    }
}

impl Columns {
    fn collect(&mut self, doc: DocId) {
        if let Some(tags) = &self.tags {
            for tag in tags.term_ords(doc) {
                *self.by_tag.entry(tag).or_default() += 1;
            }
        }
        let first = |column: &Option<Column<u64>>| column.as_ref()?.first(doc);
        if let Some(bucket) = bucket(&DURATIONS_MS, first(&self.duration)) {
            self.durations[bucket] += 1;
        }
        if let Some(bucket) = bucket(&HEIGHTS, first(&self.height)) {
            self.heights[bucket] += 1;
        }
    }

    fn facets(self) -> tantivy::Result<Facets> {
        let by_tag = most_frequent(self.by_tag.into_iter().collect(), TAGS_OF_A_SEGMENT_MAX);
        let mut tags = vec![];
        for (number, count) in by_tag {
            let mut tag = String::new();
            if let Some(column) = &self.tags
                && column.ord_to_str(number, &mut tag)?
            {
                tags.push((tag, count));
            }
        }
        Ok(Facets {
            tags,
            durations: self.durations,
            heights: self.heights,
        })
    }
}

fn bucket(begins: &[u64], value: Option<u64>) -> Option<usize> {
    let value = value?;
    begins.iter().rposition(|begin| value >= *begin)
}

fn add(sums: &mut [u64], more: &[u64]) {
    for (sum, more) in sums.iter_mut().zip(more) {
        *sum += more;
    }
}

/// The first of equals by their name.
fn most_frequent<T: Ord>(mut counted: Vec<(T, u64)>, max: usize) -> Vec<(T, u64)> {
    counted.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    counted.truncate(max);
    counted
}
