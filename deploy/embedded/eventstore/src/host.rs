//! What the kernel says about this process and its machine.
//!
//! # Invariants
//!
//! * What cannot be read is left out: no number is made up.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::stat::{major, minor};
use nix::sys::statvfs::statvfs;

/// The kernel tells user space times in hundredths of a second, whatever its own clock.
const TICKS_PER_SECOND: u64 = 100;

/// Processor time of this process since it began.
pub(crate) fn cpu_time() -> Option<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let total = usage.user_time() + usage.system_time();
    let micros = u64::try_from(total.tv_usec()).ok()?;
    Some(Duration::from_secs(u64::try_from(total.tv_sec()).ok()?) + Duration::from_micros(micros))
}

/// When this process began.
pub(crate) fn started() -> Option<SystemTime> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name before it is in parentheses and may have spaces in it.
    let after_name = stat.rsplit_once(") ")?.1;
    let ticks: u64 = after_name.split(' ').nth(19)?.parse().ok()?;
    let booted = fs::read_to_string("/proc/stat").ok()?;
    let booted = field(&booted, "btime ")?;
    let since_boot = Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND);
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(booted) + since_boot)
}

/// Bytes of memory this process has in use, and its threads.
pub(crate) fn memory_and_threads() -> Option<(u64, u64)> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    Some((
        field(&status, "VmRSS:")? * 1024,
        field(&status, "Threads:")?,
    ))
}

/// What this process had the disks do: bytes read, bytes written, reads, writes.
pub(crate) fn disk_io() -> Option<[u64; 4]> {
    let io = fs::read_to_string("/proc/self/io").ok()?;
    Some([
        field(&io, "read_bytes:")?,
        field(&io, "write_bytes:")?,
        field(&io, "syscr:")?,
        field(&io, "syscw:")?,
    ])
}

/// The machine's load over 1, 5 and 15 minutes, as the kernel writes it.
pub(crate) fn load() -> Option<[String; 3]> {
    let load = fs::read_to_string("/proc/loadavg").ok()?;
    let mut words = load.split(' ').map(str::to_owned);
    Some([words.next()?, words.next()?, words.next()?])
}

/// Bytes of memory of the machine: free, and in all.
pub(crate) fn free_and_total_memory() -> Option<(u64, u64)> {
    let memory = fs::read_to_string("/proc/meminfo").ok()?;
    Some((
        field(&memory, "MemFree:")? * 1024,
        field(&memory, "MemTotal:")? * 1024,
    ))
}

/// The drive a folder is on.
pub(crate) struct Drive {
    pub(crate) name: String,
    pub(crate) total_bytes: u64,
    pub(crate) available_bytes: u64,
    pub(crate) used_bytes: u64,
}

pub(crate) fn drive(folder: &Path) -> Option<Drive> {
    let device = fs::metadata(folder).ok()?.dev();
    let device = format!("{}:{}", major(device), minor(device));
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let name = mounts.lines().find_map(|mount| {
        let (place, source) = mount.split_once(" - ")?;
        let mounted = place.split(' ').nth(2)? == device;
        mounted.then(|| source.split(' ').nth(1)).flatten()
    })?;
    let space = statvfs(folder).ok()?;
    let bytes = |blocks: u64| blocks * space.fragment_size();
    Some(Drive {
        name: name.to_owned(),
        total_bytes: bytes(space.blocks()),
        available_bytes: bytes(space.blocks_available()),
        used_bytes: bytes(space.blocks() - space.blocks_free()),
    })
}

/// The number that follows a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_began_before_now_and_after_the_machine_did() {
        let age = started().unwrap().elapsed().unwrap();
        assert!(age < Duration::from_secs(24 * 3600), "{age:?}");
    }

    #[test]
    fn a_process_has_memory_and_threads_and_less_than_the_machine() {
        let (memory, threads) = memory_and_threads().unwrap();
        let (free, total) = free_and_total_memory().unwrap();
        assert!(memory > 0 && threads > 0);
        assert!(memory < total && free < total);
    }

    #[test]
    fn a_folder_is_on_the_drive_mounted_there() {
        let drive = drive(Path::new("/proc")).unwrap();
        assert_eq!((drive.name.as_str(), drive.total_bytes), ("proc", 0));
        assert!(super::drive(Path::new("/proc/no such folder")).is_none());
    }

    #[test]
    fn a_field_is_found_by_the_beginning_of_its_line() {
        let text = "VmRSSx:\t1 kB\nVmRSS:\t  12 kB\n";
        assert_eq!(field(text, "VmRSS:"), Some(12));
        assert_eq!(field(text, "Vm:"), None);
    }
}
