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

use super::schema::{BEGINNINGS_AVERAGE, Fields, WORDS_AVERAGE};

pub(super) struct Alive<'a> {
    pub searcher: &'a Searcher,
    pub fields: Fields,
}

impl Bm25StatisticsProvider for Alive<'_> {
    fn total_num_tokens(&self, field: Field) -> tantivy::Result<u64> {
        let words = if field == self.fields.words {
            WORDS_AVERAGE
        } else if field == self.fields.beginnings {
            BEGINNINGS_AVERAGE
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
            let Some(alive) = segment.alive_bitset() else {
                documents += u64::from(index.doc_freq(term)?);
                continue;
            };
            if let Some(postings) = index.read_postings(term, IndexRecordOption::Basic)? {
                documents += u64::from(postings.doc_freq_given_deletes(alive));
            }
        }
        Ok(documents)
    }
}
