//! The typed log: the only crate that names the `eventstore` client.
//!
//! # Invariants
//!
//! * The log may be down at the start and go away later: commands retry up to a stated
//!   total, followers for ever.
//! * An answer that got lost is asked for again with the same events, ids and revision
//!   before anything is reloaded, so that nothing is recorded twice.
//! * An event of ours that cannot be read is an error for its reader. It is never skipped.

mod connection;
mod entry;
mod error;
mod follow;
mod history;
mod log;
mod position;
mod recorded;

pub use entry::{About, Entry, Selection};
pub use error::{AppendError, ExecuteError, LogError};
pub use follow::Followed;
pub use history::History;
pub use log::{Appended, Executed, Loaded, Log, Revision, Stored, stream_name};
pub use position::{BadPosition, Epoch, Position};
pub use recorded::{Envelope, Metadata, Recorded};
