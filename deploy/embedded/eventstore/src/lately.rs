//! What was found out about streams lately: a bounded memory, so that a stream in use is
//! not looked up in the files of the index again.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use crate::limits::IDEMPOTENCY_EVENTS;
use crate::part::Base;

/// What there was of a stream up to some position. Parts up to there never change, so it
/// never becomes wrong, only old.
#[derive(Clone, Copy)]
pub(crate) struct Found {
    pub(crate) up_to: u64,
    pub(crate) base: Option<Base>,
}

/// The hashes of the ids of a stream's last events, in order.
#[derive(Default)]
pub(crate) struct RecentIds {
    /// One past the revision of the last.
    end: u64,
    hashes: VecDeque<u32>,
}

/// Values by stream, in two halves: new ones go into the young one; when it is full it
/// becomes the old one, and the old one, of which nothing was asked for meanwhile, is
/// forgotten.
pub(crate) struct Lately<V> {
    young: Half<V>,
    old: Half<V>,
    streams_max: usize,
    name_bytes_max: usize,
}

/// Dropping one takes a while.
pub(crate) struct Half<V> {
    values: HashMap<Arc<str>, V>,
    name_bytes: usize,
}

impl<V> Lately<V> {
    pub(crate) fn new(streams_max: usize, name_bytes_max: usize) -> Self {
        Self {
            young: Half::default(),
            old: Half::default(),
            streams_max,
            name_bytes_max,
        }
    }

    pub(crate) fn get(&self, stream: &str) -> Option<&V> {
        let young = self.young.values.get(stream);
        young.or_else(|| self.old.values.get(stream))
    }

    pub(crate) fn take(&mut self, stream: &str) -> Option<V> {
        let young = self.young.take(stream);
        young.or_else(|| self.old.take(stream))
    }

    /// Keeps a value. What is forgotten for it is returned, to be dropped where nobody waits.
    pub(crate) fn put(&mut self, stream: &str, value: V) -> Option<Half<V>> {
        let there = self.young.values.contains_key(stream);
        let full = self.young.values.len() >= self.streams_max / 2
            || self.young.name_bytes + stream.len() > self.name_bytes_max / 2;
        let forgotten = (full && !there).then(|| {
            let young = std::mem::take(&mut self.young);
            std::mem::replace(&mut self.old, young)
        });
        if !there {
            self.young.name_bytes += stream.len();
        }
        self.young.values.insert(stream.into(), value);
        forgotten
    }
}

impl<V> Half<V> {
    fn take(&mut self, stream: &str) -> Option<V> {
        let value = self.values.remove(stream)?;
        self.name_bytes -= stream.len();
        Some(value)
    }
}

impl<V> Default for Half<V> {
    fn default() -> Self {
        Self {
            values: HashMap::new(),
            name_bytes: 0,
        }
    }
}

impl RecentIds {
    /// Which of these revisions have to be added before they can be looked through. Drops
    /// what does not lead up to them.
    pub(crate) fn missing(&mut self, wanted: &Range<u64>) -> Range<u64> {
        let begin = self.end - self.hashes.len() as u64;
        if begin > wanted.start || self.end < wanted.start || self.end > wanted.end {
            self.hashes.clear();
            self.end = wanted.start;
        }
        self.end..wanted.end
    }

    pub(crate) fn add(&mut self, hash: u32) {
        self.hashes.push_back(hash);
        self.end += 1;
        if self.hashes.len() > IDEMPOTENCY_EVENTS {
            self.hashes.pop_front();
        }
    }

    /// The revisions at and after `from` whose id has one of these hashes, which are sorted.
    pub(crate) fn with(&self, hashes: &[u32], from: u64) -> Vec<u64> {
        let begin = self.end - self.hashes.len() as u64;
        let known = (begin..).zip(&self.hashes);
        known
            .filter(|(revision, hash)| hashes.binary_search(hash).is_ok() && *revision >= from)
            .map(|(revision, _)| revision)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_is_kept_and_the_rest_is_bounded() {
        let mut lately = Lately::new(1000, usize::MAX);
        for n in 0..5000 {
            lately.put("used", n);
            lately.put(&format!("s-{n}"), n);
            assert_eq!(lately.get("used"), Some(&n));
        }
        assert!(lately.young.values.len() + lately.old.values.len() <= 1000);
        assert_eq!(lately.get("s-0"), None);
    }

    #[test]
    fn long_names_are_bounded_by_their_bytes() {
        let mut lately = Lately::new(usize::MAX, 100_000);
        for n in 0..1000 {
            lately.put(&format!("{n:01000}"), ());
            lately.take(&format!("{:01000}", n / 2));
            assert!(lately.young.name_bytes + lately.old.name_bytes <= 100_000);
        }
        assert_eq!(lately.get(&format!("{:01000}", 600)), None);
    }

    #[test]
    fn recent_ids_are_those_of_the_last_revisions() {
        let mut recent = RecentIds::default();
        for revision in recent.missing(&(0..1500)) {
            recent.add(u32::try_from(revision).unwrap());
        }
        assert_eq!(recent.with(&[100, 700, 1400], 476), [700, 1400]);
        assert_eq!(recent.with(&[700, 1400], 701), [1400]);
        assert_eq!(recent.missing(&(480..1502)), 1500..1502);
        // Earlier ones than there are.
        assert_eq!(recent.missing(&(400..1500)), 400..1500);
        // A gap.
        assert_eq!(recent.missing(&(2000..3000)), 2000..3000);
    }
}
