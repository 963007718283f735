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

use anyhow::{Context, ensure};

use super::Tail;
use crate::disk::Disk;
use crate::part::encode;
use crate::part::file::PartFile;
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
            let open = || PartFile::open(&name, disk.open(&name)?);
            let opened = open().with_context(|| format!("failed to open {name}"))?;
            let Some(part) = opened.filter(|part| follows(part, tail)) else {
                remove(disk, &name);
                continue;
            };
            ensure!(
                part.extent().to <= len,
                "the log is damaged at offset {len}: the segment is cut, it went on to offset {} \
                 as {name} says",
                part.extent().to,
            );
            if is_of_this_log(&part, view)? {
                return Ok(Some(part));
            }
            remove(disk, &name);
        }
        Ok(None)
    }

    pub(super) fn remove_the_rest(&mut self, disk: &dyn Disk) {
        for (_, name) in std::mem::take(&mut self.0).into_values().flatten() {
            remove(disk, &name);
        }
    }
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
