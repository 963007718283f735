//! The cell holds on this machine.

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
    ] {
        let refused = format!("sandbox: {attempt}: refused (1)");
        assert!(said.contains(&refused), "{refused} is missing in:\n{said}");
    }
}
