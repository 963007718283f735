//! How rare a word is, counted over the documents that are there.
//!
//! # Invariants
//!
//! * Old versions of documents do not count, though they stay in the index until they are merged away:
//!   an index that was built anew must rank as the one it replaces.

use tantivy::{
    Searcher, Term,
    query::Bm25StatisticsProvider,
    schema::{Field, IndexRecordOption},
};

use super::documents::Fields;

/// What counts as an ordinary length, in words. Fixed, because the exact one is known only with old versions.
const TITLE_WORDS: u64 = 6;
const TAGS_WORDS: u64 = 4;
const DESCRIPTION_WORDS: u64 = 40;

pub(super) struct Alive<'a> {
    pub searcher: &'a Searcher,
    pub fields: Fields,
}

impl Bm25StatisticsProvider for Alive<'_> {
    fn total_num_tokens(&self, field: Field) -> tantivy::Result<u64> {
        let words = if field == self.fields.title {
            TITLE_WORDS
        } else if field == self.fields.tags {
            TAGS_WORDS
        } else if field == self.fields.description {
            DESCRIPTION_WORDS
        } else {
            1
        };
        Ok(self.total_num_docs()? * words)
    }

    fn total_num_docs(&self) -> tantivy::Result<u64> {
        Ok(self.searcher.num_docs())
    }

    fn doc_freq(&self, term: &Term) -> tantivy::Result<u64> {
        let mut documents = 0;
        for segment in self.searcher.segment_readers() {
            let index = segment.inverted_index(term.field())?;
            let Some(postings) = index.read_postings(term, IndexRecordOption::Basic)? else {
                continue;
            };
            documents += u64::from(match segment.alive_bitset() {
                Some(alive) => postings.doc_freq_given_deletes(alive),
                None => postings.doc_freq(),
            });
        }
        Ok(documents)
    }
}
