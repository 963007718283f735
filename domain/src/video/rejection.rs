//! Why a command to a video is refused.

use super::Status;
use crate::id::RenditionId;

/// Why a command was refused, in words its sender can act on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("there is no such video")]
    Unknown,
    #[error("only the owner may do this")]
    NotOwner,
    #[error("the video was deleted")]
    Deleted,
    #[error("the idempotency key was used before, for another upload")]
    KeyReused,
    #[error("the upload expired; ask for a new one")]
    UploadExpired,
    #[error("only a failed video can be processed again; this one is {status:?}")]
    NotFailed { status: Status },
    #[error("the source was not accepted, so there is nothing to process; upload it again")]
    NoSource,
    #[error("only of a ready video can a rendition be made again; this one is {status:?}")]
    NotReady { status: Status },
    #[error("the video has no rendition {rendition}; it has {}", in_words(.made))]
    NoSuchRendition {
        rendition: RenditionId,
        made: Vec<RenditionId>,
    },
    #[error("rendition {rendition} is being made again; wait until that has ended")]
    RetryUnderWay { rendition: RenditionId },
    #[error(
        "the source is not kept any more, so nothing can be made from it; \
         the video plays on as it is, upload the file again as another video for better renditions"
    )]
    SourceGone,
    #[error("{field}: {problem}")]
    Invalid {
        field: &'static str,
        problem: String,
    },
}

fn in_words(renditions: &[RenditionId]) -> String {
    let names: Vec<&str> = renditions.iter().map(|id| id.0.as_str()).collect();
    names.join(", ")
}
