//! The official Rust clients against the embedded event store: crate `eventstore` and crate
//! `kurrentdb`, through the same checks.
//!
//! Prints TAP on standard output. `KINOLOG_EVENTSTORE_BIN` names the node's executable; nodes
//! run in folders of their own and are stopped at the end.
//!
//! # Invariants
//!
//! * A check knows nothing of the node's inside: it sees what a client's user sees.
//! * Checks share a node and never a stream; one that needs the whole log, or ends its node,
//!   starts its own.

#[expect(
    clippy::duplicate_mod,
    reason = "the clients' types differ, what is asked of them does not"
)]
mod eventstore_client;
mod filtered_reads;
mod kurrentdb_client;
mod node;
mod tap;
mod world;

use std::process::ExitCode;

use node::Node;
use world::World;

#[tokio::main]
async fn main() -> ExitCode {
    let node = Node::start().await;
    // `eventstore` first: it panics where another client has chosen a TLS provider before it.
    let suites = [
        ("eventstore", eventstore_client::checks::all()),
        ("kurrentdb", kurrentdb_client::checks::all()),
        ("kurrentdb", filtered_reads::checks()),
    ];
    let planned = suites.iter().map(|(_, checks)| checks.len()).sum();
    let mut tap = tap::Tap::plan(planned);
    for (client, checks) in suites {
        for check in checks {
            let world = World::new(node.port, client, check.name);
            tap.judge(client, check, world).await;
        }
    }
    node.stop().await;
    tap.end()
}
