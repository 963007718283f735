//! The read models as operators see them: how far each is, and which videos it stopped.
//!
//! # Invariants
//!
//! * All of it is read from the stores, so that it is right after any restart, whoever asks.

use domain::id::VideoId;
use serde::{Deserialize, Serialize};

use crate::{
    announcements, catalogue,
    generations::{Generation, State},
    owners, popularity,
    reader::{Model, Reader},
    store,
};

/// How many stopped videos of a read model are listed.
pub const STOPPED_MAX: usize = 100;

/// A video that a read model does not follow any more, since an event of it could not be applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    pub video: VideoId,
    /// Of the event.
    pub position: u64,
    #[serde(rename = "type")]
    pub type_name: String,
    pub error: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Overview {
    pub name: &'static str,
    /// The generation that serves, and the version of the projection that built it.
    pub generation: i64,
    pub version: i64,
    /// All others that are there.
    pub beside: Vec<Generation>,
    /// The commit position up to which it contains everything; none at the beginning of the log.
    pub position: Option<u64>,
    /// Whether it has been at the log's head once.
    pub caught_up: bool,
    /// How many events of ours it has read. What it reads in a second is told from that.
    pub events: u64,
    /// How many bytes of log lie between it and the last event of ours.
    pub lag_bytes: u64,
    pub stopped: u64,
    /// The first [`STOPPED_MAX`] of them.
    pub stopped_videos: Vec<Stopped>,
}

/// One read model outside the api's own process. `head` is the position of the log's last event.
pub async fn overview(
    reader: &Reader,
    model: Model,
    head: Option<u64>,
) -> anyhow::Result<Overview> {
    let name = model.name();
    reader.follow_swaps().await?;
    let (mut serving, mut beside) = (None, vec![]);
    for generation in reader.generations(model).await? {
        match generation.state {
            State::Serving => serving = Some(generation),
            State::Building | State::Kept | State::Refused | State::Dropped => {
                beside.push(generation);
            }
        }
    }
    let checkpoint = reader.checkpoint(model).await?;
    let (position, caught_up, events) = match &checkpoint {
        Some(found) => (found.commit, found.caught_up, found.events),
        None => (None, false, 0),
    };
    let (stopped, mut stopped_videos) = match (model, checkpoint) {
        (_, None) => (0, vec![]),
        (Model::Catalogue, Some(_)) => in_postgres(&reader.catalogue()).await?,
        (Model::Announcements, Some(_)) => in_postgres(&reader.announcements()).await?,
        (Model::Owners, Some(_)) => in_postgres(&reader.owners()).await?,
        (Model::Popularity, Some(_)) => {
            let stopped =
                popularity::stopped(&mut reader.redis.clone(), reader.popularity()).await?;
            (stopped.len() as u64, stopped)
        }
    };
    stopped_videos.truncate(STOPPED_MAX);
    Ok(Overview {
        name,
        generation: serving.as_ref().map_or(1, |serving| serving.number),
        version: serving.map_or(1, |serving| serving.version),
        beside,
        position,
        caught_up,
        events,
        lag_bytes: head.unwrap_or(0).saturating_sub(position.unwrap_or(0)),
        stopped,
        stopped_videos,
    })
}

async fn in_postgres(pool: &sqlx::PgPool) -> anyhow::Result<(u64, Vec<Stopped>)> {
    let count = store::stopped_count(pool).await?;
    Ok((count, store::stopped(pool, STOPPED_MAX).await?))
}

impl Model {
    pub const ALL: [Self; 4] = [
        Self::Catalogue,
        Self::Announcements,
        Self::Owners,
        Self::Popularity,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Catalogue => catalogue::NAME,
            Self::Announcements => announcements::NAME,
            Self::Owners => owners::NAME,
            Self::Popularity => popularity::NAME,
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|model| model.name() == name)
    }
}
