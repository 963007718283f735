//! Streams of events: load, execute, append, follow.
//!
//! # Invariants
//!
//! * A command that its stream has seen already changes nothing and gets the same answer.
//! * Appends name the exact revision they were decided on; views alone are appended at any.

use std::sync::Arc;

use domain::{
    codec,
    decider::Decider,
    id::{CommandId, EventId},
    views,
};
use eventstore::{
    AppendToStreamOptions, Client, CurrentRevision, Error, EventData, ExpectedRevision,
    ReadAllOptions, ReadStreamOptions, StreamPosition, WriteResult,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use tokio::sync::{OnceCell, mpsc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    AppendError, Entry, Envelope, Epoch, ExecuteError, Followed, LogError, Metadata, Position,
    Recorded, Selection,
    connection::{Connection, Failure, answer},
    follow,
    recorded::{Raw, event_data},
};

/// How often a command is decided again because others changed its stream meanwhile.
const RELOADS_MAX: usize = 5;
/// How far back the last event of ours is looked for.
const HEAD_EVENTS_MAX: usize = 1_000;
/// The stream that tells this log from every other.
const PLATFORM: &str = "platform";
const LOG_BEGAN: &str = "platform.log-began.v1";

/// A decider whose events can be stored.
pub trait Stored: Decider<Event: Serialize + DeserializeOwned> + Send + Sync {}

impl<D: Decider<Event: Serialize + DeserializeOwned> + Send + Sync> Stored for D {}

/// Where a stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revision {
    NoStream,
    /// The revision of its last event.
    Exact(u64),
}

/// A stream, folded.
#[derive(Debug, Clone)]
pub struct Loaded<D> {
    pub state: D,
    pub revision: Revision,
    /// Of the stream's last event; `None` where there is no stream.
    pub position: Option<u64>,
}

#[derive(Debug, Clone)]
pub struct Executed<D: Decider> {
    /// Of the last event recorded; of the stream's last event where it was already so.
    pub position: u64,
    pub state: D,
    /// What the command led to, now or when it came first; none where it was already so.
    pub events: Vec<D::Event>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    pub position: u64,
    /// Of the last event appended.
    pub revision: u64,
}

/// The log. Cheap to clone; all clones share one client.
#[derive(Clone)]
pub struct Log {
    connection: Arc<Connection>,
    epoch: Arc<OnceCell<Epoch>>,
}

/// The stream of one video or job.
pub fn stream_name<D: Decider>(id: D::Id) -> String {
    format!("{}-{id}", D::CATEGORY)
}

impl Log {
    /// Does not connect yet: the log may still be down.
    pub fn new(url: &str) -> anyhow::Result<Self> {
        Ok(Self {
            connection: Arc::new(Connection::new(url)?),
            epoch: Arc::default(),
        })
    }

    /// Whether the log answers, asked once.
    pub async fn ready(&self) -> Result<(), LogError> {
        let asked = self.connection.once(async |client: Client| {
            read(
                &client,
                PLATFORM,
                &ReadStreamOptions::default().max_count(1),
            )
            .await
        });
        asked
            .await
            .map(drop)
            .map_err(|failure| failure.of("ask the log whether it is ready"))
    }

    /// Which log this is. The first to ask writes it down.
    pub async fn epoch(&self) -> Result<Epoch, LogError> {
        self.epoch
            .get_or_try_init(async || {
                if let Some(epoch) = self.recorded_epoch().await? {
                    return Ok(epoch);
                }
                let id = EventId(Uuid::new_v4());
                let began = event_data(LOG_BEGAN, &json!({}), id, &Metadata::default());
                match self
                    .send(PLATFORM, ExpectedRevision::NoStream, vec![began])
                    .await
                {
                    Ok(_) => Ok(epoch_of(id)),
                    // Another program was first.
                    Err(AppendError::WrongRevision { .. }) => {
                        let epoch = self.recorded_epoch().await?;
                        epoch.ok_or_else(|| LogError::PositionUnknown {
                            stream: PLATFORM.to_owned(),
                            revision: 0,
                        })
                    }
                    Err(AppendError::Log(error)) => Err(error),
                }
            })
            .await
            .copied()
    }

    async fn recorded_epoch(&self) -> Result<Option<Epoch>, LogError> {
        let options = ReadStreamOptions::default().max_count(1);
        let events = self.read(PLATFORM, options).await?;
        Ok(events.first().map(|raw| epoch_of(EventId(raw.event.id))))
    }

    /// The state of a stream; the default one where there is none.
    pub async fn load<D: Stored>(&self, id: D::Id) -> Result<Loaded<D>, LogError> {
        let stream = stream_name::<D>(id);
        let events = self.read(&stream, ReadStreamOptions::default()).await?;
        Ok(fold::<D>(&events, None)?.loaded)
    }

