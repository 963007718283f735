//! The EventStoreDB protocol over gRPC.

mod answers;
mod append;
mod batch;
pub(crate) mod called;
mod convert;
mod deadline;
mod features;
mod gossip;
mod monitoring;
mod operations;
mod pages;
mod persistent;
mod plain;
mod read;
mod status;
mod streams;
mod subscribe;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;

use crate::group::Request;
use crate::limits::{APPENDS_IN_FLIGHT_BYTES_MAX, MESSAGE_BYTES_MAX, SUBSCRIPTIONS_MAX};
use crate::protocol::gossip::gossip_server::GossipServer;
use crate::protocol::monitoring::monitoring_server::MonitoringServer;
use crate::protocol::operations::operations_server::OperationsServer;
use crate::protocol::persistent_subscriptions::persistent_subscriptions_server::PersistentSubscriptionsServer;
use crate::protocol::server_features::server_features_server::ServerFeaturesServer;
use crate::protocol::streams::streams_server::StreamsServer;
use crate::store::Store;

/// What every call needs.
#[derive(Clone)]
pub(crate) struct Node {
    store: Arc<Store>,
    queue: mpsc::Sender<Request>,
    /// In KiB.
    memory: Arc<Semaphore>,
    subscriptions: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Node {
    pub(crate) fn new(
        store: Arc<Store>,
        queue: mpsc::Sender<Request>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        Self {
            store,
            queue,
            memory: Arc::new(Semaphore::new(APPENDS_IN_FLIGHT_BYTES_MAX / 1024)),
            subscriptions: Arc::new(Semaphore::new(SUBSCRIPTIONS_MAX)),
            tasks,
            stop,
        }
    }
}

/// All services; what is not among them answers Unimplemented.
pub(crate) fn routes(node: Node, address: SocketAddr, folder: Option<PathBuf>) -> Routes {
    let operations = operations::Service {
        stop: node.stop.clone(),
    };
    let monitoring = monitoring::Service {
        node: node.clone(),
        folder,
        began: Instant::now(),
    };
    let gossip = gossip::Service::new(address);
    let plain = plain::routes(gossip.clone(), node.store.clone());
    let streams = StreamsServer::new(streams::Service { node })
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let services = Routes::new(streams)
        .add_service(ServerFeaturesServer::new(features::Service))
        .add_service(GossipServer::new(gossip))
        .add_service(OperationsServer::new(operations))
        .add_service(MonitoringServer::new(monitoring))
        .add_service(PersistentSubscriptionsServer::new(persistent::Service));
    services.into_axum_router().merge(plain).into()
}

/// A node without its network, for the simulation.
#[cfg(test)]
pub(crate) fn streams(
    node: Node,
) -> impl crate::protocol::streams::streams_server::Streams<ReadStream: Unpin> {
    streams::Service { node }
}

/// What a link points at.
#[cfg(any(fuzzing, test))]
pub(crate) fn link_target(data: &[u8]) -> Option<(u64, &str)> {
    pages::target(data)
}
