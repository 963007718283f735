//! What may be served of each video, kept for a moment so that no query is made per segment.
//!
//! # Invariants
//!
//! * Only published keys are on the shelf, also of what a retry has replaced since: players go on
//!   with the playlist that they have. What is not on it does not exist for players.
//! * It forgets a video as soon as its catalogue entry changes, and in any case soon.
//! * The number of keys it remembers is bounded.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{
    id::{RenditionId, VideoId},
    media::Kind,
    video::Visibility,
};
use moka::{Expiry, future::Cache};
use projections::{
    catalogue::{self, Playback},
    reader::{Reader, Wake},
};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

/// Object keys remembered over all videos.
const KEYS_MAX: u64 = 1_000_000;
/// How long an entry that may still change is believed without a wake-up.
const GROWING_TTL: Duration = Duration::from_secs(1);
/// How long a complete one is.
const COMPLETE_TTL: Duration = Duration::from_secs(10);

/// A video as players see it.
pub(crate) struct Shelved {
    pub visibility: Visibility,
    pub playback: Playback,
    /// What may be fetched, by key without `videos/{video}/`.
    files: HashMap<String, File>,
}

/// One object that players may fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct File {
    pub size_bytes: u64,
    pub content_type: &'static str,
}

pub(crate) struct Shelf {
    reader: Reader,
    videos: Cache<VideoId, Option<Arc<Shelved>>>,
}

impl Shelf {
    pub(crate) fn new(reader: Reader) -> Self {
        let weigh = |_: &VideoId, shelved: &Option<Arc<Shelved>>| {
            let files = shelved.as_ref().map_or(0, |shelved| shelved.files.len());
            u32::try_from(files + 1).unwrap_or(u32::MAX)
        };
        Self {
            reader,
            videos: Cache::builder()
                .max_capacity(KEYS_MAX)
                .weigher(weigh)
                .expire_after(Age)
                .build(),
        }
    }

    /// The video, if anything of it can be played.
    pub(crate) async fn video(
        &self,
        id: VideoId,
    ) -> Result<Option<Arc<Shelved>>, Arc<anyhow::Error>> {
        self.videos
            .try_get_with(id, async {
                let playback = catalogue::playback(&self.reader, id).await?;
                let playable = playback.filter(|playback| playback.playable);
                Ok(playable.map(|playback| Arc::new(Shelved::new(id, playback))))
            })
            .await
    }

    /// Forgets what changed, until `stop`.
    pub(crate) async fn forget_changes(&self, stop: CancellationToken) {
        let mut wakes = self.reader.wakes();
        loop {
            let wake = tokio::select! {
                () = stop.cancelled() => return,
                wake = wakes.recv() => wake,
            };
            match wake {
                Ok(Wake::Video(id)) => self.videos.invalidate(&id).await,
                Ok(Wake::Announced(_)) => {}
                Ok(Wake::Anything) | Err(RecvError::Lagged(_)) => self.videos.invalidate_all(),
                Err(RecvError::Closed) => return,
            }
        }
    }
}

impl Shelved {
    fn new(id: VideoId, playback: Playback) -> Self {
        let prefix = prefix(id);
        let mut files = HashMap::new();
        let mut add = |key: &str, size_bytes, content_type| {
            // Whatever an event may say: nothing outside the video's own folder is served.
            if let Some(file) = key.strip_prefix(&prefix) {
                files.insert(
                    file.to_owned(),
                    File {
                        size_bytes,
                        content_type,
                    },
                );
            }
        };
        for published in playback.renditions.iter().chain(&playback.replaced) {
            let content_type = match published.rendition.kind {
                Kind::Video { .. } => "video/mp4",
                Kind::Audio { .. } => "audio/mp4",
            };
            if let Some(init) = &published.init {
                add(&init.key, init.size_bytes, content_type);
            }
            for segment in &published.segments {
                add(&segment.key, segment.size_bytes, content_type);
            }
        }
        Self {
            visibility: playback.visibility,
            playback,
            files,
        }
    }

    pub(crate) fn file(&self, name: &str) -> Option<File> {
        self.files.get(name).copied()
    }

    pub(crate) fn rendition(&self, id: &str) -> Option<&domain::media::Published> {
        let id = RenditionId(id.to_owned());
        self.playback
            .renditions
            .iter()
            .find(|published| published.rendition.id == id && published.init.is_some())
    }
}

/// Where a video's outputs stand in the object store.
pub(crate) fn prefix(id: VideoId) -> String {
    format!("videos/{id}/")
}

struct Age;

impl Expiry<VideoId, Option<Arc<Shelved>>> for Age {
    fn expire_after_create(
        &self,
        _: &VideoId,
        shelved: &Option<Arc<Shelved>>,
        _: Instant,
    ) -> Option<Duration> {
        let complete = shelved
            .as_ref()
            .is_some_and(|shelved| shelved.playback.complete);
        Some(if complete { COMPLETE_TTL } else { GROWING_TTL })
    }
}
