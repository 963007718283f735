//! The few file operations the log is made of.
//!
//! A trait, because there is a second implementation: the tests' faulty disk, which
//! loses, tears and refuses what it is given. The node itself runs on [`Folder`].
//!
//! # Invariants
//!
//! * Nothing else in this crate writes, syncs, renames or removes a file of the log; only
//!   `walk` opens them otherwise, to read.
//! * What `sync_data` has acknowledged survives a crash; what it has not may be there
//!   whole, in part, or not at all.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use uuid::Uuid;

use crate::mark::{self, Mark};

/// A flat folder of files.
pub trait Disk: Send + Sync + 'static {
    /// The names in the folder, in no order.
    fn names(&self) -> io::Result<Vec<String>>;
    /// Opens a file that exists, for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Makes a file, empty even if there was one.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Gives a file another name; one that had this name is gone.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Makes the names durable.
    fn sync_names(&self) -> io::Result<()>;
    /// Where the folder is, for whoever asks how full its drive is.
    fn folder(&self) -> Option<&Path> {
        None
    }
    /// Tells whoever looks at the folder from outside up to where the log is durable.
    fn durable(&self, _position: u64) {}
}

/// One file, read and written at offsets; shared by all readers and the one writer.
pub trait DiskFile: Send + Sync + 'static {
    fn len(&self) -> io::Result<u64>;
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> io::Result<()>;
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// Makes the contents durable (fdatasync). One that fails is never retried: the
    /// kernel may have dropped the pages and say yes the next time.
    fn sync_data(&self) -> io::Result<()>;
}

/// A real folder, locked for as long as this value lives.
pub struct Folder {
    path: PathBuf,
    handle: File,
    lock: Flock<File>,
    life: Uuid,
}

impl Folder {
    /// Makes the folder if there is none, and locks it: two nodes never share one.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        Self::take(path)?.with_context(|| format!("{} is used by another node", path.display()))
    }

    /// The same, but `None` if somebody else has it.
    pub(crate) fn take(path: &Path) -> anyhow::Result<Option<Self>> {
        std::fs::create_dir_all(path)
            .with_context(|| format!("failed to make the folder {}", path.display()))?;
        let what = || format!("the lock of {}", path.display());
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(lock_file(path))
            .with_context(|| format!("failed to open {}", what()))?;
        let lock = match Flock::lock(lock, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
            Err((_, errno)) => {
                return Err(errno).with_context(|| format!("failed to lock {}", what()));
            }
        };
        mark::wipe(&lock).with_context(|| format!("failed to write {}", what()))?;
        let handle = File::open(path)
            .with_context(|| format!("failed to open the folder {}", path.display()))?;
        Ok(Some(Self {
            path: path.to_owned(),
            handle,
            lock,
            life: Uuid::new_v4(),
        }))
    }
}

/// Where a folder's lock is, and its mark.
pub(crate) fn lock_file(folder: &Path) -> PathBuf {
    folder.join("lock")
}

/// Whether this says that there is no room, rather than that the disk is broken.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

impl Disk for Folder {
    fn names(&self) -> io::Result<Vec<String>> {
        std::fs::read_dir(&self.path)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.path.join(name))?;
        Ok(Arc::new(file))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(self.path.join(name))?;
        Ok(Arc::new(file))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn sync_names(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    fn folder(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn durable(&self, position: u64) {
        let life = self.life;
        let mark = Mark { life, position }.encode();
        if let Err(error) = FileExt::write_all_at(&*self.lock, &mark, 0) {
            // A full disk, most likely. A backup takes less for it; nothing else reads it.
            tracing::debug!("failed to mark what is durable: {error}");
        }
    }
}

impl DiskFile for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, into, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)?;
        // What is written to a file without a name is lost with the process.
        if self.metadata()?.nlink() == 0 {
            return Err(io::Error::other("the file was removed by somebody else"));
        }
        Ok(())
    }
}
