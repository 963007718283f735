//! `/metrics`, on the port that workers call.
//!
//! # Invariants
//!
//! * Numbers are for those on the same machine, and for whoever shows the worker token.

use std::sync::OnceLock;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tonic::{
    codegen::http::{Extensions, HeaderMap, StatusCode},
    transport::server::TcpConnectInfo,
};
use tonic_router::{Router, routing::get};

/// The page; `is_authorized` says whether headers show the worker token.
pub(crate) fn routes<A>(is_authorized: A) -> Router
where
    A: Fn(&HeaderMap) -> bool + Clone + Send + Sync + 'static,
{
    let page = move |extensions: Extensions, headers: HeaderMap| {
        let is_allowed = is_local(extensions.get(), &headers) || is_authorized(&headers);
        std::future::ready(match recorder() {
            _ if !is_allowed => (
                StatusCode::UNAUTHORIZED,
                "a worker token is needed\n".to_owned(),
            ),
            Some(recorder) => (StatusCode::OK, recorder.render()),
            None => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "there are no metrics\n".to_owned(),
            ),
        })
    };
    Router::new().route("/metrics", get(page))
}

/// The recorder is the process's own, however many conductors a test starts in it.
fn recorder() -> Option<&'static PrometheusHandle> {
    static HANDLE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    HANDLE
        .get_or_init(|| match PrometheusBuilder::new().install_recorder() {
            Ok(handle) => Some(handle),
            Err(error) => {
                tracing::warn!(%error, "there will be no metrics");
                None
            }
        })
        .as_ref()
}

/// Begins to count.
pub(crate) fn count() {
    recorder();
}

/// From this machine, and not passed on by a proxy on it.
fn is_local(peer: Option<&TcpConnectInfo>, headers: &HeaderMap) -> bool {
    let address = peer.and_then(TcpConnectInfo::remote_addr);
    let passed_on = ["forwarded", "x-forwarded-for", "x-real-ip"];
    address.is_some_and(|address| address.ip().to_canonical().is_loopback())
        && !passed_on.iter().any(|name| headers.contains_key(*name))
}
