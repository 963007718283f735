//! The files: what is there after a restart, what is cut, and what is an error.

use std::path::{Path, PathBuf};

use eventstore::{ExpectedRevision as Expected, ReadAllOptions, ReadStreamOptions};
use kinolog_eventstore::Config;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::node::{Node, add, append, event, events, folder, position, read, read_all, revisions};

#[tokio::test]
async fn a_log_of_many_segments_is_read_across_them_and_after_a_restart() {
    let dir = folder();
    let config = || Config {
        segment_bytes: 64 * 1024,
        ..Config::new(dir.path())
    };
    let node = Node::start_with(config()).await;
    for number in 0..20 {
        add(&node.client, &format!("s{}", number % 3), "x", 100).await;
    }
    let before = read_all(&node.client, &ReadAllOptions::default())
        .await
        .unwrap();
    assert_eq!(before.len(), 2000);
    node.stop().await;
    assert!(segments(dir.path()).len() > 3, "{:?}", segments(dir.path()));

    let node = Node::start_with(config()).await;
    let after = read_all(&node.client, &ReadAllOptions::default())
        .await
        .unwrap();
    let ids = |events: &[eventstore::ResolvedEvent]| -> Vec<_> {
        events
            .iter()
            .map(|it| (position(it), it.get_original_event().id))
            .collect()
    };
    assert_eq!(ids(&after), ids(&before));
    let next = add(&node.client, "s0", "x", 1).await;
    assert_eq!(next.next_expected_version, 700);
    assert_eq!(next.position.commit, position(before.last().unwrap()) + 1);
    node.stop().await;

    std::fs::remove_file(&segments(dir.path())[1]).unwrap();
    let error = refused(dir.path()).await;
    assert!(
        error.contains("segment-0000000001.log is missing"),
        "{error}"
    );
}

#[tokio::test]
async fn a_torn_tail_is_cut_and_takes_its_whole_batch_with_it() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    add(&node.client, "a", "kept", 2).await;
    node.stop().await;
    let kept = std::fs::read(&segments(dir.path())[0]).unwrap();
    let node = Node::start(dir.path()).await;
    append(&node.client, "a", Expected::Exact(1), events("torn", 3))
        .await
        .unwrap();
    node.stop().await;
    let file = segments(dir.path())[0].clone();
    let whole = std::fs::read(&file).unwrap();
    let batch = whole.len() - kept.len();

    let cuts = [1, 2, 100, batch / 2, batch - 1];
    let damages = cuts
        .map(|cut| whole[..whole.len() - cut].to_vec())
        .into_iter()
        .chain([
            garbled(&whole, whole.len() - 1),
            garbled(&whole, kept.len() + 3),
        ])
        .chain([
            [&whole[..], &[0; 5000]].concat(),
            [&kept[..], &[0xff; 77]].concat(),
        ]);
    for (case, damaged) in damages.enumerate() {
        let zeros_only = damaged.len() > whole.len();
        std::fs::write(&file, &damaged).unwrap();
        let node = Node::start(dir.path()).await;
        let there = revisions(&node.client, "a").await;
        let expected: Vec<u64> = (0..if zeros_only { 5 } else { 2 }).collect();
        assert_eq!(there, expected, "case {case}");
        let next = append(&node.client, "a", Expected::Any, vec![event("next")]).await;
        assert_eq!(next.unwrap().next_expected_version, expected.len() as u64);
        node.stop().await;
        let node = Node::start(dir.path()).await;
        assert_eq!(revisions(&node.client, "a").await.len(), expected.len() + 1);
        node.stop().await;
    }
}

#[tokio::test]
async fn a_flipped_bit_before_the_tail_is_named_and_nothing_is_served() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    for _ in 0..5 {
        add(&node.client, "a", "x", 2).await;
    }
    node.stop().await;
    let file = segments(dir.path())[0].clone();
    let whole = std::fs::read(&file).unwrap();
    let record = (whole.len() - 68) / 10;
    // In the first record, in the middle, and in the length field of one.
    for at in [
        68 + 5,
        68 + 160,
        68 + 4 * record + record / 2,
        68 + 6 * record + 8,
    ] {
        std::fs::write(&file, garbled(&whole, at)).unwrap();
        let error = refused(dir.path()).await;
        let offset = 68 + (at - 68) / record * record;
        assert!(error.contains("segment-0000000000.log"), "{error}");
        assert!(
            error.contains(&format!("offset {offset} ")),
            "{at}: {error}"
        );
    }
    // And in the segment's own header.
    std::fs::write(&file, garbled(&whole, 20)).unwrap();
    assert!(refused(dir.path()).await.contains("offset 0"));
}

