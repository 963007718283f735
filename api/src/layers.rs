//! What surrounds every request: an id, a span, counters, a net under panics, a maximum at a time.
//!
//! # Invariants
//!
//! * A panic costs one request, whose sender learns nothing of its cause.
//! * No log line and no metric has a token, an address or a whole URL in it.

use std::{sync::Arc, time::Instant};

use axum::{
    body::Body,
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use tower_http::cors::{Any, CorsLayer};
use tracing::Instrument;
use uuid::Uuid;

use crate::{
    app::App,
    error::{ApiError, Code},
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Browsers of any origin may call: a token is sent by a script or not at all, never by a cookie.
pub(crate) fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::OPTIONS])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::RANGE,
            header::IF_NONE_MATCH,
            header::IF_RANGE,
        ])
        .expose_headers([
            header::ACCEPT_RANGES,
            header::CACHE_CONTROL,
            header::CONTENT_LENGTH,
            header::CONTENT_RANGE,
            header::ETAG,
            REQUEST_ID,
        ])
        .max_age(std::time::Duration::from_secs(24 * 60 * 60))
}

/// Gives each request an id, a span and its place in the counters.
pub(crate) async fn observe(mut request: Request, next: Next) -> Response {
    let id = Uuid::now_v7().to_string();
    let method = request.method().clone();
    // The pattern, not the path: a path may hold a grant.
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("unknown".to_owned(), |path| path.as_str().to_owned());
    let value = HeaderValue::from_str(&id).expect("a UUID is a header value");
    request.headers_mut().insert(REQUEST_ID, value.clone());
    let span = tracing::info_span!("request", request.id = %id, %method, %route);
    let began = Instant::now();
    let mut response = next.run(request).instrument(span.clone()).await;
    let status = response.status().as_u16();
    let labels = [("route", route), ("status", status.to_string())];
    metrics::counter!("kinolog_http_requests_total", &labels).increment(1);
    metrics::histogram!("kinolog_http_request_seconds", &labels[..1])
        .record(began.elapsed().as_secs_f64());
    span.in_scope(|| {
        tracing::debug!(
            status,
            ms = began.elapsed().as_millis() as u64,
            "answered a request"
        );
    });
    response.headers_mut().insert(REQUEST_ID, value);
    response
}

/// Answers at most so many requests at a time, each with a time by which its answer must begin,
/// however slowly its body comes in. A body that streams out holds no place; sockets have a
/// maximum of their own.
pub(crate) async fn bound(State(app): State<App>, request: Request, next: Next) -> Response {
    let Ok(_place) = Arc::clone(&app.requests).try_acquire_owned() else {
        let error = ApiError::new(
            Code::LimitExceeded,
            "too many requests at the same time; try again in a moment",
        );
        return (StatusCode::SERVICE_UNAVAILABLE, axum::Json(error.json())).into_response();
    };
    let time = app.config.tuning.request;
    match tokio::time::timeout(time, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let error = ApiError::new(
                Code::LimitExceeded,
                format!(
                    "the request was not there and answered within {} s",
                    time.as_secs_f32()
                ),
            );
            (StatusCode::REQUEST_TIMEOUT, in_both_shapes(&error)).into_response()
        }
    }
}

/// For a layer, which does not know whether the route speaks GraphQL.
fn in_both_shapes(error: &ApiError) -> axum::Json<serde_json::Value> {
    let mut body = error.json();
    body["errors"] = error.graphql()["errors"].clone();
    axum::Json(body)
}

/// What a panic becomes.
pub(crate) fn panicked(panic: Box<dyn std::any::Any + Send>) -> http::Response<Body> {
    let what = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    tracing::error!(panic = what, "a request panicked");
    let error = ApiError::new(
        Code::Internal,
        "something failed on our side; try again later",
    );
    (StatusCode::INTERNAL_SERVER_ERROR, in_both_shapes(&error)).into_response()
}

/// A route that is not there: an error like all others.
pub(crate) async fn unknown() -> ApiError {
    ApiError::new(Code::NotFound, "there is nothing here")
}
