//! Whether two builds of a read model say the same at the same position.
//!
//! # Invariants
//!
//! * The one that is compared with is looked at in one snapshot and never held up; the other is brought to
//!   exactly that position first.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, ensure};
use eventlog::{Epoch, Log};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::runner::{self, Applied, Projection};

/// How long is waited for the serving one, should it be behind the fresh one.
const CATCHES_UP_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a read model says, by part: how many rows and their digest, whatever their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Digest {
    pub position: Option<u64>,
    pub parts: BTreeMap<String, (u64, String)>,
}

/// What is compared with what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    pub position: Option<u64>,
    /// How many rows both have, in all their parts.
    pub rows: u64,
    /// A sentence per part that is not equal.
    pub differences: Vec<String>,
}

/// Brings `fresh` to where `serving` stands, and compares them. Nobody else may write `fresh` meanwhile.
pub(crate) async fn compare<P: Projection>(
    serving: &mut P,
    fresh: &mut P,
    log: &Log,
    epoch: Epoch,
) -> anyhow::Result<Compared> {
    // The fresh one may be a moment ahead.
    let from = fresh.prepare(epoch).await?.commit;
    let deadline = Instant::now() + CATCHES_UP_WITHIN;
    while serving.checkpoint().await?.and_then(|found| found.commit) < from {
        ensure!(
            Instant::now() < deadline,
            "the serving generation of {} does not go on",
            P::NAME
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let expected = serving.digest().await?;
    bring_to(fresh, log, epoch, expected.position).await?;
    let found = fresh.digest().await?;
    ensure!(
        found.position == expected.position,
        "the fresh generation of {} stands at {:?} instead of {:?}",
        P::NAME,
        found.position,
        expected.position
    );
    Ok(Compared {
        position: expected.position,
        rows: expected.parts.values().map(|(rows, _)| rows).sum(),
        differences: differences(&expected, &found),
    })
}

fn differences(serving: &Digest, fresh: &Digest) -> Vec<String> {
    let none = (0, String::new());
    let mut names: Vec<&String> = serving.parts.keys().chain(fresh.parts.keys()).collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .filter_map(|name| {
            let serves = serving.parts.get(name).unwrap_or(&none);
            let folded = fresh.parts.get(name).unwrap_or(&none);
            (serves != folded).then(|| match serves.0 == folded.0 {
                true => format!(
                    "{name}: the same {} rows, and they do not say the same",
                    serves.0
                ),
                false => format!(
                    "{name}: {} rows serve, a fresh fold gives {}",
                    serves.0, folded.0
                ),
            })
        })
        .collect()
}

/// Applies what lies between where it stands and `to`, and not an event more. Does nothing where it
/// stands further on.
pub(crate) async fn bring_to<P: Projection>(
    projection: &mut P,
    log: &Log,
    epoch: Epoch,
    to: Option<u64>,
) -> anyhow::Result<()> {
    let mut from = projection.prepare(epoch).await?.commit;
    if from >= to {
        return Ok(());
    }
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    let mut events = log.follow(from, stop);
    while from != to {
        let mut batch = runner::next_batch(&mut events, from)
            .await
            .context("the log was followed no longer")?;
        // Where the log ends, everything of ours up to any position of it has come.
        if batch.to >= to || batch.caught_up {
            batch.events.retain(|recorded| Some(recorded.commit) <= to);
            batch.to = to;
        }
        ensure!(
            projection.apply(epoch, &batch).await? == Applied::Yes,
            "another writer of this generation of {} came between",
            P::NAME
        );
        from = batch.to;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(rows: u64, says: &str) -> Digest {
        Digest {
            position: Some(7),
            parts: [("videos".to_owned(), (rows, says.to_owned()))].into(),
        }
    }

    #[test]
    fn what_is_not_equal_is_named() {
        assert_eq!(differences(&digest(2, "a"), &digest(2, "a")), [""; 0]);
        let other = differences(&digest(2, "a"), &digest(2, "b"));
        assert_eq!(
            other,
            ["videos: the same 2 rows, and they do not say the same"]
        );
        let gone = differences(&digest(2, "a"), &Digest::default());
        assert_eq!(gone, ["videos: 2 rows serve, a fresh fold gives 0"]);
    }
}
