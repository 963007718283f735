//! The node as a process: handed a socket, stopped.

use std::io::Read;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

use eventstore::ExpectedRevision;
use kinolog_eventstore::limits::SEGMENT_BYTES;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::node::{Node, SOON, add, append, client, event, folder, kind};

/// Where the child finds its socket.
const DESCRIPTOR: i32 = 63;

pub struct Process {
    child: Child,
    pub port: u16,
}

impl Process {
    fn start(dir: &Path) -> Self {
        Self::start_with(dir, SEGMENT_BYTES)
    }

    pub fn start_with(dir: &Path, segment_bytes: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let socket = listener.as_raw_fd();
        let mut command = Command::new(env!("CARGO_BIN_EXE_kinolog-eventstore"));
        command
            .args(["serve", "--dir"])
            .arg(dir)
            .arg(format!("--segment-bytes={segment_bytes}"))
            .env("KINOLOG_LISTEN_FD", DESCRIPTOR.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        // SAFETY: dup2 is async-signal-safe and touches nothing of this process.
        unsafe {
            command.pre_exec(move || match libc::dup2(socket, DESCRIPTOR) {
                -1 => Err(std::io::Error::last_os_error()),
                _ => Ok(()),
            });
        }
        let child = command.spawn().unwrap();
        Self { child, port }
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(pid, signal).unwrap();
    }

    pub async fn end(mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < SOON, "the process does not end");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}

impl Process {
    /// What it wrote to its standard error, when it has ended.
    pub async fn said(mut self) -> String {
        let mut errors = self.child.stderr.take().unwrap();
        self.end().await;
        let mut said = String::new();
        errors.read_to_string(&mut said).unwrap();
        said
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has usually ended; then there is nothing to kill or to wait for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_node_stops_when_it_is_told_to() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let dir = folder();
        let process = Process::start(dir.path());
        let client = client(process.port);
        add(&client, "a", "x", 1).await;
        let mut subscription = client.subscribe_to_all(&Default::default()).await;
        let first = subscription.next().await.unwrap();
        assert_eq!(kind(&first), "$epoch-information");
        assert_eq!(kind(&subscription.next().await.unwrap()), "x");
        process.signal(signal);
        let ended = process.end().await;
        assert!(ended.success(), "{ended}");
        assert!(subscription.next().await.is_err());
    }
}

#[tokio::test]
async fn a_node_stops_when_a_client_tells_it_to() {
    let dir = folder();
    let process = Process::start(dir.path());
    let operator: eventstore::operations::Client = client(process.port).into();
    operator.shutdown(&Default::default()).await.unwrap();
    let ended = process.end().await;
    assert!(ended.success(), "{ended}");
}

#[tokio::test]
async fn a_node_whose_folder_was_removed_acknowledges_nothing_more_and_ends() {
    let dir = folder();
    let process = Process::start(dir.path());
    let client = client(process.port);
    add(&client, "a", "x", 1).await;
    std::fs::remove_dir_all(dir.path()).unwrap();
    let lost = append(&client, "a", ExpectedRevision::Any, vec![event("x")]).await;
    assert!(lost.is_err(), "{lost:?}");
    let said = process.said().await;
    assert!(said.contains("the file was removed"), "{said}");
}

#[tokio::test]
async fn an_append_is_not_held_up_by_delayed_acknowledgements() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    add(&node.client, "a", "x", 1).await;
    let mut times = vec![];
    for _ in 0..25 {
        let begun = Instant::now();
        add(&node.client, "a", "x", 1).await;
        times.push(begun.elapsed());
    }
    // Each would wait 40 ms for the kernel; a disk takes a few, unless it is busy.
    times.sort();
    assert!(times[5].as_millis() < 35, "{times:?}");
    node.stop().await;
}
