//! One role: a child process that is started again whenever it ends.
//!
//! # Invariants
//!
//! * A role that ended is back within 5 s: at once the first time, later after a pause that
//!   doubles up to a maximum, until it has been healthy for a while.
//! * No child outlives the supervisor: the kernel kills it when the spawning thread ends.
//! * A child inherits no `KINOLOG_…` variable and no password but those in its own `env`.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    os::fd::RawFd,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::{Gid, Pid, Uid},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
    sync::watch,
};
use tokio_util::sync::CancellationToken;

use super::{log_file::LogFile, postgres, say};

/// The longest pause before a role is started again.
const PAUSE_MAX: Duration = Duration::from_secs(3);
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// A role that lived this long starts at once when it ends.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);
/// How long a role may take to stop before it is killed.
const GRACE: Duration = Duration::from_secs(12);
/// How much of a line is looked at for an error.
const ECHO_CHARS_MAX: usize = 600;

/// How to run one role.
#[derive(Clone)]
pub struct Spec {
    pub role: String,
    pub program: PathBuf,
    pub args: Vec<OsString>,
    pub env: Vec<(String, String)>,
    /// A listening socket that the child inherits; its number is in `KINOLOG_LISTEN_FD`.
    pub listener: Option<RawFd>,
    pub run_as: Option<(Uid, Gid)>,
    /// What asks it to stop in order.
    pub stop_signal: Signal,
    /// What it gets when the supervisor dies.
    pub death_signal: Signal,
    /// The database needs its folder looked after before each start.
    pub database: Option<postgres::Database>,
    pub log_path: PathBuf,
}

/// Which role runs as which process. One that ended keeps its number until it has a new one.
pub struct Board {
    processes: Mutex<BTreeMap<String, u32>>,
    changed: watch::Sender<u64>,
}

impl Default for Board {
    fn default() -> Self {
        Self {
            processes: Mutex::default(),
            changed: watch::Sender::new(0),
        }
    }
}

