//! The cell the child closes around itself.
//!
//! # Invariants
//!
//! * No network: an empty network namespace where we may make one, and no sockets at all.
//! * No writes: no descriptor can be opened for writing, and files have no room.
//! * No other program and no other process: neither `exec` nor `fork`, only threads.
//! * A read-only view of what GStreamer loads, where the kernel has landlock.
//! * What the kernel lacks is said on standard error, never passed over in silence;
//!   seccomp is not optional: without it the child does not go on.

use std::collections::BTreeMap;
use std::{io, process};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, path_beneath_rules,
};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigHandler, Signal, signal};
use protocol::task::Spec;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// Private writable memory of the child: a 2160p ladder needs about 3 GiB.
const DATA_BYTES_MAX: u64 = 6 << 30;
/// Addresses, threads' stacks and libraries included.
const ADDRESS_BYTES_MAX: u64 = 32 << 30;
/// Descriptors: ours, the libraries being loaded, and GStreamer's event descriptors.
const DESCRIPTORS_MAX: u64 = 512;
/// CPU time for anything, and on top of it per second of the source.
const CPU_SECONDS_BASE: u64 = 600;
const CPU_SECONDS_PER_SECOND: u64 = 120;

/// What the task at hand may use.
pub(crate) struct Allowance {
    cpu_seconds: u64,
}

impl Allowance {
    pub(crate) fn for_self_test() -> Self {
        Allowance { cpu_seconds: 10 }
    }

    pub(crate) fn for_task(spec: &Spec) -> Self {
        let duration_ms = match spec {
            Spec::Probe(_) | Spec::Poster(_) => 0,
            Spec::Encode(spec) => spec.duration_ms,
            Spec::Audio(spec) => spec.duration_ms,
        };
        let per_second = (duration_ms / 1000).saturating_mul(CPU_SECONDS_PER_SECOND);
        Allowance {
            cpu_seconds: CPU_SECONDS_BASE.saturating_add(per_second),
        }
    }
}

/// Closes the cell. It cannot be opened again.
pub(crate) fn close(allowance: &Allowance) {
    limit_resources(allowance);
    leave_network();
    restrict_view();
    if let Err(error) = forbid_calls() {
        eprintln!("the sandbox could not be closed: {error}");
        process::exit(70);
    }
}

fn limit_resources(allowance: &Allowance) {
    // A write past the limit is an error for the writer, not the end of the process.
    // SAFETY: ignoring a signal installs no handler of ours.
    let ignored = unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) };
    if let Err(error) = ignored {
        eprintln!("could not ignore SIGXFSZ: {error}");
    }
    let limits = [
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_FSIZE, 0),
        (Resource::RLIMIT_NOFILE, DESCRIPTORS_MAX),
        (Resource::RLIMIT_DATA, DATA_BYTES_MAX),
        (Resource::RLIMIT_AS, ADDRESS_BYTES_MAX),
        (Resource::RLIMIT_CPU, allowance.cpu_seconds),
    ];
    for (resource, limit) in limits {
        // The soft CPU limit signals; the hard one behind it kills what ignores that.
        let hard = match resource {
            Resource::RLIMIT_CPU => limit + 5,
            _ => limit,
        };
        if let Err(error) = setrlimit(resource, limit, hard) {
            eprintln!("could not limit {resource:?}: {error}");
        }
    }
}

fn leave_network() {
    let alone = libc::CLONE_NEWNET | libc::CLONE_NEWIPC;
    // SAFETY: plain numbers; this process has one thread yet.
    let apart = |flags| unsafe { libc::unshare(flags) } == 0;
    if apart(alone) || apart(alone | libc::CLONE_NEWUSER) {
        return;
    }
    let error = io::Error::last_os_error();
    eprintln!("no network namespace of its own ({error}); sockets are forbidden all the same");
}

