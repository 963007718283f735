//! The invariants of the architecture that a machine can check, by their numbers in ARCHITECTURE.md.
//!
//! 1. `domain` depends on no IO crate, reads no clock, draws no id.
//! 2. Only `eventlog` names the `eventstore` client; only `objects` names the S3 client;
//!    only `transcoder/worker` links GStreamer.
//! 3. `api` and `transcoder` never depend on each other.
//! 4. The worker depends on none of `eventlog`, `objects`, `projections`.
//! 5. Nothing outside `deploy/` depends on `deploy/`, except as a dev-dependency.
//!
//! And the style: no `#[allow]`, files that hold one idea, no path of somebody's machine.

mod manifest;
mod source;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use manifest::{Dependency, Kind};

use crate::root;

/// Everything that the rules of `domain` may depend on: plain data, and the shape of errors.
const DOMAIN_MAY_USE: [&str; 5] = ["serde", "serde_json", "thiserror", "time", "uuid"];

/// Folders whose crates make up the transcoder.
const TRANSCODER: &str = "transcoder/";
const DEPLOY: &str = "deploy/";

/// One member of the workspace.
pub struct Member {
    /// From the top of the repository: `transcoder/worker`.
    pub folder: String,
    pub name: String,
    pub dependencies: Vec<Dependency>,
    /// The sources, from the top of the repository.
    pub sources: BTreeMap<PathBuf, String>,
}

/// `cargo xtask tidy`.
pub fn run(arguments: &[String]) -> io::Result<ExitCode> {
    let root = match arguments {
        [] => root().to_owned(),
        [flag, folder] if flag == "--root" => PathBuf::from(folder),
        _ => return Err(io::Error::other("tidy takes nothing but --root DIR")),
    };
    Ok(if holds(&root)? {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Whether every invariant holds; names what does not.
pub fn holds(root: &Path) -> io::Result<bool> {
    let members = manifest::members(root)?;
    let mut violations = vec![];
    for member in &members {
        violations.extend(purity(member));
        violations.extend(clients(member));
        violations.extend(source::style(member));
    }
    violations.extend(directions(&members));
    for violation in &violations {
        println!("tidy: {violation}");
    }
    for (path, lines) in members.iter().flat_map(source::long_files) {
        println!(
            "tidy: warning: {} has {lines} lines; look for the second idea",
            path.display()
        );
    }
    println!(
        "tidy: {} crates, {} violations",
        members.len(),
        violations.len()
    );
    Ok(violations.is_empty())
}

/// Invariant 1.
fn purity(member: &Member) -> Vec<String> {
    if member.folder != "domain" {
        return vec![];
    }
    let mut violations: Vec<String> = member
        .dependencies
        .iter()
        .filter(|one| one.kind != Kind::Dev && !DOMAIN_MAY_USE.contains(&one.package.as_str()))
        .map(|one| {
            format!(
                "invariant 1: domain/Cargo.toml: domain depends on {}",
                one.package
            )
        })
        .collect();
    violations.extend(
        source::impure(member)
            .into_iter()
            .map(|(path, line, word)| {
                format!("invariant 1: {}:{line}: domain uses {word}", path.display())
            }),
    );
    violations
}

/// Invariant 2.
fn clients(member: &Member) -> Vec<String> {
    let owned = [
        ("eventlog", "eventstore", "the eventstore client"),
        ("objects", "object_store", "the S3 client"),
        ("transcoder/worker", "gstreamer", "GStreamer"),
        ("transcoder/worker", "gst-plugin", "GStreamer"),
    ];
    let mut violations = vec![];
    for (owner, prefix, what) in owned
        .into_iter()
        .filter(|(owner, _, _)| *owner != member.folder)
    {
        let is_gstreamer = prefix.starts_with("gst");
        let names = member.dependencies.iter().filter(|one| {
            // Tests may judge a server with somebody's client; nothing but the worker links GStreamer.
            let counts = is_gstreamer || one.kind != Kind::Dev;
            let same = if is_gstreamer {
                one.package.starts_with(prefix)
            } else {
                one.package == prefix
            };
            counts && same
        });
        violations.extend(names.map(|one| {
            format!(
                "invariant 2: {}/Cargo.toml: only {owner} names {what}, not {} ({})",
                member.folder, member.name, one.package
            )
        }));
    }
    violations
}

/// Invariants 3, 4 and 5.
fn directions(members: &[Member]) -> Vec<String> {
    let folder_of: BTreeMap<&str, &str> = members
        .iter()
        .map(|member| (member.name.as_str(), member.folder.as_str()))
        .collect();
    let mut violations = vec![];
    for member in members {
        let manifest = format!("{}/Cargo.toml", member.folder);
        for (reached, path) in closure(member, members) {
            let Some(folder) = folder_of.get(reached.as_str()) else {
                continue;
            };
            let through = path.join(" -> ");
            if is_forbidden_meeting(&member.folder, folder) {
                violations.push(format!(
                    "invariant 3: {manifest}: api and transcoder never depend on each other ({through})"
                ));
            }
            let shared = ["eventlog", "objects", "projections"].contains(folder);
            if member.folder == "transcoder/worker" && shared {
                violations.push(format!(
                    "invariant 4: {manifest}: the worker must not depend on {folder} ({through})"
                ));
            }
            if !member.folder.starts_with(DEPLOY) && folder.starts_with(DEPLOY) {
                violations.push(format!(
                    "invariant 5: {manifest}: nothing outside deploy/ depends on it ({through})"
                ));
            }
        }
    }
    violations
}

fn is_forbidden_meeting(from: &str, to: &str) -> bool {
    (from == "api" && to.starts_with(TRANSCODER)) || (from.starts_with(TRANSCODER) && to == "api")
}

/// What a member depends on, tests aside, each with one way to it.
fn closure(member: &Member, members: &[Member]) -> BTreeMap<String, Vec<String>> {
    let by_name: BTreeMap<&str, &Member> = members
        .iter()
        .map(|member| (member.name.as_str(), member))
        .collect();
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut open = vec![(member, vec![member.name.clone()])];
    while let Some((current, path)) = open.pop() {
        if !seen.insert(current.name.clone()) {
            continue;
        }
        for one in current
            .dependencies
            .iter()
            .filter(|one| one.kind != Kind::Dev)
        {
            let mut path = path.clone();
            path.push(one.package.clone());
            if let Some(next) = by_name.get(one.package.as_str()) {
                open.push((next, path.clone()));
            }
            found.entry(one.package.clone()).or_insert(path);
        }
    }
    found
}
