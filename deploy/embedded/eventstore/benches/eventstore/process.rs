//! The processes that serve: the node, and a peer.
//!
//! # Invariants
//!
//! * Both are handed a socket that listens already, so that no attempt to connect fails
//!   and none has to be repeated after a pause.
//! * They end with this process.

use std::ffi::OsStr;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use eventstore::Client;

use crate::peer;
use crate::wire::Wire;

/// Where a child finds its socket.
pub const DESCRIPTOR: i32 = 63;

pub struct Process {
    child: Child,
    pub port: u16,
}

impl Process {
    /// A node on this folder that answers calls.
    pub async fn node(dir: &Path) -> anyhow::Result<Self> {
        let process = Self::begin_node(dir)?;
        Wire::ready(process.port).await?;
        Ok(process)
    }

    /// A node on this folder that has just been started.
    pub fn begin_node(dir: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kinolog-eventstore"));
        command
            .args([OsStr::new("serve"), OsStr::new("--dir"), dir.as_os_str()])
            .env("KINOLOG_LISTEN_FD", DESCRIPTOR.to_string())
            .env("RUST_LOG", "warn");
        Self::begin(command)
    }

    /// A peer that answers calls, its events in memory.
    pub async fn peer(kind: peer::Kind, quick: bool) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("failed to find this program")?;
        let mut command = Command::new(program);
        command.args(["--peer", kind.word()]);
        if quick {
            command.arg("--quick");
        }
        let process = Self::begin(command)?;
        Wire::ready(process.port).await?;
        Ok(process)
    }

    fn begin(mut command: Command) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("failed to listen")?;
        let port = listener.local_addr()?.port();
        let socket = listener.as_raw_fd();
        command.stdin(Stdio::null()).stdout(Stdio::null());
        // SAFETY: both calls are async-signal-safe and touch nothing of this process.
        unsafe {
            command.pre_exec(move || {
                let ends_with_us = libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                if ends_with_us == -1 || libc::dup2(socket, DESCRIPTOR) == -1 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let child = command
            .spawn()
            .with_context(|| format!("failed to start {}", command.get_program().display()))?;
        Ok(Self { child, port })
    }

    pub fn client(&self) -> anyhow::Result<Client> {
        // The client sleeps this long before its first connection; half a second unless told.
        let settings = format!(
            "esdb://127.0.0.1:{}?tls=false&discoveryInterval=1",
            self.port
        );
        Ok(Client::new(settings.parse()?)?)
    }

    /// SIGKILL, and the end of the process.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().context("failed to kill a process")?;
        self.child.wait().context("failed to wait for a process")?;
        Ok(())
    }

    /// Anonymous memory, in MB of a million bytes.
    pub fn anonymous_mb(&self) -> anyhow::Result<f64> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(&path)
            .with_context(|| format!("failed to read {path}: is the process gone?"))?;
        let line = status.lines().find_map(|it| it.strip_prefix("RssAnon:"));
        let kib = line.and_then(|it| it.trim().strip_suffix("kB"));
        let kib: f64 = kib
            .context("the kernel does not say RssAnon")?
            .trim()
            .parse()?;
        Ok(kib * 1024.0 / 1e6)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have been killed already; then there is nothing to end or to wait for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
