//! An EventStoreDB-compatible node on one disk: the log of a Kinolog on a laptop.
//!
//! What a record goes through: a call (`grpc`) puts it in the writer's queue; the
//! writer decides it together with what else is waiting (`group`), appends the group to
//! a segment file and syncs once (`writer`); then the index shows it (`part`, `view`),
//! readers and subscriptions find it there and read it from the file (`store`). Beside
//! that, what is finished of the index goes to files of its own (`indexer`), so that the
//! next start has little to read (`recovery`).
//!
//! # Invariants
//!
//! * Nothing is acknowledged or shown to anybody before it is durable.
//! * The segment files are the only truth; everything else is derived from them.
//! * See [`limits`] for the maximum of everything.

pub mod backup;
mod clock;
mod disk;
mod epoch;
mod expect;
mod expression;
mod figures;
mod filter;
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod fuzzing;
mod group;
#[expect(
    clippy::result_large_err,
    reason = "tonic's Status is what calls are answered with"
)]
mod grpc;
mod host;
mod indexer;
pub mod inspect;
mod lately;
pub mod limits;
mod little_endian;
mod mark;
mod metadata;
mod part;
mod patience;
pub mod protocol;
mod record;
mod recovery;
mod segment;
#[cfg(test)]
mod simulation;
mod socket;
mod store;
mod unreadable;
pub mod verify;
mod view;
mod walk;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Server;
use tower::util::MapRequestLayer;

pub use disk::{Disk, DiskFile, Folder};

/// Where the log is and how it is cut.
#[derive(Clone, Debug)]
pub struct Config {
    pub dir: PathBuf,
    /// A segment file is closed before it would grow past this.
    pub segment_bytes: u64,
    /// An empty log is begun with an event of the system's, as a real server begins its own.
    pub system_event: bool,
}

impl Config {
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            segment_bytes: limits::SEGMENT_BYTES,
            system_event: false,
        }
    }
}

/// Opens the log in the folder and serves it until `stop`; connections made before it is
/// open wait. An error means that the log cannot be opened, or written any more.
pub async fn serve(
    listener: TcpListener,
    config: Config,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let Config {
        dir,
        segment_bytes,
        system_event,
    } = config;
    let disk = tokio::task::spawn_blocking(move || Folder::open(&dir))
        .await
        .context("the opening was cut short")??;
    run(Arc::new(disk), segment_bytes, system_event, listener, stop).await
}

/// The same on any [`Disk`].
pub async fn serve_on(
    disk: Arc<dyn Disk>,
    segment_bytes: u64,
    listener: TcpListener,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    run(disk, segment_bytes, false, listener, stop).await
}

async fn run(
    disk: Arc<dyn Disk>,
    segment_bytes: u64,
    system_event: bool,
    listener: TcpListener,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let address = listener.local_addr()?;
    ensure!(
        address.ip().is_loopback(),
        "the event store has no passwords: it listens on loopback addresses only, not {address}",
    );
    let folder = disk.folder().map(Path::to_owned);
    let (store, tail) = open(disk.clone(), segment_bytes).await?;
    let (queue, mut written) = writer::start(disk, store.clone(), tail, segment_bytes)?;
    if system_event {
        epoch::begin(&store, &queue).await;
    }

    // Also stops when this future is dropped or fails.
    let stop = stop.child_token();
    let _stop_all = stop.clone().drop_guard();
    let tasks = TaskTracker::new();
    let node = grpc::Node::new(store, queue, tasks.clone(), stop.clone());
    let routes = grpc::routes(node, address, folder);
    let mut server = Box::pin(
        Server::builder()
            // For the few things clients ask without gRPC.
            .accept_http1(true)
            .max_concurrent_streams(limits::CALLS_PER_CONNECTION_MAX)
            .initial_stream_window_size(1024 * 1024)
            .initial_connection_window_size(4 * 1024 * 1024)
            .http2_keepalive_interval(Some(limits::KEEPALIVE))
            .http2_keepalive_timeout(Some(limits::KEEPALIVE))
            .layer(MapRequestLayer::new(grpc::called::noted))
            .add_routes(routes)
            .serve_with_incoming_shutdown(
                socket::connections(listener),
                stop.clone().cancelled_owned(),
            ),
    );
    tracing::info!("serving the log on {address}");

    let failed = tokio::select! {
        served = &mut server => return served.context("failed to serve"),
        ended = &mut written => Some(ended),
        () = stop.cancelled() => None,
    };
    stop.cancel();
    tasks.close();
    let end = async { tokio::join!(&mut server, tasks.wait()).0 };
    match tokio::time::timeout(limits::STOP_GRACE, end).await {
        Ok(served) => served.context("failed to serve")?,
        Err(_) => tracing::warn!("clients were still connected at the end"),
    }
    // The writer ends, and unlocks the folder, once nobody can ask it for anything.
    drop(server);
    let ended = match failed {
        Some(ended) => ended,
        None => match tokio::time::timeout(limits::STOP_GRACE, written).await {
            Ok(ended) => ended,
            Err(_) => return Ok(()),
        },
    };
    ended
        .context("the writer vanished")?
        .context("the log cannot be written")
}

async fn open(
    disk: Arc<dyn Disk>,
    segment_bytes: u64,
) -> anyhow::Result<(Arc<store::Store>, recovery::Tail)> {
    let opening = move || recovery::open(&disk, segment_bytes);
    let (store, tail) = tokio::task::spawn_blocking(opening)
        .await
        .context("the opening was cut short")??;
    tracing::info!(
        position = tail.position,
        "opened the log at position {}",
        tail.position
    );
    Ok((store, tail))
}
