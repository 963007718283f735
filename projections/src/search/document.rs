//! What the index knows of a video, and how events change it.
//!
//! # Invariants
//!
//! * A document is everything the index knows of a video, so that a change needs nothing else.
//! * What only the platform's own answers tell (views) is no part of it: a document is a fold of the log.

use domain::{
    fact::AnyEvent,
    id::{EventId, JobId, Owner},
    job,
    video::{self, Details, Kind, Picture, Status, Visibility},
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Document {
    pub owner: Owner,
    #[serde(flatten)]
    pub details: Details,
    pub status: Status,
    pub playable: bool,
    pub created_ms: i64,
    /// The one whose picture is shown.
    pub job: Option<JobId>,
    pub duration_ms: Option<u64>,
    /// As shown; `None` for audio alone.
    pub height: Option<u32>,
}

impl Document {
    /// Whether anyone may find it.
    pub(super) fn is_listed(&self) -> bool {
        self.playable && self.details.visibility == Visibility::Public
    }

    fn begins(&mut self, job: JobId) {
        self.status = Status::Processing;
        self.playable = false;
        self.job = Some(job);
        self.duration_ms = None;
        self.height = None;
    }

    fn shows(&mut self, job: JobId, picture: &Picture) {
        self.playable = true;
        self.job = Some(job);
        self.duration_ms = Some(picture.duration_ms);
        self.height = Some(picture.height).filter(|height| *height > 0);
    }
}

/// `id` and `stream` are those of the event.
pub(super) fn evolve(
    document: Option<Document>,
    id: EventId,
    stream: &str,
    event: &AnyEvent,
) -> Option<Document> {
    match event {
        AnyEvent::Video(fact) => evolve_video(document, id, fact),
        AnyEvent::Job(fact) => evolve_job(document, stream, fact),
        AnyEvent::Views(_) => document,
    }
}

fn evolve_video(document: Option<Document>, id: EventId, fact: &video::Event) -> Option<Document> {
    if let Kind::UploadRequested { details, .. } = &fact.event {
        return Some(Document {
            owner: fact.owner.clone(),
            details: details.clone(),
            status: Status::Uploading,
            playable: false,
            created_ms: fact.at_ms,
            job: None,
            duration_ms: None,
            height: None,
        });
    }
    // Events of a video that is not here: it was deleted.
    let mut document = document?;
    match &fact.event {
        Kind::UploadRequested { .. } => {}
        Kind::UploadCompleted { .. } | Kind::ProcessingRetried { .. } => {
            document.begins(JobId::caused_by(id));
        }
        Kind::UploadRejected { .. } | Kind::ProcessingFailed { .. } => {
            document.status = Status::Failed;
            document.playable = false;
        }
        Kind::UploadExpired {} => document.status = Status::Expired,
        Kind::DetailsChanged { changes } => {
            document.details = changes.clone().applied_to(document.details);
        }
        Kind::BecamePlayable { job, picture } => document.shows(*job, picture),
        Kind::BecameReady { job, picture } => {
            document.shows(*job, picture);
            document.status = Status::Ready;
        }
        Kind::RenditionReplaced { job, .. } => document.job = Some(*job),
        // It is as ready and as playable as before.
        Kind::RenditionRetried { .. } | Kind::RenditionRetryFailed { .. } => {}
        Kind::Deleted { .. } => return None,
    }
    Some(document)
}

fn evolve_job(document: Option<Document>, stream: &str, fact: &job::Event) -> Option<Document> {
    let mut document = document?;
    let job = stream
        .strip_prefix("job-")
        .and_then(|job| job.parse::<JobId>().ok());
    // Until the renditions of another job take over, nobody sees anything of it.
    if job.is_none() || job != document.job {
        return Some(document);
    }
    match &fact.event {
        job::Kind::LadderPlanned { media, .. } => {
            document.duration_ms = Some(media.duration_ms);
            document.height = media.video.as_ref().map(|video| video.display_height);
        }
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
        | job::Kind::Cancelled {} => {}
    }
    Some(document)
}
