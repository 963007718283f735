//! The conductor: plans jobs, hands their tasks to workers, reacts to what they report.
//!
//! # Invariants
//!
//! * At most one conductor acts at a time; the others wait (`leader`).
//! * Nothing reads the whole history at the start: the checkpoint and the open jobs stand in
//!   tables (`store`), and only the streams of open jobs are folded (`stream`).
//! * All appends to a job go through its one `actor`.
//! * Killed between any two lines and started again, it does what is left to do, once.
//!
//! # Limits
//!
//! At most [`Config::open_jobs_max`] jobs (10,000) are open at a time. While there are so many the
//! log is not followed any further: what comes later, deletions included, waits until a job is
//! over. A warning says so; more workers make it end sooner.

mod actor;
mod clock;
mod crew;
mod deletion;
mod desk;
mod figures;
mod finish;
mod follow;
mod handle;
mod leader;
mod leases;
mod leftovers;
mod need;
mod past;
mod queue;
mod queues;
mod roll;
mod service;
mod spec;
mod store;
mod stream;
mod wire;

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use eventlog::{Log, LogError};
use objects::Objects;
use tokio::{
    net::TcpListener,
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc},
};
use tokio_util::sync::CancellationToken;

use crate::{
    actor::Actor,
    crew::Crew,
    desk::Desk,
    handle::JobHandle,
    leader::Leadership,
    leases::Leases,
    store::{Checkpoint, OpenJob, Store},
};

/// Job streams read at a time.
const READING_MAX: usize = 16;

/// The pauses before the log is asked again which one it is.
const LOG_PAUSE: Duration = Duration::from_millis(500);

#[derive(Clone)]
pub struct Config {
    pub postgres_url: String,
    /// What workers show. It has no default.
    pub worker_token: String,
    /// How long a worker may be silent before its task is handed on.
    pub lease: Duration,
    /// How often workers are asked to beat.
    pub heartbeat: Duration,
    /// How long one attempt of `finish` waits for an object store that is away.
    pub storage_patience: Duration,
    /// Jobs kept open at a time: each is kept in memory.
    pub open_jobs_max: usize,
    /// How long what a retry replaced is kept, for players and caches that have its playlist. Not
    /// below the life of a signed address and the longest PUT, which come to 25 hours.
    pub leftovers_kept: Duration,
}

impl Config {
    pub fn new(postgres_url: impl Into<String>, worker_token: impl Into<String>) -> Self {
        Self {
            postgres_url: postgres_url.into(),
            worker_token: worker_token.into(),
            lease: Duration::from_secs(10),
            heartbeat: Duration::from_secs(2),
            storage_patience: Duration::from_secs(30),
            open_jobs_max: 10_000,
            leftovers_kept: Duration::from_secs(48 * 60 * 60),
        }
    }

    /// A lease outlives several heartbeats, however short it is made.
    pub(crate) fn heartbeat(&self) -> Duration {
        self.heartbeat.min(self.lease / 4)
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure!(!self.worker_token.is_empty(), "the worker token is empty");
        ensure!(!self.lease.is_zero(), "a lease lasts for some time");
        ensure!(self.open_jobs_max > 0, "no job may be open");
        Ok(())
    }
}

/// What everything in a leading conductor shares.
pub(crate) struct Context {
    pub config: Config,
    pub log: Log,
    pub objects: Objects,
    pub store: Store,
    pub desk: Arc<Desk>,
    /// There may be something to erase.
    pub deletable: Notify,
    /// Turns at reading job streams.
    pub reading: Semaphore,
    /// Places for open jobs.
    pub places: Arc<Semaphore>,
}

/// Serves workers, as soon as this conductor leads, until `stop`.
///
/// Fails when the leadership is lost: whoever started it starts it again.
pub async fn serve(
    listener: TcpListener,
    config: Config,
    log: Log,
    objects: Objects,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    config.check()?;
    // Dropping this future tells connections and followers, which are not our tasks, to end.
    let stop = stop.child_token();
    let _on_drop = stop.clone().drop_guard();

    let desk = Arc::new(Desk::new());
    let service = service::serve(
        listener,
        config.clone(),
        objects.clone(),
        desk.clone(),
        stop.clone(),
    );
    crew::run(stop.clone(), async move |crew: Crew| {
        crew.spawn("grpc", service).await;
        lead(config, log, objects, desk, crew, stop).await
    })
    .await
}

