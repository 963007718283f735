//! What this worker can take: how many tasks at once, and how much memory for all of them.
//!
//! # Invariants
//!
//! * A task's room is taken before it begins, and given back when it has ended, however it ended.
//! * What is said to the conductor is what is taken at that moment.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::Task;

/// Of the memory that is free when the worker starts; the rest is everybody else's.
const SHARE_PERCENT: u64 = 75;
/// More for each slot would be no use but to run several of the largest tasks side by side, and one
/// of those keeps more than one core busy. A chunk of a ladder from 1080p takes less.
const SLOT_MIB: u32 = 750;
/// What a machine gets that does not say how much it has.
const UNKNOWN_BYTES: u64 = 1 << 30;
/// Levels of control groups that are looked at, each with a limit of its own.
const GROUPS_MAX: usize = 32;

/// Shared by all that runs in this worker.
#[derive(Clone)]
pub struct Capacity(Arc<Inner>);

struct Inner {
    slots: u32,
    memory_mib: u32,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    running: u32,
    memory_mib: u32,
}

/// What one task takes, until it is dropped.
pub(crate) struct Room {
    capacity: Capacity,
    memory_mib: u32,
}

impl Capacity {
    pub fn new(slots: u32, memory_mib: u32) -> Self {
        Self(Arc::new(Inner {
            slots: slots.max(1),
            memory_mib: memory_mib.max(1),
            taken: Mutex::default(),
        }))
    }

    pub(crate) fn has_room(&self) -> bool {
        self.taken().running < self.0.slots
    }

    pub(crate) fn take(&self, task: &Task) -> Room {
        let mut taken = self.taken();
        taken.running += 1;
        taken.memory_mib = taken.memory_mib.saturating_add(task.memory_mib);
        Room {
            capacity: self.clone(),
            memory_mib: task.memory_mib,
        }
    }

    /// As the conductor is told.
    pub(crate) fn said(&self) -> protocol::Capacity {
        let taken = self.taken();
        protocol::Capacity {
            slots: self.0.slots,
            running: taken.running,
            memory_mib: self.0.memory_mib,
            memory_used_mib: taken.memory_mib,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Both numbers change together or not at all.
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut taken = self.capacity.taken();
        taken.running = taken.running.saturating_sub(1);
        taken.memory_mib = taken.memory_mib.saturating_sub(self.memory_mib);
    }
}

/// One task for each core.
pub fn slots_here() -> u32 {
    let cores = std::thread::available_parallelism();
    cores.map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1))
}

/// What all tasks of so many slots may take: as much as they have use for, but no more than a share
/// of the free memory of this machine, or of its control group.
pub fn memory_mib_here(slots: u32) -> u32 {
    let free = free_bytes(Path::new("/")).unwrap_or(UNKNOWN_BYTES);
    of_free(free, slots)
}

fn of_free(bytes: u64, slots: u32) -> u32 {
    let share = u32::try_from((bytes / 100 * SHARE_PERCENT) >> 20).unwrap_or(u32::MAX);
    share.min(slots.saturating_mul(SLOT_MIB))
}

/// What can still be allocated without swapping or being killed, as the files under `root` say.
fn free_bytes(root: &Path) -> Option<u64> {
    let machine = std::fs::read_to_string(root.join("proc/meminfo")).ok();
    let machine = machine.and_then(|text| value(&text, "MemAvailable:"));
    let machine = machine.map(|kib| kib.saturating_mul(1024));
    let groups = std::fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let groups = groups.lines().filter_map(|line| free_of_group(root, line));
    groups.chain(machine).min()
}

/// The least that a control group and those around it have left; `None` where none is limited.
fn free_of_group(root: &Path, line: &str) -> Option<u64> {
    let mut parts = line.splitn(3, ':');
    let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    let is_first_version = controllers.split(',').any(|name| name == "memory");
    let (top, limit, used) = match is_first_version {
        true => (
            "sys/fs/cgroup/memory",
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
        ),
        false if number == "0" => ("sys/fs/cgroup", "memory.max", "memory.current"),
        false => return None,
    };
    let top = root.join(top);
    // A container sees its own group at the top, under whatever path it has outside.
    let inner = top.join(path.trim_start_matches('/'));
    let groups = inner
        .ancestors()
        .take_while(|group| group.starts_with(&top));
    let free = |group: &Path| {
        let number = |name: &str| -> Option<u64> {
            let text = std::fs::read_to_string(group.join(name)).ok()?;
            text.trim().parse().ok()
        };
        // Files that were read and may be forgotten at any time count as used, but are not.
        let statistics = std::fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
        let cached = value(&statistics, "inactive_file").unwrap_or(0);
        let used = number(used)?.saturating_sub(cached);
        Some(number(limit)?.saturating_sub(used))
    };
    groups.take(GROUPS_MAX).filter_map(free).min()
}

/// The number behind a word at the beginning of a line.
fn value(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| {
        let mut words = line.split_whitespace();
        words.next() == Some(name)
    })?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_task_takes_is_given_back_when_it_ends() {
        let capacity = Capacity::new(2, 1000);
        let first = capacity.take(&task(300));
        let second = capacity.take(&task(500));
        assert!(!capacity.has_room());
        assert_eq!(capacity.said().memory_used_mib, 800);
        drop(first);
        assert!(capacity.has_room());
        drop(second);
        let said = capacity.said();
        assert_eq!((said.running, said.memory_used_mib), (0, 0));
    }

    #[test]
    fn a_slot_gets_what_it_has_use_for_and_never_more_than_is_free() {
        assert_eq!(of_free(64 << 30, 2), 1500);
        assert_eq!(of_free(64 << 30, 16), 12_000);
        assert_eq!(of_free(1 << 30, 2), 767);
    }

    #[test]
    fn a_machine_without_groups_has_what_it_says() {
        let root = root(&[("proc/meminfo", "MemTotal: 9 kB\nMemAvailable:    2048 kB\n")]);
        assert_eq!(free_bytes(root.path()), Some(2 << 20));
    }

    #[test]
    fn the_narrowest_group_decides_and_its_cache_is_free() {
        let root = root(&[
            ("proc/meminfo", "MemAvailable: 8388608 kB\n"),
            ("proc/self/cgroup", "0::/outer/inner\n"),
            ("sys/fs/cgroup/outer/memory.max", "1000\n"),
            ("sys/fs/cgroup/outer/memory.current", "700\n"),
            (
                "sys/fs/cgroup/outer/memory.stat",
                "anon 500\ninactive_file 200\n",
            ),
            ("sys/fs/cgroup/outer/inner/memory.max", "max\n"),
            ("sys/fs/cgroup/outer/inner/memory.current", "700\n"),
        ]);
        assert_eq!(free_bytes(root.path()), Some(500));
    }

    #[test]
    fn a_container_finds_its_group_at_the_top() {
        let root = root(&[
            ("proc/meminfo", "MemAvailable: 8388608 kB\n"),
            (
                "proc/self/cgroup",
                "5:cpu,cpuacct:/x\n4:memory:/docker/0123\n",
            ),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "4096\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "1024\n"),
        ]);
        assert_eq!(free_bytes(root.path()), Some(3072));
    }

    fn task(memory_mib: u32) -> Task {
        Task {
            memory_mib,
            ..Task::default()
        }
    }

    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }
}
