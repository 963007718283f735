//! Reading whole streams, anywhere in a log of a million of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::ensure;
use eventstore::{Client, ReadStreamOptions, StreamPosition};

use crate::dataset::Dataset;
use crate::events::{self, Shape};
use crate::peer;
use crate::process::Process;
use crate::report::{Bar, Figure, Report};

const ROUNDS: usize = 5;
const READERS: u64 = 16;

pub async fn measure(report: &Report, set: &Dataset) -> anyhow::Result<()> {
    let reads = if report.quick { 5_000 } else { 50_000 };
    // Loaded, then opened again: what is measured is a log at rest, not what its writer
    // still remembers.
    set.node().await?.kill()?;
    let node = set.node().await?;
    let peer = Process::peer(peer::Kind::Streams, set.quick).await?;
    let (client, beside_client) = (node.client()?, peer.client()?);
    let (mut values, mut beside) = (vec![], vec![]);
    for round in 0..ROUNDS as u64 {
        eprintln!("random reads, round {}", round + 1);
        beside.push(reads_per_second(&beside_client, set.shape, round, reads).await?);
        values.push(reads_per_second(&client, set.shape, round, reads).await?);
    }
    let shape = set.shape;
    let note = format!(
        "{} streams of {} events of {} B, each appended {} at a time; {READERS} readers through \
         the Rust client",
        shape.streams,
        shape.per_stream(),
        shape.data_bytes,
        shape.per_append
    );
    report.print(&Figure {
        name: "random reads of 20-event streams",
        unit: "reads/s",
        values: &values,
        beside: "an in-memory map behind the same tonic service",
        beside_values: &beside,
        bar: Bar::RatioAtLeast(0.5),
        note: &note,
    });
    Ok(())
}

async fn reads_per_second(
    client: &Client,
    shape: Shape,
    round: u64,
    reads: u64,
) -> anyhow::Result<f64> {
    let next = AtomicU64::new(0);
    let begun = Instant::now();
    let readers = (0..READERS).map(|_| {
        let next = &next;
        async move {
            loop {
                let read = next.fetch_add(1, Ordering::Relaxed);
                if read >= reads {
                    return anyhow::Ok(());
                }
                let stream = events::mix((round << 32) | read) % shape.streams;
                read_stream(client, stream, shape).await?;
            }
        }
    });
    futures::future::try_join_all(readers).await?;
    Ok(reads as f64 / begun.elapsed().as_secs_f64())
}

async fn read_stream(client: &Client, stream: u64, shape: Shape) -> anyhow::Result<()> {
    let options = ReadStreamOptions::default()
        .position(StreamPosition::Start)
        .max_count(usize::MAX);
    let name = events::stream_name(stream);
    let mut answers = client.read_stream(name, &options).await?;
    let mut found = 0;
    while let Some(event) = answers.next().await? {
        let event = event.get_original_event();
        ensure!(
            event.revision == found,
            "a stream's events are not in order"
        );
        ensure!(
            event.id == events::id(stream, found),
            "an event has another's id"
        );
        found += 1;
    }
    ensure!(found == shape.per_stream(), "a stream has {found} events");
    Ok(())
}
