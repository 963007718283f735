//! The typed log against a real node, with the faults that networks and restarts bring.

mod commands;
mod faults;
mod follow;
mod history;
mod node;
mod proxy;
mod stories;