impl Board {
    pub fn processes(&self) -> BTreeMap<String, u32> {
        self.processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// A role that ended, and is not started again before it is needed.
    pub(super) fn clear(&self, role: &str) {
        let mut processes = self
            .processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        processes.remove(role);
        drop(processes);
        self.changed.send_modify(|version| *version += 1);
    }

    fn set(&self, role: &str, pid: u32) {
        let mut processes = self
            .processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        processes.insert(role.to_owned(), pid);
        drop(processes);
        self.changed.send_modify(|version| *version += 1);
    }
}

/// Keeps one role running until `stop`, then stops it in order.
pub async fn keep(spec: Spec, board: Arc<Board>, stop: CancellationToken) {
    let mut pause = Duration::ZERO;
    loop {
        let started = Instant::now();
        let End::Reported(pid, ended) = run(&spec, &board, &stop).await else {
            return;
        };
        report_end(&spec, pid, ended);
        if started.elapsed() >= HEALTHY_AFTER {
            pause = Duration::ZERO;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
        pause = (pause * 2).clamp(PAUSE_FIRST, PAUSE_MAX);
    }
}

/// How a role ended.
pub(super) enum End {
    /// By itself, or it could not be started at all.
    Reported(u32, anyhow::Result<ExitStatus>),
    /// Told to.
    Stopped,
}

/// Runs one role once, until it ends or `stop`.
pub(super) async fn run(spec: &Spec, board: &Board, stop: &CancellationToken) -> End {
    let mut child = match start(spec).await {
        Ok(child) => child,
        Err(error) => return End::Reported(0, Err(error.context("failed to start it"))),
    };
    let pid = child.id().unwrap_or_default();
    board.set(&spec.role, pid);
    let ended = tokio::select! {
        ended = child.wait() => ended,
        () = stop.cancelled() => {
            terminate(spec, &mut child, pid).await;
            return End::Stopped;
        }
    };
    kill_group(pid);
    End::Reported(pid, ended.map_err(anyhow::Error::from))
}

async fn start(spec: &Spec) -> anyhow::Result<Child> {
    if let Some(database) = &spec.database {
        database.prepare().await?;
    }
    let mut log = LogFile::open(spec.log_path.clone())?;
    // On a full disk a role is worth more than a line about it.
    let _ = log.write(format!("--- {} starts\n", spec.role).as_bytes());
    let mut child = command(spec).spawn()?;
    let log = Arc::new(Mutex::new(log));
    if let Some(stdout) = child.stdout.take() {
        tokio::spawn(pump(stdout, spec.role.clone(), Arc::clone(&log)));
    }
    if let Some(stderr) = child.stderr.take() {
        tokio::spawn(pump(stderr, spec.role.clone(), log));
    }
    Ok(child)
}

fn command(spec: &Spec) -> Command {
    let mut command = Command::new(&spec.program);
    command
        .args(&spec.args)
        .env_clear()
        .envs(inherited())
        .envs(spec.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    if let Some(listener) = spec.listener {
        command.env("KINOLOG_LISTEN_FD", listener.to_string());
    }
    in_child(&mut command, spec.listener, spec.run_as, spec.death_signal);
    command
}

/// What the child does to itself between fork and exec.
pub(super) fn in_child(
    command: &mut Command,
    listener: Option<RawFd>,
    run_as: Option<(Uid, Gid)>,
    death_signal: Signal,
) {
    let supervisor = nix::unistd::getpid();
    let become_child = move || -> io::Result<()> {
        if let Some((uid, gid)) = run_as {
            nix::unistd::setgroups(&[gid])?;
            nix::unistd::setgid(gid)?;
            nix::unistd::setuid(uid)?;
        }
        // After the change of user, which would forget it.
        nix::sys::prctl::set_pdeathsig(death_signal)?;
        if nix::unistd::getppid() != supervisor {
            return Err(io::Error::other("the supervisor has ended"));
        }
        if let Some(listener) = listener {
            // SAFETY: the supervisor keeps the socket open for as long as it lives.
            let socket = unsafe { std::os::fd::BorrowedFd::borrow_raw(listener) };
            nix::fcntl::fcntl(
                socket,
                nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()),
            )?;
        }
        Ok(())
    };
    // SAFETY: only system calls that may be made between fork and exec, and no allocation.
    unsafe { command.pre_exec(become_child) };
}

/// The environment that every child may see: nothing of ours and no other program's passwords.
pub(super) fn inherited() -> impl Iterator<Item = (OsString, OsString)> {
    const HIDDEN: [&str; 6] = ["KINOLOG_", "AWS_", "PG", "DATABASE_URL", "REDIS", "CARGO"];
    std::env::vars_os().filter(|(name, _)| {
        let name = name.to_string_lossy();
        !HIDDEN.iter().any(|prefix| name.starts_with(prefix))
    })
}

pub(super) fn report_end(spec: &Spec, pid: u32, ended: anyhow::Result<ExitStatus>) {
    match ended {
        Ok(status) => say(format_args!(
            "kinolog: {} (process {pid}) ended: {status}; starting it again (log: {})",
            spec.role,
            spec.log_path.display()
        )),
        Err(error) => say(format_args!(
            "kinolog: lost sight of {} (process {pid}): {error:#}",
            spec.role
        )),
    }
}

async fn terminate(spec: &Spec, child: &mut Child, pid: u32) {
    signal_leader(pid, spec.stop_signal);
    if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
        say(format_args!(
            "kinolog: {} did not stop within {} s and is killed",
            spec.role,
            GRACE.as_secs()
        ));
    }
    kill_group(pid);
    // It is dead or dying: this only collects it.
    if let Err(error) = child.wait().await {
        say(format_args!(
            "kinolog: failed to wait for the end of {}: {error}",
            spec.role
        ));
    }
}

fn signal_leader(pid: u32, signal: Signal) {
    // An error says that it ended by itself meanwhile, which is what is wanted.
    let _ = nix::sys::signal::kill(Pid::from_raw(pid.cast_signed()), signal);
}

/// Ends what a role left behind in its process group.
fn kill_group(pid: u32) {
    if pid > 1 {
        // An error says that the group is empty, which is what is wanted.
        let _ = killpg(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
    }
}

/// Copies a child's output into its log, and its errors to the terminal as well.
async fn pump(mut output: impl AsyncRead + Unpin, role: String, log: Arc<Mutex<LogFile>>) {
    let mut chunk = vec![0_u8; 8192];
    let mut line = Vec::new();
    while let Ok(count @ 1..) = output.read(&mut chunk).await {
        let bytes = &chunk[..count];
        let written = log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write(bytes);
        if let Err(error) = written {
            say(format_args!(
                "kinolog: failed to write the log of {role}: {error}"
            ));
        }
        for byte in bytes {
            if *byte == b'\n' {
                echo_error(&role, &line);
                line.clear();
            } else if line.len() < ECHO_CHARS_MAX {
                line.push(*byte);
            }
        }
    }
}

fn echo_error(role: &str, line: &[u8]) {
    const WORDS: [&str; 4] = ["ERROR", "FATAL", "PANIC", "panicked at"];
    let line = String::from_utf8_lossy(line);
    if WORDS.iter().any(|word| line.contains(word)) {
        say(format_args!("{role}: {line}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_role_starts_although_its_log_cannot_be_written() {
        let spec = Spec {
            role: "role".to_owned(),
            program: "/bin/true".into(),
            args: vec![],
            env: vec![],
            listener: None,
            run_as: None,
            stop_signal: Signal::SIGTERM,
            death_signal: Signal::SIGKILL,
            database: None,
            // Every write to it finds the disk full.
            log_path: "/dev/full".into(),
        };
        let mut child = start(&spec).await.unwrap();
        assert!(child.wait().await.unwrap().success());
    }
}
