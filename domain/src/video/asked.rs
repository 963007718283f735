//! Which events ask for a job, and what that job is to do.

use super::{Event, Kind, Priority};
use crate::{
    id::{EventId, JobId, RenditionId},
    job::Source,
};

/// The job that an event asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub job: JobId,
    /// As the job must read it.
    pub source: Source,
    pub priority: Priority,
    /// `None`: it makes all of the video.
    pub redo: Option<Redo>,
}

/// One rendition is made again, and all others are taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redo {
    pub rendition: RenditionId,
    /// The job that made the video what it is.
    pub from: JobId,
}

/// `None` for events that ask for no job.
pub fn job_asked_for(fact: &Event, event: EventId) -> Option<Asked> {
    let (key, etag, size_bytes, priority, redo) = match &fact.event {
        Kind::UploadCompleted {
            key,
            etag,
            size_bytes,
            priority,
        }
        | Kind::ProcessingRetried {
            key,
            etag,
            size_bytes,
            priority,
        } => (key, etag, size_bytes, priority, None),
        Kind::RenditionRetried {
            rendition,
            job,
            key,
            etag,
            size_bytes,
            priority,
        } => {
            let redo = Redo {
                rendition: rendition.clone(),
                from: *job,
            };
            (key, etag, size_bytes, priority, Some(redo))
        }
        Kind::UploadRequested { .. }
        | Kind::UploadRejected { .. }
        | Kind::UploadExpired {}
        | Kind::DetailsChanged { .. }
        | Kind::BecamePlayable { .. }
        | Kind::BecameReady { .. }
        | Kind::ProcessingFailed { .. }
        | Kind::RenditionReplaced { .. }
        | Kind::RenditionRetryFailed { .. }
        | Kind::Deleted { .. } => return None,
    };
    Some(Asked {
        job: JobId::caused_by(event),
        source: Source {
            key: key.clone(),
            etag: etag.clone(),
            size_bytes: *size_bytes,
        },
        priority: *priority,
        redo,
    })
}
