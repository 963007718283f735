//! Crate `eventstore`, as the checks know a client.

pub use eventstore::ExpectedRevision as Expected;
pub use eventstore::*;

#[path = "checks/all.rs"]
pub mod checks;

pub const fn exact(revision: u64) -> Expected {
    Expected::Exact(revision)
}

pub fn client(settings: ClientSettings) -> Client {
    Client::new(settings).expect("the settings are good")
}

pub fn appending(expected: Expected) -> AppendToStreamOptions {
    AppendToStreamOptions::default().expected_revision(expected)
}

pub fn deleting(expected: Expected) -> DeleteStreamOptions {
    DeleteStreamOptions::default().expected_revision(expected)
}

pub fn tombstoning(expected: Expected) -> TombstoneStreamOptions {
    TombstoneStreamOptions::default().expected_revision(expected)
}

pub fn stream_of(event: &RecordedEvent) -> &str {
    &event.stream_id
}

pub fn is_caught_up(event: &SubscriptionEvent) -> bool {
    matches!(event, SubscriptionEvent::CaughtUp)
}
