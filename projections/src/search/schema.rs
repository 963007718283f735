//! The fields of the index.
//!
//! # Invariants
//!
//! * Title, tags and description are one field, in which a title's words are repeated: BM25F weighs
//!   by where a word stands before it counts how often, and a query reads one list per word, not three.
//! * What decides who may find a video, and what fits a filter, is a column: it is looked at while
//!   documents are gone through.

use tantivy::{
    TantivyDocument, Term,
    schema::{
        FAST, Field, IndexRecordOption, STORED, STRING, Schema, TextFieldIndexing, TextOptions,
    },
};

use super::{
    analysis::{self, BEGINNINGS, WORDS},
    document::Document,
    language::Language,
    ranking::Weights,
};
use domain::id::{Owner, VideoId};

/// What a document's field of words has on average, in words and stems. Fixed, because the exact
/// number is known only with old versions of documents.
pub(super) const WORDS_AVERAGE: u64 = 80;
pub(super) const BEGINNINGS_AVERAGE: u64 = 45;

#[derive(Clone, Copy)]
pub(super) struct Fields {
    pub id: Field,
    pub words: Field,
    pub beginnings: Field,
    pub owner: Field,
    pub tag: Field,
    pub created: Field,
    pub duration: Field,
    pub height: Field,
    /// 1 if anyone may find it.
    pub listed: Field,
    pub id_high: Field,
    pub id_low: Field,
    /// The document itself.
    pub stored: Field,
}

/// Names of columns.
pub(super) const OWNER: &str = "owner";
pub(super) const TAG: &str = "tag";
pub(super) const CREATED: &str = "created";
pub(super) const DURATION: &str = "duration";
pub(super) const HEIGHT: &str = "height";
pub(super) const LISTED: &str = "listed";
pub(super) const ID_HIGH: &str = "id_high";
pub(super) const ID_LOW: &str = "id_low";

pub(super) fn schema() -> (Schema, Fields) {
    let text = |tokenizer, option| {
        TextOptions::default().set_indexing_options(
            TextFieldIndexing::default()
                .set_tokenizer(tokenizer)
                .set_index_option(option),
        )
    };
    let words = text(WORDS, IndexRecordOption::WithFreqsAndPositions);
    let beginnings = text(BEGINNINGS, IndexRecordOption::WithFreqs);
    let mut builder = Schema::builder();
    let fields = Fields {
        id: builder.add_text_field("id", STRING),
        words: builder.add_text_field("words", words),
        beginnings: builder.add_text_field("beginnings", beginnings),
        owner: builder.add_text_field(OWNER, STRING | FAST),
        tag: builder.add_text_field(TAG, STRING | FAST),
        created: builder.add_i64_field(CREATED, FAST),
        duration: builder.add_u64_field(DURATION, FAST),
        height: builder.add_u64_field(HEIGHT, FAST),
        listed: builder.add_u64_field(LISTED, FAST),
        id_high: builder.add_u64_field(ID_HIGH, FAST),
        id_low: builder.add_u64_field(ID_LOW, FAST),
        stored: builder.add_text_field("stored", STORED),
    };
    (builder.build(), fields)
}

impl Fields {
    pub(super) fn id(&self, video: VideoId) -> Term {
        Term::from_field_text(self.id, &video.to_string())
    }

    pub(super) fn owner(&self, owner: &Owner) -> Term {
        Term::from_field_text(self.owner, &owner.0)
    }

    pub(super) fn tag(&self, tag: &str) -> Term {
        Term::from_field_text(self.tag, &tag_as_filter(tag))
    }

    pub(super) fn made(
        &self,
        video: VideoId,
        document: &Document,
        weights: Weights,
    ) -> anyhow::Result<TantivyDocument> {
        let mut made = TantivyDocument::default();
        made.add_text(self.id, video.to_string());
        self.add_words(&mut made, document, weights);
        made.add_text(self.owner, &document.owner.0);
        for tag in &document.details.tags {
            made.add_text(self.tag, tag_as_filter(tag));
        }
        made.add_i64(self.created, document.created_ms);
        if let Some(duration_ms) = document.duration_ms {
            made.add_u64(self.duration, duration_ms);
        }
        if let Some(height) = document.height {
            made.add_u64(self.height, u64::from(height));
        }
        made.add_u64(self.listed, u64::from(document.is_listed()));
        let (high, low) = video.0.as_u64_pair();
        made.add_u64(self.id_high, high);
        made.add_u64(self.id_low, low);
        made.add_text(self.stored, serde_json::to_string(document)?);
        Ok(made)
    }

    fn add_words(&self, made: &mut TantivyDocument, document: &Document, weights: Weights) {
        let details = &document.details;
        let tags = details.tags.join(" \u{b7} ");
        let all = format!("{} {} {tags}", details.title, details.description);
        let words = analysis::words(&all);
        let letter = Language::of(&all, words.iter().map(String::as_str)).letter();
        let title = format!("{letter}{}", details.title);
        for _ in 0..weights.title {
            made.add_text(self.words, &title);
        }
        // Each by itself: no phrase goes from one tag to the next.
        for tag in &details.tags {
            let tag = format!("{letter}{tag}");
            for _ in 0..weights.tags {
                made.add_text(self.words, &tag);
            }
        }
        made.add_text(self.words, format!("{letter}{}", details.description));
        made.add_text(self.beginnings, &details.title);
        made.add_text(self.beginnings, tags);
    }
}

/// Tags are compared without regard to case.
pub(super) fn tag_as_filter(tag: &str) -> String {
    tag.trim().to_lowercase()
}
