//! The HTTP rim: connections, CORS, and what the S3 library lets through.
//!
//! # Invariants
//!
//! * In a presigned request every `x-amz-*` header is signed (as AWS demands): else the holder
//!   of a presigned PUT could add `x-amz-copy-source` and read any object of the bucket.
//! * Form uploads are refused: the library would collect them in memory before authenticating.
//! * Queries are never logged: they may carry signatures.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, CONTENT_TYPE, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use nix::sys::socket::{setsockopt, sockopt::TcpUserTimeout};
use s3s::service::S3Service;
use s3s::{Body, S3Error, s3_error};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections served at once; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 1_024;
/// Until a request's head is there.
const HEAD_MAX: Duration = Duration::from_secs(30);
/// After an accept that failed (no descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const CORS_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, PUT");
const CORS_EXPOSED: HeaderValue = HeaderValue::from_static(
    "ETag, Content-Length, Content-Range, Accept-Ranges, Last-Modified, x-amz-checksum-sha256, \
     x-amz-request-id",
);
const CORS_AGE_S: HeaderValue = HeaderValue::from_static("3600");

/// Which pages may use the store from a browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cors {
    /// Any: a presigned URL is the permission, and no cookie is involved.
    AnyOrigin,
    Origins(Vec<String>),
}

pub(crate) struct Http {
    pub(crate) service: S3Service,
    pub(crate) cors: Cors,
    pub(crate) stalled: Duration,
}

/// Accepts until `stop`, then lets open requests finish until `kill`.
pub(crate) async fn accept(
    listener: TcpListener,
    http: Http,
    tracker: &TaskTracker,
    stop: &CancellationToken,
    kill: &CancellationToken,
) {
    let http = Arc::new(http);
    let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = async {
            let permit = Arc::clone(&free).acquire_owned().await;
            (
                permit.expect("the semaphore is never closed"),
                listener.accept().await,
            )
        };
        let (permit, stream) = tokio::select! {
            () = stop.cancelled() => return,
            (permit, accepted) = accepted => match accepted {
                Ok((stream, _)) => (permit, stream),
                Err(error) => {
                    tracing::warn!(%error, "failed to accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let connection = connection(stream, Arc::clone(&http), stop.clone());
        let kill = kill.clone();
        tracker.spawn(async move {
            kill.run_until_cancelled(connection).await;
            drop(permit);
        });
    }
}

async fn connection(stream: TcpStream, http: Arc<Http>, stop: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "failed to set TCP_NODELAY");
    }
    // Who asks and takes nothing would hold one of the connections for ever.
    let stalled_ms = u32::try_from(http.stalled.as_millis()).unwrap_or(u32::MAX);
    if let Err(error) = setsockopt(&stream, TcpUserTimeout, &stalled_ms) {
        tracing::warn!(%error, "failed to limit how long a connection may stall");
    }
    let service = hyper::service::service_fn(move |request| {
        let http = Arc::clone(&http);
        async move { Ok::<_, Infallible>(http.answer(request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX);
    builder.http2().timer(TokioTimer::new());
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // The other side went away; what it was doing is undone.
        tracing::debug!(%error, "a connection ended");
    }
}

impl Http {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let origin = request.headers().get(ORIGIN).cloned();
        let method = request.method().clone();
        let path = request.uri().path().to_owned();
        let mut response = if is_preflight(&request) {
            preflight(request.headers())
        } else if let Some(error) = refusal(&request) {
            of_error(error)
        } else {
            let answer = self.service.call(request.map(Body::from)).await;
            answer.unwrap_or_else(|error| {
                tracing::error!(?error, "failed to write an answer");
                of_error(s3_error!(InternalError))
            })
        };
        if let Some(origin) = origin {
            self.allow(&origin, response.headers_mut());
        }
        if let Ok(id) = HeaderValue::from_str(&uuid::Uuid::new_v4().simple().to_string()) {
            response.headers_mut().insert("x-amz-request-id", id);
        }
        let status = response.status().as_u16();
        if response.status().is_server_error() {
            tracing::warn!(%method, path, status, "answered {status} to {method} {path}");
        } else {
            tracing::debug!(%method, path, status, "answered {status} to {method} {path}");
        }
        response
    }

    fn allow(&self, origin: &HeaderValue, headers: &mut HeaderMap) {
        match &self.cors {
            Cors::AnyOrigin => {
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            }
            Cors::Origins(origins) => {
                headers.append(VARY, HeaderValue::from_static("Origin"));
                if !origins
                    .iter()
                    .any(|allowed| allowed.as_bytes() == origin.as_bytes())
                {
                    return;
                }
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            }
        }
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, CORS_EXPOSED);
    }
}

fn is_preflight(request: &Request<Incoming>) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(ORIGIN)
        && request
            .headers()
            .contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// Says what a page may send; whether it may come from there is added for every answer.
fn preflight(asked: &HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, CORS_METHODS);
    headers.insert(ACCESS_CONTROL_MAX_AGE, CORS_AGE_S);
    if let Some(names) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    response
}

fn refusal(request: &Request<Incoming>) -> Option<S3Error> {
    let is_form = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| {
            value
                .to_ascii_lowercase()
                .starts_with("multipart/form-data")
        });
    if request.method() == Method::POST && is_form {
        return Some(s3_error!(NotImplemented, "form uploads are not supported"));
    }
    let signed = presigned_headers(request.uri().query()?)?;
    let unsigned = request.headers().keys().find(|name| {
        let name = name.as_str();
        name.starts_with("x-amz-") && !is_harmless(name) && !signed.iter().any(|it| it == name)
    })?;
    Some(s3_error!(
        AccessDenied,
        "the header {unsigned} is present and was not signed"
    ))
}

/// The names in `X-Amz-SignedHeaders`, if the request is presigned.
fn presigned_headers(query: &str) -> Option<Vec<String>> {
    let pairs = || {
        query
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    };
    pairs().find(|(name, _)| name.eq_ignore_ascii_case("X-Amz-Signature"))?;
    let names = pairs().find(|(name, _)| name.eq_ignore_ascii_case("X-Amz-SignedHeaders"));
    let names = names.map_or(String::new(), |(_, names)| names.to_ascii_lowercase());
    Some(
        names
            .replace("%3b", ";")
            .split(';')
            .map(str::to_owned)
            .collect(),
    )
}

/// Headers that can only make a request fail.
fn is_harmless(name: &str) -> bool {
    name == "x-amz-content-sha256"
        || name == "x-amz-user-agent"
        || (name.starts_with("x-amz-checksum-") && name != "x-amz-checksum-mode")
}

fn of_error(error: S3Error) -> Response<Body> {
    error.to_http_response().unwrap_or_else(|_| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}
