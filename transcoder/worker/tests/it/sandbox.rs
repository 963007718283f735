//! The cell holds on this machine.

use std::collections::BTreeMap;
use std::io;
use std::process::Stdio;
use std::time::Duration;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use crate::conductor::TOKEN;
use crate::worker::program;

#[tokio::test(flavor = "multi_thread")]
async fn the_child_can_neither_open_a_socket_nor_write_nor_run_anything() {
    let checked = program()
        .args(["check", "--sandbox"])
        .output()
        .await
        .unwrap();
    let said = String::from_utf8(checked.stdout).unwrap();
    assert!(checked.status.success(), "{said}");
    for attempt in [
        "connect over tcp",
        "listen on tcp",
        "make a local socket",
        "make a file",
        "open a file for writing",
        "run a program",
        "make a process",
        "trace a process",
        "signal the parent",
        "signal a thread of the parent",
        "ask about the parent's limits",
        "have a descriptor signal the parent",
    ] {
        let refused = format!("sandbox: {attempt}: refused (1)");
        assert!(said.contains(&refused), "{refused} is missing in:\n{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_child_cannot_look_at_its_parent_where_landlock_is_on() {
    let checked = program()
        .args(["check", "--sandbox"])
        .output()
        .await
        .unwrap();
    let said = String::from_utf8(checked.stdout).unwrap();
    let refused = said.contains("sandbox: read the parent's environment: refused (13)");
    let off = said.contains("warning: Landlock is not enforced");
    assert!(refused != off, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_landlock_is_said_and_is_no_failure() {
    let mut check = program();
    check.args(["check", "--sandbox"]);
    let checked = without_landlock(&mut check).output().await.unwrap();
    let said = String::from_utf8(checked.stdout).unwrap();
    assert!(checked.status.success(), "{said}");
    assert!(
        said.contains("warning: Landlock is not enforced (the kernel lacks it)"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_starts_without_landlock_warns() {
    let mut worker = program();
    worker
        .args(["--once", "--conductor", "http://127.0.0.1:9"])
        .env("KINOLOG_WORKER_TOKEN", TOKEN)
        .env_remove("RUST_LOG")
        .stderr(Stdio::piped());
    let mut worker = without_landlock(&mut worker).spawn().unwrap();
    let mut lines = BufReader::new(worker.stderr.take().unwrap()).lines();
    let warned = async {
        loop {
            let line = lines.next_line().await.unwrap();
            let line = line.expect("the worker ended");
            assert!(!line.contains("is ready"), "it did not warn");
            if line.contains("WARN") && line.contains("Landlock is not enforced") {
                return;
            }
        }
    };
    timeout(Duration::from_secs(60), warned).await.unwrap();
    worker.kill().await.unwrap();
}

/// The kernel says to this program and its children that it has no landlock.
fn without_landlock(command: &mut Command) -> &mut Command {
    let rules = BTreeMap::from([(libc::SYS_landlock_create_ruleset, vec![])]);
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOSYS as u32),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    let filter = BpfProgram::try_from(filter.unwrap()).unwrap();
    // SAFETY: two plain system calls between fork and exec; the filter is made before.
    unsafe {
        command.pre_exec(move || seccompiler::apply_filter(&filter).map_err(io::Error::other))
    }
}
