//! Our refusals in S3's codes.

use http::StatusCode;
use s3s::{S3Error, S3ErrorCode, s3_error};

use crate::store::ReceiveError;
use crate::writer::Refusal;

impl From<Refusal> for S3Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Condition => {
                s3_error!(
                    PreconditionFailed,
                    "a precondition of the request does not hold"
                )
            }
            Refusal::NoSuchKey => s3_error!(NoSuchKey, "the specified key does not exist"),
            Refusal::NoSuchUpload => s3_error!(NoSuchUpload, "the upload does not exist"),
            Refusal::TooMany(_) => {
                S3Error::with_message(S3ErrorCode::SlowDown, refusal.to_string())
            }
            Refusal::Full => full(),
            Refusal::Stopped => {
                S3Error::with_message(S3ErrorCode::ServiceUnavailable, refusal.to_string())
            }
        }
    }
}

impl From<ReceiveError> for S3Error {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::TooLong(_) => too_large(),
            ReceiveError::Short => s3_error!(IncompleteBody, "the body ended too early"),
            ReceiveError::Silent => s3_error!(RequestTimeout, "the body stopped coming"),
            ReceiveError::Sha256 => coded(
                "XAmzContentSHA256Mismatch",
                StatusCode::BAD_REQUEST,
                "the body does not hash to x-amz-content-sha256",
            ),
            ReceiveError::Full => full(),
            ReceiveError::Io(error) => {
                tracing::error!(%error, "failed to write a body");
                s3_error!(InternalError, "the body could not be written")
            }
        }
    }
}

pub(crate) fn too_large() -> S3Error {
    s3_error!(EntityTooLarge, "the object is larger than the store takes")
}

/// 507: what the store has no room for.
pub(crate) fn full() -> S3Error {
    coded(
        "InsufficientStorage",
        StatusCode::INSUFFICIENT_STORAGE,
        "the disk is full",
    )
}

/// A code that the library does not know.
pub(crate) fn coded(code: &str, status: StatusCode, message: &'static str) -> S3Error {
    let code = S3ErrorCode::from_bytes(code.as_bytes()).expect("our codes are ASCII");
    let mut error = S3Error::with_message(code, message);
    error.set_status_code(status);
    error
}
