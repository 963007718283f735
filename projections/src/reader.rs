//! What the api reads with: handles to the stores of the read models, and their wake-ups.
//!
//! # Invariants
//!
//! * A wake-up is a hint. It may be lost, repeated or early; who waits also looks by itself.
//! * Which generation is read changes between two queries, never within one.
//! * Every wait has an end. However many wait for a read model, one of them looks at a time.

use std::{
    sync::{Arc, RwLock},
    time::Duration,
};

use domain::id::VideoId;
use sqlx::{PgPool, postgres::PgListener};
use tokio::{
    sync::{Mutex, broadcast, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    announcements, catalogue,
    generations::{self, Generation, Generations},
    owners, popularity, schemas,
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

/// How often is looked which generations serve, should nobody have told.
const SWAPS_EVERY: Duration = Duration::from_secs(1);

const UNPOISONED: &str = "nothing panics while it holds this lock";

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
    postgres_url: String,
    engine: PgPool,
    serving: Arc<RwLock<Serving>>,
    pub(crate) redis: redis::aio::ConnectionManager,
    wakes: broadcast::Sender<Wake>,
    watches: Arc<Watches>,
}

/// The generations that serve, and what they are read with.
struct Serving {
    catalogue: (i64, PgPool),
    /// For queries whose plan depends on what is asked.
    lists: PgPool,
    announcements: (i64, PgPool),
    owners: (i64, PgPool),
    popularity: i64,
}

/// Who waits for each read model.
#[derive(Default)]
struct Watches {
    catalogue: Watch,
    announcements: Watch,
    owners: Watch,
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
    Owners,
    Popularity,
}

impl Reader {
    /// Must be called inside a runtime. Fails only for URLs that cannot be understood.
    pub fn new(postgres_url: &str, redis_url: &str) -> anyhow::Result<Self> {
        let first = |name| generation_pool(postgres_url, name, 1).map(|pool| (1, pool));
        Ok(Self {
            postgres_url: postgres_url.to_owned(),
            engine: schemas::engine(postgres_url)?,
            serving: Arc::new(RwLock::new(Serving {
                catalogue: first(catalogue::NAME)?,
                lists: lists_pool(postgres_url, 1)?,
                announcements: first(announcements::NAME)?,
                owners: first(owners::NAME)?,
                popularity: 1,
            })),
            redis: popularity::connection(redis_url)?,
            wakes: broadcast::channel(WAKES_MAX).0,
            watches: Arc::default(),
        })
    }

    /// What the catalogue is read with. Whoever asks several things of one moment asks one pool.
    pub(crate) fn catalogue(&self) -> PgPool {
        self.serving.read().expect(UNPOISONED).catalogue.1.clone()
    }

    /// The same, for queries whose plan depends on what is asked.
    pub(crate) fn lists(&self) -> PgPool {
        self.serving.read().expect(UNPOISONED).lists.clone()
    }

    #[cfg(test)]
    pub(crate) fn read_lists_with(&self, pool: PgPool) {
        self.serving.write().expect(UNPOISONED).lists = pool;
    }

    pub(crate) fn announcements(&self) -> PgPool {
        let serving = self.serving.read().expect(UNPOISONED);
        serving.announcements.1.clone()
    }

    pub(crate) fn owners(&self) -> PgPool {
        self.serving.read().expect(UNPOISONED).owners.1.clone()
    }

    /// The generation of the counters.
    pub(crate) fn popularity(&self) -> i64 {
        self.serving.read().expect(UNPOISONED).popularity
    }

    pub(crate) async fn generations(&self, model: Model) -> anyhow::Result<Vec<Generation>> {
        let found = Generations::new(self.engine.clone(), model.name())
            .all()
            .await;
        match found {
            Err(error) if error.downcast_ref().is_some_and(store::is_undefined) => Ok(vec![]),
            found => found,
        }
    }

    /// Reads what serves now. [`Reader::listen`] does this whenever it must.
    pub async fn follow_swaps(&self) -> anyhow::Result<()> {
        let mut has_changed = false;
        for (name, number) in generations::serving(&self.engine).await? {
            has_changed |= self.serve(&name, number)?;
        }
        if has_changed {
            self.wake(Wake::Anything);
        }
        Ok(())
    }

    /// Whether it is another one than before.
    fn serve(&self, name: &str, number: i64) -> anyhow::Result<bool> {
        let mut serving = self.serving.write().expect(UNPOISONED);
        let url = &self.postgres_url;
        let before = match name {
            catalogue::NAME => &mut serving.catalogue.0,
            announcements::NAME => &mut serving.announcements.0,
            owners::NAME => &mut serving.owners.0,
            popularity::NAME => &mut serving.popularity,
            // Another release's.
            _ => return Ok(false),
        };
        if std::mem::replace(before, number) == number {
            return Ok(false);
        }
        // Whoever reads from the one before still holds its pool.
        match name {
            catalogue::NAME => {
                serving.catalogue.1 = generation_pool(url, name, number)?;
                serving.lists = lists_pool(url, number)?;
            }
            announcements::NAME => serving.announcements.1 = generation_pool(url, name, number)?,
            owners::NAME => serving.owners.1 = generation_pool(url, name, number)?,
            _ => {}
        }
        tracing::info!(projection = name, "reading generation {number} of {name}");
        Ok(true)
    }

    /// Where the read models outside this process stand, for `/readyz`.
    pub async fn standings(&self) -> anyhow::Result<Vec<Standing>> {
        Ok(vec![
            self.standing(Model::Catalogue).await?,
            self.standing(Model::Announcements).await?,
            self.standing(Model::Owners).await?,
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
            Model::Catalogue => store::checkpoint(&self.catalogue()).await,
            Model::Announcements => store::checkpoint(&self.announcements()).await,
            Model::Owners => store::checkpoint(&self.owners()).await,
            Model::Popularity => {
                popularity::checkpoint(&mut self.redis.clone(), self.popularity()).await
            }
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
            Model::Owners => &self.watches.owners,
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
            // It may be there already, in a generation that nobody has told us of.
            if let Err(error) = self.follow_swaps().await {
                tracing::debug!(
                    error = format!("{error:#}"),
                    "failed to look which generations serve"
                );
            }
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

    /// Feeds [`Reader::wakes`] and follows swaps until `stop`: one connection that listens, made anew
    /// whenever it breaks, and a look now and then.
    pub async fn listen(&self, stop: CancellationToken) {
        tokio::join!(self.listen_on(&stop), self.look_on(&stop));
    }

    async fn look_on(&self, stop: &CancellationToken) {
        loop {
            if let Err(error) = self.follow_swaps().await {
                tracing::debug!(
                    error = format!("{error:#}"),
                    "failed to look which generations serve"
                );
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(SWAPS_EVERY) => {}
            }
        }
    }

    async fn listen_on(&self, stop: &CancellationToken) {
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

    async fn listen_once(&self) -> anyhow::Result<()> {
        let mut listener = PgListener::connect_with(&self.engine).await?;
        listener
            .listen_all([
                catalogue::CHANNEL,
                announcements::CHANNEL,
                generations::CHANNEL,
            ])
            .await?;
        self.wake(Wake::Anything);
        // `None`: the connection was lost, and with it perhaps some notifications.
        while let Some(notification) = listener.try_recv().await? {
            let payload = notification.payload();
            if notification.channel() == generations::CHANNEL {
                self.follow_swaps().await?;
                continue;
            }
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

fn generation_pool(url: &str, name: &str, number: i64) -> anyhow::Result<PgPool> {
    schemas::pool(url, &schemas::schema(name, number), CONNECTIONS_MAX)
}

fn lists_pool(url: &str, number: i64) -> anyhow::Result<PgPool> {
    schemas::pool_that_plans(url, &schemas::schema(catalogue::NAME, number), LISTS_MAX)
}
