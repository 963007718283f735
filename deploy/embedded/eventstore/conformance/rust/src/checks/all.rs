//! What is asked of either client: this module is in both.

mod appends;
mod batches;
mod connections;
mod deletes;
mod filters;
mod limits;
mod links;
mod metadata;
mod operations;
mod patience;
mod reads;
mod repeats;
mod restarts;
mod subscriptions;
pub mod words;

use super as api;
use crate::tap::Check;

/// Every check, in an order that tells a story.
pub fn all() -> Vec<Check> {
    let modules = [
        connections::checks(),
        appends::checks(),
        repeats::checks(),
        batches::checks(),
        reads::checks(),
        filters::checks(),
        subscriptions::checks(),
        restarts::checks(),
        deletes::checks(),
        metadata::checks(),
        links::checks(),
        limits::checks(),
        patience::checks(),
        operations::checks(),
    ];
    modules.into_iter().flatten().collect()
}
