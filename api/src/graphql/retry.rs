//! Making one rendition again, as clients ask for it and see it.

use async_graphql::{Enum, ID, InputObject, SimpleObject};
use domain::video;
use projections::catalogue;
use time::OffsetDateTime;

use crate::{app::moment, graphql::video::Failure};

#[derive(InputObject)]
pub(crate) struct RetryRenditionInput {
    pub video_id: ID,
    /// One of the video's `renditions`, by its id: `480p`, `audio`.
    pub rendition: ID,
    /// The same key again, for the same rendition, is the same retry: it is not begun twice.
    pub idempotency_key: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum RenditionRetryStatus {
    /// The video is played as it was before.
    Running,
    /// The new rendition is played.
    Done,
    /// See `failure`. The video is played as it was before.
    Failed,
}

/// One rendition of a ready video is, or was, made again.
#[derive(SimpleObject)]
pub(crate) struct RenditionRetry {
    rendition: ID,
    status: RenditionRetryStatus,
    requested_at: OffsetDateTime,
    /// Null while it runs.
    ended_at: Option<OffsetDateTime>,
    /// Why it failed, if it did.
    failure: Option<Failure>,
}

impl RenditionRetry {
    pub(crate) fn of(video: &catalogue::Video) -> Option<Self> {
        let retry = video.retry.as_ref()?;
        Some(Self {
            rendition: ID(retry.rendition.to_string()),
            status: match retry.state {
                catalogue::RetryState::Running => RenditionRetryStatus::Running,
                catalogue::RetryState::Done => RenditionRetryStatus::Done,
                catalogue::RetryState::Failed => RenditionRetryStatus::Failed,
            },
            requested_at: moment(retry.asked_ms),
            ended_at: retry.ended_ms.map(moment),
            failure: retry.failure.as_ref().map(|failure| match video.as_of {
                Some(_) => Failure::from(failure),
                None => Failure::with_history_of(video.id, failure),
            }),
        })
    }
}

/// A retry that the catalogue may not know of yet.
pub(crate) fn running(retry: &video::Retry) -> catalogue::Retry {
    catalogue::Retry {
        rendition: retry.rendition.clone(),
        state: catalogue::RetryState::Running,
        asked_ms: retry.asked_at_ms,
        ended_ms: None,
        failure: None,
    }
}
