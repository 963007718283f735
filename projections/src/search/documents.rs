//! The index on disk: its schema, its documents, and the checkpoint in each commit's payload.
//!
//! # Invariants
//!
//! * A document is everything the index knows of a video, so that a change needs nothing else.
//! * What is pending was read from the log after the last commit, and is lost with the process.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use anyhow::Context;
use domain::{
    id::{Owner, VideoId},
    video::{Details, Event, Kind, Status, Visibility},
};
use serde::{Deserialize, Serialize};
use tantivy::{
    Index, IndexReader, IndexWriter, ReloadPolicy, TantivyDocument, TantivyError, Term,
    collector::TopDocs,
    query::TermQuery,
    schema::{
        FAST, Field, INDEXED, IndexRecordOption, STORED, STRING, Schema, TextFieldIndexing,
        TextOptions, Value,
    },
    tokenizer::{AsciiFoldingFilter, LowerCaser, RemoveLongFilter, SimpleTokenizer, TextAnalyzer},
};

use super::Progress;
use crate::words::status_word;

/// Raised whenever documents are made differently: an index of another version is built anew.
const VERSION: u32 = 1;

const WRITER_BYTES: usize = 30_000_000;

const TOKENIZER: &str = "kinolog";

const WORD_BYTES_MAX: usize = 60;

/// The beginning of the log and of the index.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Payload {
    version: u32,
    pub epoch: Option<String>,
    pub commit: Option<u64>,
    pub caught_up: bool,
    /// The last event up to there: what its log must still have.
    pub last_event: Option<u64>,
    /// Videos with an event that could not be applied, and why.
    pub stopped: BTreeMap<VideoId, String>,
}

#[derive(Clone, Copy)]
pub(super) struct Fields {
    pub id: Field,
    pub title: Field,
    pub description: Field,
    pub tags: Field,
    pub owner: Field,
    pub visibility: Field,
    pub status: Field,
    /// `yes` or `no`.
    pub playable: Field,
    pub created: Field,
    stored: Field,
}

/// What the index knows of a video.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Document {
    owner: Owner,
    #[serde(flatten)]
    details: Details,
    status: Status,
    playable: bool,
    created_ms: i64,
}

/// What searches need.
#[derive(Clone)]
pub(super) struct View {
    pub reader: IndexReader,
    pub fields: Fields,
}

pub(super) struct Open {
    pub payload: Payload,
    reader: IndexReader,
    fields: Fields,
    writer: IndexWriter,
    /// `None`: deleted.
    pending: HashMap<VideoId, Option<Document>>,
}

impl Open {
    /// Opens what is there, or begins anew where that cannot be used. Blocks for the disk.
    pub(super) fn new(dir: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir)
            .with_context(|| format!("failed to make the folder {}", dir.display()))?;
        match Self::existing(dir) {
            Ok(open) => Ok(open),
            Err(error) if is_locked(&error) => Err(error.context(format!(
                "another process keeps the search index in {}",
                dir.display()
            ))),
            Err(error) => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "building the search index in {} from the start of the log",
                    dir.display()
                );
                Self::begin(dir)
            }
        }
    }

    fn existing(dir: &Path) -> anyhow::Result<Self> {
        let index = Index::open_in_dir(dir)?;
        let (schema, _) = schema();
        anyhow::ensure!(index.schema() == schema, "its schema is another version's");
        let damaged = index.validate_checksum()?;
        anyhow::ensure!(damaged.is_empty(), "its files are damaged: {damaged:?}");
        let payload = index.load_metas()?.payload;
        let payload: Payload = match payload {
            Some(payload) => serde_json::from_str(&payload)?,
            None => anyhow::bail!("nothing was ever committed to it"),
        };
        anyhow::ensure!(payload.version == VERSION, "it is another version's");
        Self::with(index, payload)
    }

    /// An empty index, in place of whatever is in `dir`.
    pub(super) fn begin(dir: &Path) -> anyhow::Result<Self> {
        std::fs::remove_dir_all(dir)
            .and_then(|()| std::fs::create_dir_all(dir))
            .with_context(|| format!("failed to empty the folder {}", dir.display()))?;
        let (schema, _) = schema();
        let payload = Payload {
            version: VERSION,
            ..Payload::default()
        };
        Self::with(Index::create_in_dir(dir, schema)?, payload)
    }

    fn with(index: Index, payload: Payload) -> anyhow::Result<Self> {
        let tokenizer = TextAnalyzer::builder(SimpleTokenizer::default())
            .filter(RemoveLongFilter::limit(WORD_BYTES_MAX))
            .filter(LowerCaser)
            .filter(AsciiFoldingFilter)
            .build();
        index.tokenizers().register(TOKENIZER, tokenizer);
        let writer = index.writer_with_num_threads(1, WRITER_BYTES)?;
        let reader = index
            .reader_builder()
            .reload_policy(ReloadPolicy::Manual)
            .try_into()?;
        Ok(Self {
            payload,
            reader,
            fields: schema().1,
            writer,
            pending: HashMap::new(),
        })
    }

    pub(super) fn progress(&self) -> Progress {
        Progress {
            commit: self.payload.commit,
            caught_up: self.payload.caught_up,
        }
    }

    pub(super) fn view(&self) -> View {
        View {
            reader: self.reader.clone(),
            fields: self.fields,
        }
    }

    /// Nothing of this video is folded any more. What is there of it stays as it was.
    pub(super) fn stop(&mut self, video: VideoId, error: String) {
        self.payload.stopped.entry(video).or_insert(error);
    }

    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Folds one event into what is pending.
    pub(super) fn fold(&mut self, fact: &Event) -> anyhow::Result<()> {
        if self.payload.stopped.contains_key(&fact.video) {
            return Ok(());
        }
        let before = match self.pending.get(&fact.video) {
            Some(pending) => pending.clone(),
            None => self.committed(fact.video)?,
        };
        let after = evolve(before.clone(), fact);
        if after != before {
            self.pending.insert(fact.video, after);
        }
        Ok(())
    }

    fn committed(&self, video: VideoId) -> anyhow::Result<Option<Document>> {
        let searcher = self.reader.searcher();
        let query = TermQuery::new(self.term(video), IndexRecordOption::Basic);
        let found = searcher.search(&query, &TopDocs::with_limit(1).order_by_score())?;
        let Some((_, address)) = found.first() else {
            return Ok(None);
        };
        let document: TantivyDocument = searcher.doc(*address)?;
        let stored = document
            .get_first(self.fields.stored)
            .and_then(|value| value.as_str())
            .context("a document without its stored half")?;
        Ok(Some(serde_json::from_str(stored)?))
    }

    /// Writes what is pending together with the checkpoint, and shows it to searches. Blocks for the disk.
    pub(super) fn commit(&mut self, commit: Option<u64>, caught_up: bool) -> anyhow::Result<()> {
        for (video, document) in std::mem::take(&mut self.pending) {
            self.writer.delete_term(self.term(video));
            if let Some(document) = document {
                self.writer.add_document(self.tantivy(video, &document)?)?;
            }
        }
        self.payload.commit = commit;
        self.payload.caught_up |= caught_up;
        let mut prepared = self.writer.prepare_commit()?;
        prepared.set_payload(&serde_json::to_string(&self.payload)?);
        prepared.commit()?;
        self.reader.reload()?;
        Ok(())
    }

    fn term(&self, video: VideoId) -> Term {
        Term::from_field_text(self.fields.id, &video.to_string())
    }

    fn tantivy(&self, video: VideoId, document: &Document) -> anyhow::Result<TantivyDocument> {
        let fields = self.fields;
        let mut made = TantivyDocument::default();
        made.add_text(fields.id, video.to_string());
        made.add_text(fields.title, &document.details.title);
        made.add_text(fields.description, &document.details.description);
        for tag in &document.details.tags {
            made.add_text(fields.tags, tag);
        }
        made.add_text(fields.owner, &document.owner.0);
        made.add_text(fields.visibility, document.details.visibility.as_str());
        made.add_text(fields.status, status_word(document.status));
        made.add_text(fields.playable, yes_or_no(document.playable));
        made.add_i64(fields.created, document.created_ms);
        made.add_text(fields.stored, serde_json::to_string(document)?);
        Ok(made)
    }
}

