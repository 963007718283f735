//! `/healthz`, `/readyz` and `/metrics`.
//!
//! # Invariants
//!
//! * Ready means: every part answers, and every read model has what the log had when this
//!   process first reached it. It is asked anew each time, so that it stays true.
//! * Numbers are for operators and for those on the same machine.

use std::{
    net::SocketAddr,
    sync::OnceLock,
    time::{Duration, Instant},
};

use axum::{
    Json,
    extract::{ConnectInfo, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use projections::{
    overview::overview,
    reader::{Model, Standing},
};
use serde_json::{Map, Value, json};

use crate::{
    app::App,
    error::{ApiError, Code},
    graphql::http::Peer,
    token::Scope,
    viewer::Viewer,
};

/// How long one part may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// The process answers.
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether requests will be answered well, and if not, what is missing.
pub(crate) async fn readyz(State(app): State<App>) -> Response {
    let log = async {
        part(async { Ok(app.log.ready().await?) }).await?;
        let head = part(async { Ok(app.head_at_start().await) }).await?;
        head.map_err(|error| anyhow::anyhow!("{}", error.message))
    };
    let objects = part(async { Ok(app.objects.ready().await?) });
    let (log, objects) = tokio::join!(log, objects);
    let (catalogue, announcements, owners, popularity) = tokio::join!(
        part(app.reader.standing(Model::Catalogue)),
        part(app.reader.standing(Model::Announcements)),
        part(app.reader.standing(Model::Owners)),
        part(app.reader.standing(Model::Popularity)),
    );
    let target = log.as_ref().ok().copied().flatten();
    let mut parts = Map::new();
    parts.insert("log".to_owned(), answers(&log));
    parts.insert("objects".to_owned(), answers(&objects));
    parts.insert("postgres".to_owned(), answers(&catalogue));
    parts.insert("redis".to_owned(), answers(&popularity));
    for (name, standing) in [
        ("catalogue", catalogue),
        ("announcements", announcements),
        ("owners", owners),
        ("search", Ok(app.search.standing())),
        ("popularity", popularity),
    ] {
        parts.insert(name.to_owned(), stands(standing, target));
    }
    let ready = log.is_ok() && parts.values().all(|part| part["ready"] == true);
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(json!({"ready": ready, "parts": parts}))).into_response()
}

async fn part<T>(asked: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::time::timeout(ANSWER_MAX, asked)
        .await
        .unwrap_or_else(|_| Err(anyhow::anyhow!("it did not answer in time")))
}

/// What it says is for anyone to read, so it names no host and no cause.
fn answers<T>(part: &anyhow::Result<T>) -> Value {
    match part {
        Ok(_) => json!({"ready": true}),
        Err(error) => {
            tracing::debug!(error = format!("{error:#}"), "a part does not answer");
            json!({"ready": false, "why": "it does not answer"})
        }
    }
}

fn stands(standing: anyhow::Result<Standing>, target: Option<u64>) -> Value {
    let Ok(standing) = standing else {
        return json!({"ready": false, "why": "it does not answer"});
    };
    let reached = target.is_none() || standing.commit >= target;
    if standing.caught_up && reached {
        return json!({"ready": true});
    }
    json!({"ready": false, "why": "it has not caught up with the log", "at": standing.commit, "to": target})
}

/// The recorder is the process's own, however many apis a test starts in it.
fn recorder() -> Option<&'static PrometheusHandle> {
    static HANDLE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    HANDLE
        .get_or_init(|| match PrometheusBuilder::new().install_recorder() {
            Ok(handle) => Some(handle),
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "there will be no metrics");
                None
            }
        })
        .as_ref()
}

/// Begins to count.
pub(crate) fn count() {
    recorder();
}

/// How often old samples are let go.
pub(crate) const UPKEEP_EVERY: Duration = Duration::from_secs(10);

pub(crate) fn upkeep() {
    if let Some(recorder) = recorder() {
        recorder.run_upkeep();
    }
}

/// How far the read models are, as their stores say: right after any restart, of whichever process.
async fn measure_read_models(app: &App) {
    let Ok(head) = part(async { Ok(app.log.head().await?) }).await else {
        return;
    };
    let asked = Model::ALL.map(|model| part(overview(&app.reader, model, head)));
    for found in futures::future::join_all(asked).await.into_iter().flatten() {
        let labels = [("projection", found.name)];
        let position = found.position.unwrap_or(0);
        metrics::gauge!("kinolog_projection_position", &labels).set(position as f64);
        metrics::gauge!("kinolog_projection_lag_bytes", &labels).set(found.lag_bytes as f64);
        metrics::gauge!("kinolog_projection_stopped_videos", &labels).set(found.stopped as f64);
        metrics::counter!("kinolog_projection_events_total", &labels).absolute(found.events);
    }
}

/// Counters, for Prometheus.
pub(crate) async fn metrics(
    State(app): State<App>,
    peer: Peer,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let viewer = Viewer::of_headers(&app.config.token_secret, &headers)?;
    if !is_local(&peer, &headers) {
        viewer.with(Scope::Operate)?;
    }
    let sockets = app.config.tuning.sockets_max - app.sockets.available_permits();
    metrics::gauge!("kinolog_sockets").set(sockets as f64);
    measure_read_models(&app).await;
    let began = Instant::now();
    let text = recorder()
        .map(PrometheusHandle::render)
        .ok_or_else(|| ApiError::new(Code::Internal, "there are no metrics"))?;
    metrics::histogram!("kinolog_metrics_render_seconds").record(began.elapsed().as_secs_f64());
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response())
}

/// From this machine, and not passed on by a proxy on it.
fn is_local(peer: &Peer, headers: &HeaderMap) -> bool {
    let from_here = peer
        .as_ref()
        .is_some_and(|axum::Extension(ConnectInfo(address))| is_loopback(address));
    let passed_on = ["forwarded", "x-forwarded-for", "x-real-ip"]
        .iter()
        .any(|name| headers.contains_key(*name));
    from_here && !passed_on
}

fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}
