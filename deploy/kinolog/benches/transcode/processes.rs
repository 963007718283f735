//! What processes use, as the kernel counts it.
//!
//! # Invariants
//!
//! * A process that ended is counted with its parent, which waited for it: the sum of a tree
//!   never loses what was used.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Duration,
};

use anyhow::ensure;
use nix::sys::resource::{UsageWho, getrusage};

/// One line of `/proc/PID/stat`.
struct Stat {
    parent: u32,
    /// User and system time, its own and that of the children it waited for.
    ticks: u64,
    resident_pages: u64,
}

/// User and system time of a process and all its descendants so far, in seconds.
pub fn cpu_seconds(root: u32) -> anyhow::Result<f64> {
    let all = all();
    let tree = descendants(&all, &[root]);
    let ticks: u64 = tree
        .iter()
        .chain([&root])
        .filter_map(|pid| all.get(pid))
        .map(|it| it.ticks)
        .sum();
    Ok(ticks as f64 / constant(libc::_SC_CLK_TCK)? as f64)
}

/// User and system time of all commands that this process has waited for, in seconds.
pub fn cpu_seconds_waited_for() -> anyhow::Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds = |time: nix::sys::time::TimeVal| {
        let micros = Duration::from_micros(time.tv_usec().unsigned_abs());
        time.tv_sec() as f64 + micros.as_secs_f64()
    };
    Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
}

/// The processes that these have started, and theirs.
pub fn children_of(roots: &[u32]) -> BTreeSet<u32> {
    descendants(&all(), roots)
}

/// Resident memory of what these have started, in bytes.
pub fn resident_bytes_below(roots: &[u32]) -> anyhow::Result<u64> {
    let all = all();
    let tree = descendants(&all, roots);
    let pages: u64 = tree.iter().map(|pid| all[pid].resident_pages).sum();
    Ok(pages * constant(libc::_SC_PAGESIZE)?)
}

/// What this system measures in.
fn constant(name: libc::c_int) -> anyhow::Result<u64> {
    // SAFETY: takes and returns plain numbers.
    let value = unsafe { libc::sysconf(name) };
    ensure!(value > 0, "the system does not say what it measures in");
    Ok(value.unsigned_abs())
}

fn descendants(all: &BTreeMap<u32, Stat>, roots: &[u32]) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    let mut parents: BTreeSet<u32> = roots.iter().copied().collect();
    // A tree of processes is as deep as it is; each round takes one generation.
    while !parents.is_empty() {
        let next: BTreeSet<u32> = all
            .iter()
            .filter(|(pid, stat)| parents.contains(&stat.parent) && !found.contains(*pid))
            .map(|(pid, _)| *pid)
            .collect();
        found.extend(&next);
        parents = next;
    }
    found
}

/// Every process that is there now.
fn all() -> BTreeMap<u32, Stat> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            // One that ends while we look is not there any more.
            Some((pid, stat(&entry.path())?))
        })
        .collect()
}

fn stat(folder: &Path) -> Option<Stat> {
    let text = fs::read_to_string(folder.join("stat")).ok()?;
    // After the name, which may hold anything.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    // As `man proc` counts them: the state, right behind the name, is the third.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Stat {
        parent: u32::try_from(field(4)?).ok()?,
        ticks: field(14)? + field(15)? + field(16)? + field(17)?,
        resident_pages: field(24)?,
    })
}
