//! Starts the real worker with one task and waits for what it reports.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use protocol::task::Spec;
use protocol::{FailRequest, Segment, finish_request};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::conductor::{Desk, End, TOKEN};
use crate::store::Store;

/// An hour of sound is made within it on a busy machine.
const DEADLINE: Duration = Duration::from_secs(240);

/// A worker with a task, a conductor and a store.
pub struct Run {
    pub desk: Arc<Desk>,
    pub store: Store,
    pub worker: Child,
}

impl Run {
    pub async fn begin(spec: Spec, source: Bytes) -> Run {
        Run::prepare(spec, source, 0).await.start()
    }

    pub async fn prepare(spec: Spec, source: Bytes, expires_at_ms: u64) -> Prepared {
        let size = source.len() as u64;
        let (store, store_at) = Store::start(source).await;
        let (desk, desk_at) = Desk::start(spec, size, store_at, expires_at_ms).await;
        Prepared {
            desk,
            desk_at,
            store,
            stall_seconds: 20,
            memory_mib: 3072,
        }
    }

    /// Waits for the worker's last word.
    pub async fn end(&mut self) -> End {
        let exited = timeout(DEADLINE, self.worker.wait()).await;
        let status = exited.expect("the worker goes on for too long").unwrap();
        assert!(status.success(), "the worker ended with {status}");
        self.desk
            .told
            .lock()
            .unwrap()
            .end
            .clone()
            .expect("the worker reported nothing")
    }

    pub async fn finish(&mut self) -> finish_request::Result {
        match self.end().await {
            End::Finished(result) => result,
            End::Failed(failure) => panic!("failed: {failure:?}"),
        }
    }

    pub async fn failure(&mut self) -> FailRequest {
        match self.end().await {
            End::Finished(result) => panic!("finished: {result:?}"),
            End::Failed(failure) => failure,
        }
    }

    pub fn segments(&self, rendition: &str) -> Vec<Segment> {
        let told = self.desk.told.lock().unwrap();
        told.segments.get(rendition).cloned().unwrap_or_default()
    }

    /// The process of the sandboxed half, once it runs.
    pub async fn child(&self) -> i32 {
        let parent = self.worker.id().unwrap();
        let children = format!("/proc/{parent}/task");
        let found = async {
            loop {
                for thread in std::fs::read_dir(&children).into_iter().flatten().flatten() {
                    let list = std::fs::read_to_string(thread.path().join("children"));
                    let ids = list.unwrap_or_default();
                    for id in ids.split_whitespace() {
                        let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
                        if line.split(|byte| *byte == 0).any(|word| word == b"child") {
                            return id.parse().unwrap();
                        }
                    }
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(DEADLINE, found)
            .await
            .expect("no child was started")
    }

    /// Waits until something is true of what was told.
    pub async fn until(&self, what: impl Fn(&crate::conductor::Told) -> bool) {
        let waited = async {
            loop {
                let changed = self.desk.changed.notified();
                if what(&self.desk.told.lock().unwrap()) {
                    return;
                }
                changed.await;
            }
        };
        timeout(DEADLINE, waited).await.expect("it never came true");
    }
}

pub struct Prepared {
    pub desk: Arc<Desk>,
    pub store: Store,
    pub stall_seconds: u64,
    pub memory_mib: u64,
    desk_at: SocketAddr,
}

impl Prepared {
    pub fn start(self) -> Run {
        let worker = program()
            .args(["--conductor", &format!("http://{}", self.desk_at), "--once"])
            .args(["--stall-seconds", &self.stall_seconds.to_string()])
            .args(["--child-memory-mib", &self.memory_mib.to_string()])
            .env("KINOLOG_WORKER_TOKEN", TOKEN)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Run {
            desk: self.desk,
            store: self.store,
            worker,
        }
    }
}

pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kinolog-worker"));
    command
        .arg("--registry")
        .arg(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("gstreamer-registry.bin"))
        .kill_on_drop(true);
    command
}
