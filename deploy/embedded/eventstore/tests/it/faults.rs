//! A disk that fails: nothing it did not keep is acknowledged.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use eventstore::{Client, ExpectedRevision as Expected};
use kinolog_eventstore::{Disk, DiskFile, Folder, limits};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::node::{Node, SOON, add, append, client, event, events, folder, revisions};
use crate::storage::segments;

/// Room for some forty events.
const SMALL_SEGMENT: u64 = 8 * 1024;

/// What goes wrong from now on.
#[derive(Default)]
struct Faults {
    sync: AtomicBool,
    sync_names: AtomicBool,
    full: AtomicBool,
    /// Files of the index cannot be made.
    no_index: AtomicBool,
    /// Files a power cut would take.
    unsynced: Mutex<BTreeSet<String>>,
}

#[tokio::test]
async fn when_a_sync_fails_no_append_is_acknowledged_and_the_node_ends() {
    let dir = folder();
    let faults = Arc::new(Faults::default());
    let (client, serving) = start(dir.path(), &faults).await;
    add(&client, "a", "before", 1).await;

    faults.sync.store(true, Ordering::SeqCst);
    let attempts = (0..20).map(|number| {
        let client = client.clone();
        async move {
            let stream = format!("s{number}");
            append(&client, &stream, Expected::NoStream, vec![event("x")]).await
        }
    });
    for result in futures::future::join_all(attempts).await {
        assert!(result.is_err(), "{result:?}");
    }
    let ended = tokio::time::timeout(SOON, serving).await.unwrap().unwrap();
    let error = format!("{:#}", ended.unwrap_err());
    assert!(
        error.contains("failed to sync segment-0000000000.log"),
        "{error}"
    );

    let node = Node::start(dir.path()).await;
    assert_eq!(revisions(&node.client, "a").await, [0]);
    node.stop().await;
}

#[tokio::test]
async fn a_full_disk_refuses_appends_until_there_is_room_and_reads_go_on() {
    let dir = folder();
    let faults = Arc::new(Faults::default());
    let (client, serving) = start(dir.path(), &faults).await;
    add(&client, "a", "before", 2).await;

    faults.full.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        let refused = append(&client, "a", Expected::Exact(1), events("x", 3)).await;
        assert!(refused.is_err(), "{refused:?}");
        assert_eq!(revisions(&client, "a").await, [0, 1]);
    }
    assert!(!serving.is_finished());
    faults.full.store(false, Ordering::SeqCst);
    let again = append(&client, "a", Expected::Exact(1), events("x", 3)).await;
    assert_eq!(again.unwrap().next_expected_version, 4);
    drop(client);
    kill(dir.path(), serving).await;

    let node = Node::start(dir.path()).await;
    assert_eq!(revisions(&node.client, "a").await, [0, 1, 2, 3, 4]);
    node.stop().await;
}

#[tokio::test]
async fn a_segment_that_found_no_room_leaves_the_one_before_it_the_last() {
    let dir = folder();
    let faults = Arc::new(Faults::default());
    let (client, serving) = start_with(dir.path(), &faults, SMALL_SEGMENT).await;
    add(&client, "a", "before", 30).await;

    faults.full.store(true, Ordering::SeqCst);
    let refused = append(&client, "a", Expected::Exact(29), events("x", 30)).await;
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(segments(dir.path()).len(), 1);
    faults.full.store(false, Ordering::SeqCst);
    add(&client, "a", "small", 1).await;
    drop(client);
    kill(dir.path(), serving).await;

    // As if the kill had come in the middle of that write.
    let last = &segments(dir.path())[0];
    let whole = std::fs::read(last).unwrap();
    std::fs::write(last, &whole[..whole.len() - 1]).unwrap();
    let node = Node::start(dir.path()).await;
    assert_eq!(revisions(&node.client, "a").await.len(), 30);
    node.stop().await;
}

#[tokio::test]
async fn a_segment_whose_name_was_never_synced_survives_a_power_cut_after_the_next_start() {
    let dir = folder();
    let faults = Arc::new(Faults::default());
    let (client, serving) = start_with(dir.path(), &faults, SMALL_SEGMENT).await;
    add(&client, "a", "before", 30).await;
    faults.sync_names.store(true, Ordering::SeqCst);
    let lost = append(&client, "a", Expected::Exact(29), events("x", 30)).await;
    assert!(lost.is_err(), "{lost:?}");
    let ended = tokio::time::timeout(SOON, serving).await.unwrap().unwrap();
    let error = format!("{:#}", ended.unwrap_err());
    assert!(error.contains("segment-0000000001.log"), "{error}");
    assert_eq!(segments(dir.path()).len(), 2);

    faults.sync_names.store(false, Ordering::SeqCst);
    let (client, serving) = start_with(dir.path(), &faults, SMALL_SEGMENT).await;
    add(&client, "a", "after", 1).await;
    drop(client);
    kill(dir.path(), serving).await;
    for name in &*faults.unsynced.lock().unwrap() {
        std::fs::remove_file(dir.path().join(name)).unwrap();
    }

    let node = Node::start(dir.path()).await;
    assert_eq!(revisions(&node.client, "a").await.len(), 31);
    node.stop().await;
}

