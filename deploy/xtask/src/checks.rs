//! The checks that run no test: form, lints, documentation, architecture, snapshots.

use std::{
    fs, io,
    path::PathBuf,
    process::{Command, ExitCode},
};

use crate::{
    packages, programs, root,
    services::Services,
    sqlx,
    tests::{Sum, succeeds},
    tidy,
};

/// `cargo xtask check`.
pub fn alone() -> io::Result<ExitCode> {
    if let Some(cannot) = packages::for_platform() {
        return Ok(cannot);
    }
    let mut sum = Sum::default();
    quick(&mut sum);
    let mut services = None;
    sum.step("sqlx snapshots", || {
        sqlx::check(services.insert(Services::start()?))
    });
    sum.step("build", || programs::build(false));
    sum.step("schema snapshot", schema);
    Ok(sum.finish())
}

/// What needs nothing but the sources.
pub fn quick(sum: &mut Sum) {
    sum.step("fmt", || {
        succeeds(programs::cargo().args(["fmt", "--all", "--check"]))
    });
    sum.step("tidy", || tidy::holds(root()));
    sum.step("clippy", || {
        let arguments = [
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ];
        succeeds(programs::cargo().args(arguments))
    });
    sum.step("docs", || {
        let arguments = [
            "doc",
            "--workspace",
            "--no-deps",
            "--document-private-items",
        ];
        succeeds(
            programs::cargo()
                .args(arguments)
                .env("RUSTDOCFLAGS", "-D warnings"),
        )
    });
}

/// Whether `schema.graphql` is what the api serves.
pub fn schema() -> io::Result<bool> {
    let written = fs::read_to_string(schema_path())?;
    if written == served_schema()? {
        return Ok(true);
    }
    println!(
        "{} is not what the api serves; `cargo xtask schema` writes it",
        schema_path().display()
    );
    Ok(false)
}

pub fn write_schema() -> io::Result<ExitCode> {
    if let Some(cannot) = packages::for_platform() {
        return Ok(cannot);
    }
    if !programs::build(false)? {
        return Ok(ExitCode::FAILURE);
    }
    fs::write(schema_path(), served_schema()?)?;
    Ok(ExitCode::SUCCESS)
}

fn schema_path() -> PathBuf {
    root().join("schema.graphql")
}

fn served_schema() -> io::Result<String> {
    let output = Command::new(programs::program("kinolog", false))
        .arg("schema")
        .output()?;
    if !output.status.success() {
        return Err(io::Error::other(
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
