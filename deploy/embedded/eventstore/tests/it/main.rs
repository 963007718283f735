//! The node from outside: through the client everybody uses, over TCP.

mod appends;
mod node;
