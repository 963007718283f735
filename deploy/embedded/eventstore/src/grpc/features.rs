//! `ServerFeatures`: what a client asks on connecting.

use tonic::{Request, Response, Status};

use crate::protocol::server_features::server_features_server::ServerFeatures;
use crate::protocol::server_features::{SupportedMethod, SupportedMethods};

/// The version whose behaviour this node follows; clients compare the numbers.
const VERSION: &str = "24.10.0";

/// What is served, names in lower case as clients compare them: service, method, and what
/// the method can do since it was first there.
const METHODS: [(&str, &str, &[&str]); 10] = [
    (
        "event_store.client.streams.streams",
        "read",
        &["position", "events"],
    ),
    ("event_store.client.streams.streams", "append", &[]),
    (
        "event_store.client.streams.streams",
        "batchappend",
        &["deadline_duration"],
    ),
    ("event_store.client.streams.streams", "delete", &[]),
    ("event_store.client.streams.streams", "tombstone", &[]),
    ("event_store.client.gossip.gossip", "read", &[]),
    ("event_store.client.operations.operations", "shutdown", &[]),
    ("event_store.client.monitoring.monitoring", "stats", &[]),
    (
        "event_store.client.persistent_subscriptions.persistentsubscriptions",
        "list",
        &[],
    ),
    (
        "event_store.client.server_features.serverfeatures",
        "getsupportedmethods",
        &[],
    ),
];

pub(super) struct Service;

#[tonic::async_trait]
impl ServerFeatures for Service {
    async fn get_supported_methods(
        &self,
        _: Request<()>,
    ) -> Result<Response<SupportedMethods>, Status> {
        let methods = METHODS.map(|(service, method, features)| SupportedMethod {
            method_name: method.into(),
            service_name: service.into(),
            features: features.iter().map(|&it| it.to_owned()).collect(),
        });
        Ok(Response::new(SupportedMethods {
            methods: methods.into(),
            event_store_server_version: VERSION.into(),
        }))
    }
}
