//! `kinolog-worker`: the program. Its hidden `child` command is the sandboxed half.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use kinolog_worker::attempt::Patience;
use kinolog_worker::capacity::{self, Capacity};
use kinolog_worker::claim::{self, Settings};
use kinolog_worker::launch::Launcher;
use kinolog_worker::link::{self, Link};
use kinolog_worker::memory::RESIDENT_BYTES_MAX;
use kinolog_worker::{check, child, clip, count};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// What any attempt may take, however short and small its source is.
const ATTEMPT_BASE: Duration = Duration::from_secs(900);

/// Takes transcoding tasks from a conductor and runs each in a sandbox.
#[derive(Parser)]
#[command(name = "kinolog-worker", version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    worker: Worker,
}

#[derive(Args)]
struct Worker {
    /// Where the conductor listens; several addresses, with commas between them, where one
    /// of several conductors leads.
    #[arg(
        long,
        env = "KINOLOG_CONDUCTOR",
        default_value = "http://127.0.0.1:8090"
    )]
    conductor: String,
    /// A stable name of this worker, and of no other.
    #[arg(long, env = "KINOLOG_WORKER_NAME", default_value = "worker")]
    name: String,
    /// A folder of this worker's own; holds the plugin registry unless --registry says where.
    #[arg(long, env = "KINOLOG_WORKER_SCRATCH", global = true)]
    scratch: Option<PathBuf>,
    /// The GStreamer plugin registry: made once, then only read.
    #[arg(long, env = "KINOLOG_WORKER_REGISTRY", global = true)]
    registry: Option<PathBuf>,
    /// Take one task, then exit.
    #[arg(long)]
    once: bool,
    /// Take tasks of these kinds only: probe, passthrough, encode, audio, poster.
    #[arg(long, env = "KINOLOG_WORKER_KINDS", value_delimiter = ',',
        value_parser = ["probe", "passthrough", "encode", "audio", "poster"])]
    kinds: Vec<String>,
    /// How many tasks to run at a time; one for each core if not said.
    #[arg(long, env = "KINOLOG_WORKER_SLOTS", value_parser = clap::value_parser!(u32).range(1..=256))]
    slots: Option<u32>,
    /// The memory that all tasks together may take; if not said, 750 for each slot, but no more than
    /// three quarters of what is free.
    #[arg(long, env = "KINOLOG_WORKER_MEMORY_MIB", value_parser = clap::value_parser!(u32).range(64..))]
    memory_mib: Option<u32>,
    /// Exit after so long without a task.
    #[arg(long, env = "KINOLOG_WORKER_IDLE_SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    idle_seconds: Option<u64>,
    /// A child that shows no progress for so long is stopped.
    #[arg(long, env = "KINOLOG_WORKER_STALL_SECONDS", default_value_t = 60)]
    stall_seconds: u64,
    /// A child that really uses more memory is stopped.
    #[arg(
        long,
        env = "KINOLOG_WORKER_CHILD_MEMORY_MIB",
        default_value_t = RESIDENT_BYTES_MAX >> 20,
        value_parser = clap::value_parser!(u64).range(16..=1 << 20)
    )]
    child_memory_mib: u64,
}

#[derive(Subcommand)]
enum Command {
    /// Says whether this machine has everything that is needed, and which package is missing.
    Check {
        /// Also try to break out of the sandbox.
        #[arg(long)]
        sandbox: bool,
    },
    /// Decodes a whole file, and says in JSON how much came out.
    Count { file: PathBuf },
    /// Writes a clip to try things with.
    Clip {
        file: PathBuf,
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
        seconds: u32,
    },
    #[command(hide = true)]
    Child {
        #[arg(long)]
        self_test: bool,
    },
    #[command(hide = true)]
    WarmRegistry,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // The child must have no other thread when it closes its cell: no runtime, no logger.
    match cli.command {
        Some(Command::Child { self_test }) => return child::run(self_test),
        Some(Command::WarmRegistry) => return check::warm_registry(),
        Some(Command::Count { file }) => return done(count::run(&file).map(|it| println!("{it}"))),
        Some(Command::Clip { file, seconds }) => return done(clip::make(&file, seconds)),
        Some(Command::Check { .. }) | None => {}
    }
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let ended = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("failed to start the runtime")
        .and_then(|runtime| runtime.block_on(run(cli)));
    match ended {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The end of a command that is no worker.
fn done(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kinolog-worker: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let registry = registry(&cli.worker)?;
    let launcher = Launcher::new(registry)?.with_memory(cli.worker.child_memory_mib << 20);
    if let Some(Command::Check { sandbox }) = cli.command {
        return check::run(&launcher, sandbox).await;
    }

    let token = std::env::var("KINOLOG_WORKER_TOKEN")
        .context("KINOLOG_WORKER_TOKEN is not set: the conductor's worker token")?;
    let stop = CancellationToken::new();
    let slots = cli.worker.slots.unwrap_or_else(capacity::slots_here);
    let memory_mib = cli
        .worker
        .memory_mib
        .unwrap_or_else(|| capacity::memory_mib_here(slots));
    let worker = link::Worker {
        name: cli.worker.name.clone(),
        kinds: cli.worker.kinds,
        capacity: Capacity::new(slots, memory_mib),
    };
    let link = Link::new(&cli.worker.conductor, &token, worker)?;
    let settings = Settings {
        once: cli.worker.once,
        patience: Patience {
            stall: Duration::from_secs(cli.worker.stall_seconds.max(1)),
            base: ATTEMPT_BASE,
        },
        idle: cli.worker.idle_seconds.map(Duration::from_secs),
    };
    check::warn_of_sandbox(&launcher).await;
    tracing::info!(
        worker = cli.worker.name,
        slots,
        memory_mib,
        "worker {} is ready",
        cli.worker.name
    );
    let working = claim::work(link, launcher, settings, stop.clone());
    tokio::pin!(working);
    tokio::select! {
        ended = &mut working => ended?,
        () = terminated() => {
            tracing::info!("stopping");
            stop.cancel();
            working.await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn registry(worker: &Worker) -> anyhow::Result<PathBuf> {
    if let Some(registry) = &worker.registry {
        return Ok(registry.clone());
    }
    let scratch = match &worker.scratch {
        Some(scratch) => scratch.clone(),
        None => std::env::temp_dir().join("kinolog-worker"),
    };
    std::fs::create_dir_all(&scratch)
        .with_context(|| format!("failed to make the folder {}", scratch.display()))?;
    Ok(scratch.join("gstreamer-registry.bin"))
}

async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}
