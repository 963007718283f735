//! `cargo xtask test`: the checks and all tests, summed up in the last line.
//!
//! # Invariants
//!
//! * A step that fails does not keep the next from running; everything that failed is named at the end.
//! * A check counts as one test. No test is counted that did not run.

use std::{
    io::{self, BufRead, BufReader, Read},
    process::{Command, ExitCode, Stdio},
    sync::mpsc,
    time::Instant,
};

use crate::{checks, conformance, packages, programs, readme, services::Services, sqlx};

/// What passed, and what did not.
#[derive(Default)]
pub struct Sum {
    pub passed: u64,
    pub failed: Vec<String>,
}

impl Sum {
    /// Counts one step.
    pub fn step(&mut self, name: &str, step: impl FnOnce() -> io::Result<bool>) {
        println!("\n=== {name}");
        let began = Instant::now();
        let outcome = step();
        let seconds = began.elapsed().as_secs_f64();
        match outcome {
            Ok(true) => {
                self.passed += 1;
                println!("=== {name}: ok ({seconds:.1} s)");
            }
            Ok(false) => {
                self.failed.push(name.to_owned());
                println!("=== {name}: FAILED ({seconds:.1} s)");
            }
            Err(error) => {
                self.failed.push(format!("{name}: {error}"));
                println!("=== {name}: FAILED: {error} ({seconds:.1} s)");
            }
        }
    }

    /// Names the failures, says the sum, and turns it into an exit code.
    pub fn finish(&self) -> ExitCode {
        if !self.failed.is_empty() {
            println!("\nfailed:");
        }
        for name in &self.failed {
            println!("    {name}");
        }
        println!("{} passed, {} failed", self.passed, self.failed.len());
        match self.failed.is_empty() && self.passed > 0 {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        }
    }
}

pub fn all() -> io::Result<ExitCode> {
    if let Some(cannot) = packages::for_tests() {
        return Ok(cannot);
    }
    let mut sum = Sum::default();
    checks::quick(&mut sum);
    let services = match Services::start() {
        Ok(services) => Some(services),
        Err(error) => {
            sum.failed
                .push(format!("PostgreSQL and Redis for the tests: {error}"));
            None
        }
    };
    if let Some(services) = &services {
        sum.step("sqlx snapshots", || sqlx::check(services));
    }
    sum.step("build", || programs::build(false));
    sum.step("schema snapshot", checks::schema);
    let environment: Vec<(&str, String)> = services
        .iter()
        .flat_map(|services| services.environment())
        .collect();
    println!("\n=== cargo test");
    if let Err(error) = cargo_test(&environment, &mut sum) {
        sum.failed.push(format!("cargo test: {error}"));
    }
    drop(services);
    conformance::all(&mut sum);
    sum.step("README.md", readme::snippets);
    Ok(sum.finish())
}

/// Runs every test of the workspace and adds up what each binary says.
fn cargo_test(environment: &[(&str, String)], sum: &mut Sum) -> io::Result<()> {
    let mut child = programs::cargo()
        .args(["test", "--workspace", "--no-fail-fast"])
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (sender, lines) = mpsc::sync_channel(1024);
    let mut readers = vec![];
    let outputs: [Option<Box<dyn Read + Send>>; 2] = [
        child
            .stdout
            .take()
            .map(|output| Box::new(output) as Box<dyn Read + Send>),
        child
            .stderr
            .take()
            .map(|output| Box::new(output) as Box<dyn Read + Send>),
    ];
    for output in outputs.into_iter().flatten() {
        let sender = sender.clone();
        readers.push(std::thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                if sender
                    .send(String::from_utf8_lossy(&line).into_owned())
                    .is_err()
                {
                    return;
                }
            }
        }));
    }
    drop(sender);
    let mut results = Results::default();
    for line in lines {
        println!("{line}");
        results.take(&line);
    }
    for reader in readers {
        // A reader that panicked has printed why; its lines are missed by the sum below.
        let _ = reader.join();
    }
    let status = child.wait()?;
    results.add_to(sum, status.success());
    Ok(())
}

/// What the test binaries said so far.
#[derive(Default)]
struct Results {
    passed: u64,
    failed: u64,
    names: Vec<String>,
}

impl Results {
    fn take(&mut self, line: &str) {
        if let Some(name) = line
            .strip_prefix("test ")
            .and_then(|rest| rest.strip_suffix(" ... FAILED"))
        {
            self.names.push(name.to_owned());
        }
        let Some(rest) = line.strip_prefix("test result: ") else {
            return;
        };
        let count = |word: &str| {
            let before = rest.split(word).next().unwrap_or_default();
            before
                .split_whitespace()
                .last()
                .and_then(|number| number.parse::<u64>().ok())
                .unwrap_or(0)
        };
        self.passed += count(" passed");
        self.failed += count(" failed");
    }

    fn add_to(self, sum: &mut Sum, succeeded: bool) {
        sum.passed += self.passed;
        let mut names = self.names;
        // A test whose name was lost in other output is still a failure.
        while (names.len() as u64) < self.failed {
            names.push("a test (see its output above)".to_owned());
        }
        if !succeeded && names.is_empty() {
            names.push("cargo test: it did not compile, or a test binary crashed".to_owned());
        }
        sum.failed.extend(names);
    }
}

/// Runs a command to its end; its output is ours.
pub fn succeeds(command: &mut Command) -> io::Result<bool> {
    Ok(command.stdin(Stdio::null()).status()?.success())
}

#[cfg(test)]
mod unit {
    use super::*;

    fn sum_of(lines: &[&str], succeeded: bool) -> Sum {
        let mut results = Results::default();
        lines.iter().for_each(|line| results.take(line));
        let mut sum = Sum::default();
        results.add_to(&mut sum, succeeded);
        sum
    }

    #[test]
    fn every_binary_is_added_up() {
        let lines = [
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test a::b ... FAILED",
            "test result: FAILED. 12 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1s",
        ];
        let sum = sum_of(&lines, false);
        assert_eq!(sum.passed, 15);
        assert_eq!(sum.failed, ["a::b"]);
    }

    #[test]
    fn a_test_binary_that_does_not_compile_is_a_failure() {
        let sum = sum_of(&["error: could not compile"], false);
        assert_eq!(sum.failed.len(), 1);
    }

    #[test]
    fn a_failure_without_a_name_is_counted() {
        let sum = sum_of(
            &["test result: FAILED. 0 passed; 2 failed; 0 ignored"],
            false,
        );
        assert_eq!(sum.failed.len(), 2);
    }
}
