//! A folder of a node with events in it, made through the node's own protocol.
//!
//! # Invariants
//!
//! * It is made whole or not at all: a folder whose making was cut short is made anew.
//! * Room is looked for before anything is written.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::{Semaphore, mpsc};
use uuid::Uuid;

use crate::events::{self, Shape};
use crate::process::Process;
use crate::wire::Wire;
use kinolog_eventstore::protocol::shared;
use kinolog_eventstore::protocol::streams::batch_append_req::{
    Options, ProposedMessage, options::ExpectedStreamPosition,
};
use kinolog_eventstore::protocol::streams::batch_append_resp::Result as Outcome;
use kinolog_eventstore::protocol::streams::{BatchAppendReq, BatchAppendResp};

/// Calls that load beside each other, each with its own part of the streams.
const CALLS: u64 = 4;
/// Appends of one call that wait for their answer.
const WINDOW: usize = 512;
/// What a record has around its data, generously; and what must be left on the disk.
const RECORD_BYTES: u64 = 300;
const SPARE_BYTES: u64 = 2_000_000_000;
/// Read from a file at once.
pub const CHUNK_BYTES: usize = 1024 * 1024;

pub struct Dataset {
    pub name: &'static str,
    pub shape: Shape,
    pub quick: bool,
    dir: PathBuf,
    /// There once the set is whole.
    marker: PathBuf,
}

impl Dataset {
    pub fn new(folder: &Path, name: &'static str, shape: Shape, quick: bool) -> Self {
        let size = if quick { "quick" } else { "full" };
        Self {
            name,
            shape,
            quick,
            dir: folder.join(format!("{name}-{size}")),
            marker: folder.join(format!("{name}-{size}.whole")),
        }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A node with these events, made if they are not there.
    pub async fn node(&self) -> anyhow::Result<Process> {
        let there = fs::read_to_string(&self.marker).unwrap_or_default();
        if there == format!("{:?}", self.shape) {
            let node = Process::node(&self.dir).await?;
            self.warm()?;
            return Ok(node);
        }
        self.load().await
    }

    /// Makes the set, and leaves the node that took it running.
    pub async fn load(&self) -> anyhow::Result<Process> {
        self.delete()?;
        self.ensure_room()?;
        let events = self.shape.events();
        eprintln!("loading {events} events into `{}`", self.name);
        let begun = Instant::now();
        let node = Process::node(&self.dir).await?;
        let shape = self.shape;
        let calls = (0..CALLS).map(|call| {
            let rounds = (0..shape.rounds).flat_map(move |round| {
                let order = (0..shape.streams).map(move |place| shape.order(round, place));
                // A stream has one call: appends of one call are taken in the order they
                // were sent, and so each finds the revision it expects.
                let own = order.filter(move |stream| stream % CALLS == call);
                own.map(move |stream| batch(&shape, stream, round))
            });
            append(node.port, rounds)
        });
        futures::future::try_join_all(calls).await?;
        let last = Wire::connect(node.port).await?.last_position().await?;
        ensure!(last >= events, "{last} events are there, not {events}");
        fs::write(&self.marker, format!("{:?}", self.shape))?;
        let seconds = begun.elapsed().as_secs_f64();
        eprintln!(
            "loaded `{}` in {seconds:.1} s, {:.0} events/s",
            self.name,
            events as f64 / seconds
        );
        Ok(node)
    }

    pub fn delete(&self) -> anyhow::Result<()> {
        for path in [&self.marker, &self.dir] {
            let deleted = match path.is_dir() {
                true => fs::remove_dir_all(path),
                false if !path.exists() => Ok(()),
                false => fs::remove_file(path),
            };
            deleted.with_context(|| format!("failed to delete {}", path.display()))?;
        }
        Ok(())
    }

    /// The files of the log, in order.
    pub fn segments(&self) -> anyhow::Result<Vec<PathBuf>> {
        let mut segments = vec![];
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|it| it == "log") {
                segments.push(path);
            }
        }
        segments.sort();
        Ok(segments)
    }

    /// Reads all files once, so that they are cached.
    pub fn warm(&self) -> anyhow::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            read_through(&entry?.path(), |_| ())?;
        }
        Ok(())
    }

    fn ensure_room(&self) -> anyhow::Result<()> {
        let record = self.shape.data_bytes as u64 + RECORD_BYTES;
        let needed = self.shape.events() * record + SPARE_BYTES;
        let folder = self.dir.parent().context("the set has no folder")?;
        let disk = nix::sys::statvfs::statvfs(folder)?;
        let free = disk.blocks_available() * disk.fragment_size();
        ensure!(
            free >= needed,
            "`{}` needs {:.1} GB on the disk of {}, and {:.1} GB are free",
            self.name,
            needed as f64 / 1e9,
            folder.display(),
            free as f64 / 1e9,
        );
        Ok(())
    }
}

