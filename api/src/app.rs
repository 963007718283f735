//! The handles that requests are answered with.

use std::{
    ops::Deref,
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::Context;
use async_graphql::dataloader::DataLoader;
use domain::{id::VideoId, video::Visibility};
use eventlog::{Epoch, Log};
use moka::future::Cache;
use objects::Objects;
use projections::{reader::Reader, search::Index};
use time::OffsetDateTime;
use tokio::sync::{OnceCell, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Config,
    error::{ApiError, internal},
    graphql::loader::{Attempts, Pasts, Renditions, Views},
    hub::Hub,
    limiter::Limiter,
    play::shelf::Shelf,
};

/// Digests of sources that were computed here, kept while somebody may ask again.
const DIGESTS_MAX: u64 = 1_000;
const DIGEST_TTL: Duration = Duration::from_secs(10 * 60);

const VISIBILITIES_MAX: u64 = 10_000;
const VISIBILITY_TTL: Duration = Duration::from_secs(2);

/// A cheap handle to everything below.
#[derive(Clone)]
pub(crate) struct App(Arc<Handles>);

pub(crate) struct Handles {
    pub config: Config,
    pub log: Log,
    pub objects: Objects,
    pub reader: Reader,
    pub search: Index,
    pub hub: Hub,
    pub shelf: Shelf,
    pub limiter: Limiter,
    pub sockets: Arc<Semaphore>,
    pub requests: Arc<Semaphore>,
    /// By key and ETag.
    pub digests: Cache<String, String>,
    /// What the catalogue says about an announcement's video, for all who are to be told.
    pub visibilities: Cache<(VideoId, u64), Option<Visibility>>,
    pub views: DataLoader<Views>,
    pub renditions: DataLoader<Renditions>,
    pub attempts: DataLoader<Attempts>,
    pub pasts: DataLoader<Pasts>,
    pub tasks: TaskTracker,
    pub stop: CancellationToken,
    /// Why a background task gave up, if one did.
    pub failure: OnceLock<String>,
    epoch: OnceCell<Epoch>,
    head_at_start: OnceCell<Option<u64>>,
}

impl Deref for App {
    type Target = Handles;

    fn deref(&self) -> &Handles {
        &self.0
    }
}

impl App {
    /// Connects to nothing yet: every part may still be starting.
    pub(crate) fn new(
        config: Config,
        log: Log,
        objects: Objects,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        config.check()?;
        let tasks = TaskTracker::new();
        let reader = Reader::new(&config.postgres_url, &config.redis_url)
            .context("failed to set up the read models")?;
        let search = Index::open(&config.search_dir, config.ranking)
            .context("failed to open the search index")?;
        let (spawn, spawn_too, spawn_also) = (tasks.clone(), tasks.clone(), tasks.clone());
        let spawn_pasts = tasks.clone();
        Ok(Self(Arc::new(Handles {
            hub: Hub::new(reader.clone()),
            shelf: Shelf::new(reader.clone()),
            limiter: Limiter::new(config.tuning.views_per_minute),
            sockets: Arc::new(Semaphore::new(config.tuning.sockets_max)),
            requests: Arc::new(Semaphore::new(config.tuning.requests_max)),
            digests: Cache::builder()
                .max_capacity(DIGESTS_MAX)
                .time_to_live(DIGEST_TTL)
                .build(),
            visibilities: Cache::builder()
                .max_capacity(VISIBILITIES_MAX)
                .time_to_live(VISIBILITY_TTL)
                .build(),
            views: DataLoader::new(Views(reader.clone()), move |task| spawn.spawn(task))
                .max_batch_size(Views::BATCH_MAX),
            renditions: DataLoader::new(Renditions(reader.clone()), move |task| {
                spawn_too.spawn(task)
            })
            .max_batch_size(Renditions::BATCH_MAX),
            attempts: DataLoader::new(Attempts(reader.clone()), move |task| spawn_also.spawn(task))
                .max_batch_size(Attempts::BATCH_MAX),
            pasts: DataLoader::new(Pasts(log.clone()), move |task| spawn_pasts.spawn(task))
                .max_batch_size(Pasts::BATCH_MAX),
            failure: OnceLock::new(),
            epoch: OnceCell::new(),
            head_at_start: OnceCell::new(),
            config,
            log,
            objects,
            reader,
            search,
            tasks,
            stop,
        })))
    }

    /// The log's epoch; asked once, as soon as the log answers.
    pub(crate) async fn epoch(&self) -> Result<Epoch, ApiError> {
        self.epoch
            .get_or_try_init(|| self.log.epoch())
            .await
            .copied()
            .map_err(internal("read the epoch of the log"))
    }

    /// Where the log ended when this process first reached it.
    pub(crate) async fn head_at_start(&self) -> Result<Option<u64>, ApiError> {
        self.head_at_start
            .get_or_try_init(|| self.log.head())
            .await
            .copied()
            .map_err(internal("read the end of the log"))
    }
}

/// The clock, in Unix ms.
pub(crate) fn now_ms() -> i64 {
    (OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000) as i64
}

/// A moment of an event, as clients see it.
pub(crate) fn moment(at_ms: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at_ms) * 1_000_000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
