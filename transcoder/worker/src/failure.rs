//! Why a task failed, in a code of DESIGN.md and a sentence its uploader understands.
//!
//! # Invariants
//!
//! * A code says whose fault it is: a source that is to blame is not tried again.
//! * The sentence holds no path, address or token: it is shown to strangers.

use serde::{Deserialize, Serialize};

/// The longest message the conductor accepts.
const MESSAGE_CHARACTERS_MAX: usize = 500;

/// The codes a worker may report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    SourceNotMedia,
    SourceTruncated,
    SourceCorrupt,
    SourceUnsupported,
    SourceTooLarge,
    SourceTooLong,
    SourceTooManyTracks,
    ProcessingStalled,
    ProcessingCrashed,
    ProcessingOutOfResources,
    StorageUnavailable,
}

impl Code {
    pub fn as_str(self) -> &'static str {
        match self {
            Code::SourceNotMedia => "SOURCE_NOT_MEDIA",
            Code::SourceTruncated => "SOURCE_TRUNCATED",
            Code::SourceCorrupt => "SOURCE_CORRUPT",
            Code::SourceUnsupported => "SOURCE_UNSUPPORTED",
            Code::SourceTooLarge => "SOURCE_TOO_LARGE",
            Code::SourceTooLong => "SOURCE_TOO_LONG",
            Code::SourceTooManyTracks => "SOURCE_TOO_MANY_TRACKS",
            Code::ProcessingStalled => "PROCESSING_STALLED",
            Code::ProcessingCrashed => "PROCESSING_CRASHED",
            Code::ProcessingOutOfResources => "PROCESSING_OUT_OF_RESOURCES",
            Code::StorageUnavailable => "STORAGE_UNAVAILABLE",
        }
    }

    /// Whether trying again with the same source is useless.
    pub fn is_source_fault(self) -> bool {
        match self {
            Code::SourceNotMedia
            | Code::SourceTruncated
            | Code::SourceCorrupt
            | Code::SourceUnsupported
            | Code::SourceTooLarge
            | Code::SourceTooLong
            | Code::SourceTooManyTracks => true,
            Code::ProcessingStalled
            | Code::ProcessingCrashed
            | Code::ProcessingOutOfResources
            | Code::StorageUnavailable => false,
        }
    }
}

/// A refusal of a task.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{}: {message}", code.as_str())]
pub struct Failure {
    pub code: Code,
    pub message: String,
}

impl Failure {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let message: String = message.into();
        let message = message.chars().take(MESSAGE_CHARACTERS_MAX).collect();
        Failure { code, message }
    }
}
