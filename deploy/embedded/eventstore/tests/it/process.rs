//! The node as a process: handed a socket, killed, stopped.

use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use eventstore::ExpectedRevision as Expected;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::node::{Node, SOON, add, append, client, event, folder, revisions};

/// Where the child finds its socket.
const DESCRIPTOR: i32 = 63;

struct Process {
    child: Child,
    port: u16,
}

impl Process {
    fn start(dir: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let socket = listener.as_raw_fd();
        let mut command = Command::new(env!("CARGO_BIN_EXE_kinolog-eventstore"));
        command
            .args(["serve", "--dir"])
            .arg(dir)
            .env("KINOLOG_LISTEN_FD", DESCRIPTOR.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
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

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(pid, signal).unwrap();
    }

    async fn end(mut self) -> ExitStatus {
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

impl Drop for Process {
    fn drop(&mut self) {
        // It has usually ended; then there is nothing to kill or to wait for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_killed_node_has_all_it_acknowledged() {
    let dir = folder();
    let acknowledged: Arc<[AtomicU64; 4]> = Arc::default();
    for round in 0..3 {
        let process = Process::start(dir.path());
        let before: Vec<u64> = acknowledged
            .iter()
            .map(|it| it.load(Ordering::SeqCst))
            .collect();
        let appenders: Vec<_> = (0..acknowledged.len())
            .map(|number| {
                tokio::spawn(append_until_killed(
                    process.port,
                    number,
                    acknowledged.clone(),
                ))
            })
            .collect();
        // In the middle of the appends: all have begun, wherever each is now.
        let clock = client(process.port);
        let mut ticks = 0;
        let begun = || {
            let now = acknowledged.iter().map(|it| it.load(Ordering::SeqCst));
            now.zip(&before).all(|(now, before)| now > *before)
        };
        while ticks < 10 * (round + 1) || !begun() {
            add(&clock, &format!("clock{round}"), "x", 1).await;
            ticks += 1;
        }
        process.signal(Signal::SIGKILL);
        process.end().await;
        for appender in appenders {
            appender.await.unwrap();
        }
        let node = Node::start(dir.path()).await;
        let there = revisions(&node.client, &format!("clock{round}")).await;
        assert_eq!(there.len(), ticks);
        for (number, acknowledged) in acknowledged.iter().enumerate() {
            let there = revisions(&node.client, &format!("s{number}")).await;
            let acknowledged = acknowledged.load(Ordering::SeqCst);
            assert!(
                there.len() as u64 >= acknowledged,
                "{} < {acknowledged}",
                there.len()
            );
            assert!(there.iter().copied().eq(0..there.len() as u64));
        }
        node.stop().await;
    }
}

async fn append_until_killed(port: u16, number: usize, acknowledged: Arc<[AtomicU64; 4]>) {
    let client = client(port);
    let stream = format!("s{number}");
    while let Ok(result) = append(&client, &stream, Expected::Any, vec![event("x")]).await {
        acknowledged[number].store(result.next_expected_version + 1, Ordering::SeqCst);
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
        subscription.next().await.unwrap();
        process.signal(signal);
        let ended = process.end().await;
        assert!(ended.success(), "{ended}");
        assert!(subscription.next().await.is_err());
    }
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
