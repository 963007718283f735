//! What was found out about streams lately: a bounded memory, so that a stream in use is
//! not looked for in every part of the log again.
//!
//! # Invariants
//!
//! * An answer says up to which position it looked. Parts up to there never change, so it
//!   never becomes wrong, only old.

use std::collections::HashMap;
use std::sync::Arc;

use crate::limits::STREAMS_KNOWN_MAX;
use crate::part::Base;

/// What there was of a stream up to some position.
#[derive(Clone, Copy)]
pub(crate) struct Found {
    pub(crate) up_to: u64,
    pub(crate) base: Option<Base>,
}

/// Two halves: new answers go into the young one; when it is full it becomes the old one,
/// and the old one, of which nothing was asked for meanwhile, is forgotten.
#[derive(Default)]
pub(crate) struct Known {
    young: HashMap<Arc<str>, Found>,
    old: HashMap<Arc<str>, Found>,
}

impl Known {
    pub(crate) fn of(&mut self, stream: &str) -> Option<Found> {
        if let Some(found) = self.young.get(stream) {
            return Some(*found);
        }
        let (name, found) = self.old.remove_entry(stream)?;
        self.keep(name, found);
        Some(found)
    }

    pub(crate) fn learn(&mut self, stream: &str, found: Found) {
        match self.young.get_mut(stream) {
            Some(known) => *known = found,
            None => self.keep(stream.into(), found),
        }
    }

    fn keep(&mut self, name: Arc<str>, found: Found) {
        if self.young.len() >= STREAMS_KNOWN_MAX / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(name, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_kept_and_the_rest_is_bounded() {
        let mut known = Known::default();
        let found = Found {
            up_to: 7,
            base: None,
        };
        known.learn("asked for", found);
        for n in 0..STREAMS_KNOWN_MAX * 2 {
            known.learn(&format!("s-{n}"), found);
            assert!(known.of("asked for").is_some());
        }
        assert!(known.young.len() + known.old.len() <= STREAMS_KNOWN_MAX);
        assert!(known.of("s-0").is_none());
    }
}
