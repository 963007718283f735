//! Crate `kurrentdb`, as the checks know a client.

pub use kurrentdb::StreamState as Expected;
pub use kurrentdb::*;

#[path = "checks/all.rs"]
pub mod checks;

pub const fn exact(revision: u64) -> Expected {
    Expected::StreamRevision(revision)
}

pub fn client(settings: ClientSettings) -> Client {
    Client::new(settings).expect("the settings are good")
}

pub fn appending(expected: Expected) -> AppendToStreamOptions {
    AppendToStreamOptions::default().stream_state(expected)
}

pub fn deleting(expected: Expected) -> DeleteStreamOptions {
    DeleteStreamOptions::default().stream_state(expected)
}

pub fn tombstoning(expected: Expected) -> TombstoneStreamOptions {
    TombstoneStreamOptions::default().stream_state(expected)
}

pub fn stream_of(event: &RecordedEvent) -> &str {
    event.stream_id()
}

pub fn is_caught_up(event: &SubscriptionEvent) -> bool {
    matches!(event, SubscriptionEvent::CaughtUp(_))
}
