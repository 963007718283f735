//! The node from outside: through the client everybody uses, over TCP.

mod appends;
mod backups;
mod batches;
mod bounds;
mod crashes;
mod deletes;
mod discovery;
mod faults;
mod indexes;
mod links;
mod liveness;
mod node;
mod operations;
mod process;
mod proofs;
mod reads;
mod storage;
mod strangers;
mod subscriptions;
mod wire;
