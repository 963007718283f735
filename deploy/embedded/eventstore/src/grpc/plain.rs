//! What clients ask over plain HTTP: whether the node lives, and who leads.
//!
//! Official clients' `read_gossip`, their suites and container probes ask this way.

use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Value, json};
use tonic::codegen::http::{Extensions, StatusCode, header::CONTENT_TYPE};
use tonic_router::Router;
use tonic_router::routing::get;

use super::called::Called;
use super::gossip;
use crate::store::Store;

pub(super) fn routes(gossip: gossip::Service, store: Arc<Store>) -> Router {
    let members = move |extensions: Extensions| {
        let (host, port) = gossip.reached_by(extensions.get::<Called>());
        let head = *store.head().borrow();
        let members = cluster(&gossip, &host, port, head).to_string();
        std::future::ready(([(CONTENT_TYPE, "application/json")], members))
    };
    Router::new()
        .route("/health/live", get(|| async { StatusCode::NO_CONTENT }))
        .route("/gossip", get(members))
}

/// A cluster of one. It has no other protocol and no elections: their ports and numbers are 0.
fn cluster(gossip: &gossip::Service, host: &str, port: u16, head: u64) -> Value {
    let node = json!({
        "instanceId": gossip.instance(),
        "timeStamp": prost_types::Timestamp::from(SystemTime::now()).to_string(),
        "state": "Leader",
        "isAlive": true,
        "internalTcpIp": host,
        "internalTcpPort": 0,
        "internalSecureTcpPort": 0,
        "externalTcpIp": host,
        "externalTcpPort": 0,
        "externalSecureTcpPort": 0,
        "internalHttpEndPointIp": host,
        "internalHttpEndPointPort": port,
        "httpEndPointIp": host,
        "httpEndPointPort": port,
        "lastCommitPosition": head,
        "writerCheckpoint": head,
        "chaserCheckpoint": head,
        "epochPosition": 0,
        "epochNumber": 0,
        "epochId": gossip.instance(),
        "nodePriority": 0,
        "isReadOnlyReplica": false,
    });
    json!({"members": [node], "serverIp": host, "serverPort": port})
}
