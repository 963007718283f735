//! The roles that this program can play, one per process.
//!
//! # Invariants
//!
//! * A role stops within its grace period when it is told to, and at once when told twice.
//! * A listening socket comes from the supervisor or is bound here, never both.

use std::{
    net::TcpListener as StdListener,
    os::fd::{FromRawFd, OwnedFd, RawFd},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, bail};
use api::token::Scope;
use eventlog::Log;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use objects::Objects;
use tokio::{net::TcpListener, signal::unix::SignalKind};
use tokio_util::sync::CancellationToken;

use crate::config::Settings;

/// How long a role may take to stop.
const GRACE: Duration = Duration::from_secs(10);

const OBJECT_STORE: [&str; 4] = ["s3_endpoint", "s3_bucket", "s3_access_key", "s3_secret_key"];

/// GraphQL, uploads, playback and sockets.
pub async fn api(
    settings: Settings,
    listener: TcpListener,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    settings.need(&OBJECT_STORE)?;
    settings.need(&[
        "eventstore",
        "postgres",
        "redis",
        "token_secret",
        "playback_secret",
        "hook_token",
        "public_url",
        "search_dir",
    ])?;
    let config = api::Config {
        postgres_url: settings.postgres.0.clone(),
        redis_url: settings.redis.0.clone(),
        search_dir: PathBuf::from(&settings.search_dir),
        token_secret: settings.token_secret.0.clone(),
        hook_token: settings.hook_token.0.clone(),
        playback_secret: settings.playback_secret.0.clone(),
        public_url: settings.public_url.clone(),
        ranking: settings.ranking(),
        tuning: settings.tuning(),
    };
    let (log, objects) = (log(&settings)?, objects(&settings)?);
    api::serve(listener, config, log, objects, stop).await
}

/// Keeps the read models.
pub async fn project(settings: Settings, stop: CancellationToken) -> anyhow::Result<()> {
    settings.need(&["eventstore", "postgres", "redis"])?;
    let config = projections::Config {
        postgres_url: settings.postgres.0.clone(),
        redis_url: settings.redis.0.clone(),
    };
    projections::run(config, log(&settings)?, stop).await
}

/// Plans jobs and hands their tasks to workers.
pub async fn conduct(
    settings: Settings,
    listener: TcpListener,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    settings.need(&OBJECT_STORE)?;
    settings.need(&["eventstore", "postgres", "worker_token"])?;
    let config = conductor::Config {
        lease: Duration::from_millis(settings.lease_ms),
        heartbeat: Duration::from_millis(settings.heartbeat_ms),
        ..conductor::Config::new(&settings.postgres.0, &settings.worker_token.0)
    };
    let (log, objects) = (log(&settings)?, objects(&settings)?);
    conductor::serve(listener, config, log, objects, stop).await
}

/// A token for `subject` that this platform accepts.
pub fn token(
    settings: &Settings,
    subject: &str,
    scope: &str,
    ttl: Duration,
) -> anyhow::Result<String> {
    settings.need(&["token_secret"])?;
    let scopes: Vec<Scope> = scope
        .split([' ', ','])
        .filter(|word| !word.is_empty())
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    api::token::mint(&settings.token_secret.0, subject, &scopes, ttl)
}

pub fn log(settings: &Settings) -> anyhow::Result<Log> {
    Log::new(&settings.eventstore).context("the address of the event log cannot be used")
}

pub fn objects(settings: &Settings) -> anyhow::Result<Objects> {
    let config = objects::Config {
        endpoint: settings.s3_endpoint.clone(),
        bucket: settings.s3_bucket.clone(),
        region: settings.s3_region.clone(),
        access_key: settings.s3_access_key.0.clone(),
        secret_key: settings.s3_secret_key.0.clone(),
    };
    Objects::new(&config).context("the object store's settings cannot be used")
}

/// Runs a role until it ends by itself or the process is told to stop.
pub async fn until_told<F, R>(role: F) -> anyhow::Result<()>
where
    F: FnOnce(CancellationToken) -> R,
    R: Future<Output = anyhow::Result<()>>,
{
    let stop = CancellationToken::new();
    let role = role(stop.clone());
    tokio::pin!(role);
    tokio::select! {
        ended = &mut role => return ended,
        told = told_to_stop() => told?,
    }
    tracing::info!("stopping");
    stop.cancel();
    tokio::select! {
        ended = &mut role => ended,
        () = tokio::time::sleep(GRACE) => bail!("did not stop within {} s", GRACE.as_secs()),
        told = told_to_stop() => { told?; bail!("told twice to stop") }
    }
}

async fn told_to_stop() -> anyhow::Result<()> {
    let mut interrupt = tokio::signal::unix::signal(SignalKind::interrupt())?;
    let mut terminate = tokio::signal::unix::signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// The socket that the supervisor handed down, or one bound here.
pub async fn listener(address: Option<&str>) -> anyhow::Result<TcpListener> {
    let Ok(text) = std::env::var("KINOLOG_LISTEN_FD") else {
        let address = address.context("say where to listen: --listen HOST:PORT")?;
        return TcpListener::bind(address)
            .await
            .with_context(|| format!("failed to listen on {address}"));
    };
    let number: RawFd = text.parse().context("KINOLOG_LISTEN_FD must be a number")?;
    // SAFETY: the supervisor handed this socket down for us alone; a wrong number fails below.
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    // Children of ours have no use for it.
    fcntl(&socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))
        .context("KINOLOG_LISTEN_FD names no open socket")?;
    let listener = StdListener::from(socket);
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener).context("KINOLOG_LISTEN_FD names no listening socket")
}
