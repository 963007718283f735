//! `verify` and `inspect`: the log looked at from outside, unchanged by it.

use std::path::Path;
use std::process::{Command, Output};

use kinolog_eventstore::Config;
use serde_json::Value;

use crate::node::{Node, add, folder};
use crate::storage::segments;

#[tokio::test]
async fn a_log_is_verified_and_its_head_recognised_later() {
    let dir = folder();
    let node = start(dir.path()).await;
    for number in 0..10 {
        add(&node.client, &format!("s{}", number % 3), "x", 10).await;
    }
    // A node that runs is only looked at.
    let noted = verified(dir.path(), &[]);
    assert_eq!(
        (&noted["events"], &noted["streams"]),
        (&100.into(), &3.into())
    );
    assert_eq!(
        (&noted["position"], &noted["torn_bytes"]),
        (&100.into(), &0.into())
    );
    add(&node.client, "a", "x", 7).await;
    node.stop().await;
    assert!(segments(dir.path()).len() > 2);

    let head = noted["head"].as_str().unwrap();
    let later = verified(dir.path(), &["--head", head]);
    assert_eq!(
        (&later["events"], &later["noted_at"]),
        (&107.into(), &100.into())
    );
    assert_ne!(later["head"], noted["head"]);
    let refused = failed(&verify(dir.path(), &["--head", "12"]));
    assert!(refused.contains("64 hexadecimal digits"), "{refused}");
}

#[tokio::test]
async fn a_flipped_payload_bit_is_named_with_file_offset_and_position() {
    let dir = folder();
    let node = start(dir.path()).await;
    for _ in 0..40 {
        add(&node.client, "a", "x", 1).await;
    }
    node.stop().await;
    let records = inspected(dir.path(), &[]);
    for middle in [&records[3], &records[20]] {
        let (file, offset) = (middle["file"].as_str().unwrap(), &middle["offset"]);
        let path = dir.path().join(file);
        let whole = std::fs::read(&path).unwrap();
        let end = offset.as_u64().unwrap() + middle["length"].as_u64().unwrap();
        let mut damaged = whole.clone();
        damaged[usize::try_from(end).unwrap() - 6] ^= 1;
        std::fs::write(&path, damaged).unwrap();
        let error = failed(&verify(dir.path(), &[]));
        let place = format!("offset {offset} of {file}, position {}", middle["position"]);
        assert!(error.contains(&place), "{error}");
        std::fs::write(&path, whole).unwrap();
    }
    verified(dir.path(), &[]);
}

#[tokio::test]
async fn a_history_that_was_rewritten_or_cut_is_caught_by_the_head_noted_before() {
    let (dir, other) = (folder(), folder());
    let mut heads = vec![];
    for dir in [&dir, &other] {
        let node = start(dir.path()).await;
        add(&node.client, "a", "x", 5).await;
        node.stop().await;
        heads.push(verified(dir.path(), &[])["head"].clone());
    }
    // Each is whole, but they are two histories.
    let head = heads[0].as_str().unwrap();
    verified(dir.path(), &["--head", head]);
    let error = failed(&verify(other.path(), &["--head", head]));
    assert!(error.contains("not the history that was noted"), "{error}");

    let file = &segments(dir.path())[0];
    let whole = std::fs::read(file).unwrap();
    std::fs::write(file, &whole[..whole.len() - 1]).unwrap();
    assert_ne!(verified(dir.path(), &[])["torn_bytes"], 0);
    let error = failed(&verify(dir.path(), &["--head", head]));
    assert!(error.contains("not the history that was noted"), "{error}");
}

#[tokio::test]
async fn records_are_printed_as_asked_for() {
    let dir = folder();
    let node = start(dir.path()).await;
    for number in 0..30 {
        add(&node.client, &format!("s{}", number % 3), "x.made", 1).await;
    }
    node.stop().await;
    let positions = |arguments: &[&str]| -> Vec<u64> {
        let records = inspected(dir.path(), arguments);
        let positions = records.iter().map(|it| it["position"].as_u64().unwrap());
        positions.collect()
    };
    assert!(positions(&[]).into_iter().eq(1..=30));
    assert!(positions(&["--from", "29"]).into_iter().eq(29..=30));
    assert_eq!(positions(&["--stream", "s1", "--limit", "2"]), [2, 5]);
    assert_eq!(
        positions(&["--stream", "s1", "--from", "15"]),
        [17, 20, 23, 26, 29]
    );
    let record = &inspected(dir.path(), &["--from", "5"])[0];
    assert_eq!(
        (&record["stream"], &record["revision"]),
        (&"s1".into(), &1.into())
    );
    assert_eq!(
        (&record["type"], &record["data"]),
        (&"x.made".into(), &"payload".into())
    );
}

pub async fn start(dir: &Path) -> Node {
    let config = Config {
        segment_bytes: 4096,
        ..Config::new(dir)
    };
    Node::start_with(config).await
}

pub fn verified(dir: &Path, arguments: &[&str]) -> Value {
    let output = verify(dir, arguments);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

pub fn failed(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn verify(dir: &Path, arguments: &[&str]) -> Output {
    run("verify", dir, arguments)
}

fn inspected(dir: &Path, arguments: &[&str]) -> Vec<Value> {
    let output = run("inspect", dir, arguments);
    assert!(output.status.success(), "{output:?}");
    let lines = std::str::from_utf8(&output.stdout).unwrap().lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn run(command: &str, dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kinolog-eventstore"))
        .arg(command)
        .arg(dir)
        .args(arguments)
        .output()
        .unwrap()
}
