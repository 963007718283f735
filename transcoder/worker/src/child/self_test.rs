//! Tries to break out of the closed cell and reports what each attempt got.
//!
//! `kinolog-worker check --sandbox` runs it on the machine at hand.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use super::sandbox::View;
use crate::wire::Finding;

/// Every attempt with its error number; 0 means that it succeeded. Without a restricted
/// view there is nothing to find out about it.
pub(crate) fn findings(view: &View) -> Vec<Finding> {
    let scratch = std::env::temp_dir().join("kinolog-self-test");
    let parent = std::os::unix::process::parent_id();
    let mut findings = vec![
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
        found("signal the parent", signal(parent)),
        found("signal a thread of the parent", signal_thread(parent)),
        found("ask about the parent's limits", limits_of(parent)),
        found("have a descriptor signal the parent", own(parent)),
    ];
    if view.hides_files() {
        let environment = File::open(format!("/proc/{parent}/environ"));
        findings.push(found("read the parent's environment", environment));
    }
    findings
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

/// Signal 0 only asks whether a signal could be sent.
fn signal(process: u32) -> io::Result<()> {
    // SAFETY: plain numbers.
    done(unsafe { libc::kill(process.cast_signed(), 0) }.into())
}

fn signal_thread(process: u32) -> io::Result<()> {
    // SAFETY: plain numbers; the first thread of a process has its number.
    done(unsafe { libc::syscall(libc::SYS_tgkill, process, process, 0) })
}

fn limits_of(process: u32) -> io::Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    let resource = libc::RLIMIT_NOFILE;
    // SAFETY: the one pointer is to a structure of the kind that is filled in.
    done(
        unsafe {
            libc::prlimit(
                process.cast_signed(),
                resource,
                std::ptr::null(),
                &raw mut limit,
            )
        }
        .into(),
    )
}

fn own(process: u32) -> io::Result<()> {
    // SAFETY: plain numbers; a descriptor that is not there would be EBADF.
    done(unsafe { libc::fcntl(0, libc::F_SETOWN, process) }.into())
}

fn done(returned: i64) -> io::Result<()> {
    match returned {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
