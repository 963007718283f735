//! `kinolog-eventstore`: the node as a process of its own.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::{Parser, Subcommand};
use kinolog_eventstore::limits::SEGMENT_BYTES;
use kinolog_eventstore::{Config, backup, inspect, verify};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// An EventStoreDB-compatible node on one disk.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves the log in a folder until SIGTERM or Ctrl-C.
    Serve {
        /// The folder of the log; made if it is not there.
        #[arg(long)]
        dir: PathBuf,
        /// A loopback address. Not used when KINOLOG_LISTEN_FD names a socket.
        #[arg(long, default_value = "127.0.0.1:2113")]
        listen: SocketAddr,
        /// The descriptor of a socket that listens already.
        #[arg(long, env = "KINOLOG_LISTEN_FD", hide = true)]
        listen_fd: Option<RawFd>,
        /// How long a segment may grow: short ones make tests of crashes meet their seams.
        #[arg(long, hide = true, default_value_t = SEGMENT_BYTES,
            value_parser = clap::value_parser!(u64).range(1024..=SEGMENT_BYTES))]
        segment_bytes: u64,
    },
    /// Proves that a log is whole and says its head, as one line of JSON.
    Verify {
        /// The folder of the log. Nothing is changed in it; a node may be running.
        dir: PathBuf,
        /// A head noted before: also proves that the history up to it is unchanged.
        #[arg(long)]
        head: Option<String>,
    },
    /// Copies a log, also of a running node, or adds to an earlier copy what is new.
    ///
    /// Only what is durable is copied, every record is checked on the way, and the copy is a
    /// log at every moment, whatever interrupts this. Says what the copy holds as one line of
    /// JSON. To restore, serve the copy, or a copy of it.
    Backup {
        /// The folder of the log. A node may be running on it.
        dir: PathBuf,
        /// The folder of the copy; made if it is not there. No node may be running on it.
        dest: PathBuf,
    },
    /// Prints records as lines of JSON.
    Inspect {
        /// The folder of the log. Nothing is changed in it; a node may be running.
        dir: PathBuf,
        /// Only this stream.
        #[arg(long)]
        stream: Option<String>,
        /// The first position.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// So many records at most.
        #[arg(long)]
        limit: Option<u64>,
    },
}

fn main() -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let (config, listen, listen_fd) = match Cli::parse().command {
        Command::Serve {
            dir,
            listen,
            listen_fd,
            segment_bytes,
        } => {
            let config = Config {
                dir,
                segment_bytes,
                system_event: true,
            };
            (config, listen, listen_fd)
        }
        Command::Verify { dir, head } => {
            let verified = verify::verify(&dir, head.as_deref())?;
            writeln!(std::io::stdout(), "{}", verified.json())?;
            return Ok(());
        }
        Command::Backup { dir, dest } => {
            let copied = backup::backup(&dir, &dest, &mut progress())?;
            writeln!(std::io::stdout(), "{}", copied.json())?;
            return Ok(());
        }
        Command::Inspect {
            dir,
            stream,
            from,
            limit,
        } => {
            let wanted = inspect::Wanted {
                stream,
                from,
                limit,
            };
            return inspect::inspect(&dir, &wanted, &mut std::io::stdout().lock());
        }
    };
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")?
        .block_on(serve(config, listen, listen_fd))
}

/// Says on a terminal how far a long copy is.
fn progress() -> impl FnMut(u64, u64) {
    const EVERY: Duration = Duration::from_millis(200);
    const MIB: u64 = 1024 * 1024;
    let shown = std::io::stderr().is_terminal();
    let mut said = Instant::now();
    move |read, total| {
        if shown && said.elapsed() >= EVERY {
            said = Instant::now();
            // A terminal that has gone away is no reason to stop copying.
            let _ = write!(
                std::io::stderr(),
                "\r{} of {} MiB\x1b[K\r",
                read / MIB,
                total / MIB
            );
        }
    }
}

async fn serve(config: Config, listen: SocketAddr, listen_fd: Option<RawFd>) -> anyhow::Result<()> {
    use_all_descriptors();
    let listener = match listen_fd {
        Some(descriptor) => inherited(descriptor)
            .with_context(|| format!("failed to take over the socket at {descriptor}"))?,
        None => {
            ensure!(
                listen.ip().is_loopback(),
                "{listen} is not a loopback address"
            );
            TcpListener::bind(listen)
                .await
                .with_context(|| format!("failed to listen on {listen}"))?
        }
    };
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let server = kinolog_eventstore::serve(listener, config, stop.clone());
    tokio::pin!(server);
    tokio::select! {
        served = &mut server => return served,
        _ = terminate.recv() => tracing::info!("stopping on SIGTERM"),
        _ = interrupt.recv() => tracing::info!("stopping on SIGINT"),
    }
    stop.cancel();
    server.await
}

/// Takes as many descriptors as it may have: connections need them, and segments.
fn use_all_descriptors() {
    let files = Resource::RLIMIT_NOFILE;
    let raised = getrlimit(files).and_then(|(_, most)| setrlimit(files, most, most));
    if let Err(errno) = raised {
        tracing::warn!("failed to raise the limit of open files: {errno}");
    }
}

/// The socket a supervisor has bound and handed down. Children of ours do not get it.
fn inherited(descriptor: RawFd) -> anyhow::Result<TcpListener> {
    ensure!(descriptor > 2, "{descriptor} is a standard stream");
    fcntl(
        // SAFETY: only borrowed for this call; a descriptor that is not open is an error.
        unsafe { std::os::fd::BorrowedFd::borrow_raw(descriptor) },
        FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC),
    )
    .context("no such descriptor")?;
    // SAFETY: it is open, as was just seen, and the supervisor gave it to this process
    // for exactly this, once.
    let owned = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let listener = std::net::TcpListener::from(owned);
    listener.set_nonblocking(true)?;
    Ok(TcpListener::from_std(listener)?)
}
