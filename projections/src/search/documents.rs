//! The index on disk: its documents, and the checkpoint in each commit's payload.
//!
//! # Invariants
//!
//! * What is pending was read from the log after the last commit, and is lost with the process.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use anyhow::Context;
use domain::{fact::AnyEvent, id::VideoId, job};
use eventlog::Recorded;
use serde::{Deserialize, Serialize};
use tantivy::{
    Index, IndexReader, IndexWriter, ReloadPolicy, TantivyDocument, TantivyError,
    collector::TopDocs,
    query::TermQuery,
    schema::{IndexRecordOption, Value},
};

use super::{
    Progress, analysis,
    document::{Document, evolve},
    ranking::Weights,
    schema::{Fields, schema},
};

/// Raised whenever documents are made differently: an index of another version is built anew.
pub(super) const VERSION: u32 = 2;

const WRITER_BYTES: usize = 30_000_000;

/// The beginning of the log and of the index.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Payload {
    version: u32,
    weights: Option<Weights>,
    pub epoch: Option<String>,
    pub commit: Option<u64>,
    pub caught_up: bool,
    /// The last event up to there: what its log must still have.
    pub last_event: Option<u64>,
    /// Videos with an event that could not be applied, and why.
    pub stopped: BTreeMap<VideoId, String>,
}

/// What searches need.
#[derive(Clone)]
pub(super) struct View {
    pub reader: IndexReader,
    pub fields: Fields,
}

pub(super) struct Open {
    pub payload: Payload,
    weights: Weights,
    reader: IndexReader,
    fields: Fields,
    writer: IndexWriter,
    /// `None`: deleted.
    pending: HashMap<VideoId, Option<Document>>,
}

impl Open {
    /// Opens what is there, or begins anew where that cannot be used. Blocks for the disk.
    pub(super) fn new(dir: &Path, weights: Weights) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir)
            .with_context(|| format!("failed to make the folder {}", dir.display()))?;
        match Self::existing(dir, weights) {
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
                Self::begin(dir, weights)
            }
        }
    }

    fn existing(dir: &Path, weights: Weights) -> anyhow::Result<Self> {
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
        anyhow::ensure!(
            payload.weights == Some(weights),
            "its words have other weights"
        );
        Self::with(index, payload, weights)
    }

    /// An empty index, in place of whatever is in `dir`.
    pub(super) fn begin(dir: &Path, weights: Weights) -> anyhow::Result<Self> {
        std::fs::remove_dir_all(dir)
            .and_then(|()| std::fs::create_dir_all(dir))
            .with_context(|| format!("failed to empty the folder {}", dir.display()))?;
        let (schema, _) = schema();
        let payload = Payload {
            version: VERSION,
            weights: Some(weights),
            ..Payload::default()
        };
        Self::with(Index::create_in_dir(dir, schema)?, payload, weights)
    }

    fn with(index: Index, payload: Payload, weights: Weights) -> anyhow::Result<Self> {
        analysis::register(&index);
        let writer = index.writer_with_num_threads(1, WRITER_BYTES)?;
        let reader = index
            .reader_builder()
            .reload_policy(ReloadPolicy::Manual)
            .try_into()?;
        Ok(Self {
            payload,
            weights,
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
    pub(super) fn fold(&mut self, recorded: &Recorded, event: &AnyEvent) -> anyhow::Result<()> {
        let Some(video) = changed_by(event) else {
            return Ok(());
        };
        if self.payload.stopped.contains_key(&video) {
            return Ok(());
        }
        let before = match self.pending.get(&video) {
            Some(pending) => pending.clone(),
            None => self.committed(video)?,
        };
        let after = evolve(before.clone(), recorded.id, &recorded.stream, event);
        if after != before {
            self.pending.insert(video, after);
        }
        Ok(())
    }

    pub(super) fn add(&mut self, video: VideoId, document: Document) {
        self.pending.insert(video, Some(document));
    }

    /// Waits until nothing is left to be merged. Blocks for the disk.
    pub(super) fn merged(self) -> anyhow::Result<()> {
        self.writer.wait_merging_threads()?;
        Ok(())
    }

    fn committed(&self, video: VideoId) -> anyhow::Result<Option<Document>> {
        let searcher = self.reader.searcher();
        let query = TermQuery::new(self.fields.id(video), IndexRecordOption::Basic);
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
            self.writer.delete_term(self.fields.id(video));
            if let Some(document) = document {
                let made = self.fields.made(video, &document, self.weights)?;
                self.writer.add_document(made)?;
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
}

/// The video that the event may change here: of jobs, most of what is told is not for searches.
fn changed_by(event: &AnyEvent) -> Option<VideoId> {
    match event {
        AnyEvent::Video(fact) => Some(fact.video),
        AnyEvent::Job(fact) => match &fact.event {
            job::Kind::LadderPlanned { .. } => Some(fact.video),
            job::Kind::Planned { .. }
            | job::Kind::RenditionsTakenOver { .. }
            | job::Kind::TaskStarted { .. }
            | job::Kind::SegmentsPublished { .. }
            | job::Kind::TaskFinished { .. }
            | job::Kind::TaskFailed { .. }
            | job::Kind::LeaseLost { .. }
            | job::Kind::TaskCancelled { .. }
            | job::Kind::Completed {}
            | job::Kind::Failed { .. }
            | job::Kind::Cancelled {} => None,
        },
        AnyEvent::Views(_) => None,
    }
}

fn is_locked(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<TantivyError>()
        .is_some_and(|error| matches!(error, TantivyError::LockFailure(..)))
}
