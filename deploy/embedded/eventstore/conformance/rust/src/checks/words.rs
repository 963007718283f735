//! Small words for what checks do with a client.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;
use uuid::Uuid;

use super::api::{
    self, Client, Error, EventData, Expected, Position, ReadAllOptions, ReadStreamOptions,
    ResolvedEvent, Result, StreamPosition, Subscription, SubscriptionEvent, WriteResult,
};
use crate::world::World;

/// Longer than anything takes that comes at all.
pub const SOON: Duration = Duration::from_secs(20);

pub fn connect(world: &World) -> Client {
    connect_to(world.port)
}

pub fn connect_to(port: u16) -> Client {
    // The client sleeps so many milliseconds before it connects.
    connect_with(&format!(
        "esdb://127.0.0.1:{port}?tls=false&discoveryInterval=1"
    ))
}

pub fn connect_with(settings: &str) -> Client {
    api::client(settings.parse().expect("the settings are good"))
}

pub fn event(kind: &str) -> EventData {
    event_with(kind, Uuid::new_v4())
}

pub fn event_with(kind: &str, id: Uuid) -> EventData {
    EventData::binary(kind, Bytes::from_static(b"data")).id(id)
}

pub fn events(kind: &str, count: usize) -> Vec<EventData> {
    (0..count).map(|_| event(kind)).collect()
}

/// Events with these ids.
pub fn identified(kind: &str, ids: &[Uuid]) -> Vec<EventData> {
    ids.iter().map(|id| event_with(kind, *id)).collect()
}

pub fn ids<const N: usize>() -> [Uuid; N] {
    std::array::from_fn(|_| Uuid::new_v4())
}

pub async fn append(
    client: &Client,
    stream: &str,
    expected: Expected,
    events: Vec<EventData>,
) -> Result<WriteResult> {
    let options = api::appending(expected);
    client.append_to_stream(stream, &options, events).await
}

/// Appends whatever there is before, and returns the position of the last.
pub async fn add(client: &Client, stream: &str, kind: &str, count: usize) -> u64 {
    let written = append(client, stream, Expected::Any, events(kind, count)).await;
    written.expect("anybody may append").position.commit
}

/// Revision and position of the last event of an append.
pub fn place(written: WriteResult) -> (u64, u64) {
    (written.next_expected_version, written.position.commit)
}

pub async fn read(
    client: &Client,
    stream: &str,
    options: &ReadStreamOptions,
) -> Result<Vec<ResolvedEvent>> {
    let mut answers = client.read_stream(stream, options).await?;
    let mut found = vec![];
    while let Some(event) = answers.next().await? {
        found.push(event);
    }
    Ok(found)
}

/// The whole stream from its start.
pub async fn whole(client: &Client, stream: &str) -> Vec<ResolvedEvent> {
    let options = ReadStreamOptions::default().position(StreamPosition::Start);
    read(client, stream, &options).await.expect("it is there")
}

pub async fn read_all(client: &Client, options: &ReadAllOptions) -> Result<Vec<ResolvedEvent>> {
    let mut answers = client.read_all(options).await?;
    let mut found = vec![];
    while let Some(event) = answers.next().await? {
        found.push(event);
    }
    Ok(found)
}

/// Without the server's own: a log begins with some.
pub fn ours(mut events: Vec<ResolvedEvent>) -> Vec<ResolvedEvent> {
    events.retain(is_ours);
    events
}

pub fn is_ours(event: &ResolvedEvent) -> bool {
    !event.get_original_stream_id().starts_with('$')
}

pub fn revisions(events: &[ResolvedEvent]) -> Vec<u64> {
    let revisions = events
        .iter()
        .map(|event| event.get_original_event().revision);
    revisions.collect()
}

pub fn kinds(events: &[ResolvedEvent]) -> Vec<&str> {
    let kinds = events
        .iter()
        .map(|event| event.get_original_event().event_type.as_str());
    kinds.collect()
}

pub fn position(event: &ResolvedEvent) -> u64 {
    event.get_original_event().position.commit
}

pub fn at(position: u64) -> StreamPosition<Position> {
    StreamPosition::Position(Position {
        commit: position,
        prepare: position,
    })
}

pub async fn next(subscription: &mut Subscription) -> Result<SubscriptionEvent> {
    let next = timeout(SOON, subscription.next_subscription_event()).await;
    next.expect("something comes in time")
}

pub async fn next_event(subscription: &mut Subscription) -> ResolvedEvent {
    loop {
        if let SubscriptionEvent::EventAppeared(event) =
            next(subscription).await.expect("it goes on")
        {
            return event;
        }
    }
}

/// So many, without the server's own.
pub async fn next_events(subscription: &mut Subscription, count: usize) -> Vec<ResolvedEvent> {
    let mut events = vec![];
    while events.len() < count {
        let event = next_event(subscription).await;
        if is_ours(&event) {
            events.push(event);
        }
    }
    events
}

/// Events and checkpoints, until the client hears that there is nothing more for now.
pub async fn until_caught_up(subscription: &mut Subscription) -> (Vec<ResolvedEvent>, Vec<u64>) {
    let (mut events, mut checkpoints) = (vec![], vec![]);
    loop {
        match next(subscription).await.expect("it goes on") {
            SubscriptionEvent::EventAppeared(event) => events.push(event),
            SubscriptionEvent::Checkpoint(at) => checkpoints.push(at.commit),
            other if api::is_caught_up(&other) => return (events, checkpoints),
            _ => {}
        }
    }
}

/// The error a subscription ends with.
pub async fn end_of(subscription: &mut Subscription) -> Error {
    loop {
        if let Err(error) = next(subscription).await {
            return error;
        }
    }
}

pub fn is_wrong_version<T>(result: &Result<T>) -> bool {
    matches!(result, Err(Error::WrongExpectedVersion { .. }))
}

pub fn is_deleted<T>(result: &Result<T>) -> bool {
    matches!(result, Err(Error::ResourceDeleted))
}

pub fn is_not_found<T>(result: &Result<T>) -> bool {
    matches!(result, Err(Error::ResourceNotFound))
}

pub fn is_invalid<T>(result: &Result<T>) -> bool {
    matches!(result, Err(Error::Grpc { code, .. }) if format!("{code:?}") == "InvalidArgument")
}
