//! Copying a log into another folder, whether a node runs on it or not.
//!
//! # Invariants
//!
//! * Only what is durable is copied, up to the source's mark (`mark`): nothing that
//!   a power cut or a full disk may still take back.
//! * What was read is given a name only if the mark's life still goes on: until then the
//!   source has changed nothing of it.

mod copy;

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use uuid::Uuid;

pub(crate) use copy::copy;

use crate::disk::{self, Disk, Folder};
use crate::limits;
use crate::mark::{self, Mark};
use crate::recovery;
use crate::walk::Log;

/// What the copy holds now, and what this run did for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackedUp {
    /// In hexadecimal digits.
    pub head: String,
    /// The last position.
    pub position: u64,
    /// Events the copy did not have before.
    pub new_events: u64,
    pub segments: u64,
    pub bytes: u64,
    /// Bytes written by this run.
    pub copied_bytes: u64,
    /// Bytes of segments that were there already.
    pub reused_bytes: u64,
}

/// Bytes read, and how many there are to read.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// Brings the copy in `dest` up to what is durable of the log in `dir`. A node may be
/// running on `dir`, not on `dest`. After an error `dest` has what it had, or more.
pub fn backup(dir: &Path, dest: &Path, progress: Progress) -> anyhow::Result<BackedUp> {
    // Before anything is made: next to a misspelt folder nothing is.
    Log::at(dir)?;
    make(dest)?;
    ensure!(
        identity(dir)? != identity(dest)?,
        "a log is not backed up into its own folder"
    );
    let target = Folder::take(dest)?.with_context(|| {
        let dest = dest.display();
        format!("{dest} is in use, by a node or by another backup")
    })?;
    let Some(taken) = Folder::take(dir)? else {
        return copy(&Source::in_use(dir)?, &target, progress);
    };
    // Nobody has said what is durable, so it is made durable, as a start would do it.
    let taken: Arc<dyn Disk> = Arc::new(taken);
    let (_, tail) = recovery::open(&taken, limits::SEGMENT_BYTES)
        .with_context(|| format!("failed to open the log in {}", dir.display()))?;
    let source = Source {
        dir: dir.to_owned(),
        upto: tail.position,
        life: None,
    };
    copy(&source, &target, progress)
}

/// Makes the folder of the copy, if it is not there, durably.
fn make(dest: &Path) -> anyhow::Result<()> {
    if dest.is_dir() {
        return Ok(());
    }
    let parent = match dest.parent() {
        Some(parent) if parent != Path::new("") => parent,
        Some(_) | None => Path::new("."),
    };
    std::fs::create_dir(dest)
        .and_then(|()| File::open(parent)?.sync_all())
        .with_context(|| format!("failed to make the folder {}", dest.display()))
}

fn identity(folder: &Path) -> anyhow::Result<(u64, u64)> {
    let found = std::fs::metadata(folder)
        .with_context(|| format!("failed to look at {}", folder.display()))?;
    Ok((found.dev(), found.ino()))
}

/// A log, as far as it is durable.
pub(crate) struct Source {
    dir: PathBuf,
    upto: u64,
    /// The life in which that was said; `None` if the folder is ours.
    life: Option<Uuid>,
}

impl Source {
    /// What whoever has this folder, most likely a node, says of it.
    pub(crate) fn in_use(dir: &Path) -> anyhow::Result<Self> {
        let Some(Mark { life, position }) = said(dir)? else {
            let dir = dir.display();
            bail!("{dir} is in use but not served yet; it can be backed up when it is")
        };
        Ok(Self {
            dir: dir.to_owned(),
            upto: position,
            life: Some(life),
        })
    }

    /// Whether all that was read up to now was durable and still is.
    fn still_stands(&self) -> anyhow::Result<()> {
        let same = self.life.is_none() || said(&self.dir)?.map(|mark| mark.life) == self.life;
        ensure!(
            same,
            "{} was opened anew meanwhile; run the backup again",
            self.dir.display()
        );
        Ok(())
    }
}

fn said(dir: &Path) -> anyhow::Result<Option<Mark>> {
    let lock = disk::lock_file(dir);
    mark::read(&lock).with_context(|| format!("failed to read {}", lock.display()))
}

impl BackedUp {
    pub fn json(&self) -> Value {
        json!({
            "head": self.head,
            "position": self.position,
            "new_events": self.new_events,
            "segments": self.segments,
            "bytes": self.bytes,
            "copied_bytes": self.copied_bytes,
            "reused_bytes": self.reused_bytes,
        })
    }
}
