//! Words that nobody wrote: what may have been meant.
//!
//! # Invariants
//!
//! * Whether a word is known is asked of the videos that the viewer may find: that a word is
//!   corrected, or is not, tells nothing of others' videos.
//! * However large the dictionary, only so many of its words are compared and looked up.

use std::collections::BTreeMap;

use tantivy::{
    DocSet, Searcher, TERMINATED, Term,
    query::FuzzyTermQuery,
    schema::{Field, IndexRecordOption},
};

use super::sight::Sight;

/// Shorter words are near to too many others.
const CHARS_MIN: usize = 4;
/// Longer ones may have two mistakes.
const CHARS_OF_TWO: usize = 8;

/// Words near to one that are looked at, of each segment.
const COMPARED_MAX: usize = 256;
/// Those that are taken, the most frequent.
const TAKEN_MAX: usize = 4;

/// Documents of one word looked at for one that can be seen.
const LOOKS_MAX: usize = 4_096;

/// What is needed to look words up as a viewer sees them.
pub(super) struct Dictionary<'a> {
    pub searcher: &'a Searcher,
    pub field: Field,
    /// One for each segment.
    pub sights: &'a [Sight],
}

impl Dictionary<'_> {
    /// Whether the viewer may find a video with this word.
    pub(super) fn knows(&self, word: &str) -> tantivy::Result<bool> {
        let term = Term::from_field_text(self.field, word);
        let mut looks = LOOKS_MAX;
        for (segment, sight) in self.searcher.segment_readers().iter().zip(self.sights) {
            let index = segment.inverted_index(self.field)?;
            let Some(mut postings) = index.read_postings(&term, IndexRecordOption::Basic)? else {
                continue;
            };
            let mut doc = postings.doc();
            while doc != TERMINATED && looks > 0 {
                if sight.sees(doc) {
                    return Ok(true);
                }
                doc = postings.advance();
                looks -= 1;
            }
        }
        Ok(false)
    }

    /// Known words that are near to `word`, the nearest and most frequent first.
    pub(super) fn near(&self, word: &str) -> tantivy::Result<Vec<String>> {
        let chars = word.chars().count();
        if chars < CHARS_MIN || word.chars().any(char::is_numeric) {
            return Ok(vec![]);
        }
        let mistakes_max = if chars < CHARS_OF_TWO { 1 } else { 2 };
        for mistakes in 1..=mistakes_max {
            let near = self.within(word, mistakes)?;
            if !near.is_empty() {
                return Ok(near);
            }
        }
        Ok(vec![])
    }

    fn within(&self, word: &str, mistakes: u8) -> tantivy::Result<Vec<String>> {
        let term = Term::from_field_text(self.field, word);
        let query = FuzzyTermQuery::new(term, mistakes, true);
        let mut found: BTreeMap<String, u64> = BTreeMap::new();
        for segment in self.searcher.segment_readers() {
            let index = segment.inverted_index(self.field)?;
            let mut near = index.terms().search(query.automaton()?).into_stream()?;
            let mut compared = 0;
            while compared < COMPARED_MAX && near.advance() {
                compared += 1;
                if let Ok(word) = std::str::from_utf8(near.key()) {
                    *found.entry(word.to_owned()).or_default() += u64::from(near.value().doc_freq);
                }
            }
        }
        let mut found: Vec<(String, u64)> = found.into_iter().collect();
        found.sort_by_key(|(_, documents)| std::cmp::Reverse(*documents));
        let mut taken = vec![];
        for (word, _) in found {
            if taken.len() == TAKEN_MAX {
                break;
            }
            if self.knows(&word)? {
                taken.push(word);
            }
        }
        Ok(taken)
    }
}
