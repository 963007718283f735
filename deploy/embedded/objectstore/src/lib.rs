//! An S3 endpoint for one machine: one bucket in one folder.
//!
//! What a request was told is on disk; what a crash interrupts leaves the old object or the
//! new one. See `README.md` for what of S3 it speaks and its limits.

mod blob;
mod error;
mod full;
mod http;
mod integrity;
mod journal;
mod listing;
mod outbox;
mod read;
mod record;
mod s3;
mod state;
mod store;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use crate::http::Cors;
pub use crate::outbox::Notify;

/// S3's limit of a single PUT or part.
pub const PUT_BYTES_MAX: u64 = 5 << 30;
/// An object in parts.
pub const OBJECT_BYTES_MAX: u64 = 50 << 30;
/// Free space puts leave for the journal and for the neighbours on the disk.
pub const RESERVE_BYTES: u64 = 64 << 20;
/// How long somebody may take nothing of what is sent to them; then their connection is closed.
pub const STALLED_MAX: Duration = Duration::from_secs(60);
/// Open multipart uploads older than this are aborted.
const UPLOAD_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
const SWEEP_EVERY: Duration = Duration::from_secs(3600);
/// What open requests get to finish in after `stop`.
const GRACE: Duration = Duration::from_secs(8);

#[derive(Clone)]
pub struct Config {
    pub dir: PathBuf,
    pub bucket: String,
    pub access_key: String,
    pub secret_key: String,
    pub notify: Option<Notify>,
    pub cors: Cors,
    pub put_bytes_max: u64,
    pub object_bytes_max: u64,
    pub reserve_bytes: u64,
    pub stalled: Duration,
}

impl Config {
    /// The defaults around what has none.
    pub fn new(
        dir: impl Into<PathBuf>,
        bucket: impl Into<String>,
        access_key: impl Into<String>,
        secret_key: impl Into<String>,
    ) -> Self {
        Self {
            dir: dir.into(),
            bucket: bucket.into(),
            access_key: access_key.into(),
            secret_key: secret_key.into(),
            notify: None,
            cors: Cors::AnyOrigin,
            put_bytes_max: PUT_BYTES_MAX,
            object_bytes_max: OBJECT_BYTES_MAX,
            reserve_bytes: RESERVE_BYTES,
            stalled: STALLED_MAX,
        }
    }
}

/// Serves the folder until `stop`. An error if it cannot be opened, or if nothing can be made
/// durable any more.
pub async fn serve(
    listener: TcpListener,
    config: Config,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let (dir, reserve_bytes) = (config.dir.clone(), config.reserve_bytes);
    let opened = tokio::task::spawn_blocking(move || store::Store::open(&dir, reserve_bytes));
    let (store, guard) = opened.await?.context("failed to open the object store")?;
    let store = Arc::new(store);
    let failed = store.failed.clone();

    let stop = stop.child_token();
    let kill = CancellationToken::new();
    let tracker = TaskTracker::new();
    let cause = failed.clone();
    let stopping = stop.clone();
    tracker.spawn(async move {
        stopping.run_until_cancelled(cause.cancelled()).await;
        stopping.cancel();
    });
    tracker.spawn(sweep(Arc::clone(&store), stop.clone()));
    if let Some(notify) = config.notify.clone() {
        let deliver = outbox::deliver(
            Arc::clone(&store),
            config.bucket.clone(),
            notify,
            stop.clone(),
        );
        tracker.spawn(async move {
            if let Err(error) = deliver.await {
                tracing::error!(error = format!("{error:#}"), "the outbox failed");
            }
        });
    }
    let http = http::Http {
        service: service(&config, store),
        cors: config.cors,
        stalled: config.stalled,
    };
    http::accept(listener, http, &tracker, &stop, &kill).await;

    tracker.close();
    if tokio::time::timeout(GRACE, tracker.wait()).await.is_err() {
        tracing::warn!("cut off requests that did not end in time");
        kill.cancel();
        tracker.wait().await;
    }
    tokio::task::spawn_blocking(move || guard.close()).await?;
    if failed.is_cancelled() {
        bail!("the object store could not make a change durable");
    }
    Ok(())
}

fn service(config: &Config, store: Arc<store::Store>) -> s3s::service::S3Service {
    let mut builder = S3ServiceBuilder::new(s3::Backend {
        store,
        bucket: config.bucket.clone(),
        announced: config.notify.as_ref().map(|notify| notify.prefix.clone()),
        limits: s3::Limits {
            put_bytes_max: config.put_bytes_max,
            object_bytes_max: config.object_bytes_max,
        },
    });
    builder.set_auth(SimpleAuth::from_single(
        config.access_key.as_str(),
        config.secret_key.as_str(),
    ));
    builder.build()
}

/// Aborts multipart uploads nobody came back to.
async fn sweep(store: Arc<store::Store>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(SWEEP_EVERY);
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        let age_ms = i64::try_from(UPLOAD_AGE_MAX.as_millis()).unwrap_or(i64::MAX);
        let oldest_ms = s3::now_ms() - age_ms;
        let old: Vec<_> = {
            let state = store.state();
            let old = state
                .uploads
                .iter()
                .filter(|(_, upload)| upload.at_ms < oldest_ms);
            old.map(|(id, _)| *id).collect()
        };
        for upload in old {
            let change = state::Change::AbortUpload { upload };
            if let Err(refusal) = store.commit(change, writer::Condition::None).await {
                tracing::debug!(%refusal, %upload, "did not abort an old upload this time");
            }
        }
    }
}
