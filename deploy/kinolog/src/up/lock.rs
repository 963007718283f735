//! One supervisor per data folder.
//!
//! # Invariants
//!
//! * The lock lives exactly as long as its holder: the kernel lets go of it, whatever happens,
//!   and no child inherits it.
//! * Looking at the lock takes none, so it is in nobody's way; who holds it is the kernel's
//!   word, never that of a file which outlives its writer.
//! * The holder opens the file once: a process that closes it loses its lock.

use std::{
    fs::{File, OpenOptions},
    path::Path,
};

use anyhow::{Context, bail};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
    libc,
};

/// Held by the supervisor of a data folder.
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of `data`, or says who holds it.
    pub fn take(data: &Path) -> anyhow::Result<Self> {
        let path = data.join(NAME);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(|| format!("failed to open {}", path.display()))?;
        match fcntl(&file, FcntlArg::F_SETLK(&whole_file())) {
            Ok(_) => Ok(Self { _file: file }),
            Err(Errno::EAGAIN | Errno::EACCES) => {
                let pid = holder_of(&file).ok().flatten();
                bail!(
                    "a platform already runs on {} (process {}); `kinolog down` stops it",
                    data.display(),
                    pid.map_or("unknown".to_owned(), |pid| pid.to_string())
                );
            }
            Err(error) => Err(error).with_context(|| format!("failed to lock {}", data.display())),
        }
    }

    /// Who holds the lock of `data`, if another process does.
    pub fn holder(data: &Path) -> anyhow::Result<Option<i32>> {
        let path = data.join(NAME);
        if !path.exists() {
            return Ok(None);
        }
        let look = || -> anyhow::Result<Option<i32>> { Ok(holder_of(&File::open(&path)?)?) };
        match look().with_context(|| format!("failed to look at {}", path.display()))? {
            // A process of another container has no number here.
            Some(pid) if pid <= 0 => bail!("{} is locked by an unknown process", data.display()),
            pid => Ok(pid),
        }
    }
}

const NAME: &str = "lock";

fn holder_of(file: &File) -> nix::Result<Option<i32>> {
    let mut lock = whole_file();
    fcntl(file, FcntlArg::F_GETLK(&mut lock))?;
    let free = i32::from(lock.l_type) == libc::F_UNLCK;
    Ok((!free).then_some(lock.l_pid))
}

fn whole_file() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn nothing_that_looks_or_was_inherited_keeps_the_lock_from_being_taken() {
        let data = tempfile::tempdir().unwrap();
        drop(Lock::take(data.path()).unwrap());
        let looked_at = File::open(data.path().join(NAME)).unwrap();
        looked_at.lock_shared().unwrap();
        Lock::take(data.path()).unwrap();
    }

    #[test]
    fn what_is_written_in_the_file_names_nobody() {
        let data = tempfile::tempdir().unwrap();
        let mut other = Command::new("sleep").arg("60").spawn().unwrap();
        std::fs::write(data.path().join(NAME), other.id().to_string()).unwrap();
        let held = File::open(data.path().join(NAME)).unwrap();
        held.lock().unwrap();
        let holder = Lock::holder(data.path());
        other.kill().unwrap();
        other.wait().unwrap();
        assert_eq!(holder.unwrap(), None);
    }
}
