//! A filtered `$all`: how fast the node goes past what nobody asked for.

use std::time::Instant;

use anyhow::{bail, ensure};
use eventstore::{
    Client, StreamPosition, SubscribeToAllOptions, SubscriptionEvent, SubscriptionFilter,
};

use crate::dataset::{Dataset, read_through};
use crate::events;
use crate::report::{Bar, Figure, Report};

const ROUNDS: usize = 5;

pub async fn measure(report: &Report, set: &Dataset) -> anyhow::Result<()> {
    // As in a node that was started after all this happened.
    set.node().await?.kill()?;
    let node = set.node().await?;
    let client = node.client()?;
    let wanted = set.shape.wanted();
    let (mut values, mut beside) = (vec![], vec![]);
    filtered(&client, wanted).await?;
    for round in 0..ROUNDS {
        eprintln!("filtered $all, round {}", round + 1);
        let begun = Instant::now();
        let bytes = checksummed(set)?;
        beside.push(bytes as f64 / 1e6 / begun.elapsed().as_secs_f64());
        let begun = Instant::now();
        filtered(&client, wanted).await?;
        values.push(bytes as f64 / 1e6 / begun.elapsed().as_secs_f64());
    }
    let note = format!(
        "{} events of {} B, {wanted} match; a subscription of the Rust client with a prefix of \
         the type, its defaults otherwise, until it has caught up",
        set.shape.events(),
        set.shape.data_bytes
    );
    report.print(&Figure {
        name: "filtered $all, 1 in 1000 matches",
        unit: "MB scanned/s",
        values: &values,
        beside: "sequential read of the same files with CRC",
        beside_values: &beside,
        bar: Bar::RatioAtLeast(0.5),
        note: &note,
    });
    Ok(())
}

/// The Rust client has a filter for subscriptions only: this one ends when it is caught up.
async fn filtered(client: &Client, wanted: u64) -> anyhow::Result<()> {
    let filter = SubscriptionFilter::on_event_type().add_prefix(events::WANTED);
    let options = SubscribeToAllOptions::default()
        .position(StreamPosition::Start)
        .filter(filter);
    let mut subscription = client.subscribe_to_all(&options).await;
    let mut found = 0;
    loop {
        match subscription.next_subscription_event().await? {
            SubscriptionEvent::EventAppeared(event) => {
                let kind = &event.get_original_event().event_type;
                ensure!(kind == events::WANTED, "`{kind}` was not asked for");
                found += 1;
            }
            SubscriptionEvent::CaughtUp => break,
            SubscriptionEvent::Confirmed(_) | SubscriptionEvent::Checkpoint(_) => {}
            other => bail!("a subscription answered {other:?}"),
        }
    }
    ensure!(found == wanted, "{found} events were found, not {wanted}");
    Ok(())
}

/// The bytes of all segments, read and checked.
fn checksummed(set: &Dataset) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for segment in set.segments()? {
        let mut checksum = crc32fast::Hasher::new();
        bytes += read_through(&segment, |chunk| checksum.update(chunk))?;
        std::hint::black_box(checksum.finalize());
    }
    Ok(bytes)
}
