//! How many tasks run at a time, and when a worker goes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use kinolog_worker::attempt::Patience;
use kinolog_worker::capacity::Capacity;
use kinolog_worker::claim::{self, Settings};
use kinolog_worker::launch::Launcher;
use kinolog_worker::link::{Link, Worker};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::conductor::{Desk, TOKEN, Told};
use crate::probe::probe;
use crate::store::Store;

const DEADLINE: Duration = Duration::from_secs(30);

/// A worker within the test's process, whose children never come to an end by themselves.
struct Working {
    desk: Arc<Desk>,
    stop: CancellationToken,
    work: JoinHandle<anyhow::Result<()>>,
    _store: Store,
}

async fn begin(slots: u32, idle: Option<Duration>, has_work: bool) -> Working {
    let child = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/children/reads-for-ever.sh");
    let registry = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gstreamer-registry.bin");
    let launcher = Launcher::of(child, registry).unwrap();
    let source = Bytes::from("four bytes and more");
    let size = source.len() as u64;
    let (store, store_at) = Store::start(source).await;
    let (desk, desk_at) = Desk::start(probe(), size, store_at, 0).await;
    *desk.lost.lock().unwrap() = !has_work;
    let worker = Worker {
        name: "worker".to_owned(),
        kinds: vec![],
        capacity: Capacity::new(slots, 1000),
    };
    let link = Link::new(&format!("http://{desk_at}"), TOKEN, worker).unwrap();
    let settings = Settings {
        once: false,
        patience: Patience {
            stall: DEADLINE,
            base: DEADLINE,
        },
        idle,
    };
    let stop = CancellationToken::new();
    let work = tokio::spawn(claim::work(link, launcher, settings, stop.clone()));
    Working {
        desk,
        stop,
        work,
        _store: store,
    }
}

impl Working {
    async fn until(&self, what: impl Fn(&Told) -> bool) {
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

#[tokio::test(flavor = "multi_thread")]
async fn as_many_tasks_run_as_there_are_slots_and_all_stop_when_told() {
    let working = begin(3, None, true).await;
    // Each of the three beats when it has been running for a while: time enough for a fourth.
    let full = |told: &Told| told.beats >= 9;
    working.until(full).await;
    let told = {
        let told = working.desk.told.lock().unwrap();
        (told.claims.len(), told.capacities.clone())
    };
    assert_eq!(told.0, 3);
    let last = told.1.last().unwrap();
    assert_eq!((last.slots, last.running), (3, 3));
    assert_eq!((last.memory_mib, last.memory_used_mib), (1000, 300));
    let running: Vec<u32> = told.1.iter().map(|said| said.running).take(3).collect();
    assert_eq!(running, [0, 1, 2]);

    working.stop.cancel();
    let ended = timeout(Duration::from_secs(5), working.work).await;
    ended.expect("it goes on").unwrap().unwrap();
    assert!(working.desk.told.lock().unwrap().end.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_finds_nothing_to_do_for_a_while_ends() {
    let working = begin(2, Some(Duration::from_millis(300)), false).await;
    let ended = timeout(DEADLINE, working.work).await;
    ended.expect("it goes on").unwrap().unwrap();
    let told = working.desk.told.lock().unwrap();
    assert!(told.claims.len() >= 2, "it asked once more at the end");
}
