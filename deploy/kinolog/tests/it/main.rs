//! The whole platform, from outside: the real programs, real files, public ports only.
//!
//! Each test starts its own platform in its own folder; one runs at a time, because
//! each of them wants the whole machine.

mod bad_files;
mod client;
mod kill;
mod media;
mod outages;
mod platform;
mod read_models;
mod rebuild;
mod retries;
mod standby;
mod supervisor;
mod workers;
