//! One subscriber's announcements: which ones, from where on.
//!
//! # Invariants
//!
//! * The cursor only goes forward; whatever was passed over or told is behind it.
//! * Visibility is that of now, not that of when the subscription was made.

use std::{collections::HashSet, sync::Arc};

use domain::{
    id::VideoId,
    video::{Status, Visibility},
};
use projections::{announcements::Announcement, catalogue, reader::Model};
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;

use crate::{
    app::{App, moment},
    error::{ApiError, Code, internal},
    notifications::{CATALOGUE_WAIT, unread},
    position,
    viewer::Viewer,
};

/// Videos of one subscription.
pub(crate) const VIDEOS_MAX: usize = 1_000;

/// Which announcements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Of {
    /// Those of one's own videos.
    Mine,
    Videos(HashSet<VideoId>),
    /// Those of all videos that the viewer may meet: public ones and their own.
    Shown,
}

pub(crate) struct Feed {
    app: App,
    viewer: Viewer,
    of: Of,
    cursor: u64,
    heads: watch::Receiver<Option<u64>>,
}

impl Feed {
    /// Begins after the position `after`, or with what is announced from now on.
    pub(crate) async fn new(
        app: App,
        viewer: Viewer,
        of: Of,
        after: Option<&str>,
    ) -> Result<Self, ApiError> {
        let heads = app.hub.heads();
        let cursor = match after {
            Some(text) => {
                let cursor = position::parse(&app, text).await?;
                if !app.hub.keeps(cursor).await.map_err(unread)? {
                    return Err(position::expired(
                        "announcements after this position are not kept any more",
                    ));
                }
                cursor
            }
            // While the table is being rebuilt it ends before the log did when we began.
            None => {
                let newest = app.hub.newest().await.map_err(unread)?;
                newest.max(app.head_at_start().await?.unwrap_or(0))
            }
        };
        let feed = Self {
            app,
            viewer,
            of,
            cursor,
            heads,
        };
        feed.check_visibility().await?;
        Ok(feed)
    }

    pub(crate) fn cursor(&self) -> u64 {
        self.cursor
    }

    pub(crate) fn seen_by(&mut self, viewer: Viewer) {
        self.viewer = viewer;
    }

    /// The next announcements, as frames. Cancel-safe: what was not returned comes again.
    pub(crate) async fn next(&mut self) -> Result<Vec<Value>, ApiError> {
        let (batch, last) = self.look().await?;
        let mut frames = vec![];
        for announcement in batch {
            frames.push(frame(&self.app, &announcement).await?);
        }
        self.cursor = last;
        Ok(frames)
    }

    /// The next announcements, at least one. Cancel-safe.
    pub(crate) async fn next_batch(&mut self) -> Result<Vec<Arc<Announcement>>, ApiError> {
        let (batch, last) = self.look().await?;
        self.cursor = last;
        Ok(batch)
    }

    /// What is next for this viewer, and where the cursor stands once that is told.
    async fn look(&mut self) -> Result<(Vec<Arc<Announcement>>, u64), ApiError> {
        loop {
            self.heads.borrow_and_update();
            let batch = self.app.hub.after(self.cursor).await.map_err(unread)?;
            let Some(last) = batch.last().map(|announcement| announcement.commit) else {
                // The sender lives as long as the app, which we hold.
                let _ = self.heads.changed().await;
                continue;
            };
            let mut told = vec![];
            for announcement in batch {
                if self.is_for_viewer(&announcement).await? {
                    told.push(announcement);
                }
            }
            if !told.is_empty() {
                return Ok((told, last));
            }
            self.cursor = last;
        }
    }

    async fn is_for_viewer(&self, announcement: &Announcement) -> Result<bool, ApiError> {
        let own = self.viewer.owns(&announcement.owner);
        match &self.of {
            Of::Mine => return Ok(own),
            Of::Videos(videos) if !videos.contains(&announcement.video) => return Ok(false),
            Of::Videos(_) | Of::Shown if own || self.viewer.operates() => return Ok(true),
            Of::Videos(_) | Of::Shown => {}
        }
        let visibility = self.visibility_now(announcement).await?;
        Ok(match (&self.of, visibility) {
            (_, None) => false,
            (Of::Videos(_), Some(visibility)) => self.viewer.sees(&announcement.owner, visibility),
            (Of::Shown | Of::Mine, Some(visibility)) => {
                self.viewer.is_shown(&announcement.owner, visibility)
            }
        })
    }

