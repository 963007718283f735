//! What a request can fail with. One code per thing the caller can do about it.
//!
//! # Invariants
//!
//! * The cause of `INTERNAL` is logged once, where it is met, and never sent.
//! * What a caller may not see has the same answer as what is not there.

use std::{borrow::Cow, fmt};

use async_graphql::{Enum, ErrorExtensions};
use axum::{
    Json,
    response::{IntoResponse, Response},
};
use domain::video::Rejection;
use http::StatusCode;
use serde_json::json;

/// Why a request or a part of it was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(name = "ErrorCode")]
pub(crate) enum Code {
    /// There is no token where one is needed, or it is wrong or expired.
    Unauthenticated,
    /// The token does not allow this.
    Forbidden,
    /// There is no such thing, or you may not see it.
    NotFound,
    /// The request is malformed.
    Invalid,
    /// It contradicts what is already there.
    Conflict,
    /// A stated maximum was reached: of size, of rate, of waiting.
    LimitExceeded,
    /// The position is too old, or of another log: start again without it.
    CursorExpired,
    /// Something failed on our side; trying again later may help.
    Internal,
    /// A file of no bytes.
    UploadEmpty,
    /// A file larger than accepted.
    UploadTooLarge,
    /// What arrived is not what was declared.
    UploadMismatch,
    /// Nobody finished the upload in time.
    UploadExpired,
    /// The uploaded file is not kept any more.
    SourceGone,
}

impl Code {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::Forbidden => "FORBIDDEN",
            Self::NotFound => "NOT_FOUND",
            Self::Invalid => "INVALID",
            Self::Conflict => "CONFLICT",
            Self::LimitExceeded => "LIMIT_EXCEEDED",
            Self::CursorExpired => "CURSOR_EXPIRED",
            Self::Internal => "INTERNAL",
            Self::UploadEmpty => "UPLOAD_EMPTY",
            Self::UploadTooLarge => "UPLOAD_TOO_LARGE",
            Self::UploadMismatch => "UPLOAD_MISMATCH",
            Self::UploadExpired => "UPLOAD_EXPIRED",
            Self::SourceGone => "SOURCE_GONE",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Invalid | Self::UploadEmpty => StatusCode::BAD_REQUEST,
            Self::Conflict | Self::UploadMismatch => StatusCode::CONFLICT,
            Self::LimitExceeded => StatusCode::TOO_MANY_REQUESTS,
            Self::CursorExpired | Self::UploadExpired | Self::SourceGone => StatusCode::GONE,
            Self::UploadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// A refusal, or a failure whose cause is already logged.
///
/// It has no `Display`: async-graphql would take that for the whole error, and drop the code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub code: Code,
    pub message: Cow<'static, str>,
}

impl ApiError {
    pub(crate) fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    pub(crate) fn bad_token() -> Self {
        Self::new(
            Code::Unauthenticated,
            "the token is wrong or expired; ask for a new one",
        )
    }

    pub(crate) fn no_token() -> Self {
        Self::new(Code::Unauthenticated, "this needs a token")
    }

    pub(crate) fn no_such_video() -> Self {
        Self::new(Code::NotFound, "there is no such video")
    }

    pub(crate) fn too_large(bytes_max: usize) -> Self {
        Self::new(
            Code::LimitExceeded,
            format!("the body has more than {bytes_max} bytes"),
        )
    }

    /// The error as the body of an HTTP answer, for routes that speak no GraphQL.
    pub(crate) fn json(&self) -> serde_json::Value {
        json!({"error": {"code": self.code.as_str(), "message": self.message}})
    }

    /// The error as a whole GraphQL answer.
    pub(crate) fn graphql(&self) -> serde_json::Value {
        json!({"errors": [{"message": self.message, "extensions": {"code": self.code.as_str()}}]})
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.code.status()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status(), Json(self.json())).into_response()
    }
}

impl From<ApiError> for async_graphql::Error {
    fn from(error: ApiError) -> Self {
        Self::new(error.message.clone())
            .extend_with(|_, extensions| extensions.set("code", error.code.as_str()))
    }
}

/// Turns a failure nobody outside can do anything about into what they get to see.
///
/// `doing` says what failed, in the words of the log: `failed to read video {id}`.
pub(crate) fn internal<E: fmt::Display>(doing: impl fmt::Display) -> impl FnOnce(E) -> ApiError {
    move |error| {
        tracing::error!(error = format!("{error:#}"), "failed to {doing}");
        ApiError::new(
            Code::Internal,
            "something failed on our side; try again later",
        )
    }
}

/// Which code, and which input field, a refused command is about.
pub(crate) fn of_rejection(rejection: &Rejection) -> (Option<&'static str>, Code) {
    match rejection {
        Rejection::Unknown | Rejection::Deleted => (Some("videoId"), Code::NotFound),
        Rejection::NotOwner => (Some("videoId"), Code::Forbidden),
        Rejection::KeyReused => (Some("idempotencyKey"), Code::Conflict),
        Rejection::UploadExpired => (Some("videoId"), Code::UploadExpired),
        Rejection::NotFailed { .. }
        | Rejection::NoSource
        | Rejection::NotReady { .. }
        | Rejection::RetryUnderWay { .. } => (Some("videoId"), Code::Conflict),
        Rejection::NoSuchRendition { .. } => (Some("rendition"), Code::NotFound),
        Rejection::SourceGone => (Some("videoId"), Code::SourceGone),
        Rejection::Invalid { field, .. } => (Some(field), Code::Invalid),
    }
}
