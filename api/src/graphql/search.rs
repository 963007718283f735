//! Finding videos: what may be asked, and how it is answered.
//!
//! # Invariants
//!
//! * Who may see a video is what the catalogue says, whatever the index found: it may be a moment behind.
//! * What nobody selects is not computed: totals and facets go through all that fits.

use std::ops::Range;

use async_graphql::{Enum, InputObject, SimpleObject};
use domain::id::Owner;
use projections::{
    catalogue,
    search::{DURATIONS_MS, Facets, Filter, HEIGHTS, Hits, Marker, OFFSET_MAX, Part, Search},
};
use time::OffsetDateTime;

use crate::{
    app::{App, now_ms},
    error::{ApiError, Code, internal},
    graphql::{
        connection::{self, PageInfo, offset_text},
        scalar::Long,
        video::Video,
    },
    viewer::Viewer,
};

/// As many as a video may have.
const TAGS_MAX: usize = 30;

/// Suggestions are for a short list under a box.
pub(crate) const SUGGESTIONS_MAX: i32 = 20;
pub(crate) const SUGGESTIONS_DEFAULT: i32 = 10;

/// Ages are reckoned from the beginning of the hour, so that pages fit together.
const HOUR_MS: i64 = 60 * 60 * 1000;

/// What a video must have, beside what the query says. Minima are included, maxima are not.
#[derive(InputObject, Default)]
pub(crate) struct SearchFilters {
    /// The subject of its owner's token.
    owner: Option<String>,
    /// All of them, at most 30, without regard to case.
    #[graphql(default)]
    tags: Vec<String>,
    created_after: Option<OffsetDateTime>,
    created_before: Option<OffsetDateTime>,
    duration_ms_min: Option<Long>,
    duration_ms_max: Option<Long>,
    height_min: Option<u32>,
    height_max: Option<u32>,
}

/// A page of search results, best first.
#[derive(SimpleObject)]
pub(crate) struct SearchConnection {
    edges: Vec<SearchEdge>,
    page_info: PageInfo,
    /// How many videos fit the query, over all pages.
    total_count: Long,
    /// How all that fits spreads, over all pages.
    facets: SearchFacets,
}

/// One video that was found.
#[derive(SimpleObject)]
pub(crate) struct SearchEdge {
    node: Video,
    /// Send it as `after` to go on behind this one.
    cursor: String,
    /// Where the query was found in it.
    highlights: Vec<Highlight>,
}

/// Numbers of videos.
#[derive(SimpleObject)]
pub(crate) struct SearchFacets {
    /// The 20 most frequent tags, in lower case.
    tags: Vec<TagCount>,
    /// By duration in ms.
    durations: Vec<RangeCount>,
    /// By height in lines.
    heights: Vec<RangeCount>,
}

#[derive(SimpleObject)]
pub(crate) struct TagCount {
    tag: String,
    count: Long,
}

/// How many videos lie between two numbers.
#[derive(SimpleObject)]
pub(crate) struct RangeCount {
    from: Long,
    /// Not included; null where there is no end.
    to: Option<Long>,
    count: Long,
}

/// Where words can be found.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SearchField {
    Title,
    Description,
    Tags,
}

/// A text of a video, or an excerpt of it, in parts.
#[derive(SimpleObject)]
pub(crate) struct Highlight {
    field: SearchField,
    parts: Vec<HighlightPart>,
}

/// A part of a text, as it was written: text, not HTML.
#[derive(SimpleObject)]
pub(crate) struct HighlightPart {
    text: String,
    /// The query found it.
    found: bool,
}

/// Which parts of the answer are wanted.
pub(crate) struct Wanted {
    pub total: bool,
    pub facets: bool,
    pub highlights: bool,
}

impl SearchFilters {
    fn filter(self) -> Result<Filter, ApiError> {
        if self.tags.len() > TAGS_MAX {
            let message = format!("filters.tags: at most {TAGS_MAX} tags");
            return Err(ApiError::new(Code::Invalid, message));
        }
        let ms = |at: OffsetDateTime| (at.unix_timestamp_nanos() / 1_000_000) as i64;
        let created = (self.created_after.map(ms), self.created_before.map(ms));
        let number = |long: Option<Long>| long.map(|long| u64::try_from(long.0).unwrap_or(0));
        let duration = (number(self.duration_ms_min), number(self.duration_ms_max));
        let height = (
            self.height_min.map(u64::from),
            self.height_max.map(u64::from),
        );
        Ok(Filter {
            owner: self.owner.map(Owner),
            tags: self.tags,
            created_ms: range(created, i64::MIN, i64::MAX),
            duration_ms: range(duration, 0, u64::MAX),
            height: range(height, 0, u64::MAX),
        })
    }
}

fn range<T>((min, max): (Option<T>, Option<T>), lowest: T, highest: T) -> Option<Range<T>> {
    match (min, max) {
        (None, None) => None,
        (min, max) => Some(min.unwrap_or(lowest)..max.unwrap_or(highest)),
    }
}

