//! A node of one test: its own folder, a port of the system's choice, and restarts.

use std::{future::Future, time::Duration};

use eventlog::Log;
use kinolog_eventstore::Config;
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// How long a test waits for what must happen.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Node {
    dir: TempDir,
    port: u16,
    running: Option<Running>,
}

struct Running {
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Node {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut node = Self {
            dir: TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
            port: listener.local_addr().unwrap().port(),
            running: None,
        };
        node.run(listener);
        node
    }

    pub async fn stop(&mut self) {
        let Some(Running { stop, task }) = self.running.take() else {
            return;
        };
        stop.cancel();
        task.await.unwrap().unwrap();
    }

    /// On the same folder and the same port.
    pub async fn start_again(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        self.run(listener);
    }

    fn run(&mut self, listener: TcpListener) {
        let stop = CancellationToken::new();
        let served =
            kinolog_eventstore::serve(listener, Config::new(self.dir.path()), stop.clone());
        self.running = Some(Running {
            stop,
            task: tokio::spawn(served),
        });
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn log(&self) -> Log {
        log_at(self.port)
    }

    /// A client below ours, for what no program of ours would write.
    pub fn client(&self) -> eventstore::Client {
        let address = format!(
            "esdb://127.0.0.1:{}?tls=false&discoveryInterval=20&tlsCaFile=/dev/null",
            self.port
        );
        eventstore::Client::new(address.parse().unwrap()).unwrap()
    }
}

pub fn log_at(port: u16) -> Log {
    Log::new(&format!("esdb://127.0.0.1:{port}?tls=false")).unwrap()
}

/// What must happen in time.
pub async fn in_time<T>(awaited: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, awaited)
        .await
        .expect("it must happen in time")
}

/// Asks until the answer is yes.
pub async fn until<Fut: Future<Output = bool>>(asked: impl Fn() -> Fut) {
    in_time(async {
        while !asked().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}
