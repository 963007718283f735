//! The messages and services generated from `proto/`.

#[expect(
    clippy::allow_attributes,
    clippy::enum_variant_names,
    clippy::large_enum_variant,
    reason = "generated code"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/protocol.rs"));
}

pub(crate) use generated::event_store::client as shared;
pub(crate) use generated::event_store::client::{
    gossip, monitoring, operations, server_features, streams,
};
pub(crate) use generated::google::rpc;
