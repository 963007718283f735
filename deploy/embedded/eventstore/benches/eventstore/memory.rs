//! What the node keeps in memory for a log of millions of events.

use eventstore::{ReadStreamOptions, StreamPosition};

use crate::dataset::Dataset;
use crate::events;
use crate::process::Process;
use crate::report::{Bar, Figure, Report};

/// Streams that are read after the restart, so that what reading needs is counted too.
const READS: u64 = 2_000;
const MB_MAX: f64 = 300.0;

pub async fn measure(report: &Report, set: &Dataset) -> anyhow::Result<()> {
    // Always loaded anew: a node that took all of it has more to hold on to than one that
    // found it there.
    let node = set.load().await?;
    let loaded = node.anonymous_mb()?;
    node.kill()?;
    let node = Process::node(set.dir()).await?;
    let opened = node.anonymous_mb()?;
    let client = node.client()?;
    for read in 0..READS {
        let name = events::stream_name(events::mix(read) % set.shape.streams);
        let options = ReadStreamOptions::default().position(StreamPosition::Start);
        let mut answers = client.read_stream(name, &options).await?;
        while answers.next().await?.is_some() {}
    }
    let read = node.anonymous_mb()?;
    let note = format!(
        "RssAnon with {} events in {} streams: {loaded:.0} MB having taken them, {opened:.0} MB \
         opened again, {read:.0} MB after {READS} streams were read; the largest counts",
        set.shape.events(),
        set.shape.streams
    );
    report.print(&Figure {
        name: "anonymous memory after 10 M events in 1 M streams",
        unit: "MB",
        values: &[loaded.max(opened).max(read)],
        beside: "the limit",
        beside_values: &[MB_MAX],
        bar: Bar::ValueAtMost(MB_MAX),
        note: &note,
    });
    Ok(())
}
