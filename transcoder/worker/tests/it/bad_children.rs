//! Children that break their side of the agreement. They are scripts: the worker's own
//! child does none of this unless a file takes it over.

use std::path::Path;
use std::time::Duration;

use axum::body::Bytes;
use kinolog_worker::attempt::Patience;
use kinolog_worker::capacity::Capacity;
use kinolog_worker::claim::{self, Settings};
use kinolog_worker::failure::Code;
use kinolog_worker::launch::Launcher;
use kinolog_worker::link::{Link, Worker};
use protocol::finish_request;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::conductor::{Desk, End, TOKEN};
use crate::probe::probe;
use crate::store::Store;

/// Gives one task to this child, within the test's process.
async fn end(child: &str, patience: Patience, memory_mib: u64) -> End {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/children");
    let registry = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gstreamer-registry.bin");
    let launcher = Launcher::of(folder.join(child), registry).unwrap();
    let launcher = launcher.with_memory(memory_mib << 20);
    let source = Bytes::from("four bytes and more");
    let size = source.len() as u64;
    let (_store, store_at) = Store::start(source).await;
    let (desk, desk_at) = Desk::start(probe(), size, store_at, 0).await;
    let worker = Worker {
        name: "worker".to_owned(),
        kinds: vec![],
        capacity: Capacity::new(1, 1000),
    };
    let link = Link::new(&format!("http://{desk_at}"), TOKEN, worker).unwrap();
    let settings = Settings {
        once: true,
        patience,
        idle: None,
    };
    let worked = claim::work(link, launcher, settings, CancellationToken::new());
    let ended = timeout(Duration::from_secs(60), worked).await;
    ended.expect("the attempt goes on").unwrap();
    let told = desk.told.lock().unwrap();
    told.end.clone().expect("nothing was reported")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_hangs_after_its_last_word_has_finished_all_the_same() {
    let patience = Patience {
        stall: Duration::from_secs(2),
        base: Duration::from_secs(300),
    };
    let end = end("hangs-at-exit.sh", patience, 64).await;
    assert!(
        matches!(end, End::Finished(finish_request::Result::Probe(_))),
        "{end:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_reads_for_ever_is_stopped() {
    let patience = Patience {
        stall: Duration::from_secs(30),
        base: Duration::from_secs(2),
    };
    let End::Failed(failure) = end("reads-for-ever.sh", patience, 64).await else {
        panic!("it finished");
    };
    assert_eq!(failure.code, Code::ProcessingStalled.as_str());
    assert!(
        failure.message.contains("did not end for 2 s"),
        "{}",
        failure.message
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_takes_too_much_memory_is_stopped() {
    let patience = Patience {
        stall: Duration::from_secs(30),
        base: Duration::from_secs(30),
    };
    let End::Failed(failure) = end("takes-memory.sh", patience, 64).await else {
        panic!("it finished");
    };
    assert_eq!(failure.code, Code::ProcessingOutOfResources.as_str());
    assert!(!failure.source_fault, "a larger worker may do it");
    assert!(failure.message.contains("64 MiB"), "{}", failure.message);
}
