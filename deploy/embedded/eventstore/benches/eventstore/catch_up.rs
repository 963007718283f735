//! Catching up: the whole log, read from its beginning to its end by the Rust client.

use std::time::Instant;

use anyhow::ensure;
use eventstore::{Client, ReadAllOptions, StreamPosition};

use crate::dataset::Dataset;
use crate::events::Shape;
use crate::peer;
use crate::process::Process;
use crate::report::{Bar, Figure, Report};

const ROUNDS: usize = 5;

pub async fn measure(report: &Report, set: &Dataset) -> anyhow::Result<()> {
    let node = set.node().await?;
    let peer = Process::peer(peer::Kind::CatchUp, set.quick).await?;
    let (client, beside_client) = (node.client()?, peer.client()?);
    let (mut values, mut beside) = (vec![], vec![]);
    // The first round finds connections and caches as the others do.
    read_all(&client, set.shape).await?;
    read_all(&beside_client, set.shape).await?;
    for round in 0..ROUNDS {
        eprintln!("catch-up read, round {}", round + 1);
        beside.push(read_all(&beside_client, set.shape).await?);
        values.push(read_all(&client, set.shape).await?);
    }
    let events = set.shape.events();
    report.print(&Figure {
        name: "catch-up read through the Rust client",
        unit: "events/s",
        values: &values,
        beside: "the same messages streamed by tonic from memory",
        beside_values: &beside,
        bar: Bar::RatioAtLeast(0.7),
        note: &format!("{events} events of {} B, read_all", set.shape.data_bytes),
    });
    Ok(())
}

/// Events per second. All of them must come, with all their bytes.
async fn read_all(client: &Client, shape: Shape) -> anyhow::Result<f64> {
    let options = ReadAllOptions::default()
        .position(StreamPosition::Start)
        .max_count(usize::MAX);
    let begun = Instant::now();
    let mut answers = client.read_all(&options).await?;
    let (mut events, mut bytes) = (0, 0);
    while let Some(event) = answers.next().await? {
        let event = event.get_original_event();
        // A log also has events of the system's own.
        if event.stream_id.starts_with('$') {
            continue;
        }
        events += 1;
        bytes += event.data.len() as u64;
    }
    let seconds = begun.elapsed().as_secs_f64();
    ensure!(
        events == shape.events() && bytes == events * shape.data_bytes as u64,
        "{events} events with {bytes} bytes came, not {} events",
        shape.events()
    );
    Ok(events as f64 / seconds)
}
