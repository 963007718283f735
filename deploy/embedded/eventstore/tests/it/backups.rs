//! `backup`: a copy of the log, from a node that runs or not.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use eventstore::{ExpectedRevision as Expected, ReadAllOptions};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::node::{Node, add, append, events, folder, read_all, revisions};
use crate::proofs::{failed, start, verified};
use crate::storage::segments;

#[tokio::test(flavor = "multi_thread")]
async fn backups_of_a_busy_node_are_its_history_whenever_they_are_killed() {
    let (dir, copies) = (folder(), folder());
    let node = start(dir.path()).await;
    let stop = CancellationToken::new();
    let busy = keep_busy(&node, &stop);
    let dest = copies.path().join("copy");
    let mut reached = 0;
    for round in 0..12 {
        // Each time at another point of the work, or after it.
        let wanted = 6 * round;
        while segments(dir.path()).len() < wanted + 4 {
            tokio::task::yield_now().await;
        }
        let mut running = begin(dir.path(), &dest);
        while running.try_wait().unwrap().is_none() && count(&dest) < wanted {
            tokio::task::yield_now().await;
        }
        running.kill().unwrap();
        running.wait().unwrap();
        if count(&dest) > 0 {
            reached = position_in(&dest, dir.path(), reached);
        }
    }
    let last = backed_up(dir.path(), &dest);
    let position = position_in(&dest, dir.path(), reached);
    assert_eq!(last["position"], position);
    stop.cancel();
    busy.await.unwrap();
    node.stop().await;
    assert!(count(&dest) > 60, "{}", count(&dest));

    // And when it has stopped, all of it.
    let all = backed_up(dir.path(), &dest);
    assert_eq!(all["head"], verified(dir.path(), &[])["head"]);
}

#[tokio::test]
async fn a_copy_is_served_as_the_log_it_is_a_copy_of() {
    let (dir, copies) = (folder(), folder());
    let dest = copies.path().join("copy");
    let node = start(dir.path()).await;
    let all = read_all(&node.client, &ReadAllOptions::default()).await;
    assert_eq!(all.unwrap().len(), 0);
    let empty = backed_up(dir.path(), &dest);
    assert_eq!(
        (&empty["position"], &empty["segments"]),
        (&0.into(), &1.into())
    );
    for _ in 0..10 {
        add(&node.client, "a", "x", 10).await;
    }
    // What was acknowledged is in every backup begun after that.
    let copied = backed_up(dir.path(), &dest);
    assert_eq!(
        (&copied["position"], &copied["new_events"]),
        (&100.into(), &100.into())
    );
    node.stop().await;

    let restored = start(&dest).await;
    assert_eq!(revisions(&restored.client, "a").await.len(), 100);
    let next = append(&restored.client, "a", Expected::Exact(99), events("x", 1)).await;
    assert_eq!(next.unwrap().position.commit, 101);
    let error = failed(&backup(dir.path(), &dest));
    assert!(error.contains("is in use"), "{error}");
    restored.stop().await;
}

#[tokio::test]
async fn a_second_backup_writes_only_what_is_new() {
    let (dir, copies) = (folder(), folder());
    let dest = copies.path().join("copy");
    let node = start(dir.path()).await;
    for _ in 0..10 {
        add(&node.client, "a", "x", 10).await;
    }
    let first = backed_up(dir.path(), &dest);
    assert_eq!(first["copied_bytes"], first["bytes"]);
    let files = identities(&dest);
    assert!(files.len() > 3, "{files:?}");

    let again = backed_up(dir.path(), &dest);
    assert_eq!(
        (&again["copied_bytes"], &again["new_events"]),
        (&0.into(), &0.into())
    );
    assert_eq!(
        (&again["head"], &again["reused_bytes"]),
        (&first["head"], &first["bytes"])
    );
    assert_eq!(identities(&dest), files);

    add(&node.client, "a", "x", 1).await;
    let more = backed_up(dir.path(), &dest);
    assert_eq!(more["new_events"], 1);
    let sealed = files.len() - 1;
    assert_eq!(identities(&dest)[..sealed], files[..sealed]);
    let size = |file: &Path| std::fs::metadata(file).unwrap().len();
    let reused: u64 = segments(&dest)[..sealed].iter().map(|it| size(it)).sum();
    assert_eq!(more["reused_bytes"], reused);
    assert_eq!(
        more["bytes"],
        segments(&dest).iter().map(|it| size(it)).sum::<u64>()
    );
    node.stop().await;
}