    /// What the catalogue says once it contains the announcement's event; `None` if the
    /// video is gone. One query per announcement, however many listen.
    async fn visibility_now(
        &self,
        announcement: &Announcement,
    ) -> Result<Option<Visibility>, ApiError> {
        let (app, id, commit) = (&self.app, announcement.video, announcement.commit);
        let looked = app
            .visibilities
            .try_get_with((id, commit), async {
                let there = app
                    .reader
                    .wait_for(Model::Catalogue, commit, CATALOGUE_WAIT)
                    .await?;
                anyhow::ensure!(there, "the catalogue did not reach position {commit}");
                let video = catalogue::video(&app.reader, id).await?;
                Ok(video.map(|video| video.details.visibility))
            })
            .await;
        looked.map_err(internal(format!("check who may see video {id}")))
    }

    /// Whoever names videos must be allowed to see each of them. One that was made a moment ago
    /// counts, though the catalogue may not contain it yet.
    async fn check_visibility(&self) -> Result<(), ApiError> {
        if self.hidden().await?.is_none() {
            return Ok(());
        }
        let app = &self.app;
        let head = app
            .log
            .head()
            .await
            .map_err(internal("read the end of the log"))?;
        let is_there = match head {
            Some(head) => app
                .reader
                .wait_for(Model::Catalogue, head, CATALOGUE_WAIT)
                .await
                .map_err(internal("wait for the catalogue"))?,
            None => true,
        };
        let Some(id) = self.hidden().await? else {
            return Ok(());
        };
        // It may be in what the catalogue has not seen yet.
        if !is_there {
            return Err(internal(format!("look up video {id}"))(
                "the catalogue is behind the log",
            ));
        }
        Err(no_such_video(&id.to_string()))
    }

    /// One of the named videos which the viewer may not see, as far as the catalogue knows.
    async fn hidden(&self) -> Result<Option<VideoId>, ApiError> {
        let Of::Videos(videos) = &self.of else {
            return Ok(None);
        };
        let ids: Vec<VideoId> = videos.iter().copied().collect();
        for ids in ids.chunks(catalogue::PAGE_MAX) {
            let found = catalogue::videos_by_ids(&self.app.reader, ids)
                .await
                .map_err(internal("read videos to subscribe to"))?;
            let hidden = ids.iter().find(|id| {
                !found.iter().any(|video| {
                    video.id == **id && self.viewer.sees(&video.owner, video.details.visibility)
                })
            });
            if hidden.is_some() {
                return Ok(hidden.copied());
            }
        }
        Ok(None)
    }
}

pub(crate) fn no_such_video(id: &str) -> ApiError {
    let shown: String = id.chars().take(64).collect();
    ApiError::new(Code::NotFound, format!("there is no video {shown}"))
}

/// An announcement as `/notifications` tells it.
async fn frame(app: &App, announcement: &Announcement) -> Result<Value, ApiError> {
    let failure = announcement
        .failure
        .as_ref()
        .map(|failure| json!({"code": failure.code.as_str(), "message": failure.message}));
    let at = moment(announcement.at_ms);
    Ok(json!({
        "type": announcement.kind.as_str(),
        "video": {
            "id": announcement.video.to_string(),
            "title": announcement.title,
            "status": status_word(announcement.status),
            "durationMs": announcement.duration_ms,
            "width": announcement.width,
            "height": announcement.height,
            "failure": failure,
        },
        "position": position::token(app, announcement.commit).await?,
        "at": at.format(&Rfc3339).unwrap_or_default(),
    }))
}

/// As in the GraphQL schema.
fn status_word(status: Status) -> &'static str {
    match status {
        Status::Uploading => "UPLOADING",
        Status::Processing => "PROCESSING",
        Status::Ready => "READY",
        Status::Failed => "FAILED",
        Status::Expired => "EXPIRED",
        Status::Deleted | Status::Unknown => "DELETED",
    }
}
