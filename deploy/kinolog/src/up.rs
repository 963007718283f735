//! The supervisor: a whole platform on one machine, one process per role.
//!
//! # Invariants
//!
//! * It binds the ports itself and keeps them: a role that is started again loses no
//!   connection attempt, because its queue of callers stays with the supervisor.
//! * It spawns from the thread that lives as long as itself (see `child`).
//! * `addresses.json` is there exactly while the platform is ready: written whole when all
//!   is up, again when a process changes, removed before the first role is stopped.
//! * Roles stop in the reverse order of who needs whom; the log is last.
//! * A full disk stops no role: once it is ready, nothing it writes for others is vital.

use std::{
    fmt, fs,
    io::{ErrorKind, Write},
    net::TcpListener,
    os::{fd::AsRawFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{signal::unix::SignalKind, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    config::Settings,
    platform::{self, Addresses},
    roles,
};
use child::{Board, Spec};
use secrets::Secrets;

pub mod child;
mod demand;
pub mod lock;
pub mod log_file;
pub mod plan;
pub mod postgres;
pub mod ready;
pub(crate) mod secrets;

/// How long the first start may take, initdb and migrations included.
pub const READY_TIMEOUT: Duration = Duration::from_secs(120);
/// How long all roles together may take to stop.
const DOWN_TIMEOUT: Duration = Duration::from_secs(90);
/// How long the roles of a supervisor that was killed may take to let go of its ports.
const BIND_TIMEOUT: Duration = Duration::from_secs(5);
/// When `addresses.json` is tried again after it could not be written.
const REWRITE_PAUSE: Duration = Duration::from_secs(2);
/// How long the token in `addresses.json` is valid.
const TOKEN_TTL: Duration = Duration::from_secs(30 * 24 * 3600);

/// The ports to bind; 0 is any free one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ports {
    pub api: u16,
    pub eventstore: u16,
    pub objectstore: u16,
    pub conductor: u16,
}

pub struct Options {
    /// Absolute.
    pub data: PathBuf,
    pub workers: u16,
    /// Start workers when there is work for them, and keep none when there is none.
    pub workers_on_demand: bool,
    pub ports: Ports,
    pub settings: Settings,
}

/// The listening sockets, for as long as the supervisor lives.
pub struct Sockets {
    pub api: TcpListener,
    pub conductor: TcpListener,
    /// `None` where another one is used.
    pub eventstore: Option<TcpListener>,
    pub objectstore: Option<TcpListener>,
}

/// Runs the platform until it is told to stop.
pub async fn run(options: Options) -> anyhow::Result<()> {
    prepare_folder(&options.data)?;
    let _lock = lock::Lock::take(&options.data)?;
    platform::forget(&options.data)?;

    let stop = CancellationToken::new();
    cancel_on_signal(stop.clone())?;
    let sockets = tokio::select! {
        sockets = bind(&options) => sockets?,
        () = stop.cancelled() => return Ok(()),
    };
    let mut settings = options.settings.clone();
    Secrets::of(&options.data)?.fill(&mut settings);
    let plan = plan::plan(&options, settings, &sockets)?;

    let board = Arc::new(Board::default());
    let mut stages = Stages::default();
    let outcome = start_and_serve(&options, &plan, &board, &mut stages, &stop).await;
    // Whoever looks for the platform from now on finds none.
    let forgotten = platform::forget(&options.data);
    say(format_args!("kinolog: stopping"));
    stages.stop().await;
    say(format_args!("kinolog: stopped"));
    outcome.and(forgotten)
}

/// Tells who started us. Where nobody can be told (a log on a full disk, a terminal that is
/// gone) the platform goes on, which `eprintln!` would not.
pub(crate) fn say(text: fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

async fn start_and_serve(
    options: &Options,
    plan: &plan::Plan,
    board: &Arc<Board>,
    stages: &mut Stages,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let came_up = async {
        stages.start(&plan.log, board);
        stages.start(&plan.stores, board);
        ready::stores(plan).await?;
        ready::tables(plan).await;
        stages.start(&plan.projections, board);
        stages.start(&plan.api, board);
        stages.start(&plan.conductor, board);
        match options.workers_on_demand {
            true => stages.start_on_demand(plan, board)?,
            false => stages.start(&plan.workers, board),
        }
        ready::platform(plan, board).await
    };
    let ready = tokio::select! {
        ready = tokio::time::timeout(READY_TIMEOUT, came_up) => ready,
        () = stop.cancelled() => return Ok(()),
    };
    match ready {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(error),
        Err(_) => bail!("{}", ready::what_is_missing(plan, board).await),
    }
    let mut changes = board.changes();
    let addresses = addresses(options, plan, board)?;
    addresses.write(&options.data)?;
    // Like `say`: it runs, whoever hears of it.
    let _ = write!(std::io::stdout(), "{}", addresses.block(&options.data));
    let mut stale = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            changed = changes.changed() => changed.context("the board of processes is gone")?,
            () = tokio::time::sleep(REWRITE_PAUSE), if stale => {}
        }
        let now = Addresses {
            processes: board.processes(),
            ..addresses.clone()
        };
        let written = now.write(&options.data);
        if let Err(error) = &written
            && !stale
        {
            say(format_args!(
                "kinolog: {error:#}; trying again until it works"
            ));
        }
        stale = written.is_err();
    }
}

