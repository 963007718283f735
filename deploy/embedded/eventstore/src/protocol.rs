//! The messages and services generated from `proto/`, and what converts them.

#[expect(clippy::allow_attributes, reason = "generated code")]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/protocol.rs"));
}

pub(crate) use generated::event_store::client as shared;
pub(crate) use generated::event_store::client::{gossip, server_features, streams};
pub(crate) use generated::google::rpc;
