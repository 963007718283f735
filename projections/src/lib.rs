//! Read models: data derived from the log, each by one projection, that can be thrown away and rebuilt.
//!
//! For writing: [`run`] follows the log into the catalogue, the announcements and the popularity
//! counters; [`search::Index`] does the same for an index inside the api process.
//! For reading: [`reader::Reader`] and the query functions of each read model.
//!
//! # Invariants
//!
//! * A batch is applied only if the checkpoint in the store equals the position it begins after,
//!   and the checkpoint moves with it, in one step. Redelivery and zombies change nothing.
//! * One instance writes a read model. Another takes over within seconds when it is not heard of, and
//!   from then on the first one writes nothing.
//! * An event that cannot be applied stops its video in that read model. It is never skipped.
//! * `apply` depends on nothing but the rows and the event: a rebuild gives the same rows.
//! * A new generation is built beside the one that serves, and takes its place in one step.

pub mod again;
pub mod announcements;
pub mod catalogue;
pub mod engine;
pub mod generations;
pub mod overview;
pub mod owners;
pub mod popularity;
pub mod queues;
pub mod reader;
pub mod search;
pub mod verify;

mod lease;
mod runner;
mod schemas;
mod sessions;
mod store;
mod words;

#[cfg(test)]
mod fence_tests;
#[cfg(test)]
mod fold_tests;
#[cfg(test)]
#[path = "../tests/it/stores.rs"]
mod stores;

use eventlog::Log;
use tokio_util::sync::CancellationToken;

#[derive(Debug, Clone)]
pub struct Config {
    pub postgres_url: String,
    pub redis_url: String,
}

/// Brings the schemas of all generations of the read models in PostgreSQL up to date. Safe to run by many at once.
pub async fn migrate(postgres_url: &str) -> anyhow::Result<()> {
    schemas::migrate(postgres_url).await
}

/// Keeps catalogue, announcements, owners and popularity up to date until `stop`.
///
/// Waits for stores and the log as long as they are away. Fails only when going on would be wrong:
/// a read model that belongs to another log, or that is ahead of it.
pub async fn run(config: Config, log: Log, stop: CancellationToken) -> anyhow::Result<()> {
    // When one ends, for whatever reason, so do the others.
    let stop = stop.child_token();
    let _stop_the_others = stop.clone().drop_guard();
    let engine = engine::Engine::new(&config, &log)?;
    tokio::try_join!(
        engine::keep::<catalogue::Projection>(engine.clone(), stop.clone()),
        engine::keep::<announcements::Projection>(engine.clone(), stop.clone()),
        engine::keep::<owners::Projection>(engine.clone(), stop.clone()),
        engine::keep::<popularity::Popularity>(engine, stop),
    )?;
    Ok(())
}

/// The one who runs them spawns them.
const _: () = {
    const fn is_send<T: Send>(_: &T) {}
    let _ = |config, log, stop| is_send(&run(config, log, stop));
};
