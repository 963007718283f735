//! `cargo xtask fuzz`: bytes nobody thought of, at everything of the event store that reads bytes.
//!
//! The targets are the binaries of `deploy/embedded/eventstore/fuzz`. Inputs that reach new code
//! are kept under `target/fuzz`, and `--keep` adds those that matter to the committed corpus,
//! which `cargo test` replays.
//!
//! # Invariants
//!
//! * The stable toolchain is enough: the flags are those that `cargo fuzz` sets.
//! * A target that fails does not keep the next from running. Its input is named.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use crate::{
    packages, programs, root,
    tests::{Sum, succeeds},
};

const PACKAGE: &str = "deploy/embedded/eventstore/fuzz";
const SECONDS: u64 = 60;
/// The longest one input may take, and what the process may use.
const INPUT_SECONDS_MAX: u64 = 10;
const MEMORY_MB_MAX: u64 = 1024;
/// What is shown of a target that failed; the rest is in its log.
const LINES_SHOWN: usize = 30;

/// What makes LLVM count the edges reached and show the fuzzer what is compared.
const COVERAGE: &[&str] = &[
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    target: Option<String>,
    seconds: u64,
    keep: bool,
}

pub fn run(arguments: &[String]) -> io::Result<ExitCode> {
    let targets = targets()?;
    let wanted = match wanted(arguments, &targets) {
        Ok(wanted) => wanted,
        Err(why) => {
            eprintln!("xtask: {why}");
            return Ok(ExitCode::from(2));
        }
    };
    if let Some(cannot) = packages::for_fuzzing() {
        return Ok(cannot);
    }
    let Some(programs) = build()? else {
        return Ok(ExitCode::FAILURE);
    };
    let mut sum = Sum::default();
    for name in &targets {
        if wanted.target.as_ref().is_none_or(|target| target == name) {
            sum.step(&format!("fuzz {name}"), || fuzz(&programs, name, &wanted));
        }
    }
    Ok(sum.finish())
}

fn wanted(arguments: &[String], targets: &[String]) -> Result<Wanted, String> {
    let mut wanted = Wanted {
        target: None,
        seconds: SECONDS,
        keep: false,
    };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--keep" => wanted.keep = true,
            "--seconds" => {
                let seconds = arguments.next().and_then(|text| text.parse().ok());
                wanted.seconds = seconds
                    .filter(|seconds| *seconds > 0)
                    .ok_or("--seconds needs a number above 0")?;
            }
            name if targets.iter().any(|target| target == name) && wanted.target.is_none() => {
                wanted.target = Some(name.to_owned());
            }
            other => {
                return Err(format!(
                    "`{other}` is not among the targets: {}",
                    targets.join(", ")
                ));
            }
        }
    }
    Ok(wanted)
}

/// The names of the files of the targets.
fn targets() -> io::Result<Vec<String>> {
    let mut names = vec![];
    for entry in fs::read_dir(root().join(PACKAGE).join("targets"))? {
        let path = entry?.path();
        names.extend(path.file_stem().map(|it| it.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

fn folder() -> PathBuf {
    programs::target().join("fuzz")
}

/// Where the programs are, `None` if they could not be built.
fn build() -> io::Result<Option<PathBuf>> {
    let host = host()?;
    let built = succeeds(
        programs::cargo()
            .args(["build", "--release", "--target", &host])
            .arg("--manifest-path")
            .arg(root().join(PACKAGE).join("Cargo.toml"))
            .arg("--target-dir")
            .arg(folder().join("build"))
            .env_remove("RUSTFLAGS")
            .env("CARGO_ENCODED_RUSTFLAGS", COVERAGE.join("\u{1f}")),
    )?;
    Ok(built.then(|| folder().join("build").join(host).join("release")))
}

/// Flags for a named target do not reach build scripts, which could not be linked with them.
fn host() -> io::Result<String> {
    let output = Command::new("rustc").arg("-vV").output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.ok_or_else(|| io::Error::other("`rustc -vV` does not say its host"))?;
    Ok(host.to_owned())
}

fn fuzz(programs: &Path, name: &str, wanted: &Wanted) -> io::Result<bool> {
    let committed = root().join(PACKAGE).join("corpus").join(name);
    let found = folder().join("corpus").join(name);
    let failures = folder().join("failures").join(name);
    fs::create_dir_all(&committed)?;
    fs::create_dir_all(&found)?;
    fs::create_dir_all(&failures)?;
    let log = folder().join(format!("{name}.log"));
    let output = File::create(&log)?;
    let before = count(&found)?;
    let began = Instant::now();
    let status = Command::new(programs.join(name))
        .args([&found, &committed])
        .arg(format!("-max_total_time={}", wanted.seconds))
        .arg(format!("-artifact_prefix={}/", failures.display()))
        .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
        .arg(format!("-rss_limit_mb={MEMORY_MB_MAX}"))
        .arg("-print_final_stats=1")
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .status()?;
    let said = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    if !status.success() {
        let lines: Vec<&str> = said.lines().collect();
        let shown = lines.len().saturating_sub(LINES_SHOWN);
        lines[shown..].iter().for_each(|line| println!("{line}"));
        println!("the whole of it: {}", log.display());
        return Ok(false);
    }
    println!(
        "{} inputs in {:.0} s, {} edges reached, {} new inputs kept",
        after(&said, "stat::number_of_executed_units: ").unwrap_or("?"),
        began.elapsed().as_secs_f64(),
        after(&said, " cov: ").unwrap_or("?"),
        count(&found)?.saturating_sub(before),
    );
    if !wanted.keep {
        return Ok(true);
    }
    // Few: those that together reach all code, however often each piece of it.
    succeeds(
        Command::new(programs.join(name))
            .args(["-set_cover_merge=1", "-use_counters=0"])
            .args([&committed, &found]),
    )
}

fn count(folder: &Path) -> io::Result<usize> {
    Ok(fs::read_dir(folder)?.count())
}

/// The word after the last of these.
fn after<'a>(text: &'a str, marker: &str) -> Option<&'a str> {
    let (_, rest) = text.rsplit_once(marker)?;
    rest.split_whitespace().next()
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn every_target_is_fuzzed_for_a_minute_unless_told_otherwise() {
        let targets = ["log", "record"].map(str::to_owned);
        let given = |line: &str| {
            let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            wanted(&arguments, &targets).map(|it| (it.target, it.seconds, it.keep))
        };
        assert_eq!(given(""), Ok((None, 60, false)));
        assert_eq!(
            given("log --seconds 5 --keep"),
            Ok((Some("log".to_owned()), 5, true))
        );
        for refused in ["other", "log record", "--seconds", "--seconds 0"] {
            assert!(given(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn the_last_figure_counts() {
        let said = "#1 INITED cov: 3 ft: 3\n#9 DONE   cov: 41 ft: 41\nstat::x: 7\n";
        assert_eq!(after(said, " cov: "), Some("41"));
        assert_eq!(after(said, "stat::x: "), Some("7"));
        assert_eq!(after(said, "stat::y: "), None);
    }
}
