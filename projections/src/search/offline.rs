//! An index of videos that come from no log: for measuring how they are found.
//!
//! # Invariants
//!
//! * Documents are made as those from the log are, and searched as those are.

use std::path::Path;

use domain::{
    id::{Owner, VideoId},
    video::{Details, Status, Visibility},
};

use super::{Index, Ranking, document::Document, documents::Open};

/// How many documents wait for a commit.
const PENDING_MAX: usize = 100_000;

/// A playable video.
#[derive(Debug, Clone)]
pub struct Sample {
    pub id: VideoId,
    pub owner: Owner,
    pub title: String,
    pub description: String,
    pub tags: Vec<String>,
    pub is_public: bool,
    pub created_ms: i64,
    pub duration_ms: u64,
    pub height: u32,
}

impl Index {
    /// An index of `samples` alone, in place of whatever is in `dir`. Blocks for the disk.
    pub fn of_samples(
        dir: &Path,
        ranking: Ranking,
        samples: impl IntoIterator<Item = Sample>,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let mut open = Open::begin(dir, ranking.weights)?;
        for sample in samples {
            open.add(sample.id, sample.into());
            if open.pending() >= PENDING_MAX {
                open.commit(None, false)?;
            }
        }
        open.commit(None, true)?;
        open.merged()?;
        Self::open(dir, ranking)
    }
}

impl From<Sample> for Document {
    fn from(sample: Sample) -> Self {
        let visibility = match sample.is_public {
            true => Visibility::Public,
            false => Visibility::Private,
        };
        Self {
            owner: sample.owner,
            details: Details {
                title: sample.title,
                description: sample.description,
                tags: sample.tags,
                visibility,
            },
            status: Status::Ready,
            playable: true,
            created_ms: sample.created_ms,
            job: None,
            duration_ms: Some(sample.duration_ms),
            height: Some(sample.height),
        }
    }
}
