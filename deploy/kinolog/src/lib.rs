//! The program people run: the supervisor, the roles, and the commands that use a platform.
//!
//! # Invariants
//!
//! * One OS process per role; this crate starts them and holds no rule about videos.
//! * A secret is never printed, never has a default, and never leaves a file of mode 600
//!   except to the role that needs it.

pub mod client;
pub mod config;
pub mod demo;
pub mod doctor;
pub mod platform;
pub mod read_models;
mod retry;
pub mod roles;
pub mod tracing_setup;
pub mod up;
pub mod upload;
pub mod watch;
