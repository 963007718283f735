//! `cargo xtask`: what a developer does with this repository, in one word each.
//!
//! # Invariants
//!
//! * No dependencies: it builds in seconds on a machine that has nothing but Rust and a linker.
//! * Every wait has a maximum, every command its exit code; nothing asks for input.

mod bench;
mod checks;
mod conformance;
mod fuzz;
mod packages;
mod programs;
mod python;
mod readme;
mod services;
mod sqlx;
mod tests;
mod tidy;

use std::{env, path::Path, process::ExitCode};

const USAGE: &str = "\
cargo xtask COMMAND

  up [--detach] [--workers N] [--data DIR] [--ports 0] [--release]
                 install what is missing, build, start everything, say where it is
  down [--data DIR]
                 stop it, in order
  demo [FILE]    the whole path with one file (none: a generated clip), checked to its end
  test           everything needed to run all tests, all tests, and the checks
  check          the checks alone: fmt, clippy, docs, tidy, schema and sqlx snapshots
  conformance [eventstore [--client python|node|rust] | players]
                 clients that are none of ours: of EventStoreDB against the embedded event
                 store, hls.js, Shaka and dash.js against a whole platform
  fuzz [TARGET] [--seconds 60] [--keep]
                 throw bytes at what reads bytes in the embedded event store; a minute each
  readme         run the snippets of README.md against a fresh platform
  tidy [--root DIR]
                 check the invariants of the architecture
  bench eventstore|transcode [FILE] [--quick] [--figure NAME]
                 measure: one JSON object per figure on standard output (`bench NAME --help`)
  schema         write schema.graphql anew
  sqlx [--check] write the descriptions of all SQL queries anew, or check them
";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let Some((command, rest)) = arguments.split_first() else {
        print!("{USAGE}");
        return ExitCode::from(2);
    };
    let outcome = match command.as_str() {
        "up" | "demo" => programs::run(command, rest),
        "down" => programs::down(rest),
        "test" => tests::all(),
        "check" => checks::alone(),
        "conformance" => conformance::run(rest),
        "fuzz" => fuzz::run(rest),
        "readme" => readme::alone(),
        "tidy" => tidy::run(rest),
        "bench" => bench::run(rest),
        "schema" => checks::write_schema(),
        "sqlx" => sqlx::run(rest),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        _ => {
            eprint!("xtask: there is no command `{command}`\n\n{USAGE}");
            Ok(ExitCode::from(2))
        }
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("xtask: {error}");
        ExitCode::FAILURE
    })
}

/// The top of the repository.
fn root() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest
        .ancestors()
        .nth(2)
        .expect("this crate lies in deploy/xtask")
}
