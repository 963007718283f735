//! `kinolog-objectstore serve`: the embedded S3 endpoint as a process.
//!
//! Secrets come from the environment only: `KINOLOG_S3_ACCESS_KEY`, `KINOLOG_S3_SECRET_KEY`,
//! `KINOLOG_HOOK_TOKEN`. With `KINOLOG_LISTEN_FD` it serves a socket that its parent bound.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, RawFd};
use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::{Args, Parser, Subcommand};
use kinolog_objectstore::{Config, Cors, Notify, RESERVE_BYTES};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

#[derive(Parser)]
#[command(version, about = "An S3 endpoint for one machine")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves one bucket from a folder.
    Serve(Serve),
}

#[derive(Args)]
struct Serve {
    /// Where everything is stored.
    #[arg(long)]
    dir: PathBuf,
    /// Unless KINOLOG_LISTEN_FD names an inherited socket.
    #[arg(long, default_value = "127.0.0.1:9000")]
    listen: SocketAddr,
    #[arg(long, default_value = "kinolog")]
    bucket: String,
    /// Told about every created object (S3 event JSON, bearer token).
    #[arg(long)]
    notify_url: Option<String>,
    /// Keys that are announced.
    #[arg(long, default_value = "sources/")]
    notify_prefix: String,
    /// Origins a browser may come from; any, if none is given.
    #[arg(long)]
    cors_origin: Vec<String>,
    /// Free bytes that uploads leave on the disk.
    #[arg(long, default_value_t = RESERVE_BYTES)]
    reserve_bytes: u64,
}

fn main() -> anyhow::Result<()> {
    // The S3 library logs whole requests, signatures included, and each refusal as an error.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let filter = filter.add_directive("s3s=off".parse()?);
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(filter)
        .init();
    // Beyond a limit on file sizes a write fails, instead of the process.
    // SAFETY: the handler is `SIG_IGN`, which runs no code.
    unsafe {
        nix::sys::signal::signal(
            nix::sys::signal::SIGXFSZ,
            nix::sys::signal::SigHandler::SigIgn,
        )
    }
    .context("failed to ignore SIGXFSZ")?;

    let Command::Serve(args) = Cli::parse().command;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(args))
}

async fn serve(args: Serve) -> anyhow::Result<()> {
    let mut config = Config::new(
        args.dir,
        args.bucket,
        secret("KINOLOG_S3_ACCESS_KEY")?,
        secret("KINOLOG_S3_SECRET_KEY")?,
    );
    if let Some(url) = args.notify_url {
        let token = secret("KINOLOG_HOOK_TOKEN")?;
        config.notify = Some(Notify {
            url,
            token,
            prefix: args.notify_prefix,
        });
    }
    if !args.cors_origin.is_empty() {
        config.cors = Cors::Origins(args.cors_origin);
    }
    config.reserve_bytes = args.reserve_bytes;

    let listener = match std::env::var("KINOLOG_LISTEN_FD") {
        Ok(fd) => inherited(fd.parse().context("KINOLOG_LISTEN_FD is not a number")?)?,
        Err(_) => TcpListener::bind(args.listen)
            .await
            .with_context(|| format!("failed to listen on {}", args.listen))?,
    };
    let address = listener.local_addr()?;
    tracing::info!(%address, "listening on {address}");

    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let serving = kinolog_objectstore::serve(listener, config, stop.clone());
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        ended = serving.as_mut() => return ended,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    stop.cancel();
    serving.await
}

fn secret(name: &str) -> anyhow::Result<String> {
    let value = std::env::var(name).with_context(|| format!("{name} is not set"))?;
    ensure!(!value.is_empty(), "{name} is empty");
    Ok(value)
}

/// The listening socket our parent left open at `fd`.
fn inherited(fd: RawFd) -> anyhow::Result<TcpListener> {
    ensure!(fd > 2, "KINOLOG_LISTEN_FD names a standard stream");
    // SAFETY: the parent gave this descriptor to us alone, and nothing here has touched it yet.
    let socket = unsafe { std::net::TcpListener::from_raw_fd(fd) };
    fcntl(&socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).context("failed to set CLOEXEC")?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket).context("KINOLOG_LISTEN_FD is not a listening socket")
}
