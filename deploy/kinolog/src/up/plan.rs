//! Which processes a platform consists of, and what each of them is told.
//!
//! # Invariants
//!
//! * A role is told the secrets it needs and no others; a worker none but its own token.
//! * A part whose address is set is somebody else's: it is used and not started.

use std::{
    ffi::OsString,
    fs,
    net::TcpListener,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use nix::sys::signal::Signal;

use super::{Options, Sockets, child::Spec, postgres};
use crate::config::{Secret, Settings, numbers};

/// A platform before it is started, in the order of starting.
pub struct Plan {
    pub settings: Settings,
    pub log: Vec<Spec>,
    pub stores: Vec<Spec>,
    pub projections: Vec<Spec>,
    pub api: Vec<Spec>,
    pub conductor: Vec<Spec>,
    pub workers: Vec<Spec>,
    /// They run also when there is nothing to do.
    pub workers_stay: bool,
    pub postgres_socket: Option<PathBuf>,
    pub redis_socket: Option<PathBuf>,
}

/// A Unix socket's path fits into this.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// How long a worker that was started on demand stays without a task.
const WORKER_IDLE_SECONDS: u64 = 15;

/// The settings that every role of ours is told.
const ALL_ROLES: [&str; 3] = ["eventstore", "log", "log_format"];

/// What the roles will be, with `settings` completed by their addresses.
pub fn plan(options: &Options, mut settings: Settings, sockets: &Sockets) -> anyhow::Result<Plan> {
    let programs = Programs::beside_this_one()?;
    settings.public_url = or(&settings.public_url, &http(&sockets.api)?);
    settings.conductor = http(&sockets.conductor)?;
    settings.search_dir = options.data.join("search").to_string_lossy().into_owned();
    let mut plan = Plan {
        settings,
        log: vec![],
        stores: vec![],
        projections: vec![],
        api: vec![],
        conductor: vec![],
        workers: vec![],
        workers_stay: true,
        postgres_socket: None,
        redis_socket: None,
    };
    if let Some(socket) = &sockets.eventstore {
        plan.settings.eventstore =
            format!("esdb://127.0.0.1:{}?tls=false", socket.local_addr()?.port());
        plan.log.push(eventstore(options, &programs, socket));
    }
    if let Some(socket) = &sockets.objectstore {
        plan.settings.s3_endpoint = http(socket)?;
        plan.stores.push(objectstore(
            options,
            &plan.settings,
            &programs,
            socket,
            &http(&sockets.api)?,
        ));
    }
    if plan.settings.postgres.0.is_empty() {
        database(options, &mut plan)?;
    }
    if plan.settings.redis.0.is_empty() {
        cache(options, &mut plan)?;
    }
    our_roles(options, &programs, sockets, &mut plan);
    Ok(plan)
}

struct Programs {
    kinolog: PathBuf,
    eventstore: PathBuf,
    objectstore: PathBuf,
    worker: PathBuf,
}

impl Programs {
    fn beside_this_one() -> anyhow::Result<Self> {
        let kinolog = std::env::current_exe().context("failed to find this program's own file")?;
        let folder = kinolog.parent().unwrap_or(Path::new("/")).to_owned();
        let program = |name: &str| {
            let path = folder.join(name);
            match path.exists() {
                true => Ok(path),
                false => bail!(
                    "the program {} is missing; `cargo xtask up` builds it",
                    path.display()
                ),
            }
        };
        Ok(Self {
            eventstore: program("kinolog-eventstore")?,
            objectstore: program("kinolog-objectstore")?,
            worker: program("kinolog-worker")?,
            kinolog,
        })
    }
}

fn spec(options: &Options, role: &str, program: &Path) -> Spec {
    Spec {
        role: role.to_owned(),
        program: program.to_owned(),
        args: vec![],
        env: vec![],
        listener: None,
        run_as: None,
        stop_signal: Signal::SIGTERM,
        death_signal: Signal::SIGKILL,
        database: None,
        log_path: options.data.join("logs").join(format!("{role}.log")),
    }
}

fn eventstore(options: &Options, programs: &Programs, socket: &TcpListener) -> Spec {
    let dir = options.data.join("eventstore");
    Spec {
        args: vec!["serve".into(), "--dir".into(), dir.into()],
        listener: Some(Sockets::raw(socket)),
        ..spec(options, "eventstore", &programs.eventstore)
    }
}

fn objectstore(
    options: &Options,
    settings: &Settings,
    programs: &Programs,
    socket: &TcpListener,
    api: &str,
) -> Spec {
    let mut args: Vec<OsString> = vec!["serve".into(), "--dir".into()];
    args.push(options.data.join("objectstore").into());
    args.extend([
        "--bucket".into(),
        OsString::from(&settings.s3_bucket),
        "--notify-url".into(),
    ]);
    args.push(format!("{api}/hooks/object-created").into());
    Spec {
        args,
        env: settings.as_environment(&[
            "s3_access_key",
            "s3_secret_key",
            "s3_region",
            "hook_token",
        ]),
        listener: Some(Sockets::raw(socket)),
        ..spec(options, "objectstore", &programs.objectstore)
    }
}

fn database(options: &Options, plan: &mut Plan) -> anyhow::Result<()> {
    let database = postgres::Database::new(&options.data)?;
    database.settle()?;
    plan.settings.postgres = Secret(database.url()?);
    plan.postgres_socket = Some(database.socket()?);
    plan.stores.push(Spec {
        args: database.args()?,
        run_as: database.run_as,
        // Fast and immediate shutdown.
        stop_signal: Signal::SIGINT,
        death_signal: Signal::SIGQUIT,
        database: Some(database.clone()),
        ..spec(options, "postgres", &database.server())
    });
    Ok(())
}

fn cache(options: &Options, plan: &mut Plan) -> anyhow::Result<()> {
    let program = find_program("redis-server").context(
        "Redis is not installed: `apt-get install redis-server` (or `cargo xtask up`, which installs it)",
    )?;
    let dir = options.data.join("redis");
    let socket = redis_socket(&dir)?;
    plan.settings.redis = Secret(format!("redis+unix://{}", socket.display()));
    let mut args: Vec<OsString> = vec![];
    let mut set =
        |name: &str, value: OsString| args.extend([OsString::from(format!("--{name}")), value]);
    set("port", "0".into());
    set("unixsocket", socket.clone().into());
    set("unixsocketperm", "700".into());
    set("dir", dir.into());
    set("appendonly", "yes".into());
    set("save", "".into());
    set("daemonize", "no".into());
    plan.redis_socket = Some(socket);
    plan.stores.push(Spec {
        args,
        ..spec(options, "redis", &program)
    });
    Ok(())
}

/// In `DIR/redis`, or where that is too long for a socket, in a short private folder.
fn redis_socket(dir: &Path) -> anyhow::Result<PathBuf> {
    let socket = dir.join("redis.sock");
    if socket.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
        return Ok(socket);
    }
    let user = nix::unistd::geteuid();
    let folder = PathBuf::from(format!(
        "/tmp/kinolog-{user}-{:016x}",
        postgres::digest(dir)
    ));
    match fs::DirBuilder::new().mode(0o700).create(&folder) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => {
            return Err(error).with_context(|| format!("failed to create {}", folder.display()));
        }
    }
    let found = std::os::unix::fs::MetadataExt::uid(&fs::symlink_metadata(&folder)?);
    if found != user.as_raw() {
        bail!("{} belongs to somebody else", folder.display());
    }
    Ok(folder.join("redis.sock"))
}

