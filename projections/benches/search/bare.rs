//! The peer: an index of the same videos, as Tantivy's documentation makes one.

use std::path::Path;

use projections::search::Sample;
use tantivy::{
    Index, IndexReader, TantivyDocument, Term,
    collector::TopDocs,
    query::{BooleanQuery, FuzzyTermQuery, Occur, Query, QueryParser, TermQuery},
    schema::{Field, IndexRecordOption, STORED, STRING, Schema, TEXT},
};

/// As much as ours has.
const WRITER_BYTES: usize = 30_000_000;
const COMMIT_EVERY: usize = 100_000;

pub struct Bare {
    reader: IndexReader,
    parser: QueryParser,
    title: Field,
    tags: Field,
}

impl Bare {
    pub fn new(dir: &Path, samples: impl Iterator<Item = Sample>) -> anyhow::Result<Self> {
        let mut schema = Schema::builder();
        let id = schema.add_text_field("id", STRING | STORED);
        let title = schema.add_text_field("title", TEXT | STORED);
        let description = schema.add_text_field("description", TEXT | STORED);
        let tags = schema.add_text_field("tags", TEXT | STORED);
        let index = Index::create_in_dir(dir, schema.build())?;
        let mut writer = index.writer_with_num_threads(1, WRITER_BYTES)?;
        for (number, sample) in samples.enumerate() {
            let mut document = TantivyDocument::default();
            document.add_text(id, sample.id.to_string());
            document.add_text(title, &sample.title);
            document.add_text(description, &sample.description);
            for tag in &sample.tags {
                document.add_text(tags, tag);
            }
            writer.add_document(document)?;
            if number % COMMIT_EVERY == COMMIT_EVERY - 1 {
                writer.commit()?;
            }
        }
        writer.commit()?;
        writer.wait_merging_threads()?;
        Ok(Self {
            reader: index.reader()?,
            parser: QueryParser::for_index(&index, vec![title, tags, description]),
            title,
            tags,
        })
    }

    /// How many of the first are there.
    pub fn found(&self, text: &str, first: usize) -> anyhow::Result<usize> {
        let query = self.parser.parse_query(text)?;
        self.count(&query, first)
    }

    /// All words but the last as they are, the last as a prefix; each in title or tags.
    pub fn typed(&self, text: &str, first: usize) -> anyhow::Result<usize> {
        let words: Vec<&str> = text.split(' ').collect();
        let mut clauses: Vec<(Occur, Box<dyn Query>)> = vec![];
        for (at, word) in words.iter().enumerate() {
            let either = [self.title, self.tags].map(|field| -> Box<dyn Query> {
                let term = Term::from_field_text(field, word);
                match at + 1 == words.len() {
                    true => Box::new(FuzzyTermQuery::new_prefix(term, 0, true)),
                    false => Box::new(TermQuery::new(term, IndexRecordOption::WithFreqs)),
                }
            });
            clauses.push((Occur::Must, Box::new(BooleanQuery::union(either.into()))));
        }
        self.count(&BooleanQuery::new(clauses), first)
    }

    fn count(&self, query: &dyn Query, first: usize) -> anyhow::Result<usize> {
        let best = TopDocs::with_limit(first).order_by_score();
        Ok(self.reader.searcher().search(query, &best)?.len())
    }
}