#[tokio::test]
async fn a_bit_that_flips_while_the_node_runs_is_an_error_for_the_reader() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    add(&node.client, "a", "x", 3).await;
    let file = segments(dir.path())[0].clone();
    let whole = std::fs::read(&file).unwrap();
    let payload = whole.len() - 6;
    write_in_place(&file, payload, whole[payload] ^ 1);

    let found = read(&node.client, "a", &ReadStreamOptions::default()).await;
    let error = format!("{:?}", found.unwrap_err());
    assert!(error.contains("segment-0000000000.log"), "{error}");
    node.stop().await;
}

#[tokio::test]
async fn a_segment_that_was_begun_and_not_finished_is_not_missed() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    add(&node.client, "a", "x", 3).await;
    node.stop().await;
    for torn in [&b""[..], b"KSEGM", &[0; 68]] {
        std::fs::write(dir.path().join("segment-0000000001.log"), torn).unwrap();
        let node = Node::start(dir.path()).await;
        assert_eq!(revisions(&node.client, "a").await, [0, 1, 2]);
        node.stop().await;
    }
    let node = Node::start(dir.path()).await;
    add(&node.client, "a", "x", 1).await;
    node.stop().await;
    let node = Node::start(dir.path()).await;
    assert_eq!(revisions(&node.client, "a").await, [0, 1, 2, 3]);
    node.stop().await;
}

#[tokio::test]
async fn a_torn_tail_before_a_segment_that_was_not_finished_is_cut() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    add(&node.client, "a", "kept", 3).await;
    add(&node.client, "a", "torn", 1).await;
    node.stop().await;
    let file = segments(dir.path())[0].clone();
    let whole = std::fs::read(&file).unwrap();
    for unfinished in [&b""[..], b"KSEGM", &[0; 68]] {
        std::fs::write(&file, &whole[..whole.len() - 1]).unwrap();
        std::fs::write(dir.path().join("segment-0000000001.log"), unfinished).unwrap();
        let node = Node::start(dir.path()).await;
        assert_eq!(revisions(&node.client, "a").await, [0, 1, 2]);
        add(&node.client, "a", "next", 1).await;
        node.stop().await;
        assert_eq!(segments(dir.path()).len(), 1);
        let node = Node::start(dir.path()).await;
        assert_eq!(revisions(&node.client, "a").await, [0, 1, 2, 3]);
        node.stop().await;
    }

    // It does not hide that one before it is gone.
    std::fs::write(dir.path().join("segment-0000000002.log"), b"").unwrap();
    let error = refused(dir.path()).await;
    assert!(
        error.contains("segment-0000000001.log is missing"),
        "{error}"
    );
    assert_eq!(segments(dir.path()).len(), 2);
}

#[tokio::test]
async fn two_nodes_never_share_a_folder_and_strangers_never_reach_one() {
    let dir = folder();
    let node = Node::start(dir.path()).await;
    add(&node.client, "a", "x", 1).await;
    let error = refused(dir.path()).await;
    assert!(error.contains("used by another node"), "{error}");
    node.stop().await;

    let everywhere = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let config = Config::new(dir.path());
    let stop = CancellationToken::new();
    let error = kinolog_eventstore::serve(everywhere, config, stop).await;
    assert!(error.unwrap_err().to_string().contains("loopback"));
}

/// What opening the log fails with.
pub async fn refused(dir: &Path) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let served = kinolog_eventstore::serve(listener, Config::new(dir), CancellationToken::new());
    let served = tokio::time::timeout(crate::node::SOON, served).await;
    format!("{:#}", served.expect("it does not serve").unwrap_err())
}

pub fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "log"))
        .collect();
    found.sort();
    found
}

fn garbled(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut garbled = bytes.to_vec();
    garbled[at] ^= 0x10;
    garbled
}

fn write_in_place(file: &Path, at: usize, byte: u8) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::OpenOptions::new().write(true).open(file).unwrap();
    file.write_all_at(&[byte], at as u64).unwrap();
}
