//! Opening a log whose node was killed in the middle of its work.

use std::time::Instant;

use anyhow::{Context, ensure};
use eventstore::{AppendToStreamOptions, EventData};
use kinolog_eventstore::limits::SEGMENT_BYTES;
use tokio::task::JoinSet;

use crate::dataset::{self, Dataset, read_through};
use crate::events;
use crate::process::Process;
use crate::report::{Bar, Figure, Report};
use crate::wire::Wire;

const ROUNDS: usize = 5;
const APPENDERS: usize = 8;
/// Appends that are acknowledged before the node is killed among the next ones.
const ACKNOWLEDGED: usize = 200;
/// The last segment is filled to within this of its end, with events of as many streams as
/// there are: it is what opening may have to read, and a log that happens to end at the
/// beginning of one, or with many events of one stream, would be opened sooner.
const LEFT_BYTES: u64 = 16 * 1024 * 1024;
/// Events between two looks at how full it is.
const FILL_EVENTS: u64 = 10_000;
const LAST_BYTES: usize = 256;

pub async fn measure(report: &Report, set: &Dataset) -> anyhow::Result<()> {
    let node = set.node().await?;
    fill(&node, set).await?;
    let mut node = Some(node);
    let (mut values, mut beside) = (vec![], vec![]);
    let mut last = 0;
    for round in 0..ROUNDS {
        eprintln!("open after SIGKILL, round {}", round + 1);
        let running = match node.take() {
            Some(node) => node,
            None => Process::node(set.dir()).await?,
        };
        kill_while_appending(running).await?;
        let segments = set.segments()?;
        let whole = segments.first().context("there is no segment")?;
        set.warm()?;
        let begun = Instant::now();
        let bytes = read_through(whole, |chunk| {
            std::hint::black_box(chunk);
        })?;
        let seconds = begun.elapsed().as_secs_f64();
        // A short run has no whole segment; what it reads is counted as if it were one.
        beside.push(seconds * 1e3 * SEGMENT_BYTES as f64 / bytes as f64);
        let begun = Instant::now();
        let opened = Process::begin_node(set.dir())?;
        last = Wire::ready(opened.port).await?;
        values.push(begun.elapsed().as_secs_f64() * 1e3);
        opened.kill()?;
    }
    ensure!(last >= set.shape.events(), "only {last} events are left");
    let tail = set.segments()?.pop().context("there is no segment")?;
    let note = format!(
        "{last} events, cached; from spawn to the answer of the first call, a read of the last \
         event; the segment being written has {} MB",
        tail.metadata()?.len() / 1_000_000
    );
    report.print(&Figure {
        name: "open after SIGKILL, 10 M events",
        unit: "ms",
        values: &values,
        beside: "sequential read of one 256 MiB segment",
        beside_values: &beside,
        bar: Bar::RatioAtMost(2.0),
        note: &note,
    });
    Ok(())
}

async fn fill(node: &Process, set: &Dataset) -> anyhow::Result<()> {
    let shape = set.shape;
    let mut place = 0;
    loop {
        let tail = set.segments()?.pop().context("there is no segment")?;
        if set.quick || tail.metadata()?.len() + LEFT_BYTES > SEGMENT_BYTES {
            return Ok(());
        }
        let places = place..place + FILL_EVENTS;
        let streams = places.map(move |place| shape.order(shape.rounds, place));
        dataset::append(
            node.port,
            streams.map(move |it| dataset::another(&shape, it)),
        )
        .await?;
        place += FILL_EVENTS;
    }
}

/// Kills the node while it has appends that it has not acknowledged.
async fn kill_while_appending(node: Process) -> anyhow::Result<()> {
    let (acknowledge, mut acknowledged) = tokio::sync::mpsc::channel(APPENDERS);
    let mut appenders = JoinSet::new();
    for appender in 0..APPENDERS {
        let client = node.client()?;
        let acknowledge = acknowledge.clone();
        appenders.spawn(async move {
            let stream = events::stream_name(appender as u64);
            let options = AppendToStreamOptions::default();
            let event = || EventData::binary("bench.last.v1", vec![7; LAST_BYTES].into());
            // Ends when the node is killed, or nobody counts any more.
            while client
                .append_to_stream(stream.as_str(), &options, event())
                .await
                .is_ok()
                && acknowledge.send(()).await.is_ok()
            {}
        });
    }
    for _ in 0..ACKNOWLEDGED {
        acknowledged.recv().await.context("nobody appends")?;
    }
    node.kill()?;
    appenders.abort_all();
    Ok(())
}