/// Only what GStreamer loads its libraries from, read-only.
fn restrict_view() {
    let abi = ABI::V5;
    let registry = std::env::var("GST_REGISTRY").unwrap_or_default();
    let plugins = std::env::var("GST_PLUGIN_PATH").unwrap_or_default();
    let mut paths = vec![
        "/usr",
        "/lib",
        "/lib64",
        "/etc/ld.so.cache",
        "/dev/null",
        "/dev/zero",
        "/dev/urandom",
        "/sys/devices/system/cpu",
    ];
    paths.extend(
        [registry.as_str(), plugins.as_str()]
            .iter()
            .filter(|path| !path.is_empty()),
    );
    let read: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::ReadDir;
    let restricted = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(abi)))
        .and_then(Ruleset::create)
        .and_then(|rules| rules.add_rules(path_beneath_rules(paths, read)))
        .and_then(landlock::RulesetCreated::restrict_self);
    match restricted {
        Ok(status) if status.ruleset == RulesetStatus::NotEnforced => {
            eprintln!("the kernel has no landlock; opening for writing is forbidden all the same");
        }
        Ok(_) => {}
        Err(error) => eprintln!("landlock was refused: {error}"),
    }
}

fn forbid_calls() -> Result<(), Box<dyn std::error::Error>> {
    let arch: TargetArch = std::env::consts::ARCH.try_into()?;
    let refuse = |rules: BTreeMap<i64, Vec<SeccompRule>>, errno: i32| {
        let filter = SeccompFilter::new(
            rules,
            SeccompAction::Allow,
            SeccompAction::Errno(errno as u32),
            arch,
        )?;
        BpfProgram::try_from(filter)
    };

    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        FORBIDDEN.iter().map(|call| (*call, vec![])).collect();
    // Threads are made with CLONE_THREAD; anything else would be another process.
    let no_process = masked(0, libc::CLONE_THREAD as u64, 0)?;
    rules.insert(libc::SYS_clone, vec![no_process]);
    // GStreamer wakes its bus through a pair of local sockets, which lead nowhere else.
    let other_pair = SeccompCondition::new(
        0,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::Ne,
        libc::AF_UNIX as u64,
    )?;
    rules.insert(
        libc::SYS_socketpair,
        vec![SeccompRule::new(vec![other_pair])?],
    );
    // Opening for writing, appending or making, in both spellings of open.
    rules.insert(libc::SYS_openat, writing(2)?);
    #[cfg(target_arch = "x86_64")]
    rules.insert(libc::SYS_open, writing(1)?);
    seccompiler::apply_filter_all_threads(&refuse(rules, libc::EPERM)?)?;

    // Their flags are behind a pointer; "not there" makes callers use the older calls.
    let opaque = [libc::SYS_clone3, libc::SYS_openat2];
    let rules = opaque.iter().map(|call| (*call, vec![])).collect();
    seccompiler::apply_filter_all_threads(&refuse(rules, libc::ENOSYS)?)?;
    Ok(())
}

fn masked(index: u8, mask: u64, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    let condition = SeccompCondition::new(
        index,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::MaskedEq(mask),
        value,
    )?;
    SeccompRule::new(vec![condition])
}

fn writing(index: u8) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let flags = [
        libc::O_WRONLY as u64,
        libc::O_RDWR as u64,
        libc::O_CREAT as u64,
        libc::O_TRUNC as u64,
    ];
    flags
        .iter()
        .map(|flag| masked(index, *flag, *flag))
        .collect()
}

/// Calls that a decoder has no business with.
const FORBIDDEN: &[i64] = &[
    // Sockets.
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    // Other programs and processes.
    libc::SYS_execve,
    libc::SYS_execveat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kcmp,
    // Other ways to do all of this.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_memfd_secret,
    // The system.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_reboot,
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_clock_settime,
    libc::SYS_settimeofday,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    // Files.
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_truncate,
    libc::SYS_fchmodat,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_creat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mkdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mknod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rmdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_link,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_symlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
];
