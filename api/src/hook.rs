//! `POST /hooks/object-created`: the object store says that something was written.
//!
//! # Invariants
//!
//! * It only wakes: what is recorded is what the store answers when asked.
//! * 204 means that all of it is recorded or is none of our business. Anything else is for the
//!   sender to try again.

use axum::{
    Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header::AUTHORIZATION};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::{
    app::App,
    command::Refused,
    error::{ApiError, Code},
    upload::{self, Looked},
};

pub(crate) const BODY_BYTES_MAX: usize = 256 * 1024;
/// Notifications in one request.
const RECORDS_MAX: usize = 100;

#[derive(Deserialize)]
struct Notification {
    #[serde(rename = "Records", default)]
    records: Vec<Record>,
}

#[derive(Deserialize)]
struct Record {
    #[serde(rename = "eventName", default)]
    event_name: String,
    s3: S3,
}

#[derive(Deserialize)]
struct S3 {
    object: Object,
}

#[derive(Deserialize)]
struct Object {
    key: String,
}

pub(crate) async fn object_created(
    State(app): State<App>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    if !is_authorized(&app.config.hook_token, &headers) {
        return Err(ApiError::bad_token());
    }
    let Ok(body) = body else {
        let error = ApiError::too_large(BODY_BYTES_MAX);
        return Ok((StatusCode::PAYLOAD_TOO_LARGE, Json(error.json())).into_response());
    };
    let notification: Notification = serde_json::from_slice(&body)
        .map_err(|_| ApiError::new(Code::Invalid, "this is not an S3 event"))?;
    if notification.records.len() > RECORDS_MAX {
        return Err(ApiError::new(
            Code::LimitExceeded,
            format!("at most {RECORDS_MAX} records at once"),
        ));
    }
    for record in notification.records {
        if !record.event_name.contains("ObjectCreated:") {
            continue;
        }
        // Keys arrive URL-encoded. Ours are made of characters that need none, but for the slash.
        let key = record.s3.object.key.replace("%2F", "/").replace("%2f", "/");
        let Some(id) = upload::video_of_key(&key) else {
            continue;
        };
        match upload::look(&app, id, "object-store".to_owned()).await {
            // Nothing there any more, or no such upload: nothing to record.
            Ok(Looked::Recorded(_) | Looked::Unknown | Looked::NotThere { .. }) => {}
            // It was decided against: asking again gives the same.
            Err(Refused::User { code, message, .. }) if code != Code::Conflict => {
                tracing::debug!(video.id = %id, %message, "an upload was not recorded");
            }
            Err(Refused::User { message, .. }) => return Ok(unavailable(message)),
            Err(Refused::Failed(error)) => return Ok(unavailable(error.message.into_owned())),
        }
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn unavailable(message: String) -> Response {
    let error = ApiError::new(Code::Internal, message);
    (StatusCode::SERVICE_UNAVAILABLE, Json(error.json())).into_response()
}

fn is_authorized(hook_token: &str, headers: &HeaderMap) -> bool {
    let given = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.strip_prefix("Bearer "));
    given.is_some_and(|given| same(given, hook_token))
}

/// Compares digests, and all of them, so that time tells nothing about the secret.
fn same(a: &str, b: &str) -> bool {
    let (a, b) = (Sha256::digest(a), Sha256::digest(b));
    a.iter().zip(b.iter()).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}