/// Who was started, in order.
#[derive(Default)]
struct Stages {
    running: Vec<(CancellationToken, Vec<JoinHandle<()>>)>,
}

impl Stages {
    /// Starts roles that may be stopped together.
    fn start(&mut self, specs: &[Spec], board: &Arc<Board>) {
        let stop = CancellationToken::new();
        let keepers = specs
            .iter()
            .map(|spec| tokio::spawn(child::keep(spec.clone(), Arc::clone(board), stop.clone())))
            .collect();
        self.running.push((stop, keepers));
    }

    /// Starts workers whenever there is something for them to do.
    fn start_on_demand(&mut self, plan: &plan::Plan, board: &Arc<Board>) -> anyhow::Result<()> {
        let stop = CancellationToken::new();
        let conductor = demand::Conductor::new(&plan.settings)?;
        let workers = demand::keep(
            conductor,
            plan.workers.clone(),
            Arc::clone(board),
            stop.clone(),
        );
        self.running.push((stop, vec![tokio::spawn(workers)]));
        Ok(())
    }

    /// Stops the last started first.
    async fn stop(mut self) {
        while let Some((stop, keepers)) = self.running.pop() {
            stop.cancel();
            for keeper in keepers {
                if let Err(error) = keeper.await {
                    say(format_args!("kinolog: a keeper failed: {error}"));
                }
            }
        }
    }
}

/// Starts `up` as a process of its own and returns when the platform is ready.
pub async fn detached(options: &Options, config: Option<&Path>) -> anyhow::Result<()> {
    let mut arguments = vec![
        "--workers".to_owned(),
        options.workers.to_string(),
        "--api-port".to_owned(),
        options.ports.api.to_string(),
        "--eventstore-port".to_owned(),
        options.ports.eventstore.to_string(),
        "--objectstore-port".to_owned(),
        options.ports.objectstore.to_string(),
        "--conductor-port".to_owned(),
        options.ports.conductor.to_string(),
    ];
    if options.workers_on_demand {
        arguments.push("--workers-on-demand".to_owned());
    }
    if let Some(config) = config {
        arguments.push("--config".to_owned());
        arguments.push(platform::absolute(config)?.to_string_lossy().into_owned());
    }
    let started = platform::start(&options.data, &arguments).await?;
    print!("{}", started.addresses.block(&options.data));
    Ok(())
}