    /// Decides `command` on the stream's state and records what comes of it, once.
    pub async fn execute<D: Stored>(
        &self,
        id: D::Id,
        by: &Envelope,
        command: D::Command,
    ) -> Result<Executed<D>, ExecuteError<D::Rejection>> {
        let stream = stream_name::<D>(id);
        for _ in 0..=RELOADS_MAX {
            let recorded = self.read(&stream, ReadStreamOptions::default()).await?;
            let Folded { loaded, done } = fold::<D>(&recorded, Some(by.command))?;
            if let Some((position, events)) = done {
                let state = loaded.state;
                return Ok(Executed {
                    position,
                    state,
                    events,
                });
            }
            let events = loaded
                .state
                .decide(command.clone())
                .map_err(ExecuteError::Rejected)?;
            if events.is_empty() {
                return Ok(Executed {
                    position: loaded.position.unwrap_or(0),
                    state: loaded.state,
                    events,
                });
            }
            match self.append::<D>(id, loaded.revision, by, &events).await {
                Ok(Appended { position, .. }) => {
                    let state = events.iter().fold(loaded.state, D::evolve);
                    return Ok(Executed {
                        position,
                        state,
                        events,
                    });
                }
                Err(AppendError::WrongRevision { .. }) => {}
                Err(AppendError::Log(error)) => return Err(error.into()),
            }
        }
        Err(ExecuteError::Conflict)
    }

    /// Appends at an exact revision, for whoever keeps the state itself.
    ///
    /// After an error it is unknown whether the events were recorded. Appending the same ones
    /// again, for the same command and at the same revision, is safe.
    pub async fn append<D: Stored>(
        &self,
        id: D::Id,
        expected: Revision,
        by: &Envelope,
        events: &[D::Event],
    ) -> Result<Appended, AppendError> {
        let stream = stream_name::<D>(id);
        let metadata = Metadata::from(by);
        let data = events
            .iter()
            .enumerate()
            .map(|(index, event)| {
                let (name, value) = codec::encode_value(event);
                event_data(&name, &value, EventId::of(by.command, index), &metadata)
            })
            .collect();
        let expected = match expected {
            Revision::NoStream => ExpectedRevision::NoStream,
            Revision::Exact(revision) => ExpectedRevision::Exact(revision),
        };
        self.send(&stream, expected, data).await
    }

    /// Records a look at a video: once per video, session and day, as far as the server
    /// remembers the event's id.
    pub async fn record_view(&self, fact: &views::Event) -> Result<Position, LogError> {
        let views::Kind::Recorded { session } = &fact.event;
        let (stream, id) = views::stream_and_id(fact.video, session, fact.at_ms);
        let (name, value) = codec::encode_value(fact);
        let by = Envelope::new(CommandId(id.0), "viewer");
        let data = event_data(&name, &value, id, &Metadata::from(&by));
        match self.send(&stream, ExpectedRevision::Any, vec![data]).await {
            Ok(appended) => Ok(self.epoch().await?.at(appended.position)),
            Err(AppendError::Log(error)) => Err(error),
            Err(error @ AppendError::WrongRevision { .. }) => Err(LogError::Refused {
                doing: format!("append to {stream}"),
                cause: error.into(),
            }),
        }
    }

    /// All events of ours after `from` (`None`: from the beginning), now and later.
    ///
    /// The channel ends after `stop` was cancelled.
    pub fn follow(&self, from: Option<u64>, stop: CancellationToken) -> mpsc::Receiver<Followed> {
        self.follow_as(Selection::ours(), from, stop)
    }

    /// The same, of `selection` and not interpreted.
    pub fn follow_entries(
        &self,
        selection: Selection,
        from: Option<u64>,
        stop: CancellationToken,
    ) -> mpsc::Receiver<Followed<Entry>> {
        self.follow_as(selection, from, stop)
    }

