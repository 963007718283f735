//! Which documents of a segment somebody may find, and which of them fit their filters.
//!
//! # Invariants
//!
//! * Public and playable videos, and one's own: nothing else is ever counted, ranked or completed.

use std::{ops::Range, sync::Arc};

use domain::id::Owner;
use tantivy::{
    DocId, SegmentReader,
    columnar::{Column, ColumnValues},
    fastfield::AliveBitSet,
};

use super::schema::{CREATED, DURATION, HEIGHT, LISTED, OWNER};

/// What a video must have, beside what the text says. Ranges are without their end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub owner: Option<Owner>,
    /// All of them.
    pub tags: Vec<String>,
    pub created_ms: Option<Range<i64>>,
    pub duration_ms: Option<Range<u64>>,
    pub height: Option<Range<u64>>,
}

impl Filter {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

pub(super) struct Sight {
    alive: Option<AliveBitSet>,
    listed: Arc<dyn ColumnValues<u64>>,
    /// Owners by number, and the viewer's, if they have a video here.
    own: Option<(Column<u64>, u64)>,
    created: Option<(Arc<dyn ColumnValues<i64>>, Range<i64>)>,
    duration: Option<(Column<u64>, Range<u64>)>,
    height: Option<(Column<u64>, Range<u64>)>,
}

impl Sight {
    pub(super) fn new(
        segment: &SegmentReader,
        viewer: Option<&Owner>,
        filter: &Filter,
    ) -> tantivy::Result<Self> {
        let columns = segment.fast_fields();
        let own = match viewer {
            Some(viewer) => own(segment, viewer)?,
            None => None,
        };
        let created = match &filter.created_ms {
            Some(range) => Some((columns.column_first_or_default(CREATED)?, range.clone())),
            None => None,
        };
        Ok(Self {
            alive: segment.alive_bitset().cloned(),
            listed: columns.column_first_or_default(LISTED)?,
            own,
            created,
            duration: ranged(segment, DURATION, filter.duration_ms.as_ref())?,
            height: ranged(segment, HEIGHT, filter.height.as_ref())?,
        })
    }

    pub(super) fn sees(&self, doc: DocId) -> bool {
        let is_alive = self.alive.as_ref().is_none_or(|alive| alive.is_alive(doc));
        is_alive && self.may_see(doc) && self.fits(doc)
    }

    fn may_see(&self, doc: DocId) -> bool {
        let is_own = |(owners, own): &(Column<u64>, u64)| owners.first(doc) == Some(*own);
        self.listed.get_val(doc) == 1 || self.own.as_ref().is_some_and(is_own)
    }

    fn fits(&self, doc: DocId) -> bool {
        let within = |ranged: &Option<(Column<u64>, Range<u64>)>| match ranged {
            // What is not known yet fits no range.
            Some((column, range)) => column
                .first(doc)
                .is_some_and(|value| range.contains(&value)),
            None => true,
        };
        let created = match &self.created {
            Some((column, range)) => range.contains(&column.get_val(doc)),
            None => true,
        };
        created && within(&self.duration) && within(&self.height)
    }
}

fn own(segment: &SegmentReader, viewer: &Owner) -> tantivy::Result<Option<(Column<u64>, u64)>> {
    let Some(owners) = segment.fast_fields().str(OWNER)? else {
        return Ok(None);
    };
    let number = owners.dictionary().term_ord(&viewer.0)?;
    Ok(number.map(|number| (owners.ords().clone(), number)))
}

fn ranged(
    segment: &SegmentReader,
    column: &str,
    range: Option<&Range<u64>>,
) -> tantivy::Result<Option<(Column<u64>, Range<u64>)>> {
    let Some(range) = range else { return Ok(None) };
    // A segment in which no video has it may have no such column.
    let column = match segment.fast_fields().column_opt::<u64>(column)? {
        Some(column) => column,
        None => Column::build_empty_column(segment.max_doc()),
    };
    Ok(Some((column, range.clone())))
}
