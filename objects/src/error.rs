//! What a request to the store can fail with: one variant per thing the caller can do about it.

use http::StatusCode;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no such object")]
    NotFound,
    #[error("the object is not the expected version")]
    Precondition,
    #[error("the range lies outside the object")]
    Range,
    /// Our own arguments are wrong.
    #[error("the request to the object store is invalid: {0}")]
    Invalid(&'static str),
    /// Asking again changes nothing: credentials, bucket or configuration are wrong.
    #[error("the object store refused the request: {0}")]
    Refused(String),
    /// Asking again later may help.
    #[error("the object store is unavailable: {0}")]
    Unavailable(String),
}

impl Error {
    pub(crate) fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::NOT_FOUND => Self::NotFound,
            StatusCode::PRECONDITION_FAILED | StatusCode::NOT_MODIFIED => Self::Precondition,
            StatusCode::RANGE_NOT_SATISFIABLE => Self::Range,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                Self::Unavailable(format!("it answered {status}"))
            }
            _ if status.is_server_error() => Self::Unavailable(format!("it answered {status}")),
            _ => Self::Refused(format!("it answered {status}")),
        }
    }
}

impl From<object_store::Error> for Error {
    fn from(error: object_store::Error) -> Self {
        use object_store::Error as Theirs;
        // Requests of the client are signed in a header, so its messages carry no signature.
        match error {
            Theirs::NotFound { .. } => Self::NotFound,
            Theirs::AlreadyExists { .. }
            | Theirs::Precondition { .. }
            | Theirs::NotModified { .. } => Self::Precondition,
            Theirs::InvalidPath { .. } => Self::Invalid("a key has no empty, `.` or `..` segment"),
            Theirs::PermissionDenied { .. } | Theirs::Unauthenticated { .. } => {
                Self::Refused("it denied access".into())
            }
            Theirs::NotSupported { .. } | Theirs::NotImplemented { .. } => {
                Self::Refused(error.to_string())
            }
            // The rest, and what later versions add, is a failed exchange.
            _ => Self::Unavailable(error.to_string()),
        }
    }
}
