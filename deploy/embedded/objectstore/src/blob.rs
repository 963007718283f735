//! Blobs: the bytes of objects and parts, in files whose names say nothing.
//!
//! # Invariants
//!
//! * A blob is written under a new name and never changed; it counts only once a journal
//!   record names it. What no record names is removed when the store opens.
//! * A blob's file is removed when no object or part owns it **and** nobody reads it any more:
//!   a reader of a replaced object finishes what it began.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

use md5::{Digest, Md5};
use s3s::checksum::ChecksumHasher;
use sha2::Sha256;
use uuid::Uuid;

use crate::record::BlobMeta;

/// Where blobs are, and the thread that removes them.
#[derive(Clone)]
pub(crate) struct Blobs {
    dir: Arc<Path>,
    reaper: mpsc::Sender<PathBuf>,
}

impl Blobs {
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        // Its length is bounded by the number of blobs; the thread ends with the last sender.
        let (reaper, doomed) = mpsc::channel::<PathBuf>();
        std::thread::Builder::new()
            .name("reaper".into())
            .spawn(move || {
                for path in doomed {
                    let removed = std::fs::remove_file(&path);
                    if let Err(error) = removed.or_else(gone_is_removed) {
                        tracing::warn!(%error, "failed to remove a blob; the next start will");
                    }
                }
            })?;
        Ok(Self {
            dir: dir.into(),
            reaper,
        })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A blob that a record names.
    pub(crate) fn existing(&self, meta: BlobMeta) -> Arc<Blob> {
        Arc::new(Blob {
            meta,
            path: self.path(meta.id),
            owners: AtomicUsize::new(0),
            kept: AtomicBool::new(false),
            reaper: self.reaper.clone(),
        })
    }

    /// Begins a new one.
    pub(crate) fn draft(&self, checksum: ChecksumHasher) -> io::Result<Draft> {
        let id = Uuid::new_v4();
        let path = self.path(id);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)?;
        Ok(Draft {
            file,
            blob: Some((self.clone(), id)),
            size: 0,
            md5: Md5::new(),
            sha256: Sha256::new(),
            checksum,
        })
    }

    /// Removes what `is_known` does not know, and says how many that were.
    pub(crate) fn remove_unknown(&self, is_known: impl Fn(Uuid) -> bool) -> io::Result<usize> {
        let mut removed = 0;
        for entry in std::fs::read_dir(&self.dir)? {
            let entry = entry?;
            let id = entry
                .file_name()
                .to_str()
                .and_then(|name| Uuid::try_parse(name).ok());
            if !id.is_some_and(&is_known) {
                std::fs::remove_file(entry.path()).or_else(gone_is_removed)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn path(&self, id: Uuid) -> PathBuf {
        self.dir.join(id.to_string())
    }
}

fn gone_is_removed(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound {
        Ok(())
    } else {
        Err(error)
    }
}

/// The bytes of one put, whole and on disk.
pub(crate) struct Blob {
    meta: BlobMeta,
    path: PathBuf,
    owners: AtomicUsize,
    kept: AtomicBool,
    reaper: mpsc::Sender<PathBuf>,
}

impl Blob {
    pub(crate) fn meta(&self) -> BlobMeta {
        self.meta
    }

    pub(crate) fn open(&self) -> io::Result<File> {
        File::open(&self.path)
    }

    /// One more object or part consists of it.
    pub(crate) fn own(&self) {
        self.owners.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn disown(&self) {
        self.owners.fetch_sub(1, Ordering::SeqCst);
    }

    pub(crate) fn is_owned(&self) -> bool {
        self.owners.load(Ordering::SeqCst) > 0
    }

    /// It is not known whether a record names it: the next start decides.
    pub(crate) fn keep(&self) {
        self.kept.store(true, Ordering::SeqCst);
    }
}

impl Drop for Blob {
    fn drop(&mut self) {
        if !self.is_owned() && !self.kept.load(Ordering::SeqCst) {
            // Without the reaper the process is ending, and the next start removes the file.
            let _ = self.reaper.send(std::mem::take(&mut self.path));
        }
    }
}

/// A blob being written. Dropped, it leaves nothing.
pub(crate) struct Draft {
    file: File,
    blob: Option<(Blobs, Uuid)>,
    size: u64,
    md5: Md5,
    sha256: Sha256,
    checksum: ChecksumHasher,
}

/// A blob that was received, and what was computed on the way.
pub(crate) struct Received {
    pub(crate) blob: Arc<Blob>,
    pub(crate) md5: [u8; 16],
    pub(crate) sha256: [u8; 32],
    /// The other algorithms the client asked for.
    pub(crate) checksum: s3s::dto::Checksum,
}

impl Draft {
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.md5.update(bytes);
        self.sha256.update(bytes);
        self.checksum.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Makes the bytes durable; the name becomes so with the commit.
    pub(crate) fn finish(mut self) -> io::Result<Received> {
        self.file.sync_data()?;
        let (blobs, id) = self.blob.take().expect("taken only here and on drop");
        Ok(Received {
            blob: blobs.existing(BlobMeta {
                id,
                size: self.size,
            }),
            md5: std::mem::take(&mut self.md5).finalize().into(),
            sha256: std::mem::take(&mut self.sha256).finalize().into(),
            checksum: std::mem::take(&mut self.checksum).finalize(),
        })
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some((blobs, id)) = self.blob.take() {
            // As for a blob: what the reaper does not remove, the next start does.
            let _ = blobs.reaper.send(blobs.path(id));
        }
    }
}