/// Drops a node without stopping it, and waits until it no longer has the folder.
async fn kill(dir: &Path, serving: Serving) {
    serving.abort();
    let _ = serving.await;
    let deadline = tokio::time::Instant::now() + SOON;
    while Folder::open(dir).is_err() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the folder stays locked"
        );
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn appends_are_refused_while_the_index_cannot_be_written_and_reads_go_on() {
    let dir = folder();
    let faults = Arc::new(Faults::default());
    faults.no_index.store(true, Ordering::SeqCst);
    let (client, serving) = start_with(dir.path(), &faults, 8 * SMALL_SEGMENT).await;
    let mut next = 0;
    let refused = loop {
        let expected = match next {
            0 => Expected::NoStream,
            _ => Expected::Exact(next - 1),
        };
        match append(&client, "a", expected, events("x", 20)).await {
            Ok(_) => next += 20,
            Err(error) => break error,
        }
        assert!(next < 2000, "it goes on without an index");
    };
    assert!(
        format!("{refused:?}").contains("the index cannot be written"),
        "{refused:?}"
    );
    let all: Vec<u64> = (0..next).collect();
    assert_eq!(revisions(&client, "a").await, all);

    faults.no_index.store(false, Ordering::SeqCst);
    let begun = std::time::Instant::now();
    while let Err(error) = append(&client, "a", Expected::Exact(next - 1), events("x", 1)).await {
        assert!(begun.elapsed() < SOON, "{error}");
        tokio::task::yield_now().await;
    }
    drop(client);
    kill(dir.path(), serving).await;
    let node = Node::start(dir.path()).await;
    assert_eq!(revisions(&node.client, "a").await.len() as u64, next + 1);
    node.stop().await;
}

type Serving = tokio::task::JoinHandle<anyhow::Result<()>>;

async fn start(dir: &Path, faults: &Arc<Faults>) -> (Client, Serving) {
    start_with(dir, faults, limits::SEGMENT_BYTES).await
}

async fn start_with(dir: &Path, faults: &Arc<Faults>, segment_bytes: u64) -> (Client, Serving) {
    let disk = Arc::new(Faulty {
        disk: Folder::open(dir).unwrap(),
        faults: faults.clone(),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let stop = CancellationToken::new();
    let serving = kinolog_eventstore::serve_on(disk, segment_bytes, listener, stop);
    (client(port), tokio::spawn(serving))
}

struct Faulty {
    disk: Folder,
    faults: Arc<Faults>,
}

struct FaultyFile {
    file: Arc<dyn DiskFile>,
    faults: Arc<Faults>,
}

impl Faulty {
    fn wrap(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(FaultyFile {
            file,
            faults: self.faults.clone(),
        })
    }
}

impl Disk for Faulty {
    fn names(&self) -> io::Result<Vec<String>> {
        self.disk.names()
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.wrap(self.disk.open(name)?))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        if name.starts_with("index-") && self.faults.no_index.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = self.disk.create(name)?;
        self.faults.unsynced.lock().unwrap().insert(name.into());
        Ok(self.wrap(file))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.faults.unsynced.lock().unwrap().remove(name);
        self.disk.remove(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn sync_names(&self) -> io::Result<()> {
        if self.faults.sync_names.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk is broken"));
        }
        self.disk.sync_names()?;
        self.faults.unsynced.lock().unwrap().clear();
        Ok(())
    }
}

impl DiskFile for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(into, offset)
    }

    /// A full disk takes half of it, as real ones do.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if !self.faults.full.load(Ordering::SeqCst) {
            return self.file.write_all_at(bytes, offset);
        }
        self.file.write_all_at(&bytes[..bytes.len() / 2], offset)?;
        Err(io::ErrorKind::StorageFull.into())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.truncate(len)
    }

    /// What was not synced is not there after the crash.
    fn sync_data(&self) -> io::Result<()> {
        if !self.faults.sync.load(Ordering::SeqCst) {
            return self.file.sync_data();
        }
        let len = self.file.len()?;
        self.file.truncate(len - len.min(1))?;
        Err(io::Error::other("the disk is broken"))
    }
}
