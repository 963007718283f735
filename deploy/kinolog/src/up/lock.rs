//! One supervisor per data folder.
//!
//! # Invariants
//!
//! * The lock lives exactly as long as its holder: the kernel lets go of it, whatever happens.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, Write},
    path::Path,
};

use anyhow::{Context, bail};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

/// Held by the supervisor of a data folder.
pub struct Lock {
    _file: Flock<File>,
}

impl Lock {
    /// Takes the lock of `data`, or says who holds it.
    pub fn take(data: &Path) -> anyhow::Result<Self> {
        let mut file = match Flock::lock(open(data)?, FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err((file, Errno::EWOULDBLOCK)) => {
                let pid = pid_in(file).map_or("unknown".to_owned(), |pid| pid.to_string());
                bail!(
                    "a platform already runs on {} (process {pid}); `kinolog down` stops it",
                    data.display()
                );
            }
            Err((_, error)) => {
                return Err(error).with_context(|| format!("failed to lock {}", data.display()));
            }
        };
        file.set_len(0)?;
        file.rewind()?;
        write!(file, "{}", std::process::id())?;
        file.flush()?;
        Ok(Self { _file: file })
    }

    /// Who holds the lock of `data`, if anyone does.
    pub fn holder(data: &Path) -> anyhow::Result<Option<i32>> {
        if !data.join(NAME).exists() {
            return Ok(None);
        }
        match Flock::lock(open(data)?, FlockArg::LockSharedNonblock) {
            Ok(_) => Ok(None),
            Err((file, Errno::EWOULDBLOCK)) => match pid_in(file) {
                Some(pid) => Ok(Some(pid)),
                None => bail!("{} is locked by an unknown process", data.display()),
            },
            Err((_, error)) => Err(error)
                .with_context(|| format!("failed to look at the lock of {}", data.display())),
        }
    }
}

const NAME: &str = "lock";

fn open(data: &Path) -> anyhow::Result<File> {
    let path = data.join(NAME);
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .with_context(|| format!("failed to open {}", path.display()))
}

fn pid_in(mut file: File) -> Option<i32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
