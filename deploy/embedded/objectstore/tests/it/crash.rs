//! The process killed at any moment, and a disk that is full.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use http::Method;
use object_store::{ObjectStoreExt, path::Path};
use rand::{Rng, SeedableRng, rngs::StdRng};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use crate::support::{Program, client, eventually, folder, presign, web};

const KEYS: usize = 6;

/// Key, generation, and filler that is longer than one write.
fn body(key: usize, generation: usize) -> Vec<u8> {
    let line = format!("key {key} generation {generation}\n");
    line.repeat(100_000 / line.len() * (1 + generation % 5))
        .into_bytes()
}

#[tokio::test]
async fn a_kill_leaves_each_object_old_or_new_and_never_half() {
    let dir = folder();
    let mut random = StdRng::seed_from_u64(2);
    let mut acknowledged = [0; KEYS];
    let mut generation = 0;
    for _round in 0..6 {
        let program = Program::start(dir.path(), None, None);
        let address = program.address;
        let first = generation + 1;
        let putting = tokio::spawn(async move {
            let mut done = [0; KEYS];
            for generation in first.. {
                let puts = (0..KEYS).map(|key| async move {
                    let url = presign(address, Method::PUT, &format!("k/{key}"), &[]).await;
                    let put = web().put(url).body(body(key, generation)).send().await;
                    (key, put.is_ok_and(|answer| answer.status() == 200))
                });
                let puts: Vec<_> = futures::stream::iter(puts)
                    .buffer_unordered(3)
                    .collect()
                    .await;
                for &(key, ok) in &puts {
                    if ok {
                        done[key] = generation;
                    }
                }
                if !puts.iter().all(|(_, ok)| *ok) {
                    return (done, generation);
                }
            }
            unreachable!("the program is killed before that")
        });
        // Not a synchronisation: the moment of the kill is the random input of this test.
        tokio::time::sleep(Duration::from_millis(random.random_range(60..400))).await;
        program.kill();
        let (done, last) = putting.await.unwrap();
        generation = last;
        for key in 0..KEYS {
            acknowledged[key] = acknowledged[key].max(done[key]);
        }

        let program = Program::start(dir.path(), None, None);
        for (key, least) in acknowledged.iter().enumerate() {
            let got = client(program.address)
                .get(&Path::from(format!("k/{key}")))
                .await;
            let Ok(got) = got else {
                assert_eq!(*least, 0, "key {key} was acknowledged and is gone");
                continue;
            };
            let bytes = got.bytes().await.unwrap();
            let whole = (*least..=generation).any(|generation| bytes == body(key, generation));
            assert!(whole, "key {key} is neither the old object nor a new one");
        }
        let blobs = std::fs::read_dir(dir.path().join("blobs")).unwrap().count();
        assert!(blobs <= KEYS, "leftovers: {blobs}");
        program.terminate();
    }
    assert!(
        acknowledged.iter().any(|generation| *generation > 0),
        "nothing was ever put"
    );
}

#[tokio::test]
async fn nothing_is_served_or_removed_by_a_change_that_cannot_be_made_durable() {
    let dir = folder();
    let program = Program::start(dir.path(), None, None);
    let store = client(program.address);
    store.put(&Path::from("k/a"), "bytes".into()).await.unwrap();
    let blobs = dir.path().join("blobs");
    let blob = std::fs::read_dir(&blobs).unwrap().next().unwrap().unwrap();
    let bytes = std::fs::read(blob.path()).unwrap();
    store.delete(&Path::from("k/a")).await.unwrap();
    eventually(|| !blob.path().exists(), "the blob is removed").await;
    program.kill();
    // As if the kill had come after the write of that change and before its sync.
    std::fs::write(blob.path(), bytes).unwrap();

    let path = dir.path().to_owned();
    let program = std::thread::spawn(move || {
        let rules = BTreeMap::from([(libc::SYS_fdatasync, vec![])]);
        let filter = SeccompFilter::new(
            rules,
            SeccompAction::Allow,
            SeccompAction::Errno(libc::EIO.cast_unsigned()),
            std::env::consts::ARCH.try_into().unwrap(),
        );
        // On this thread and what it starts.
        let filter: BpfProgram = filter.unwrap().try_into().unwrap();
        seccompiler::apply_filter(&filter).unwrap();
        Program::start(&path, None, None)
    });
    program.join().unwrap().fails().await;
    assert!(blob.path().exists());

    let program = Program::start(dir.path(), None, None);
    let head = client(program.address).head(&Path::from("k/a")).await;
    assert!(matches!(head, Err(object_store::Error::NotFound { .. })));
    assert!(!blob.path().exists());
    program.terminate();
}

#[tokio::test]
async fn a_full_disk_is_a_typed_error_and_leaves_nothing() {
    let dir = folder();
    // A limit on file sizes fails a write as a full disk does: in the middle.
    let program = Program::start(dir.path(), None, Some(3 << 20));
    let url = presign(program.address, Method::PUT, "sources/large", &[]).await;
    let answer = web().put(url).body(vec![1; 4 << 20]).send().await.unwrap();
    assert_eq!(answer.status(), 507);
    assert!(answer.text().await.unwrap().contains("InsufficientStorage"));
    let blobs = || std::fs::read_dir(dir.path().join("blobs")).unwrap().count();
    eventually(|| blobs() == 0, "no blob is left").await;

    let store = client(program.address);
    assert!(store.head(&Path::from("sources/large")).await.is_err());
    store
        .put(&Path::from("sources/small"), "fits".into())
        .await
        .unwrap();
    program.terminate();
}
