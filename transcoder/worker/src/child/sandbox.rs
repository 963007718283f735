//! The cell the child closes around itself.
//!
//! # Invariants
//!
//! * No network: an empty network namespace where we may make one, and no sockets at all.
//! * No writes: no descriptor can be opened for writing, and files have no room.
//! * No other program and no other process: neither `exec` nor `fork`, only threads; no
//!   signal to, and no limit on, any process but itself, by whatever call.
//! * A read-only view of what GStreamer loads, where the kernel has landlock; nothing of
//!   `/proc` is in it, so no other process can be looked at either.
//! * Only calls that are known to be needed reach the kernel; a call nobody thought of does not.
//! * What the kernel lacks is said on standard error, never passed over in silence;
//!   seccomp is not optional: without it the child does not go on.

mod allowed;
mod forbidden;

use std::collections::BTreeMap;
use std::{io, process};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus,
    RestrictionStatus, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
    path_beneath_rules,
};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigHandler, Signal, signal};
use protocol::task::Spec;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use allowed::ALLOWED;
use forbidden::FORBIDDEN;

/// Private writable memory of the child: a 2160p ladder needs about 3 GiB.
const DATA_BYTES_MAX: u64 = 6 << 30;
/// Addresses, threads' stacks and libraries included.
const ADDRESS_BYTES_MAX: u64 = 32 << 30;
/// The landlock whose every rule is used: the first that knows of signals.
const ABI_WANTED: ABI = ABI::V6;
/// Descriptors: ours, the libraries being loaded, and GStreamer's event descriptors.
const DESCRIPTORS_MAX: u64 = 512;
/// CPU time for anything, and on top of it per second of the source.
const CPU_SECONDS_BASE: u64 = 600;
const CPU_SECONDS_PER_SECOND: u64 = 120;

/// Requests of `fcntl` and `ioctl` that say whom a descriptor signals.
const F_SETOWN: u64 = 8;
const F_SETSIG: u64 = 10;
const F_SETOWN_EX: u64 = 15;
const FIOSETOWN: u64 = 0x8901;
const SIOCSPGRP: u64 = 0x8902;

/// What a process may ask of `prctl`: names of threads, and to be closed in further. Not to
/// outlive its parent, nor to be looked at.
const PRCTL_ALLOWED: &[i32] = &[
    libc::PR_SET_NAME,
    libc::PR_GET_NAME,
    libc::PR_SET_NO_NEW_PRIVS,
    libc::PR_SET_SECCOMP,
];

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
            Spec::Passthrough(spec) => spec.duration_ms,
        };
        let per_second = (duration_ms / 1000).saturating_mul(CPU_SECONDS_PER_SECOND);
        Allowance {
            cpu_seconds: CPU_SECONDS_BASE.saturating_add(per_second),
        }
    }
}

/// Closes the cell. It cannot be opened again.
pub(crate) fn close(allowance: &Allowance) -> View {
    limit_resources(allowance);
    leave_network();
    let view = restrict_view();
    if let Some(missing) = view.missing() {
        eprintln!("{missing}");
    }
    if let Err(error) = forbid_calls() {
        eprintln!("the sandbox could not be closed: {error}");
        process::exit(70);
    }
    view
}

/// How much landlock hides from the child.
pub(crate) enum View {
    /// Everything but what GStreamer loads, and every newer rule too.
    Restricted,
    /// Files are hidden; what newer kernels add is not there.
    Older(String),
    /// Nothing is hidden.
    Open(String),
}

impl View {
    pub(crate) fn hides_files(&self) -> bool {
        match self {
            View::Restricted | View::Older(_) => true,
            View::Open(_) => false,
        }
    }

