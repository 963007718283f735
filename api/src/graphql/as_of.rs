//! Questions about the past: videos as they were at a position or a time.
//!
//! # Invariants
//!
//! * Who asks about the past has a token: of the owner (`videos:read`), of an operator, or of an
//!   analyst (`analytics:read`), who is told what everyone may see, then and now. What its owner
//!   hides today is not found in its past, and what was hidden then is not told today.
//! * A deleted video has no past.

use async_graphql::{ID, OneofObject};
use domain::video::Status;
use projections::catalogue::{
    self, Moment, PastError,
    list::{self, By, List, Order, Page},
};
use time::OffsetDateTime;

use crate::{
    app::{App, now_ms},
    error::{ApiError, Code, internal},
    graphql::{query::find, video::Video},
    position::{self, Waits},
    token::Scope,
    viewer::Viewer,
};

/// A moment of the past, by one of the two. What was recorded at it is part of it.
#[derive(OneofObject)]
pub(crate) enum AsOf {
    /// A position of a mutation's answer, or of an event in `history`.
    Position(String),
    /// By the times that events carry.
    Time(OffsetDateTime),
}

impl AsOf {
    /// What it stands for; waits, bounded, until the catalogue has got there.
    async fn moment(&self, app: &App) -> Result<Moment, ApiError> {
        match self {
            Self::Position(text) => {
                position::wait(app, Some(text), &[Waits::Catalogue]).await?;
                Ok(Moment::Position(position::parse(app, text).await?))
            }
            Self::Time(time) => {
                let at_ms = (time.unix_timestamp_nanos() / 1_000_000) as i64;
                if at_ms > now_ms() {
                    return Err(ApiError::new(
                        Code::Invalid,
                        "asOf: this time has not come yet",
                    ));
                }
                Ok(Moment::Time(at_ms))
            }
        }
    }
}

/// What asking costs beside its answer.
pub(crate) fn cost(as_of: &Option<AsOf>) -> usize {
    const FOLD_COST: usize = 20;
    as_of.as_ref().map_or(0, |_| FOLD_COST)
}

/// The video as it was; `None` if there was none, or this viewer may not know.
pub(crate) async fn video(
    app: &App,
    viewer: &Viewer,
    id: &ID,
    as_of: &AsOf,
) -> Result<Option<Video>, ApiError> {
    viewer.with_one_of(&[Scope::VideosRead, Scope::AnalyticsRead])?;
    let moment = as_of.moment(app).await?;
    let now = find(app, viewer, id).await?;
    let Some(Video(now)) = now.filter(|Video(now)| viewer.studies(now)) else {
        return Ok(None);
    };
    let past = catalogue::past(&app.log, now.id, moment).await;
    let past = past.map_err(refused)?;
    Ok(past
        .map(|past| past.video)
        .filter(|past| viewer.studies(past))
        .map(Video))
}

/// Videos as they were: what everyone could find then and may see now, or one's own.
pub(crate) async fn videos(
    app: &App,
    viewer: &Viewer,
    list: &List,
    as_of: &AsOf,
    first: usize,
) -> Result<Page, ApiError> {
    if list.scope == list::Scope::Public {
        viewer.with(Scope::AnalyticsRead)?;
    }
    let newest = Order {
        by: By::Created,
        descending: true,
    };
    if list.order != newest || list.filter != list::Filter::default() {
        return Err(ApiError::new(
            Code::Invalid,
            "asOf: videos of the past are listed newest first, without a filter",
        ));
    }
    let moment = as_of.moment(app).await?;
    let after = list.after.as_ref();
    let mut page = catalogue::page_as_of(&app.reader, moment, &list.scope, after, first)
        .await
        .map_err(internal("list videos as they were"))?;
    // What is kept of the past does not say how much of them was made by then.
    let videos = page.videos.iter_mut().map(|(_, video)| video);
    let mut unfinished: Vec<_> = videos
        .filter(|video| video.status == Status::Processing)
        .collect();
    let keys: Vec<_> = unfinished.iter().map(|video| (video.id, moment)).collect();
    let pasts = app.pasts.load_many(keys).await?;
    for video in &mut unfinished {
        if let Some(past) = pasts.get(&(video.id, moment)) {
            video.segments_planned = past.video.segments_planned;
            video.segments_published = past.video.segments_published;
        }
    }
    Ok(page)
}

pub(crate) fn refused(error: PastError) -> ApiError {
    match error {
        PastError::TooLong(_) => ApiError::new(Code::LimitExceeded, error.to_string()),
        PastError::Unreadable { .. } | PastError::Log(_) => {
            internal("fold the past of a video")(anyhow::Error::from(error))
        }
    }
}
