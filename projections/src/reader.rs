//! What the api reads with: handles to the stores of the read models, and their wake-ups.
//!
//! # Invariants
//!
//! * A wake-up is a hint. It may be lost, repeated or early; who waits also looks by itself.
//! * Every wait has an end. However many wait for a read model, one of them looks at a time.

use std::{sync::Arc, time::Duration};

use domain::id::VideoId;
use sqlx::{PgPool, postgres::PgListener};
use tokio::{
    sync::{Mutex, broadcast, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    announcements, catalogue, popularity,
    store::{self, Checkpoint},
};

/// Connections for the queries of one process, per read model.
const CONNECTIONS_MAX: u32 = 8;

/// Connections for lists.
const LISTS_MAX: u32 = 4;

/// How often a wait looks by itself.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Wake-ups a slow listener may be behind before it is told to look at everything.
const WAKES_MAX: usize = 1024;

const RECONNECT_AFTER: Duration = Duration::from_secs(1);

/// Something changed in a read model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// The catalogue changed for this video.
    Video(VideoId),
    /// There is an announcement at this commit position.
    Announced(u64),
    /// The connection was away: anything may have changed.
    Anything,
}

/// A cheap handle; connects when it is first used, and again whenever it must.
#[derive(Clone)]
pub struct Reader {
    pub(crate) catalogue: PgPool,
    /// For queries whose plan depends on what is asked.
    pub(crate) lists: PgPool,
    pub(crate) announcements: PgPool,
    pub(crate) redis: redis::aio::ConnectionManager,
    wakes: broadcast::Sender<Wake>,
    watches: Arc<Watches>,
}

/// Who waits for each read model.
#[derive(Default)]
struct Watches {
    catalogue: Watch,
    announcements: Watch,
    popularity: Watch,
}

/// One of those who wait looks, and tells the others what it saw.
#[derive(Default)]
struct Watch {
    looking: Mutex<()>,
    seen: watch::Sender<Option<u64>>,
}

/// How far a read model is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub name: &'static str,
    /// The last commit position it contains; `None` at the beginning of the log.
    pub commit: Option<u64>,
    /// Whether it has been at the log's head once since it was built: before that, it must not be served.
    pub caught_up: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    Catalogue,
    Announcements,
    Popularity,
}

impl Reader {
    /// Must be called inside a runtime. Fails only for URLs that cannot be understood.
    pub fn new(postgres_url: &str, redis_url: &str) -> anyhow::Result<Self> {
        Ok(Self {
            catalogue: store::pool(postgres_url, catalogue::SCHEMA, CONNECTIONS_MAX)?,
            lists: store::pool_that_plans(postgres_url, catalogue::SCHEMA, LISTS_MAX)?,
            announcements: store::pool(postgres_url, announcements::SCHEMA, CONNECTIONS_MAX)?,
            redis: popularity::connection(redis_url)?,
            wakes: broadcast::channel(WAKES_MAX).0,
            watches: Arc::default(),
        })
    }

    /// Where the read models outside this process stand, for `/readyz`.
    pub async fn standings(&self) -> anyhow::Result<Vec<Standing>> {
        Ok(vec![
            self.standing(Model::Catalogue).await?,
            self.standing(Model::Announcements).await?,
            self.standing(Model::Popularity).await?,
        ])
    }

    pub async fn standing(&self, model: Model) -> anyhow::Result<Standing> {
        let name = model.name();
        Ok(match self.checkpoint(model).await? {
            Some(found) => Standing {
                name,
                commit: found.commit,
                caught_up: found.caught_up,
            },
            None => Standing {
                name,
                commit: None,
                caught_up: false,
            },
        })
    }

    pub(crate) async fn checkpoint(&self, model: Model) -> anyhow::Result<Option<Checkpoint>> {
        match model {
            Model::Catalogue => store::checkpoint(&self.catalogue).await,
            Model::Announcements => store::checkpoint(&self.announcements).await,
            Model::Popularity => popularity::checkpoint(&mut self.redis.clone()).await,
        }
    }

    /// Waits until `model` contains everything up to the commit position `commit`.
    /// False when that did not happen within `timeout`.
    pub async fn wait_for(
        &self,
        model: Model,
        commit: u64,
        timeout: Duration,
    ) -> anyhow::Result<bool> {
        let deadline = Instant::now() + timeout;
        let watch = match model {
            Model::Catalogue => &self.watches.catalogue,
            Model::Announcements => &self.watches.announcements,
            Model::Popularity => &self.watches.popularity,
        };
        // Listening begins before the look, so that nothing falls between the two.
        let mut seen = watch.seen.subscribe();
        if self.standing(model).await?.commit >= Some(commit) {
            return Ok(true);
        }
        let told = async {
            // Only what is new: what was seen before we came may have been rebuilt since.
            while seen.changed().await.is_ok() {
                if *seen.borrow_and_update() >= Some(commit) {
                    return;
                }
            }
        };
        let waiting = async {
            tokio::select! {
                reached = self.look_for_all(watch, model, commit) => reached,
                () = told => Ok(()),
            }
        };
        match tokio::time::timeout_at(deadline, waiting).await {
            Ok(reached) => reached.map(|()| true),
            Err(_) => Ok(false),
        }
    }

    /// Looks on until `commit` is there, when it is our turn. Whoever is next goes on when we stop.
    async fn look_for_all(&self, watch: &Watch, model: Model, commit: u64) -> anyhow::Result<()> {
        let _turn = watch.looking.lock().await;
        let mut wakes = self.wakes();
        loop {
            let now = self.standing(model).await?.commit;
            watch
                .seen
                .send_if_modified(|seen| std::mem::replace(seen, now) != now);
            if now >= Some(commit) {
                return Ok(());
            }
            // Woken, lagging behind or timed out: the answer to each is another look.
            let _ = tokio::time::timeout(LOOK_EVERY, wakes.recv()).await;
        }
    }

    /// From now on. A receiver that lags should look at everything, as after [`Wake::Anything`].
    pub fn wakes(&self) -> broadcast::Receiver<Wake> {
        self.wakes.subscribe()
    }

    /// Feeds [`Reader::wakes`] until `stop`: one connection that listens, made anew whenever it breaks.
    pub async fn listen(&self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => return,
                ended = self.listen_once() => {
                    if let Err(error) = ended {
                        tracing::warn!(error = format!("{error:#}"), "failed to listen for changes of the read models");
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(RECONNECT_AFTER) => {}
            }
        }
    }

    async fn listen_once(&self) -> sqlx::Result<()> {
        let mut listener = PgListener::connect_with(&self.catalogue).await?;
        listener
            .listen_all([catalogue::CHANNEL, announcements::CHANNEL])
            .await?;
        self.wake(Wake::Anything);
        // `None`: the connection was lost, and with it perhaps some notifications.
        while let Some(notification) = listener.try_recv().await? {
            let payload = notification.payload();
            let wake = if notification.channel() == catalogue::CHANNEL {
                payload.parse().map(Wake::Video).ok()
            } else {
                payload.parse().map(Wake::Announced).ok()
            };
            self.wake(wake.unwrap_or(Wake::Anything));
        }
        Ok(())
    }

    fn wake(&self, wake: Wake) {
        // Fails only when nobody listens.
        let _ = self.wakes.send(wake);
    }
}