#[tokio::test]
async fn a_copy_of_another_history_is_refused_as_it_is() {
    let (dir, other, copies) = (folder(), folder(), folder());
    let dest = copies.path().join("copy");
    for (dir, count) in [(&dir, 5), (&other, 100)] {
        let node = start(dir.path()).await;
        for _ in 0..count {
            add(&node.client, "a", "x", 1).await;
        }
        node.stop().await;
    }
    backed_up(dir.path(), &dest);
    let before = verified(&dest, &[]);
    for (from, to) in [(other.path(), &dest), (&*dest, &other.path().to_owned())] {
        let kept = verified(to, &[]);
        let error = failed(&backup(from, to));
        assert!(error.contains("of another history"), "{error}");
        assert_eq!(verified(to, &[]), kept);
    }

    // Nor is one that went on by itself.
    let node = start(&dest).await;
    add(&node.client, "a", "x", 1).await;
    node.stop().await;
    let error = failed(&backup(dir.path(), &dest));
    assert!(error.contains("of another history"), "{error}");
    assert_eq!(verified(&dest, &[])["position"], 6);
    assert_eq!(before["position"], 5);
}

#[tokio::test]
async fn a_damaged_log_is_not_copied_over_a_good_copy() {
    let (dir, copies) = (folder(), folder());
    let dest = copies.path().join("copy");
    let node = start(dir.path()).await;
    for _ in 0..6 {
        add(&node.client, "a", "x", 10).await;
    }
    let good = backed_up(dir.path(), &dest);
    add(&node.client, "a", "x", 1).await;
    let last = segments(dir.path()).pop().unwrap();
    let mut damaged = std::fs::read(&last).unwrap();
    damaged[68 + 160] ^= 1;
    std::fs::write(&last, damaged).unwrap();
    let error = failed(&backup(dir.path(), &dest));
    assert!(error.contains("the log is damaged"), "{error}");
    assert!(
        error.contains("the copy holds the log up to position 60"),
        "{error}"
    );
    assert_eq!(verified(&dest, &[])["head"], good["head"]);
    node.stop().await;
}

#[tokio::test]
async fn a_backup_into_the_log_itself_or_of_nothing_makes_nothing() {
    let (dir, copies) = (folder(), folder());
    let node = start(dir.path()).await;
    add(&node.client, "a", "x", 1).await;
    let error = failed(&backup(dir.path(), dir.path()));
    assert!(error.contains("its own folder"), "{error}");
    node.stop().await;
    let error = failed(&backup(dir.path(), dir.path()));
    assert!(error.contains("its own folder"), "{error}");

    let (missing, dest) = (copies.path().join("missing"), copies.path().join("copy"));
    for source in [&*missing, copies.path()] {
        failed(&backup(source, &dest));
        assert!(!missing.exists() && !dest.exists());
    }
}

/// Four who append until they are told to stop.
fn keep_busy(node: &Node, stop: &CancellationToken) -> JoinHandle<()> {
    let (client, stop) = (node.client.clone(), stop.clone());
    let appender = move |number: usize| {
        let (client, stop) = (client.clone(), stop.clone());
        async move {
            while !stop.is_cancelled() {
                add(&client, &format!("s{number}"), "x", 1 + 3 * number).await;
            }
        }
    };
    tokio::spawn(async move {
        futures::future::join_all((0..4).map(appender)).await;
    })
}

/// The position of a copy that is whole, has not lost anything, and whose head is in the
/// history of its source.
fn position_in(copy: &Path, source: &Path, at_least: u64) -> u64 {
    let copy = verified(copy, &[]);
    assert_eq!(copy["torn_bytes"], 0);
    let position = copy["position"].as_u64().unwrap();
    assert!(position >= at_least, "{position} < {at_least}");
    let head = copy["head"].as_str().unwrap();
    assert_eq!(verified(source, &["--head", head])["noted_at"], position);
    position
}

fn count(dir: &Path) -> usize {
    match dir.exists() {
        true => segments(dir).len(),
        false => 0,
    }
}

/// Which files the segments are.
fn identities(dir: &Path) -> Vec<u64> {
    let inode = |path| std::fs::metadata(path).unwrap().ino();
    segments(dir).into_iter().map(inode).collect()
}

fn backed_up(dir: &Path, dest: &Path) -> Value {
    let output = backup(dir, dest);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn backup(dir: &Path, dest: &Path) -> Output {
    command(dir, dest).output().unwrap()
}

fn begin(dir: &Path, dest: &Path) -> Child {
    let mut command = command(dir, dest);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

fn command(dir: &Path, dest: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kinolog-eventstore"));
    command.arg("backup").arg(dir).arg(dest);
    command
}
