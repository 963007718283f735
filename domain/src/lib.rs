//! The rules of Kinolog: commands, events, deciders, the ladder, the DAG, playlists.
//!
//! # Invariants
//!
//! * No IO, no clock, no randomness, no async. Who asks and when are in the command.
//! * A stored event is a contract: its shape is never edited, only superseded.

pub mod code;
pub mod codec;
pub mod decider;
pub mod fact;
pub mod id;
pub mod job;
pub mod ladder;
pub mod media;
pub mod plan;
pub mod playlist;
#[cfg(test)]
mod testing;
pub mod video;
pub mod views;