fn our_roles(options: &Options, programs: &Programs, sockets: &Sockets, plan: &mut Plan) {
    let settings = &plan.settings;
    let role = |name: &str, command: &str, needs: &[&str]| {
        let names: Vec<&str> = ALL_ROLES.iter().chain(needs).copied().collect();
        Spec {
            args: vec![command.into()],
            env: settings.as_environment(&names),
            ..spec(options, name, &programs.kinolog)
        }
    };
    let objects = [
        "s3_endpoint",
        "s3_bucket",
        "s3_region",
        "s3_access_key",
        "s3_secret_key",
    ];
    let api_needs = [
        "postgres",
        "redis",
        "token_secret",
        "playback_secret",
        "hook_token",
        "public_url",
        "search_dir",
    ];
    let api = role(
        "api",
        "api",
        &[&objects[..], &api_needs, &numbers::OF_API].concat(),
    );
    let conductor = role(
        "conductor",
        "conduct",
        &[
            &objects[..],
            &["postgres", "worker_token", "conductor"],
            &["lease_ms", "heartbeat_ms"],
        ]
        .concat(),
    );
    let workers = (1..=options.workers)
        .map(|number| worker(options, settings, programs, number))
        .collect();
    plan.projections = vec![role("projections", "project", &["postgres", "redis"])];
    plan.api = vec![Spec {
        listener: Some(Sockets::raw(&sockets.api)),
        ..api
    }];
    plan.conductor = vec![Spec {
        listener: Some(Sockets::raw(&sockets.conductor)),
        ..conductor
    }];
    plan.workers = workers;
    plan.workers_stay = !options.workers_on_demand;
}

fn worker(options: &Options, settings: &Settings, programs: &Programs, number: u16) -> Spec {
    let role = format!("worker-{number}");
    let mut env = settings.as_environment(&[
        "conductor",
        "worker_token",
        "worker_stall_seconds",
        "worker_slots",
    ]);
    env.push(("KINOLOG_WORKER_NAME".to_owned(), role.clone()));
    let path = |path: PathBuf| path.to_string_lossy().into_owned();
    let scratch = options.data.join(&role);
    let registry = options.data.join("gstreamer-registry.bin");
    env.push(("KINOLOG_WORKER_SCRATCH".to_owned(), path(scratch)));
    env.push(("KINOLOG_WORKER_REGISTRY".to_owned(), path(registry)));
    if options.workers_on_demand {
        let idle = ("KINOLOG_WORKER_IDLE_SECONDS", WORKER_IDLE_SECONDS);
        env.push((idle.0.to_owned(), idle.1.to_string()));
    }
    Spec {
        env,
        ..spec(options, &role, &programs.worker)
    }
}

/// A program of the search path.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

fn http(socket: &TcpListener) -> anyhow::Result<String> {
    Ok(format!("http://127.0.0.1:{}", socket.local_addr()?.port()))
}

fn or(value: &str, otherwise: &str) -> String {
    if value.is_empty() { otherwise } else { value }.to_owned()
}
