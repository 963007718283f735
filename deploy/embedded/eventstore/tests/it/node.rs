//! Starting nodes, and small words for what tests do with them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use eventstore::{
    AppendToStreamOptions, Client, EventData, ExpectedRevision, ReadAllOptions, ReadStreamOptions,
    ResolvedEvent, StreamPosition, WriteResult,
};
use kinolog_eventstore::Config;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Longer than anything here takes on a busy machine.
pub const SOON: Duration = Duration::from_secs(30);

/// A node in this process.
pub struct Node {
    pub port: u16,
    pub client: Client,
    pub stop: CancellationToken,
    pub serving: JoinHandle<anyhow::Result<()>>,
}

impl Node {
    pub async fn start(dir: &Path) -> Self {
        Self::start_with(Config::new(dir)).await
    }

    pub async fn start_with(config: Config) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(kinolog_eventstore::serve(listener, config, stop.clone()));
        let client = client(port);
        Self {
            port,
            client,
            stop,
            serving,
        }
    }

    pub async fn stop(self) {
        drop(self.client);
        self.stop.cancel();
        let served = tokio::time::timeout(SOON, self.serving).await;
        served.expect("it stops in time").unwrap().unwrap();
    }
}

pub fn client(port: u16) -> Client {
    // The client sleeps this long before its first connection; half a second unless told.
    let settings = format!("esdb://127.0.0.1:{port}?tls=false&discoveryInterval=1");
    Client::new(settings.parse().unwrap()).unwrap()
}

/// A folder on the disk the project is on: one in memory would not show what a sync costs.
pub fn folder() -> tempfile::TempDir {
    let target: PathBuf = env!("CARGO_TARGET_TMPDIR").into();
    tempfile::tempdir_in(target).unwrap()
}

pub fn event(kind: &str) -> EventData {
    event_with(kind, Uuid::new_v4())
}

pub fn event_with(kind: &str, id: Uuid) -> EventData {
    EventData::binary(kind, "payload".as_bytes().into()).id(id)
}

pub fn events(kind: &str, count: usize) -> Vec<EventData> {
    (0..count).map(|_| event(kind)).collect()
}

pub async fn append(
    client: &Client,
    stream: &str,
    expected: ExpectedRevision,
    events: Vec<EventData>,
) -> eventstore::Result<WriteResult> {
    let options = AppendToStreamOptions::default().expected_revision(expected);
    client.append_to_stream(stream, &options, events).await
}

pub async fn add(client: &Client, stream: &str, kind: &str, count: usize) -> WriteResult {
    append(client, stream, ExpectedRevision::Any, events(kind, count))
        .await
        .unwrap()
}

pub async fn read(
    client: &Client,
    stream: &str,
    options: &ReadStreamOptions,
) -> eventstore::Result<Vec<ResolvedEvent>> {
    let mut answers = client.read_stream(stream, options).await?;
    let mut found = vec![];
    while let Some(event) = answers.next().await? {
        found.push(event);
    }
    Ok(found)
}

pub async fn revisions(client: &Client, stream: &str) -> Vec<u64> {
    let options = ReadStreamOptions::default().position(StreamPosition::Start);
    let found = read(client, stream, &options).await.unwrap();
    found
        .iter()
        .map(|event| event.get_original_event().revision)
        .collect()
}

pub async fn read_all(
    client: &Client,
    options: &ReadAllOptions,
) -> eventstore::Result<Vec<ResolvedEvent>> {
    let mut answers = client.read_all(options).await?;
    let mut found = vec![];
    while let Some(event) = answers.next().await? {
        found.push(event);
    }
    Ok(found)
}

pub fn kind(event: &ResolvedEvent) -> &str {
    &event.get_original_event().event_type
}

pub fn position(event: &ResolvedEvent) -> u64 {
    event.get_original_event().position.commit
}
