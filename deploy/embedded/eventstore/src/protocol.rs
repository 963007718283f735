//! The messages and services generated from `proto/`.
//!
//! Public for programs that speak the protocol themselves, as the benches do.

#[expect(
    clippy::allow_attributes,
    clippy::large_enum_variant,
    reason = "generated code"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/protocol.rs"));
}

pub use generated::event_store::client as shared;
pub use generated::event_store::client::{
    gossip, monitoring, operations, persistent_subscriptions, server_features, streams,
};
pub use generated::google::rpc;
