//! The worker: takes tasks from the conductor and runs each in a sandboxed child.
//!
//! The parent talks to the network and never looks into the source; the child looks into
//! the source and never talks to the network. Between them are the frames of [`wire`].
//!
//! # Invariants
//!
//! * A worker holds one password, its token; bytes move through presigned URLs.
//! * A lost lease ends the child at once, and nothing more is published.
//! * Whatever the child does, the parent ends the attempt: done, failed or dropped.

pub mod attempt;
pub mod capacity;
pub mod check;
pub mod child;
pub mod claim;
pub mod clip;
pub mod count;
pub mod failure;
pub mod fragment;
pub mod launch;
pub mod link;
pub mod memory;
pub mod wire;

mod frames;
mod lease;
mod outputs;
mod source;
