//! `cargo xtask bench NAME`: speed, each figure beside its limit or peer in the same run.
//!
//! Standard output has one JSON object per figure on a line of its own, and nothing else;
//! what is going on is said on standard error.

use std::{io, process::ExitCode};

use crate::programs;

/// What can be measured: a name, and the package whose bench of that name measures it.
const BENCHES: [(&str, &str); 1] = [("eventstore", "kinolog-eventstore")];

/// Runs one bench; what follows its name is for the bench.
pub fn run(arguments: &[String]) -> io::Result<ExitCode> {
    let Some((name, rest)) = arguments.split_first() else {
        return Err(io::Error::other(format!("bench what? {}", known())));
    };
    let Some((bench, package)) = BENCHES.iter().find(|(bench, _)| bench == name) else {
        return Err(io::Error::other(format!(
            "there is no bench `{name}`; {}",
            known()
        )));
    };
    let status = programs::cargo()
        .args(["bench", "--package", package, "--bench", bench, "--"])
        .args(rest)
        .status()?;
    Ok(match status.success() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn known() -> String {
    let names: Vec<&str> = BENCHES.iter().map(|(name, _)| *name).collect();
    format!("there is {}", names.join(", "))
}
