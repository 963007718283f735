//! Subscriptions: what changes, as it changes.
//!
//! # Invariants
//!
//! * A wake-up is a hint: what is told is what the read model says.
//! * A subscription ends when its video may not be seen any more.

use std::{sync::Arc, time::Duration};

use async_graphql::{Context, Enum, ID, Object, Result, Subscription as GraphqlSubscription};
use domain::id::VideoId;
use futures::{Stream, stream};
use projections::{announcements, reader::Wake};
use time::OffsetDateTime;
use tokio::sync::broadcast;

use crate::{
    app::{App, moment},
    error::ApiError,
    graphql::{
        app,
        query::find,
        scalar::Long,
        video::{Failure, Video},
        viewer,
    },
    notifications::feed::{Feed, Of},
    position::{self, Waits},
    viewer::Viewer,
};

/// How long a video goes unread when no wake-up comes.
const LOOK_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "announcements::Kind")]
pub(crate) enum AnnouncementType {
    /// A player can start it.
    Playable,
    /// All of it is there.
    Ready,
    /// See `failure`.
    Failed,
}

/// What was announced, and when. Ask for `video` to see how it is now.
pub(crate) struct Announcement {
    told: Arc<announcements::Announcement>,
    position: String,
}

/// What was announced, and when. Ask for `video` to see how it is now.
#[Object]
impl Announcement {
    #[graphql(name = "type")]
    async fn kind(&self) -> AnnouncementType {
        self.told.kind.into()
    }

    async fn video_id(&self) -> ID {
        ID(self.told.video.to_string())
    }

    /// At that moment.
    async fn title(&self) -> &str {
        &self.told.title
    }

    async fn duration_ms(&self) -> Option<Long> {
        self.told.duration_ms.map(Long::of)
    }

    async fn failure(&self) -> Option<Failure> {
        self.told.failure.as_ref().map(Failure::from)
    }

    async fn at(&self) -> OffsetDateTime {
        moment(self.told.at_ms)
    }

    /// Send it as `after` to go on behind this one.
    async fn position(&self) -> &str {
        &self.position
    }

    /// The video as it is now; null if it is gone.
    #[graphql(complexity = "5 + child_complexity")]
    async fn video(&self, ctx: &Context<'_>) -> Result<Option<Video>> {
        let app = app(ctx)?;
        position::wait(app, Some(&self.position), &[Waits::Catalogue]).await?;
        let id = ID(self.told.video.to_string());
        Ok(find(app, viewer(ctx)?, &id).await?)
    }
}

pub(crate) struct Subscription;

#[GraphqlSubscription]
impl Subscription {
    /// A video as it is now, and again whenever it changes. It ends when the video is gone.
    #[graphql(complexity = "1 + position::cost(&min_position) + child_complexity")]
    async fn video_changed(
        &self,
        ctx: &Context<'_>,
        id: ID,
        #[graphql(
            desc = "Wait, at most 5 s, until this position of a mutation's answer is visible here."
        )]
        min_position: Option<String>,
    ) -> Result<impl Stream<Item = Result<Video>> + use<>> {
        let (app, viewer) = (app(ctx)?.clone(), viewer(ctx)?.clone());
        // Listen before looking: a change between the two is then noticed.
        let wakes = app.reader.wakes();
        position::wait(&app, min_position.as_deref(), &[Waits::Catalogue]).await?;
        let first = find(&app, &viewer, &id)
            .await?
            .ok_or_else(ApiError::no_such_video)?;
        let watch = Watch {
            id: first.0.id,
            app,
            viewer,
            wakes,
            told: None,
        };
        Ok(stream::unfold(
            (Some(first), Some(watch)),
            |(first, watch)| async move {
                let mut watch = watch?;
                if let Some(first) = first {
                    watch.told = Some(first.clone());
                    return Some((Ok(first), (None, Some(watch))));
                }
                match watch.next_change().await {
                    Ok(Some(video)) => Some((Ok(video), (None, Some(watch)))),
                    Ok(None) => None,
                    Err(error) => Some((Err(error.into()), (None, None))),
                }
            },
        ))
    }

    /// Playable, ready and failed, of public videos and one's own: after a position, or from now on.
    async fn announcements(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The position of the last announcement you saw.")] after: Option<String>,
        #[graphql(default, desc = "Of one's own videos only.")] mine: bool,
    ) -> Result<impl Stream<Item = Result<Announcement>> + use<>> {
        let (app, viewer) = (app(ctx)?.clone(), viewer(ctx)?.clone());
        let of = if mine {
            viewer.with(crate::token::Scope::VideosRead)?;
            Of::Mine
        } else {
            Of::Shown
        };
        let feed = Feed::new(app.clone(), viewer, of, after.as_deref()).await?;
        let batches = stream::unfold((app, Some(feed)), |(app, feed)| async move {
            let mut feed = feed?;
            match batch(&app, &mut feed).await {
                Ok(batch) => Some((batch, (app, Some(feed)))),
                Err(error) => Some((vec![Err(error.into())], (app, None))),
            }
        });
        Ok(futures::StreamExt::flat_map(batches, stream::iter))
    }
}

async fn batch(
    app: &App,
    feed: &mut Feed,
) -> std::result::Result<Vec<Result<Announcement>>, ApiError> {
    let mut batch = vec![];
    for told in feed.next_batch().await? {
        let position = position::token(app, told.commit).await?;
        batch.push(Ok(Announcement { told, position }));
    }
    Ok(batch)
}

/// One video that somebody watches.
struct Watch {
    id: VideoId,
    app: App,
    viewer: Viewer,
    wakes: broadcast::Receiver<Wake>,
    told: Option<Video>,
}

impl Watch {
    /// The video once it differs from what was told; `None` once it is gone.
    async fn next_change(&mut self) -> std::result::Result<Option<Video>, ApiError> {
        loop {
            self.woken().await;
            let video = find(&self.app, &self.viewer, &ID(self.id.to_string())).await?;
            let Some(video) = video else { return Ok(None) };
            if self.told.as_ref().is_none_or(|told| told.0 != video.0) {
                self.told = Some(video.clone());
                return Ok(Some(video));
            }
        }
    }

    async fn woken(&mut self) {
        let id = self.id;
        let about_it = async {
            loop {
                match self.wakes.recv().await {
                    Ok(Wake::Video(changed)) if changed != id => {}
                    Ok(Wake::Announced(_)) => {}
                    Ok(Wake::Video(_) | Wake::Anything)
                    | Err(broadcast::error::RecvError::Lagged(_)) => return,
                    Err(broadcast::error::RecvError::Closed) => {
                        return std::future::pending().await;
                    }
                }
            }
        };
        // No wake-up in time is a reason to look, too.
        let _ = tokio::time::timeout(LOOK_EVERY, about_it).await;
    }
}
