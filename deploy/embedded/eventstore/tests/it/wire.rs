//! The protocol without a client's opinion: for what no official client sends or shows.

use tonic::transport::Channel;
use uuid::Uuid;

#[expect(
    clippy::enum_variant_names,
    clippy::large_enum_variant,
    reason = "generated code"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/clients/clients.rs"));
}

pub use generated::event_store::client as shared;
pub use generated::event_store::client::{
    gossip, monitoring, operations, server_features, streams,
};
pub use generated::google::rpc;

pub fn structured(id: Uuid) -> shared::Uuid {
    let (most, least) = id.as_u64_pair();
    let parts = shared::uuid::Structured {
        most_significant_bits: most.cast_signed(),
        least_significant_bits: least.cast_signed(),
    };
    shared::Uuid {
        value: Some(shared::uuid::Value::Structured(parts)),
    }
}

pub fn named(stream: &str) -> Option<shared::StreamIdentifier> {
    Some(shared::StreamIdentifier {
        stream_name: stream.into(),
    })
}

/// A connection, for as many of the generated clients as one likes.
pub async fn connect(port: u16) -> Channel {
    let address = format!("http://127.0.0.1:{port}");
    let endpoint = tonic::transport::Endpoint::try_from(address).unwrap();
    endpoint.connect().await.unwrap()
}
