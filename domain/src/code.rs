//! Why something failed, in codes that clients may rely on.

use serde::{Deserialize, Serialize};

/// A failure recorded in the log. Its sentence for people travels beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    UploadMismatch,
    UploadExpired,
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
    /// Every code, in the order of the documentation.
    pub const ALL: [Self; 13] = [
        Self::UploadMismatch,
        Self::UploadExpired,
        Self::SourceNotMedia,
        Self::SourceTruncated,
        Self::SourceCorrupt,
        Self::SourceUnsupported,
        Self::SourceTooLarge,
        Self::SourceTooLong,
        Self::SourceTooManyTracks,
        Self::ProcessingStalled,
        Self::ProcessingCrashed,
        Self::ProcessingOutOfResources,
        Self::StorageUnavailable,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::UploadMismatch => "UPLOAD_MISMATCH",
            Self::UploadExpired => "UPLOAD_EXPIRED",
            Self::SourceNotMedia => "SOURCE_NOT_MEDIA",
            Self::SourceTruncated => "SOURCE_TRUNCATED",
            Self::SourceCorrupt => "SOURCE_CORRUPT",
            Self::SourceUnsupported => "SOURCE_UNSUPPORTED",
            Self::SourceTooLarge => "SOURCE_TOO_LARGE",
            Self::SourceTooLong => "SOURCE_TOO_LONG",
            Self::SourceTooManyTracks => "SOURCE_TOO_MANY_TRACKS",
            Self::ProcessingStalled => "PROCESSING_STALLED",
            Self::ProcessingCrashed => "PROCESSING_CRASHED",
            Self::ProcessingOutOfResources => "PROCESSING_OUT_OF_RESOURCES",
            Self::StorageUnavailable => "STORAGE_UNAVAILABLE",
        }
    }

    /// The code a worker named, or `None` for a word that is none of ours.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == text)
    }

    /// Whether the file itself is to blame, so that trying again is useless.
    pub fn blames_the_source(self) -> bool {
        self.as_str().starts_with("SOURCE_")
    }
}
