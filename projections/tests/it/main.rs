//! The read models, driven by a real event store, on a real PostgreSQL and a real Redis.

mod again;
mod fence;
mod finding;
mod generations;
mod lease;
mod lists;
mod owners;
mod platform;
mod quality;
mod reading;
mod rebuild;
mod retries;
mod search;
mod stopped;
mod stores;