pub(super) fn yes_or_no(flag: bool) -> &'static str {
    if flag { "yes" } else { "no" }
}

pub(super) fn public() -> &'static str {
    Visibility::Public.as_str()
}

fn evolve(document: Option<Document>, fact: &Event) -> Option<Document> {
    if let Kind::UploadRequested { details, .. } = &fact.event {
        return Some(Document {
            owner: fact.owner.clone(),
            details: details.clone(),
            status: Status::Uploading,
            playable: false,
            created_ms: fact.at_ms,
        });
    }
    // Events of a video that is not here: it was deleted.
    let mut document = document?;
    match &fact.event {
        Kind::UploadRequested { .. } => {}
        Kind::UploadCompleted { .. } | Kind::ProcessingRetried { .. } => {
            document.status = Status::Processing;
            document.playable = false;
        }
        Kind::UploadRejected { .. } | Kind::ProcessingFailed { .. } => {
            document.status = Status::Failed;
            document.playable = false;
        }
        Kind::UploadExpired {} => document.status = Status::Expired,
        Kind::DetailsChanged { changes } => {
            document.details = changes.clone().applied_to(document.details);
        }
        Kind::BecamePlayable { .. } => document.playable = true,
        Kind::BecameReady { .. } => {
            document.playable = true;
            document.status = Status::Ready;
        }
        // It is as ready and as playable as before.
        Kind::RenditionRetried { .. }
        | Kind::RenditionReplaced { .. }
        | Kind::RenditionRetryFailed { .. } => {}
        Kind::Deleted { .. } => return None,
    }
    Some(document)
}

fn schema() -> (Schema, Fields) {
    let text = TextOptions::default().set_indexing_options(
        TextFieldIndexing::default()
            .set_tokenizer(TOKENIZER)
            .set_index_option(IndexRecordOption::WithFreqsAndPositions),
    );
    let mut builder = Schema::builder();
    let fields = Fields {
        id: builder.add_text_field("id", STRING | STORED),
        title: builder.add_text_field("title", text.clone()),
        description: builder.add_text_field("description", text.clone()),
        tags: builder.add_text_field("tags", text),
        owner: builder.add_text_field("owner", STRING),
        visibility: builder.add_text_field("visibility", STRING),
        status: builder.add_text_field("status", STRING),
        playable: builder.add_text_field("playable", STRING),
        created: builder.add_i64_field("created", INDEXED | FAST),
        stored: builder.add_text_field("stored", STORED),
    };
    (builder.build(), fields)
}

fn is_locked(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<TantivyError>()
        .is_some_and(|error| matches!(error, TantivyError::LockFailure(..)))
}
