//! Building our programs, and becoming one of them.

use std::{
    env,
    ffi::OsString,
    io,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
};

use crate::{packages, root};

/// The programs that make up a platform.
pub const PACKAGES: [&str; 4] = [
    "kinolog",
    "kinolog-worker",
    EVENTSTORE,
    "kinolog-objectstore",
];

pub const EVENTSTORE: &str = "kinolog-eventstore";

/// Installs, builds, and becomes `kinolog COMMAND`.
pub fn run(command: &str, arguments: &[String]) -> io::Result<ExitCode> {
    if let Some(cannot) = packages::for_platform() {
        return Ok(cannot);
    }
    let release = arguments.iter().any(|argument| argument == "--release");
    if !build(release)? {
        return Ok(ExitCode::FAILURE);
    }
    let rest = arguments.iter().filter(|argument| *argument != "--release");
    let error = Command::new(program("kinolog", release))
        .arg(command)
        .args(rest)
        .exec();
    Err(error)
}

/// Becomes `kinolog down`; what never was built never ran.
pub fn down(arguments: &[String]) -> io::Result<ExitCode> {
    let built = [true, false].map(|release| program("kinolog", release));
    let Some(kinolog) = built.iter().find(|path| path.is_file()) else {
        println!("no platform was ever built here");
        return Ok(ExitCode::SUCCESS);
    };
    Err(Command::new(kinolog).arg("down").args(arguments).exec())
}

/// Builds every program of a platform, all in one folder.
pub fn build(release: bool) -> io::Result<bool> {
    let mut cargo = cargo();
    cargo.args(["build", "--bins"]);
    for package in PACKAGES {
        cargo.args(["--package", package]);
    }
    if release {
        cargo.arg("--release");
    }
    Ok(cargo.status()?.success())
}

/// Builds the embedded event store alone.
pub fn build_eventstore() -> io::Result<bool> {
    let arguments = ["build", "--bin", EVENTSTORE, "--package", EVENTSTORE];
    Ok(cargo().args(arguments).status()?.success())
}

pub fn cargo() -> Command {
    let program = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut cargo = Command::new(program);
    cargo.current_dir(root()).stdin(Stdio::null());
    cargo
}

pub fn program(name: &str, release: bool) -> PathBuf {
    target()
        .join(if release { "release" } else { "debug" })
        .join(name)
}

pub fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(path) => root().join(path),
        None => root().join("target"),
    }
}
