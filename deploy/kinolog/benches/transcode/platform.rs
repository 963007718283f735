//! A platform to measure: the real programs, in a folder and on ports of their own.
//!
//! # Invariants
//!
//! * It ends with this process, however that ends, and its folder is removed with it.
//! * A platform that is handed out is idle: no task runs.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use kinolog::{
    client::Client,
    platform::{Addresses, Platform as Found},
    up::{READY_TIMEOUT, log_file},
};
use nix::{
    sys::{prctl, signal},
    unistd::Pid,
};

use crate::processes;

/// How long it may take to stop before it is killed.
const DOWN_TIMEOUT: Duration = Duration::from_secs(90);
/// How long the task of a video that was deleted may take to end.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

pub struct Platform {
    data: PathBuf,
    supervisor: Child,
    pub addresses: Addresses,
    pub client: Client,
}

impl Platform {
    /// A fresh platform in `folder`, ready to be used.
    pub async fn start(folder: &Path, name: &str) -> anyhow::Result<Self> {
        Self::start_with(folder, name, |up| up).await
    }

    /// The same, with something more said to `kinolog up`.
    pub async fn start_with(
        folder: &Path,
        name: &str,
        say: impl FnOnce(&mut Command) -> &mut Command,
    ) -> anyhow::Result<Self> {
        let data = folder.join(name);
        if data.exists() {
            // Of a run that was killed.
            if let Some(found) = Found::running(&data)? {
                let pid = found.addresses.supervisor;
                bail!(
                    "a platform still runs on {} (process {pid})",
                    data.display()
                );
            }
            remove(&data)?;
        }
        fs::create_dir_all(data.join("logs"))?;
        let log_path = data.join("logs/up.log");
        let log = fs::File::create(&log_path)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_kinolog"));
        command
            .args(["up", "--ports", "0", "--data"])
            .arg(&data)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        say(&mut command);
        end_with_us(&mut command, signal::Signal::SIGTERM);
        let mut supervisor = command.spawn().context("failed to start `kinolog up`")?;
        match ready(&mut supervisor, &data).await {
            Ok(addresses) => Ok(Self {
                client: Client::new(&addresses)?,
                data,
                supervisor,
                addresses,
            }),
            Err(error) => {
                let said = log_file::tail(&log_path, 60);
                stop(&mut supervisor);
                Err(error.context(said))
            }
        }
    }

    /// Waits until no task runs.
    pub async fn idle(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + IDLE_TIMEOUT;
        while !processes::children_of(&self.workers()).is_empty() {
            ensure!(
                Instant::now() < deadline,
                "the platform does not come to rest"
            );
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// The processes that take tasks.
    pub fn workers(&self) -> Vec<u32> {
        let roles = self.addresses.processes.iter();
        roles
            .filter(|(role, _)| role.starts_with("worker-"))
            .map(|(_, pid)| *pid)
            .collect()
    }

    pub fn supervisor(&self) -> u32 {
        self.supervisor.id()
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        stop(&mut self.supervisor);
        if let Err(error) = remove(&self.data) {
            eprintln!("{error:#}");
        }
    }
}

async fn ready(supervisor: &mut Child, data: &Path) -> anyhow::Result<Addresses> {
    let deadline = Instant::now() + READY_TIMEOUT;
    loop {
        if let Some(status) = supervisor.try_wait()? {
            bail!("`kinolog up` ended: {status}");
        }
        if let Some(addresses) = Addresses::read(data)? {
            return Ok(addresses);
        }
        ensure!(
            Instant::now() < deadline,
            "`kinolog up` is not ready in time"
        );
        tokio::time::sleep(PAUSE).await;
    }
}

/// In order first, for its roles stop each other in turn.
fn stop(supervisor: &mut Child) {
    let pid = Pid::from_raw(supervisor.id().cast_signed());
    // An error of these says that it has ended by itself.
    let _ = signal::kill(pid, signal::Signal::SIGTERM);
    let deadline = Instant::now() + DOWN_TIMEOUT;
    while matches!(supervisor.try_wait(), Ok(None)) && Instant::now() < deadline {
        std::thread::sleep(PAUSE);
    }
    let _ = supervisor.kill();
    let _ = supervisor.wait();
}

/// A platform's folder, and what a link in it leads to: the database's may be elsewhere.
fn remove(data: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(data)? {
        let path = entry?.path();
        if path.is_symlink() && path.is_dir() {
            fs::remove_dir_all(path.canonicalize()?)
                .with_context(|| format!("failed to remove what {} is", path.display()))?;
        }
    }
    fs::remove_dir_all(data).with_context(|| format!("failed to remove {}", data.display()))
}

/// The command gets this signal when this process ends, whatever ends it.
pub fn end_with_us(command: &mut Command, by: signal::Signal) {
    let us = nix::unistd::getpid();
    let ask = move || {
        prctl::set_pdeathsig(by)?;
        if nix::unistd::getppid() != us {
            return Err(std::io::Error::other("who started this has ended"));
        }
        Ok(())
    };
    // SAFETY: two system calls, which may be made between fork and exec.
    unsafe { command.pre_exec(ask) };
}