/// Stops the platform of `data` and waits for its end.
pub async fn down(data: &Path) -> anyhow::Result<()> {
    let Some(pid) = lock::Lock::holder(data)? else {
        println!("no platform runs on {}", data.display());
        return Ok(());
    };
    kill(Pid::from_raw(pid), Signal::SIGTERM)
        .with_context(|| format!("failed to tell process {pid} to stop"))?;
    let deadline = tokio::time::Instant::now() + DOWN_TIMEOUT;
    while lock::Lock::holder(data)?.is_some() {
        if tokio::time::Instant::now() > deadline {
            bail!(
                "process {pid} did not stop within {} s",
                DOWN_TIMEOUT.as_secs()
            );
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("stopped the platform of {}", data.display());
    Ok(())
}

fn prepare_folder(data: &Path) -> anyhow::Result<()> {
    let create = |folder: &Path| {
        fs::create_dir_all(folder)
            .with_context(|| format!("failed to create the folder {}", folder.display()))
    };
    create(data)?;
    for private in ["eventstore", "objectstore", "redis", "search", "logs"] {
        let folder = data.join(private);
        create(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

fn cancel_on_signal(stop: CancellationToken) -> anyhow::Result<()> {
    let mut interrupt = tokio::signal::unix::signal(SignalKind::interrupt())?;
    let mut terminate = tokio::signal::unix::signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        stop.cancel();
    });
    Ok(())
}

async fn bind(options: &Options) -> anyhow::Result<Sockets> {
    let settings = &options.settings;
    let ports = options.ports;
    let eventstore = match settings.eventstore.is_empty() {
        true => Some(bound("event store", ports.eventstore).await?),
        false => None,
    };
    let objectstore = match settings.s3_endpoint.is_empty() {
        true => Some(bound("object store", ports.objectstore).await?),
        false => None,
    };
    Ok(Sockets {
        api: bound("api", ports.api).await?,
        conductor: bound("conductor", ports.conductor).await?,
        eventstore,
        objectstore,
    })
}

/// A port that is in use may be about to be free: the roles of a supervisor that was killed
/// hold its sockets until they have ended too.
async fn bound(what: &str, port: u16) -> anyhow::Result<TcpListener> {
    let deadline = tokio::time::Instant::now() + BIND_TIMEOUT;
    loop {
        match TcpListener::bind(("127.0.0.1", port)) {
            Err(error)
                if error.kind() == ErrorKind::AddrInUse
                    && tokio::time::Instant::now() < deadline =>
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            bound => {
                return bound.with_context(|| {
                    format!("port {port} for the {what} cannot be used; choose others, or any free ones with `--ports 0`")
                });
            }
        }
    }
}

fn addresses(options: &Options, plan: &plan::Plan, board: &Board) -> anyhow::Result<Addresses> {
    let settings = &plan.settings;
    let scope = "videos:read videos:write analytics:read operate";
    let ws = settings.public_url.replacen("http", "ws", 1);
    Ok(Addresses {
        api: settings.public_url.clone(),
        graphql: format!("{}/graphql", settings.public_url),
        notifications: format!("{ws}/notifications"),
        eventstore: settings.eventstore.clone(),
        conductor: settings.conductor.clone(),
        s3: platform::S3 {
            endpoint: settings.s3_endpoint.clone(),
            bucket: settings.s3_bucket.clone(),
            region: settings.s3_region.clone(),
            access_key: settings.s3_access_key.0.clone(),
            secret_key: settings.s3_secret_key.0.clone(),
        },
        postgres: settings.postgres.0.clone(),
        redis: settings.redis.0.clone(),
        token: roles::token(settings, "demo", scope, TOKEN_TTL)?,
        data: options.data.clone(),
        supervisor: std::process::id(),
        processes: board.processes(),
    })
}

impl Sockets {
    pub(crate) fn raw(listener: &TcpListener) -> i32 {
        listener.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_that_becomes_free_is_taken() {
        let before = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = before.local_addr().unwrap().port();
        let taken = tokio::spawn(bound("api", port));
        // It is in use when `bound` first tries.
        tokio::time::sleep(Duration::from_millis(200)).await;
        drop(before);
        let taken = taken.await.unwrap().unwrap();
        assert_eq!(taken.local_addr().unwrap().port(), port);
    }
}