/// Waits for the leadership, takes up what is open, and follows the log from there.
async fn lead(
    config: Config,
    log: Log,
    objects: Objects,
    desk: Arc<Desk>,
    crew: Crew,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let Some(leadership) = Leadership::wait(&config.postgres_url, &stop).await? else {
        return Ok(());
    };
    tracing::info!("this conductor leads");
    crew.spawn("leadership", leadership.keep(stop.clone()))
        .await;

    let store = Store::open(&config.postgres_url).await?;
    let Some(checkpoint) = checkpoint(&store, &log, &stop).await? else {
        return Ok(());
    };
    let open_jobs = store
        .open_jobs()
        .await
        .context("failed to read the open jobs")?;
    let places = Arc::new(Semaphore::new(config.open_jobs_max));
    let context = Arc::new(Context {
        config,
        log,
        objects,
        store,
        desk,
        deletable: Notify::new(),
        reading: Semaphore::new(READING_MAX),
        places,
    });

    // Every clone is dropped when its job was read: then there is nothing more to receive.
    let (unread, mut all_read) = mpsc::channel::<()>(1);
    for open in open_jobs {
        let place = context.places.clone().try_acquire_owned().ok();
        let unread = unread.clone();
        let read = move || drop(unread);
        employ(&context, &crew, &stop, open, place, read).await;
    }
    drop(unread);
    all_read.recv().await;
    context.desk.open();
    tracing::info!(
        commit = checkpoint.commit,
        "all open jobs were read, following the log"
    );

    crew.spawn("queues", queues::show(context.clone(), stop.clone()))
        .await;
    crew.spawn("deletions", deletion::run(context.clone(), stop.clone()))
        .await;
    follow::run(context, crew, checkpoint, stop).await
}

/// Where this log is to be followed from. `None`: it was told to stop before that was known.
///
/// Tables that are not of this log begin anew.
async fn checkpoint(
    store: &Store,
    log: &Log,
    stop: &CancellationToken,
) -> anyhow::Result<Option<Checkpoint>> {
    // Read before the log is asked: an event that is known here is in the log by then.
    let stored = store.checkpoint();
    let stored = stored.await.context("failed to read the checkpoint")?;
    let Some((epoch, head)) = identity(log, stop).await else {
        return Ok(None);
    };
    if let Some(stored) = stored {
        let Checkpoint {
            epoch: known,
            last_event,
            ..
        } = &stored;
        // Where the log's last event is not known, nothing can be said.
        let is_ahead = head.is_some() && *last_event > head;
        if *known == epoch && !is_ahead {
            return Ok(Some(stored));
        }
        if *known == epoch {
            tracing::warn!(
                last_event,
                head,
                "the log has lost its end, for example by being restored from a backup: \
                 its conductor begins anew from what is left"
            );
        } else {
            tracing::warn!("this is another log, of epoch {epoch}: its conductor begins anew");
        }
    }
    let began = store.begin_anew(&epoch).await;
    began.context("failed to begin the conductor's tables anew")?;
    Ok(Some(Checkpoint {
        epoch,
        commit: None,
        last_event: None,
    }))
}

/// Which log it is, and its last event of ours.
async fn identity(log: &Log, stop: &CancellationToken) -> Option<(String, Option<u64>)> {
    while !stop.is_cancelled() {
        let asked = async { Ok::<_, LogError>((log.epoch().await?, log.head().await?)) };
        match asked.await {
            Ok((epoch, head)) => return Some((epoch.to_string(), head)),
            Err(error) => {
                tracing::warn!(%error, "the log does not say which one it is, asking again")
            }
        }
        tokio::time::sleep(LOG_PAUSE).await;
    }
    None
}

/// Gives an open job its actor, unless it has one.
pub(crate) async fn employ(
    context: &Arc<Context>,
    crew: &Crew,
    stop: &CancellationToken,
    open: OpenJob,
    place: Option<OwnedSemaphorePermit>,
    read: impl FnOnce() + Send + 'static,
) {
    let (handle, messages) = JobHandle::new(&open, Leases::new(context.config.lease));
    let handle = Arc::new(handle);
    if !context.desk.enter(handle.clone()) {
        return;
    }
    let actor = Actor::new(context.clone(), open, handle, messages);
    let running = actor.run(stop.clone(), read);
    crew.spawn("job", async move {
        let _place = place;
        running.await
    })
    .await;
}
