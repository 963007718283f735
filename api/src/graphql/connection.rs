//! Relay connections: pages of videos, forward only.

use async_graphql::SimpleObject;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    error::{ApiError, Code},
    graphql::video::Video,
};

const FIRST_DEFAULT: i32 = 20;
const FIRST_MAX: i32 = 100;

/// What a list of videos may cost, for the maximum of complexity.
pub(crate) fn cost(first: Option<i32>, each: usize) -> usize {
    let first = first.unwrap_or(FIRST_DEFAULT).clamp(1, FIRST_MAX);
    1 + first as usize * each
}

/// How many items are asked for.
pub(crate) fn first(first: Option<i32>) -> Result<usize, ApiError> {
    let first = first.unwrap_or(FIRST_DEFAULT);
    if !(1..=FIRST_MAX).contains(&first) {
        return Err(ApiError::new(
            Code::Invalid,
            format!("first: ask for 1 to {FIRST_MAX} items"),
        ));
    }
    Ok(first as usize)
}

/// Where a page stands in its list.
#[derive(SimpleObject)]
pub(crate) struct PageInfo {
    has_next_page: bool,
    /// Always false: pages go forward only.
    has_previous_page: bool,
    start_cursor: Option<String>,
    end_cursor: Option<String>,
}

/// One video of a list.
#[derive(SimpleObject)]
pub(crate) struct VideoEdge {
    node: Video,
    /// Send it as `after` to go on behind this one.
    cursor: String,
}

/// A page of videos.
#[derive(SimpleObject)]
pub(crate) struct VideoConnection {
    edges: Vec<VideoEdge>,
    page_info: PageInfo,
}

impl VideoConnection {
    pub(crate) fn new(edges: Vec<(String, Video)>, has_next_page: bool) -> Self {
        let (edges, page_info) = page(edges, has_next_page);
        Self { edges, page_info }
    }
}

fn page(edges: Vec<(String, Video)>, has_next_page: bool) -> (Vec<VideoEdge>, PageInfo) {
    let edges: Vec<VideoEdge> = edges
        .into_iter()
        .map(|(cursor, node)| VideoEdge { node, cursor })
        .collect();
    let first = edges.first().map(|edge| edge.cursor.clone());
    let last = edges.last().map(|edge| edge.cursor.clone());
    (edges, PageInfo::new(has_next_page, first, last))
}

impl PageInfo {
    /// `first` and `last` are the cursors of the page's items.
    pub(crate) fn new(has_next_page: bool, first: Option<String>, last: Option<String>) -> Self {
        Self {
            has_next_page,
            has_previous_page: false,
            start_cursor: first,
            end_cursor: last,
        }
    }
}

/// Hits are ordered by how well they fit; their place in that order is their cursor.
pub(crate) fn offset_text(offset: usize) -> String {
    URL_SAFE_NO_PAD.encode((offset as u64).to_be_bytes())
}

pub(crate) fn parse_offset(text: &str) -> Result<usize, ApiError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| no_cursor())?;
    let bytes: [u8; 8] = bytes.try_into().map_err(|_| no_cursor())?;
    usize::try_from(u64::from_be_bytes(bytes)).map_err(|_| no_cursor())
}

fn no_cursor() -> ApiError {
    ApiError::new(
        Code::Invalid,
        "after: this is not a cursor of this list; send one that you were given, unchanged",
    )
}
