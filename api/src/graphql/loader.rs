//! Data loaders: what many videos of one answer need, asked for at once.

use std::{collections::HashMap, sync::Arc};

use async_graphql::dataloader::Loader;
use domain::id::{JobId, VideoId};
use eventlog::Log;
use futures::{StreamExt, TryStreamExt};
use projections::{
    catalogue::{self, Attempt, Moment, Past, RenditionState},
    popularity,
    reader::Reader,
};

use crate::{
    error::{ApiError, internal},
    graphql::as_of,
};

/// How often videos were viewed.
pub(crate) struct Views(pub Reader);

impl Views {
    pub(crate) const BATCH_MAX: usize = 500;
}

impl Loader<VideoId> for Views {
    type Value = u64;
    type Error = ApiError;

    async fn load(&self, videos: &[VideoId]) -> Result<HashMap<VideoId, u64>, ApiError> {
        let views = popularity::views(&self.0, videos)
            .await
            .map_err(internal("read view counts"))?;
        Ok(videos.iter().copied().zip(views).collect())
    }
}

/// Who tried what for videos, and how it ended.
pub(crate) struct Attempts(pub Reader);

impl Attempts {
    pub(crate) const BATCH_MAX: usize = catalogue::PAGE_MAX;
}

impl Loader<VideoId> for Attempts {
    type Value = Arc<Vec<Attempt>>;
    type Error = ApiError;

    async fn load(&self, videos: &[VideoId]) -> Result<HashMap<VideoId, Self::Value>, ApiError> {
        let histories = catalogue::histories(&self.0, videos)
            .await
            .map_err(internal("read what was tried"))?;
        let mut of_videos = HashMap::<VideoId, Vec<Attempt>>::new();
        for (video, attempt) in histories {
            of_videos.entry(video).or_default().push(attempt);
        }
        let shared = of_videos.into_iter().map(|(id, them)| (id, Arc::new(them)));
        Ok(shared.collect())
    }
}

/// Videos as they were, with what was made of them by then.
pub(crate) struct Pasts(pub Log);

impl Pasts {
    pub(crate) const BATCH_MAX: usize = catalogue::PAGE_MAX;
    /// Each holds what one video is made of while it is folded.
    const FOLDED_AT_ONCE_MAX: usize = 4;
}

impl Loader<(VideoId, Moment)> for Pasts {
    type Value = Arc<Past>;
    type Error = ApiError;

    async fn load(
        &self,
        videos: &[(VideoId, Moment)],
    ) -> Result<HashMap<(VideoId, Moment), Self::Value>, ApiError> {
        let log = self.0.clone();
        let pasts = videos.iter().copied().map(move |(id, moment)| {
            let log = log.clone();
            async move {
                let past = catalogue::past(&log, id, moment).await;
                past.map(|past| past.map(|past| ((id, moment), Arc::new(past))))
            }
        });
        let pasts = futures::stream::iter(pasts).buffer_unordered(Self::FOLDED_AT_ONCE_MAX);
        let pasts: Vec<_> = pasts.try_collect().await.map_err(as_of::refused)?;
        Ok(pasts.into_iter().flatten().collect())
    }
}

/// The renditions of jobs.
pub(crate) struct Renditions(pub Reader);

impl Renditions {
    pub(crate) const BATCH_MAX: usize = catalogue::PAGE_MAX;
}

impl Loader<JobId> for Renditions {
    type Value = Arc<Vec<RenditionState>>;
    type Error = ApiError;

    async fn load(&self, jobs: &[JobId]) -> Result<HashMap<JobId, Self::Value>, ApiError> {
        let renditions = catalogue::renditions(&self.0, jobs)
            .await
            .map_err(internal("read renditions"))?;
        let mut of_jobs = HashMap::<JobId, Vec<RenditionState>>::new();
        for rendition in renditions {
            of_jobs.entry(rendition.job).or_default().push(rendition);
        }
        Ok(of_jobs
            .into_iter()
            .map(|(job, renditions)| (job, Arc::new(renditions)))
            .collect())
    }
}
