//! The conductor from outside: its gRPC port, the log, the object store, PostgreSQL.

mod chunks;
mod crashes;
mod deletion;
mod faults;
mod leadership;
mod leases;
mod life;
mod queue;
mod refusals;
mod retries;
mod warnings;
mod worker;
mod world;
