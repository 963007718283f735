//! The few file operations the log is made of.
//!
//! A trait, because there is a second implementation: the tests' faulty disk, which
//! loses, tears and refuses what it is given. The node itself runs on [`Folder`].
//!
//! # Invariants
//!
//! * Nothing else in this crate writes, syncs or removes a file of the log; only `walk`
//!   opens them otherwise, to read.
//! * What `sync_data` has acknowledged survives a crash; what it has not may be there
//!   whole, in part, or not at all.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use nix::fcntl::{Flock, FlockArg};

/// A flat folder of files.
pub trait Disk: Send + Sync + 'static {
    /// The names in the folder, in no order.
    fn names(&self) -> io::Result<Vec<String>>;
    /// Opens a file that exists, for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Makes a file, empty even if there was one.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes the names durable.
    fn sync_names(&self) -> io::Result<()>;
    /// Where the folder is, for whoever asks how full its drive is.
    fn folder(&self) -> Option<&Path> {
        None
    }
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
    _lock: Flock<File>,
}

impl Folder {
    /// Makes the folder if there is none, and locks it: two nodes never share one.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(path)
            .with_context(|| format!("failed to make the folder {}", path.display()))?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join("lock"))
            .with_context(|| format!("failed to open the lock of {}", path.display()))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| {
            anyhow::anyhow!("{} is used by another node ({errno})", path.display())
        })?;
        let handle = File::open(path)
            .with_context(|| format!("failed to open the folder {}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            handle,
            _lock: lock,
        })
    }
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

    fn sync_names(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    fn folder(&self) -> Option<&Path> {
        Some(&self.path)
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
        File::sync_data(self)
    }
}
