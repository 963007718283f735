//! Index files found on opening, and which of them may be used.
//!
//! # Invariants
//!
//! * One is used only if it goes on exactly where the log has been followed to, and its
//!   last record stands in the log with the same chain hash: so does then all before it.
//! * What it covers was durable before it was made. A log that ends before, or whose last
//!   record there is damaged, has lost something and is not opened.
//! * All others are removed: merged into another, not finished, or of another log.

use std::collections::BTreeMap;
use std::io;

use anyhow::{Context, bail, ensure};
use nix::errno::Errno;

use super::Tail;
use crate::disk::Disk;
use crate::part::encode;
use crate::part::file::PartFile;
use crate::segment;
use crate::view::View;

/// By segment and first offset; the longest last.
pub(super) struct IndexFiles(BTreeMap<(u32, u64), Vec<(u64, String)>>);

impl IndexFiles {
    pub(super) fn among(names: &[String]) -> Self {
        let mut files: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for name in names {
            if let Some((segment, from, to)) = encode::covered_by(name) {
                let there = files.entry((segment, from)).or_default();
                there.push((to, name.clone()));
                there.sort_unstable();
            }
        }
        Self(files)
    }

    /// The longest that goes on where the log ends so far, in a segment of this length.
    pub(super) fn next(
        &mut self,
        disk: &dyn Disk,
        view: &View,
        tail: &Tail,
        len: u64,
    ) -> anyhow::Result<Option<PartFile>> {
        let Some(candidates) = self.0.get_mut(&(tail.segment, tail.offset)) else {
            return Ok(None);
        };
        while let Some((_, name)) = candidates.pop() {
            let part = open(disk, &name)?.filter(|part| follows(part, tail));
            let Some(part) = part else {
                remove(disk, &name);
                continue;
            };
            ensure!(part.extent().to <= len, lost(&part, tail.segment, len));
            if is_of_this_log(&part, view)? {
                return Ok(Some(part));
            }
            remove(disk, &name);
        }
        Ok(None)
    }

    /// This segment was read up to here: what is left of its files is removed, unless one
    /// knows more.
    pub(super) fn done_with(&mut self, disk: &dyn Disk, tail: &Tail) -> anyhow::Result<()> {
        let of_it = (tail.segment, 0)..=(tail.segment, u64::MAX);
        let left: Vec<_> = self.0.range(of_it).map(|(place, _)| *place).collect();
        for place in left {
            for (_, name) in self.0.remove(&place).unwrap_or_default() {
                let part = open(disk, &name)?;
                if let Some(part) = part.filter(|part| part.extent().to > tail.offset) {
                    bail!(lost(&part, tail.segment, tail.offset));
                }
                remove(disk, &name);
            }
        }
        Ok(())
    }

    /// All segments were read: there must be nothing that knows a later one.
    pub(super) fn all_done(&mut self, disk: &dyn Disk) -> anyhow::Result<()> {
        for (_, name) in std::mem::take(&mut self.0).into_values().flatten() {
            if let Some(part) = open(disk, &name)? {
                bail!(lost(&part, part.extent().segment, 0));
            }
            remove(disk, &name);
        }
        Ok(())
    }
}

/// `None` if it is not intact, is another one than its name says, or cannot be read at all.
fn open(disk: &dyn Disk, name: &str) -> anyhow::Result<Option<PartFile>> {
    match disk.open(name).and_then(|file| PartFile::open(name, file)) {
        Ok(part) => Ok(part.filter(|part| encode::file_name(part.extent()) == name)),
        Err(error) if is_out_of_descriptors(&error) => {
            Err(error).with_context(|| format!("failed to open {name}"))
        }
        Err(error) => {
            tracing::warn!(file = name, "an index cannot be read: {error}");
            Ok(None)
        }
    }
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    let codes = [Errno::EMFILE, Errno::ENFILE].map(|errno| Some(errno as i32));
    codes.contains(&error.raw_os_error())
}

fn lost(part: &PartFile, segment: u32, end: u64) -> String {
    let file = segment::name(segment);
    format!(
        "the log is damaged at offset {end} of {file}: the segment is cut, it went on to offset {} \
         as {} says; if another log was put in its place, remove that log's index-* files",
        part.extent().to,
        part.name(),
    )
}

fn follows(part: &PartFile, tail: &Tail) -> bool {
    let extent = part.extent();
    extent.segment == tail.segment
        && extent.from == tail.offset
        && extent.after == tail.position
        && extent.last > extent.after
}

fn is_of_this_log(part: &PartFile, view: &View) -> anyhow::Result<bool> {
    let Some(last) = part.last_spot()? else {
        return Ok(false);
    };
    // It was durable before the index was made: one that cannot be read is no torn tail.
    let record = view
        .load(&[last])
        .context("the log is damaged: its index knows a record that cannot be read")?
        .pop();
    Ok(record.is_some_and(|record| record.chain == part.extent().chain))
}

fn remove(disk: &dyn Disk, name: &str) {
    tracing::info!(file = name, "removing an index that is not used");
    // One that stays is looked at again on the next opening.
    let _ = disk.remove(name);
}
