//! Starts the child: this same program, in a process group of its own.
//!
//! # Invariants
//!
//! * The child inherits five descriptors (task, two for messages, source, output) and
//!   a few variables of ours, nothing else: no token, no address, no home.
//! * It dies with its parent, and its whole group with it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, ensure};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use crate::memory::RESIDENT_BYTES_MAX;
use crate::wire::{OUTPUT_FD, SOURCE_FD};

/// Pictures above 1440p are mapped one by one, and given back when they are done with: in the heap they
/// leave holes, which only grow. For smaller ones the holes cost less than mapping.
const MAPPED_BYTES_MIN: &str = "8388608";

/// Descriptors from here on are out of the way of those we place.
const SPARE_FD: i32 = 20;

/// Knows how to start children on this machine.
#[derive(Clone)]
pub struct Launcher {
    program: PathBuf,
    registry: PathBuf,
    resident_bytes_max: u64,
}

/// A running child and our ends of its descriptors.
pub struct Launched {
    pub child: Child,
    /// The resident memory it may have.
    pub resident_bytes_max: u64,
    pub source: Option<UnixStream>,
    pub output: Option<UnixStream>,
    group: Pid,
}

impl Launched {
    /// Ends the whole group at once.
    pub fn kill(&self) {
        // An error means that it has ended already.
        let _ended = killpg(self.group, Signal::SIGKILL);
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Launcher {
    /// Warms the registry, so that children only read it.
    pub fn new(registry: PathBuf) -> anyhow::Result<Self> {
        // Not by its path: that may belong to a newer version by now.
        Self::of("/proc/self/exe".into(), registry)
    }

    /// Starts another program as the child.
    pub fn of(program: PathBuf, registry: PathBuf) -> anyhow::Result<Self> {
        let launcher = Launcher {
            program,
            registry,
            resident_bytes_max: RESIDENT_BYTES_MAX,
        };
        let warmed = std::process::Command::new(&launcher.program)
            .arg("warm-registry")
            .env("GST_REGISTRY", &launcher.registry)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .context("failed to warm the plugin registry")?;
        ensure!(warmed.success(), "failed to warm the plugin registry");
        Ok(launcher)
    }

    /// The same, with another limit on the memory that a child really uses.
    #[must_use]
    pub fn with_memory(self, resident_bytes_max: u64) -> Self {
        Launcher {
            resident_bytes_max,
            ..self
        }
    }

    /// Starts a child.
    pub fn launch(&self, self_test: bool) -> anyhow::Result<Launched> {
        let (source, source_child) = pair()?;
        let (output, output_child) = pair()?;
        let mut command = Command::new(&self.program);
        command
            .arg0("kinolog-worker")
            .arg("child")
            .env_clear()
            .env("GST_REGISTRY", &self.registry)
            .env("GST_REGISTRY_UPDATE", "no")
            .env("GST_REGISTRY_FORK", "no")
            .env("MALLOC_ARENA_MAX", "4")
            .env("MALLOC_MMAP_THRESHOLD_", MAPPED_BYTES_MIN)
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        // For whoever looks for the reason of a failure; nothing secret can be in it.
        if let Some(debug) = std::env::var_os("GST_DEBUG") {
            command
                .env("GST_DEBUG", debug)
                .env("GST_DEBUG_NO_COLOR", "1");
        }
        if self_test {
            command.arg("--self-test");
        }
        let parent = std::process::id();
        // SAFETY: only calls that are safe between fork and exec: dup, prctl, getppid.
        unsafe {
            command.pre_exec(move || prepare(&source_child, &output_child, parent));
        }
        let child = command.spawn().context("failed to start the child")?;
        let id = child.id().context("the child ended before it began")?;
        Ok(Launched {
            child,
            resident_bytes_max: self.resident_bytes_max,
            source: Some(source),
            output: Some(output),
            group: Pid::from_raw(i32::try_from(id).context("an impossible process id")?),
        })
    }
}

fn pair() -> anyhow::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = StdUnixStream::pair().context("failed to make a socket pair")?;
    ours.set_nonblocking(true)
        .context("failed to make a socket non-blocking")?;
    let ours = UnixStream::from_std(ours).context("failed to register a socket")?;
    Ok((ours, theirs.into()))
}

/// Runs in the child before `exec`.
fn prepare(source: &OwnedFd, output: &OwnedFd, parent: u32) -> io::Result<()> {
    let placed = [
        (source.as_raw_fd(), SOURCE_FD),
        (output.as_raw_fd(), OUTPUT_FD),
    ];
    let mut spare = [0; 2];
    for (slot, (from, _)) in spare.iter_mut().zip(placed) {
        // SAFETY: duplicating a descriptor we hold.
        *slot = unsafe { libc::fcntl(from, libc::F_DUPFD_CLOEXEC, SPARE_FD) };
        if *slot < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    for (from, (_, to)) in spare.iter().zip(placed) {
        // SAFETY: `dup2` clears close-on-exec: these two are inherited.
        if unsafe { libc::dup2(*from, to) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    // SAFETY: plain numbers.
    if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // The parent may have died in between; then nobody would end us.
    // SAFETY: takes and returns plain numbers.
    if unsafe { libc::getppid() } as u32 != parent {
        return Err(io::Error::other("the parent is gone"));
    }
    Ok(())
}
