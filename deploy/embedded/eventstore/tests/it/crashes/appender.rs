//! A client that appends, and appends again with the same ids what was not answered.

use std::sync::Arc;

use bytes::Bytes;
use eventstore::{
    Client, CurrentRevision, Error, EventData, ExpectedRevision as Expected, WriteResult,
};
use rand::rngs::StdRng;
use rand::{Rng, RngCore};
use uuid::Uuid;

use super::Told;
use crate::node::{append, client};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Habit {
    /// Expects the revision it knows of. Two on one stream refuse each other.
    Exact,
    Any,
}

pub struct Appender {
    pub stream: &'static str,
    habit: Habit,
    random: StdRng,
    expected: Expected,
    /// Sent and not answered.
    unanswered: Option<Vec<(Uuid, Bytes)>>,
    pub acknowledged: Vec<Acknowledged>,
    pub refused: Vec<Uuid>,
}

pub struct Acknowledged {
    pub events: Vec<(Uuid, Bytes)>,
    pub last_revision: u64,
    pub position: u64,
}

impl Appender {
    pub fn new(stream: &'static str, habit: Habit, random: StdRng) -> Self {
        Self {
            stream,
            habit,
            random,
            expected: match habit {
                Habit::Exact => Expected::NoStream,
                Habit::Any => Expected::Any,
            },
            unanswered: None,
            acknowledged: vec![],
            refused: vec![],
        }
    }

    /// Appends until the node is gone, or it is enough and nothing is left unanswered.
    pub async fn run(mut self, port: u16, told: Arc<Told>) -> Self {
        let client = client(port);
        loop {
            let events = match self.unanswered.take() {
                Some(events) => events,
                None if *told.enough.borrow() => return self,
                None => self.events(),
            };
            match self.send(&client, &events).await {
                Ok(result) => self.take(events, &result, &told),
                Err(Error::WrongExpectedVersion { current, .. }) => {
                    self.give_up(&events, &current);
                }
                Err(error) => {
                    assert!(is_loss(&error), "{error:?}");
                    self.unanswered = Some(events);
                    return self;
                }
            }
        }
    }

    async fn send(
        &self,
        client: &Client,
        events: &[(Uuid, Bytes)],
    ) -> eventstore::Result<WriteResult> {
        let events = events.iter().map(|(id, data)| {
            let kind = if data.len() % 3 == 0 {
                "some.x"
            } else {
                "other.x"
            };
            EventData::binary(kind, data.clone()).id(*id)
        });
        append(client, self.stream, self.expected, events.collect()).await
    }

    fn take(&mut self, events: Vec<(Uuid, Bytes)>, result: &WriteResult, told: &Told) {
        let last_revision = result.next_expected_version;
        told.position(result.position.commit);
        told.appends.send_modify(|appends| *appends += 1);
        if self.habit == Habit::Exact {
            let next = match self.expected {
                Expected::Exact(revision) => revision + 1,
                _ => 0,
            };
            assert_eq!(last_revision + 1, next + events.len() as u64);
            self.expected = Expected::Exact(last_revision);
        }
        self.acknowledged.push(Acknowledged {
            events,
            last_revision,
            position: result.position.commit,
        });
    }

    /// A rival was faster, now or before the answer was lost.
    fn give_up(&mut self, events: &[(Uuid, Bytes)], current: &CurrentRevision) {
        assert!(self.habit == Habit::Exact && self.stream == "rivals");
        self.refused.extend(events.iter().map(|(id, _)| *id));
        self.expected = match current {
            CurrentRevision::Current(revision) => Expected::Exact(*revision),
            CurrentRevision::NoStream => Expected::NoStream,
        };
    }

    fn events(&mut self) -> Vec<(Uuid, Bytes)> {
        let count = match self.random.random_range(0..6) {
            0 => self.random.random_range(2..24),
            _ => 1,
        };
        let event = |_| {
            let mut data = vec![0; self.random.random_range(0..1500)];
            self.random.fill_bytes(&mut data);
            (Uuid::new_v4(), data.into())
        };
        (0..count).map(event).collect()
    }
}

/// Whether this is how a client hears that the node is gone, and of nothing else.
pub fn is_loss(error: &Error) -> bool {
    match error {
        Error::ConnectionClosed | Error::GrpcConnectionError(_) => true,
        Error::Grpc { code, .. } => {
            matches!(
                code,
                tonic::Code::Unavailable | tonic::Code::Unknown | tonic::Code::Cancelled
            )
        }
        Error::ServerError(_) => true,
        _ => false,
    }
}