    fn follow_as<E: From<Raw> + Send + 'static>(
        &self,
        selection: Selection,
        from: Option<u64>,
        stop: CancellationToken,
    ) -> mpsc::Receiver<Followed<E>> {
        let (sender, receiver) = follow::channel();
        let connection = self.connection.clone();
        // It ends with `stop` or with the receiver, so that nobody needs to wait for it.
        tokio::spawn(follow::run(connection, selection, from, stop, sender));
        receiver
    }

    /// At most `limit` events of a stream, from the revision `from` on.
    pub async fn read_stream(
        &self,
        stream: &str,
        from: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Recorded>, LogError> {
        let from = from.map_or(StreamPosition::Start, StreamPosition::Position);
        let options = ReadStreamOptions::default().position(from).max_count(limit);
        let events = self.read(stream, options).await?;
        Ok(events.iter().map(Recorded::new).collect())
    }

    /// The same, not interpreted.
    pub async fn read_entries(
        &self,
        stream: &str,
        from: u64,
        limit: usize,
    ) -> Result<Vec<Entry>, LogError> {
        let from = StreamPosition::Position(from);
        let options = ReadStreamOptions::default().position(from).max_count(limit);
        let events = self.read(stream, options).await?;
        Ok(events.into_iter().map(Entry::from).collect())
    }

    /// The last event of a stream; `None` where there is no stream.
    pub async fn last_entry(&self, stream: &str) -> Result<Option<Entry>, LogError> {
        let options = ReadStreamOptions::default()
            .backwards()
            .position(StreamPosition::End)
            .max_count(1);
        let events = self.read(stream, options).await?;
        Ok(events.into_iter().next().map(Entry::from))
    }

    /// The position of the last event of ours; `None` where none is among the last
    /// thousand of the log.
    pub async fn head(&self) -> Result<Option<u64>, LogError> {
        let doing = "read the end of the log";
        let options = &ReadAllOptions::default()
            .backwards()
            .position(StreamPosition::End)
            .max_count(HEAD_EVENTS_MAX);
        let found = self.connection.retry(doing, |client| async move {
            let mut reading = answer(client.read_all(options)).await?;
            while let Some(resolved) = answer(reading.next()).await? {
                let ours = resolved.event.as_ref().is_some_and(|event| {
                    let name = event.event_type.as_str();
                    codec::PREFIXES
                        .iter()
                        .any(|prefix| name.starts_with(prefix))
                });
                if ours {
                    return Ok(Raw::new(resolved));
                }
            }
            Ok(None)
        });
        let last = found.await.map_err(|failure| failure.of(doing))?;
        Ok(last.transpose()?.map(|raw| raw.commit))
    }

    async fn read(&self, stream: &str, options: ReadStreamOptions) -> Result<Vec<Raw>, LogError> {
        let doing = format!("read {stream}");
        let options = &options;
        let events = self
            .connection
            .retry(&doing, |client| async move {
                read(&client, stream, options).await
            })
            .await
            .map_err(|failure| failure.of(&doing))?;
        events.into_iter().collect()
    }

    /// Appends, and asks again with the very same events until there is an answer.
    async fn send(
        &self,
        stream: &str,
        expected: ExpectedRevision,
        events: Vec<EventData>,
    ) -> Result<Appended, AppendError> {
        let doing = format!("append to {stream}");
        let options = &AppendToStreamOptions::default().expected_revision(expected);
        let events = &events;
        let sent = self.connection.retry(&doing, |client| async move {
            answer(client.append_to_stream(stream, options, events.clone())).await
        });
        match sent.await {
            Ok(written) => Ok(self.appended(stream, &written).await?),
            Err(Failure::Refused(Error::WrongExpectedVersion { current, .. })) => {
                let current = match current {
                    CurrentRevision::Current(revision) => Revision::Exact(revision),
                    CurrentRevision::NoStream => Revision::NoStream,
                };
                Err(AppendError::WrongRevision { current })
            }
            Err(failure) => Err(failure.of(&doing).into()),
        }
    }

    /// A server may not say where events stand that it had already: then they are read back.
    async fn appended(&self, stream: &str, written: &WriteResult) -> Result<Appended, LogError> {
        let revision = written.next_expected_version;
        let told = written.position.commit;
        if told != 0 && told != u64::MAX {
            return Ok(Appended {
                position: told,
                revision,
            });
        }
        let options = ReadStreamOptions::default()
            .position(StreamPosition::Position(revision))
            .max_count(1);
        let events = self.read(stream, options).await?;
        let Some(last) = events.first() else {
            return Err(LogError::PositionUnknown {
                stream: stream.to_owned(),
                revision,
            });
        };
        Ok(Appended {
            position: last.commit,
            revision,
        })
    }
}

/// The events of a stream; none where there is no stream.
async fn read(
    client: &Client,
    stream: &str,
    options: &ReadStreamOptions,
) -> eventstore::Result<Vec<Result<Raw, LogError>>> {
    let mut events = vec![];
    let mut reading = match answer(client.read_stream(stream, options)).await {
        Ok(reading) => reading,
        Err(Error::ResourceNotFound) => return Ok(events),
        Err(error) => return Err(error),
    };
    loop {
        match answer(reading.next()).await {
            Ok(Some(resolved)) => events.extend(Raw::new(resolved)),
            Ok(None) | Err(Error::ResourceNotFound) => return Ok(events),
            Err(error) => return Err(error),
        }
    }
}

struct Folded<D: Decider> {
    loaded: Loaded<D>,
    /// What the command led to when it came before, and where that ends.
    done: Option<(u64, Vec<D::Event>)>,
}

fn fold<D: Stored>(events: &[Raw], command: Option<CommandId>) -> Result<Folded<D>, LogError> {
    let mut loaded = Loaded {
        state: D::default(),
        revision: Revision::NoStream,
        position: None,
    };
    let mut done: Option<(u64, Vec<D::Event>)> = None;
    for raw in events {
        let corrupt = |cause| LogError::Corrupt {
            stream: raw.event.stream_id.clone(),
            revision: raw.event.revision,
            cause,
        };
        let event: D::Event =
            codec::decode_as(&raw.event.event_type, &raw.event.data).map_err(corrupt)?;
        loaded.state = loaded.state.evolve(&event);
        loaded.revision = Revision::Exact(raw.event.revision);
        loaded.position = Some(raw.commit);
        if command == Some(raw.metadata().map_err(corrupt)?.command) {
            let (position, events) = done.get_or_insert_default();
            *position = raw.commit;
            events.push(event);
        }
    }
    Ok(Folded { loaded, done })
}

fn epoch_of(began: EventId) -> Epoch {
    Epoch((began.0.as_u128() >> 96) as u32)
}
