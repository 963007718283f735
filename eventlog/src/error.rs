//! What can go wrong with the log. One variant per thing the caller can do about it.

use domain::codec::DecodeError;

use crate::Revision;

/// Why something failed, as the client put it.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Whether an append took place is unknown: send it again, with the same command id.
    #[error("the event log does not answer; failed to {doing}")]
    Unavailable {
        doing: String,
        #[source]
        cause: Cause,
    },
    /// The log answered, and trying again gives the same answer.
    #[error("the event log refused to {doing}")]
    Refused {
        doing: String,
        #[source]
        cause: Cause,
    },
    /// An event of ours cannot be read by this program.
    #[error("event {revision} of {stream} cannot be read")]
    Corrupt {
        stream: String,
        revision: u64,
        #[source]
        cause: DecodeError,
    },
    /// The server is too old: it does not say where in the log an event stands.
    #[error("the event log does not tell the position of event {revision} of {stream}")]
    PositionUnknown { stream: String, revision: u64 },
}

#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    #[error("the stream is at {current:?}, not where it was expected")]
    WrongRevision { current: Revision },
    #[error(transparent)]
    Log(#[from] LogError),
}

#[derive(Debug, thiserror::Error)]
pub enum ExecuteError<R: std::error::Error + 'static> {
    #[error(transparent)]
    Rejected(R),
    #[error("others kept changing it meanwhile; read it again and retry")]
    Conflict,
    #[error(transparent)]
    Log(#[from] LogError),
}
