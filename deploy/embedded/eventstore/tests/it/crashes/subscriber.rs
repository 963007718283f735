//! A subscriber that goes on, after each loss of the node, behind what it saw last.

use std::sync::Arc;

use eventstore::{
    Position, ResolvedEvent, StreamPosition, SubscribeToAllOptions, SubscribeToStreamOptions,
    Subscription, SubscriptionEvent, SubscriptionFilter,
};
use uuid::Uuid;

use super::appender::is_loss;
use super::{END, Told};
use crate::node::{client, kind, position};

#[derive(Clone, Copy)]
pub enum Wanted {
    All,
    OfType(&'static str),
    Stream(&'static str),
}

pub struct Subscriber {
    wanted: Wanted,
    /// A position, or a revision of the stream: what it saw, or was told to have passed.
    after: Option<u64>,
    seen: Vec<(u64, Uuid)>,
}

impl Subscriber {
    pub fn new(wanted: Wanted) -> Self {
        Self {
            wanted,
            after: None,
            seen: vec![],
        }
    }

    /// Follows until the node is gone, or the event came that is the last.
    pub async fn run(mut self, port: u16, told: Arc<Told>) -> Self {
        let client = client(port);
        let mut subscription = self.subscribe(&client).await;
        loop {
            match subscription.next_subscription_event().await {
                Ok(SubscriptionEvent::EventAppeared(event)) => {
                    told.position(position(&event));
                    self.take(&event);
                    if kind(&event) == END {
                        return self;
                    }
                }
                Ok(SubscriptionEvent::Checkpoint(at)) => {
                    told.position(at.commit);
                    assert!(self.after <= Some(at.commit), "{:?} > {at:?}", self.after);
                    self.after = Some(at.commit);
                }
                Ok(_) => {}
                Err(error) => {
                    assert!(is_loss(&error), "{error:?}");
                    return self;
                }
            }
        }
    }

    async fn subscribe(&self, client: &eventstore::Client) -> Subscription {
        let place = |at| {
            StreamPosition::Position(Position {
                commit: at,
                prepare: at,
            })
        };
        let all = SubscribeToAllOptions::default()
            .position(self.after.map_or(StreamPosition::Start, place));
        match self.wanted {
            Wanted::All => client.subscribe_to_all(&all).await,
            Wanted::OfType(prefix) => {
                let filter = SubscriptionFilter::on_event_type()
                    .add_prefix(prefix)
                    .max(2);
                client.subscribe_to_all(&all.filter(filter)).await
            }
            Wanted::Stream(stream) => {
                let from = self
                    .after
                    .map_or(StreamPosition::Start, StreamPosition::Position);
                let options = SubscribeToStreamOptions::default().start_from(from);
                client.subscribe_to_stream(stream, &options).await
            }
        }
    }

    fn take(&mut self, event: &ResolvedEvent) {
        let at = match self.wanted {
            Wanted::All | Wanted::OfType(_) => position(event),
            Wanted::Stream(_) => event.get_original_event().revision,
        };
        assert!(self.after < Some(at), "{at} after {:?}", self.after);
        self.after = Some(at);
        self.seen
            .push((position(event), event.get_original_event().id));
    }

    /// Panics unless it saw of these events what it wanted, each once, in order.
    pub fn has_seen(&self, truth: &[ResolvedEvent]) {
        let wanted = truth.iter().filter(|event| match self.wanted {
            Wanted::All => true,
            Wanted::OfType(prefix) => kind(event).starts_with(prefix),
            Wanted::Stream(stream) => event.get_original_event().stream_id == stream,
        });
        let wanted: Vec<_> = wanted
            .map(|event| (position(event), event.get_original_event().id))
            .collect();
        assert!(wanted.len() > 100, "{}", wanted.len());
        assert_eq!(self.seen, wanted);
    }
}
