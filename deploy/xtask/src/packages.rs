//! What a Debian machine needs beside Rust and a linker.
//!
//! # Invariants
//!
//! * Nothing is changed when nothing is missing.
//! * No cluster or service is started by the installation; what was written for that is put back.
//! * Nothing asks: without the right to install, the list is printed and the exit code is 2.

use std::{
    env, io,
    path::Path,
    process::{Command, ExitCode, Stdio},
};

/// To build and to run.
const PLATFORM: &[&str] = &[
    "ca-certificates",
    "pkg-config",
    "libgstreamer1.0-dev",
    "libgstreamer-plugins-base1.0-dev",
    "gstreamer1.0-tools",
    "gstreamer1.0-plugins-base",
    "gstreamer1.0-plugins-good",
    "gstreamer1.0-plugins-bad",
    "gstreamer1.0-plugins-ugly",
    "gstreamer1.0-libav",
    "postgresql",
    "redis-server",
    "procps",
];

/// To test as well: a browser, and Python for an official client of the event store.
const TESTS: &[&str] = &["chromium", "python3", "python3-venv"];

/// For the clients of a conformance suite.
const CONFORMANCE: &[&str] = &["ca-certificates", "python3", "python3-venv"];

/// What transcoding is measured against, and Python for what judges the pictures.
const TRANSCODE_BENCH: &[&str] = &["ffmpeg", "x264", "python3", "python3-venv"];

/// `$@` are the packages. Services stay off while it runs.
const INSTALL: &str = r#"
set -eu
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
clusters=/etc/postgresql-common/createcluster.conf
made_policy=
saved_clusters=
put_back() {
    if [ -n "$made_policy" ]; then rm -f "$policy"; fi
    if [ -n "$saved_clusters" ]; then mv -f "$clusters.before-kinolog" "$clusters"; fi
}
trap put_back EXIT
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
    made_policy=1
fi
get="apt-get -y -q -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -o Dpkg::Use-Pty=0"
$get update
case " $* " in
*" postgresql "*)
    $get install --no-install-recommends postgresql-common
    if [ -f "$clusters" ] && [ -z "$(ls -A /etc/postgresql 2>/dev/null)" ]; then
        cp -p "$clusters" "$clusters.before-kinolog"
        saved_clusters=1
        sed -i '/create_main_cluster/d' "$clusters"
        echo 'create_main_cluster = false' >> "$clusters"
    fi
    ;;
esac
$get install --no-install-recommends "$@"
"#;

/// Installs what is missing to run a platform. `Some`: it cannot, and this is the exit code.
pub fn for_platform() -> Option<ExitCode> {
    install(missing(PLATFORM))
}

/// Installs what is missing to run the tests.
pub fn for_tests() -> Option<ExitCode> {
    install(missing(&with_npm([PLATFORM, TESTS].concat())))
}

/// Installs what is missing to run the clients of a conformance suite; players want a whole
/// platform and a browser.
pub fn for_conformance(with_players: bool) -> Option<ExitCode> {
    let wanted = match with_players {
        true => [PLATFORM, TESTS].concat(),
        false => CONFORMANCE.to_vec(),
    };
    install(missing(&with_npm(wanted)))
}

/// Installs what is missing to measure transcoding.
pub fn for_transcode_bench() -> Option<ExitCode> {
    install(missing(&[PLATFORM, TRANSCODE_BENCH].concat()))
}

/// Debian's npm conflicts with a node that came from elsewhere.
fn with_npm(mut wanted: Vec<&str>) -> Vec<&str> {
    if !on_path("npm") {
        wanted.push("npm");
    }
    wanted
}

/// Installs what is missing to build the fuzzer: it is written in C++.
pub fn for_fuzzing() -> Option<ExitCode> {
    if on_path("c++") {
        return None;
    }
    install(missing(&["g++"]))
}

fn install(missing: Vec<String>) -> Option<ExitCode> {
    if missing.is_empty() {
        return None;
    }
    let list = missing.join(" ");
    if !on_path("apt-get") {
        eprintln!("xtask: please install what Debian calls: {list}");
        return Some(ExitCode::from(2));
    }
    let Some(mut command) = as_root() else {
        eprintln!("xtask: these packages are missing and may not be installed from here:");
        eprintln!("    sudo apt-get install --no-install-recommends {list}");
        return Some(ExitCode::from(2));
    };
    // Standard output belongs to the command that needs them.
    eprintln!("installing {list}");
    let status = command
        .args(["sh", "-c", INSTALL, "install"])
        .args(&missing)
        .stdin(Stdio::null())
        .stdout(io::stderr())
        .status();
    match status {
        Ok(status) if status.success() => None,
        Ok(status) => {
            eprintln!("xtask: the installation failed ({status}); needed are: {list}");
            Some(ExitCode::from(2))
        }
        Err(error) => {
            eprintln!("xtask: the installation cannot be started: {error}; needed are: {list}");
            Some(ExitCode::from(2))
        }
    }
}

/// A command that runs its arguments as root, if that needs no password.
fn as_root() -> Option<Command> {
    if is_root() {
        return Some(Command::new("env"));
    }
    let may = Command::new("sudo")
        .args(["-n", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !may.is_ok_and(|status| status.success()) {
        return None;
    }
    let mut sudo = Command::new("sudo");
    sudo.arg("-n");
    Some(sudo)
}

pub fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    uids.and_then(|uids| uids.split_whitespace().nth(1)) == Some("0")
}

fn missing(wanted: &[&str]) -> Vec<String> {
    wanted
        .iter()
        .filter(|name| !installed(name))
        .map(|name| (*name).to_owned())
        .collect()
}

fn installed(package: &str) -> bool {
    let answer = Command::new("dpkg-query")
        .args(["-W", "-f=${db:Status-Status}", package])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    answer.is_ok_and(|answer| answer.stdout == b"installed")
}

pub fn on_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| Path::new(&folder).join(program).is_file())
}