/// One page of what fits `query` and `filters`.
pub(crate) async fn page(
    app: &App,
    viewer: &Viewer,
    query: String,
    filters: Option<SearchFilters>,
    (offset, first): (usize, usize),
    wanted: &Wanted,
) -> Result<SearchConnection, ApiError> {
    if offset >= OFFSET_MAX {
        return Err(ApiError::new(
            Code::LimitExceeded,
            format!("only the first {OFFSET_MAX} results can be seen"),
        ));
    }
    let search = Search {
        text: query,
        as_you_type: false,
        viewer: viewer.reads_as().cloned(),
        filter: filters.unwrap_or_default().filter()?,
        offset,
        first,
        total: wanted.total,
        facets: wanted.facets,
        now_ms: now_ms().div_euclid(HOUR_MS) * HOUR_MS,
    };
    let hits = searched(app, search).await?;
    let videos = shown(app, viewer, &hits).await?;
    let edges = videos.into_iter().map(|(index, video)| SearchEdge {
        cursor: offset_text(offset + index),
        highlights: match wanted.highlights {
            true => highlights(&hits.marker, &video),
            false => vec![],
        },
        node: Video(video),
    });
    let edges: Vec<SearchEdge> = edges.collect();
    let first = edges.first().map(|edge| edge.cursor.clone());
    let last = edges.last().map(|edge| edge.cursor.clone());
    Ok(SearchConnection {
        page_info: PageInfo::new(hits.has_next, first, last),
        edges,
        total_count: Long::of(hits.total.unwrap_or_default() as u64),
        facets: hits.facets.unwrap_or_default().into(),
    })
}

/// Videos whose title or tags have words that begin like those of `prefix`.
pub(crate) async fn suggest(
    app: &App,
    viewer: &Viewer,
    prefix: String,
    first: usize,
) -> Result<Vec<Video>, ApiError> {
    let search = Search {
        text: prefix,
        as_you_type: true,
        viewer: viewer.reads_as().cloned(),
        first,
        now_ms: now_ms().div_euclid(HOUR_MS) * HOUR_MS,
        ..Search::default()
    };
    let hits = searched(app, search).await?;
    let videos = shown(app, viewer, &hits).await?;
    Ok(videos.into_iter().map(|(_, video)| Video(video)).collect())
}

/// How many suggestions are asked for.
pub(crate) fn suggestions(first: Option<i32>) -> Result<usize, ApiError> {
    let first = first.unwrap_or(SUGGESTIONS_DEFAULT);
    if !(1..=SUGGESTIONS_MAX).contains(&first) {
        let message = format!("first: ask for 1 to {SUGGESTIONS_MAX} items");
        return Err(ApiError::new(Code::Invalid, message));
    }
    Ok(first as usize)
}

pub(crate) fn suggestions_cost(first: Option<i32>, each: usize) -> usize {
    connection::cost(Some(first.unwrap_or(SUGGESTIONS_DEFAULT)), each)
}

async fn searched(app: &App, search: Search) -> Result<Hits, ApiError> {
    let index = app.search.clone();
    let searching = app.tasks.spawn_blocking(move || index.search(&search));
    searching
        .await
        .map_err(internal("search"))?
        .map_err(internal("search"))
}

/// Those of the hits that `viewer` may see now, with their places in the page.
async fn shown(
    app: &App,
    viewer: &Viewer,
    hits: &Hits,
) -> Result<Vec<(usize, catalogue::Video)>, ApiError> {
    let mut entries = catalogue::videos_by_ids(&app.reader, &hits.videos)
        .await
        .map_err(internal("read the videos that were found"))?;
    entries.retain(|video| {
        viewer.owns(&video.owner)
            || (video.playable && viewer.is_shown(&video.owner, video.details.visibility))
    });
    let found = hits.videos.iter().enumerate().filter_map(|(index, id)| {
        let entry = entries.iter().find(|video| video.id == *id)?;
        Some((index, entry.clone()))
    });
    Ok(found.collect())
}

fn highlights(marker: &Marker, video: &catalogue::Video) -> Vec<Highlight> {
    let details = &video.details;
    let title = marker.whole(&details.title);
    let description = marker.excerpt(&details.description);
    let tags = details.tags.iter().filter_map(|tag| marker.whole(tag));
    let of = |field| {
        move |parts: Vec<Part>| Highlight {
            field,
            parts: parts.into_iter().map(HighlightPart::from).collect(),
        }
    };
    let title = title.map(of(SearchField::Title));
    let description = description.map(of(SearchField::Description));
    let tags = tags.map(of(SearchField::Tags));
    title.into_iter().chain(description).chain(tags).collect()
}

impl From<Part> for HighlightPart {
    fn from(part: Part) -> Self {
        Self {
            text: part.text,
            found: part.is_found,
        }
    }
}

impl From<Facets> for SearchFacets {
    fn from(facets: Facets) -> Self {
        let tag = |(tag, count)| TagCount {
            tag,
            count: Long::of(count),
        };
        Self {
            tags: facets.tags.into_iter().map(tag).collect(),
            durations: ranges(&DURATIONS_MS, &facets.durations),
            heights: ranges(&HEIGHTS, &facets.heights),
        }
    }
}

fn ranges(begins: &[u64], counts: &[u64]) -> Vec<RangeCount> {
    let ends = begins.iter().skip(1).map(|end| Some(Long::of(*end)));
    let ends = ends.chain([None]);
    let all = begins.iter().zip(ends).zip(counts);
    all.map(|((from, to), count)| RangeCount {
        from: Long::of(*from),
        to,
        count: Long::of(*count),
    })
    .collect()
}
