//! The node as a process of its own.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

/// Names the executable.
const BINARY: &str = "KINOLOG_EVENTSTORE_BIN";
/// Longer than a node takes to open, or to stop, on a busy machine.
const SOON: Duration = Duration::from_secs(30);

pub struct Node {
    pub port: u16,
    child: Child,
    dir: TempDir,
}

impl Node {
    /// A new node with an empty log.
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a folder can be made");
        let port = free_port();
        let child = spawn(&dir, port).await;
        Self { port, child, dir }
    }

    /// Ends it as a power cut ends a process, and starts it again where it was.
    pub async fn kill_and_restart(&mut self) {
        self.signal(Signal::SIGKILL);
        self.ended().await;
        self.start_again().await;
    }

    /// Asks it to stop, which it does with success, and starts it again where it was.
    pub async fn terminate_and_restart(&mut self) {
        self.signal(Signal::SIGTERM);
        let status = self.ended().await;
        assert!(status.success(), "told to stop, it ended with {status}");
        self.start_again().await;
    }

    /// Once it has ended by itself.
    pub async fn start_again(&mut self) {
        self.child = spawn(&self.dir, self.port).await;
    }

    pub async fn stop(mut self) {
        self.signal(Signal::SIGTERM);
        let status = self.ended().await;
        assert!(status.success(), "told to stop, it ended with {status}");
    }

    /// How it ended, once it has.
    pub async fn ended(&mut self) -> ExitStatus {
        let ended = timeout(SOON, self.child.wait()).await;
        ended.expect("it ends in time").expect("it is a child")
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.id().expect("it is running");
        let id = i32::try_from(id).expect("ids of processes are small");
        kill(Pid::from_raw(id), signal).expect("it takes signals");
    }
}

async fn spawn(dir: &TempDir, port: u16) -> Child {
    let binary = std::env::var_os(BINARY).unwrap_or_else(|| panic!("{BINARY} is not set"));
    let mut child = Command::new(binary)
        .args(["serve", "--listen"])
        .arg(format!("127.0.0.1:{port}"))
        .arg("--dir")
        .arg(dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the node can be started");
    let serving = timeout(SOON, async {
        // A client's first connection must not fail: it would not try again.
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .await
            .is_err()
        {
            let ended = child.try_wait().expect("it is a child");
            assert!(ended.is_none(), "the node ended: {ended:?}");
            sleep(Duration::from_millis(5)).await;
        }
    });
    serving.await.expect("it serves in time");
    child
}

/// A port that nobody has. Somebody may take it before the node does; then the node ends,
/// and says why.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
    listener.local_addr().expect("it is bound").port()
}
