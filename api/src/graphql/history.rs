//! What happened to a video and to its jobs, event by event, as the log has it.
//!
//! It is read from the log and not from rows of a read model: the streams of a video are short and
//! found by its id, nothing is stored twice, and an erased video has no history by itself.
//!
//! # Invariants
//!
//! * Who may see it: the video's owner (`videos:read`), operators, and analysts (`analytics:read`)
//!   where everyone may see the video. For all others there is none, as for a video that is not there.
//! * A page reads the streams of one video, and of each no more than a page beyond its cursor.

use async_graphql::{ID, Json, SimpleObject};
use domain::id::VideoId;
use eventlog::{Entry, Epoch};
use serde_json::Value;
use time::OffsetDateTime;

use crate::{
    app::{App, moment},
    error::{ApiError, internal},
    graphql::{connection::PageInfo, query::find, scalar::Long, video::Video},
    position,
    token::Scope,
    viewer::Viewer,
};

/// Something that happened, as it was recorded.
#[derive(SimpleObject)]
pub(crate) struct HistoryEvent {
    id: ID,
    /// Its type and version: `video.became-ready.v1`.
    #[graphql(name = "type")]
    type_name: String,
    /// When it happened, as it says itself.
    at: Option<OffsetDateTime>,
    /// Who did it: a token's subject, or a part of the platform.
    actor: Option<String>,
    /// The event that led to it, or the command, where it came from outside.
    causation_id: Option<ID>,
    /// What everything has in common that one command from outside led to.
    correlation_id: Option<ID>,
    command_id: Option<ID>,
    /// Where in the log it stands; for `asOf` and `minPosition`.
    position: String,
    /// `video-…`, or the `job-…` that it is about.
    stream: String,
    /// Its place in that stream.
    revision: Long,
    /// Its own fields. Null where it is not JSON.
    data: Option<Json<Value>>,
}

impl HistoryEvent {
    fn new(epoch: Epoch, entry: Entry) -> Self {
        let data = serde_json::from_slice(&entry.data).ok().map(Json);
        let why = entry.metadata;
        Self {
            id: ID(entry.id.to_string()),
            type_name: entry.type_name,
            at: entry.about.map(|about| moment(about.at_ms)),
            causation_id: why.as_ref().map(|why| ID(why.causation.to_string())),
            correlation_id: why.as_ref().map(|why| ID(why.correlation.to_string())),
            command_id: why.as_ref().map(|why| ID(why.command.to_string())),
            actor: why.map(|why| why.actor),
            position: epoch.at(entry.commit).to_string(),
            stream: entry.stream,
            revision: Long::of(entry.revision),
            data,
        }
    }
}

/// One event of a history.
#[derive(SimpleObject)]
pub(crate) struct HistoryEdge {
    node: HistoryEvent,
    /// Its position. Send it as `after` to go on behind it.
    cursor: String,
}

/// A page of a history, oldest first.
#[derive(SimpleObject)]
pub(crate) struct HistoryConnection {
    edges: Vec<HistoryEdge>,
    page_info: PageInfo,
}

/// The history of a video, after the position `after`; `None` if this viewer may not know.
pub(crate) async fn page(
    app: &App,
    viewer: &Viewer,
    id: &ID,
    first: usize,
    after: Option<&str>,
) -> Result<Option<HistoryConnection>, ApiError> {
    viewer.with_one_of(&[Scope::VideosRead, Scope::AnalyticsRead])?;
    let after = match after {
        Some(text) => Some(position::parse(app, text).await?),
        None => None,
    };
    let found = find(app, viewer, id).await?;
    let Some(Video(video)) = found.filter(|Video(now)| viewer.studies(now)) else {
        return Ok(None);
    };
    let mut entries = entries(app, video.id, first + 1, after).await?;
    let has_next_page = entries.len() > first;
    entries.truncate(first);
    let epoch = app.epoch().await?;
    let edges: Vec<HistoryEdge> = entries
        .into_iter()
        .map(|entry| {
            let node = HistoryEvent::new(epoch, entry);
            HistoryEdge {
                cursor: node.position.clone(),
                node,
            }
        })
        .collect();
    let first = edges.first().map(|edge| edge.cursor.clone());
    let last = edges.last().map(|edge| edge.cursor.clone());
    let page_info = PageInfo::new(has_next_page, first, last);
    Ok(Some(HistoryConnection { edges, page_info }))
}

async fn entries(
    app: &App,
    video: VideoId,
    count: usize,
    after: Option<u64>,
) -> Result<Vec<Entry>, ApiError> {
    let mut history = app.log.history(video, after);
    let mut entries = vec![];
    while entries.len() < count {
        let next = history.next().await.map_err(anyhow::Error::from);
        match next.map_err(internal(format!("read the history of {video}")))? {
            Some(entry) => entries.push(entry),
            None => break,
        }
    }
    Ok(entries)
}
