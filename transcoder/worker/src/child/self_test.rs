//! Tries to break out of the closed cell and reports what each attempt got.
//!
//! `kinolog-worker check --sandbox` runs it on the machine at hand.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use crate::wire::Finding;

/// Every attempt with its error number; 0 means that it succeeded.
pub(crate) fn findings() -> Vec<Finding> {
    let scratch = std::env::temp_dir().join("kinolog-self-test");
    vec![
        found("connect over tcp", TcpStream::connect("127.0.0.1:9")),
        found("listen on tcp", TcpListener::bind("127.0.0.1:0")),
        found("bind udp", UdpSocket::bind("127.0.0.1:0")),
        found("make a local socket", UnixDatagram::unbound()),
        found("make a file", File::create(&scratch)),
        found(
            "open a file for writing",
            OpenOptions::new().write(true).open("/dev/null"),
        ),
        found("make a folder", fs::create_dir(&scratch)),
        found("run a program", Command::new("/bin/true").spawn()),
        found("make a process", fork()),
        found("trace a process", trace()),
    ]
}

fn found<T>(attempt: &str, got: io::Result<T>) -> Finding {
    let errno = match got {
        Ok(_) => 0,
        Err(error) => error.raw_os_error().unwrap_or(-1),
    };
    Finding {
        attempt: attempt.to_owned(),
        errno,
    }
}

fn fork() -> io::Result<()> {
    // SAFETY: should it succeed after all, the copy ends at once without running anything.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => unsafe { libc::_exit(0) },
        _ => Ok(()),
    }
}

fn trace() -> io::Result<()> {
    // SAFETY: the call takes no pointers here.
    match unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