/// Reads a file from one end to the other; how long it was.
pub fn read_through(path: &Path, mut see: impl FnMut(&[u8])) -> anyhow::Result<u64> {
    let mut file =
        fs::File::open(path).with_context(|| format!("failed to open {}", path.display()))?;
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut bytes = 0;
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(bytes),
            read => {
                see(&chunk[..read]);
                bytes += read as u64;
            }
        }
    }
}

/// Appends all of these with one call; all must succeed.
pub async fn append(
    port: u16,
    batches: impl Iterator<Item = BatchAppendReq> + Send + 'static,
) -> anyhow::Result<()> {
    let mut wire = Wire::connect(port).await?;
    let window = Arc::new(Semaphore::new(WINDOW));
    let (sender, requests) = mpsc::channel(WINDOW);
    let permits = window.clone();
    let sending = tokio::spawn(async move {
        for batch in batches {
            let Ok(permit) = permits.acquire().await else {
                return;
            };
            // Given back by the answer.
            permit.forget();
            if sender.send(batch).await.is_err() {
                return;
            }
        }
    });
    let requests = futures::stream::unfold(requests, |mut requests| async {
        Some((requests.recv().await?, requests))
    });
    let mut answers = wire.batch_append(requests.boxed()).await?;
    while let Some(answer) = answers.message().await? {
        check(answer)?;
        window.add_permits(1);
    }
    sending.await.context("the sender of a batch failed")
}

fn batch(shape: &Shape, stream: u64, round: u64) -> BatchAppendReq {
    let first = round * shape.per_append;
    let expected = match first.checked_sub(1) {
        Some(last) => ExpectedStreamPosition::StreamPosition(last),
        None => ExpectedStreamPosition::NoStream(()),
    };
    let proposed = (first..first + shape.per_append).map(|revision| {
        let kind = events::kind(stream, revision);
        proposed(
            text_id(stream, revision),
            kind,
            shape.data(stream, revision),
        )
    });
    request(stream, expected, proposed.collect())
}

/// One more event of a stream, whatever is there, and of a type that no filter wants.
pub fn another(shape: &Shape, stream: u64) -> BatchAppendReq {
    let id = shared::Uuid {
        value: Some(shared::uuid::Value::String(Uuid::new_v4().to_string())),
    };
    let event = proposed(id, "bench.another.v1".to_owned(), shape.data(stream, 0));
    request(stream, ExpectedStreamPosition::Any(()), vec![event])
}

fn request(
    stream: u64,
    expected: ExpectedStreamPosition,
    proposed_messages: Vec<ProposedMessage>,
) -> BatchAppendReq {
    let identifier = shared::StreamIdentifier {
        stream_name: events::stream_name(stream).into(),
    };
    let correlation = proposed_messages.first().and_then(|first| first.id.clone());
    BatchAppendReq {
        correlation_id: correlation,
        options: Some(Options {
            stream_identifier: Some(identifier),
            deadline_option: None,
            expected_stream_position: Some(expected),
        }),
        proposed_messages,
        is_final: true,
    }
}

fn proposed(id: shared::Uuid, kind: String, data: Bytes) -> ProposedMessage {
    ProposedMessage {
        id: Some(id),
        metadata: [
            ("type".to_owned(), kind),
            ("content-type".to_owned(), events::CONTENT_TYPE.to_owned()),
        ]
        .into(),
        custom_metadata: Bytes::new(),
        data,
    }
}

pub fn text_id(stream: u64, revision: u64) -> shared::Uuid {
    shared::Uuid {
        value: Some(shared::uuid::Value::String(
            events::id(stream, revision).to_string(),
        )),
    }
}

fn check(answer: BatchAppendResp) -> anyhow::Result<()> {
    match answer.result {
        Some(Outcome::Success(_)) => Ok(()),
        other => bail!("an append was answered with {other:?}"),
    }
}