    /// What is missing, and what to do about it.
    pub(crate) fn missing(&self) -> Option<String> {
        match self {
            View::Restricted => None,
            View::Older(version) => Some(format!(
                "the kernel's Landlock is {version}, older than {ABI_WANTED:?}: files are hidden from the \
                 decoder, and what it lacks (sockets, signals) seccomp alone forbids; Linux 6.12 has all of it"
            )),
            View::Open(reason) => Some(format!(
                "Landlock is not enforced ({reason}): a decoder taken over by a file could read the files \
                 and the environment of this user's processes; boot a kernel with `landlock` in its `lsm=` \
                 list, and in a container allow the landlock_* system calls"
            )),
        }
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
fn restrict_view() -> View {
    let abi = ABI_WANTED;
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
        .and_then(|rules| rules.scope(Scope::from_all(abi)))
        .and_then(Ruleset::create)
        .and_then(|rules| rules.add_rules(path_beneath_rules(paths, read)))
        .and_then(landlock::RulesetCreated::restrict_self);
    match restricted {
        Ok(status) => seen(&status),
        Err(error) => View::Open(error.to_string()),
    }
}

fn seen(status: &RestrictionStatus) -> View {
    let version = match status.landlock {
        LandlockStatus::NotEnabled => {
            return View::Open("the kernel has it switched off".to_owned());
        }
        LandlockStatus::NotImplemented => return View::Open("the kernel lacks it".to_owned()),
        LandlockStatus::Available { effective_abi, .. } => effective_abi,
    };
    match status.ruleset {
        RulesetStatus::NotEnforced => View::Open("the kernel took no rule".to_owned()),
        RulesetStatus::PartiallyEnforced => View::Older(format!("{version:?}")),
        RulesetStatus::FullyEnforced => View::Restricted,
    }
}

fn forbid_calls() -> Result<(), Box<dyn std::error::Error>> {
    let arch: TargetArch = std::env::consts::ARCH.try_into()?;
    // The first to be closed, for of two refusals the newer one's error number counts.
    let allowed = SeccompFilter::new(
        ALLOWED.iter().map(|call| (*call, vec![])).collect(),
        SeccompAction::Errno(libc::ENOSYS as u32),
        SeccompAction::Allow,
        arch,
    )?;
    seccompiler::apply_filter_all_threads(&BpfProgram::try_from(allowed)?)?;

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
    other_processes(&mut rules)?;
    rules.insert(
        libc::SYS_prctl,
        vec![SeccompRule::new(others(PRCTL_ALLOWED)?)?],
    );
    seccompiler::apply_filter_all_threads(&refuse(rules, libc::EPERM)?)?;

    // Their flags are behind a pointer; "not there" makes callers use the older calls.
    let opaque = [libc::SYS_clone3, libc::SYS_openat2];
    let rules = opaque.iter().map(|call| (*call, vec![])).collect();
    seccompiler::apply_filter_all_threads(&refuse(rules, libc::ENOSYS)?)?;
    Ok(())
}

/// What reaches this process itself is allowed: `abort` signals its own thread, and
/// limits may be asked about. Everything else of this kind is not.
fn other_processes(
    rules: &mut BTreeMap<i64, Vec<SeccompRule>>,
) -> Result<(), seccompiler::BackendError> {
    use SeccompCmpArgLen::{Dword, Qword};
    use SeccompCmpOp::{Eq, Ne};
    let own = u64::from(process::id());
    let not_own = || SeccompCondition::new(0, Dword, Ne, own);

    rules.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![not_own()?])?]);
    let not_zero = SeccompCondition::new(0, Dword, Ne, 0)?;
    let sets_a_limit = SeccompCondition::new(2, Qword, Ne, 0)?;
    rules.insert(
        libc::SYS_prlimit64,
        vec![
            SeccompRule::new(vec![not_own()?, not_zero])?,
            SeccompRule::new(vec![sets_a_limit])?,
        ],
    );
    // A descriptor that becomes ready can be made to signal its owner: any process.
    let owning =
        |request: u64| SeccompRule::new(vec![SeccompCondition::new(1, Dword, Eq, request)?]);
    let by_fcntl = [F_SETOWN, F_SETSIG, F_SETOWN_EX];
    let by_ioctl = [FIOSETOWN, SIOCSPGRP];
    for (call, requests) in [
        (libc::SYS_fcntl, by_fcntl.as_slice()),
        (libc::SYS_ioctl, by_ioctl.as_slice()),
    ] {
        let owning = requests.iter().map(|request| owning(*request));
        rules.insert(call, owning.collect::<Result<_, _>>()?);
    }
    Ok(())
}

/// Every first argument but these.
fn others(requests: &[i32]) -> Result<Vec<SeccompCondition>, seccompiler::BackendError> {
    let other = |request: &i32| {
        let request = u64::from(request.cast_unsigned());
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, request)
    };
    requests.iter().map(other).collect()
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
