//! The outbox: tells the receiver about every created object, at least once.
//!
//! # Invariants
//!
//! * What is owed is part of the journal record that made the object: it is durable before
//!   the client's 200, and struck out only after the receiver's 2xx.
//! * A receiver that is down costs one attempt per pause, and one refused notification does
//!   not hold up the others: batches go round in the order of their sequence.

use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use time::format_description::well_known::Rfc3339;
use tokio_util::sync::CancellationToken;

use crate::listing::url_encoded;
use crate::record::{Cause, Event};
use crate::state::Change;
use crate::store::Store;
use crate::writer::Condition;

/// Sent at once.
const BATCH_MAX: usize = 8;
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// Below the grace of stopping: what was sent then is struck out, and not sent twice.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Who is told about created objects.
#[derive(Clone)]
pub struct Notify {
    /// Plain HTTP: the receiver stands beside the store.
    pub url: String,
    /// Sent as `Authorization: Bearer …`.
    pub token: String,
    /// Keys that begin with it are announced.
    pub prefix: String,
}

impl std::fmt::Debug for Notify {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Notify")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

pub(crate) async fn deliver(
    store: Arc<Store>,
    bucket: String,
    notify: Notify,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_MAX)
        .timeout(ANSWER_MAX)
        .build()?;
    rounds(&store, &bucket, &notify, &client, &stop).await;
    Ok(())
}

async fn rounds(
    store: &Store,
    bucket: &str,
    notify: &Notify,
    client: &reqwest::Client,
    stop: &CancellationToken,
) {
    let mut after = None;
    let mut pause = PAUSE_MIN;
    while !stop.is_cancelled() {
        let batch = next_batch(store, after);
        let Some(last) = batch.last() else {
            // The end of a round: another one begins when something is owed.
            if after.take().is_none() {
                stop.run_until_cancelled(store.owed.notified()).await;
            }
            continue;
        };
        after = Some(last.sequence);
        let sends = batch
            .iter()
            .map(|event| deliver_one(store, bucket, notify, client, event));
        let delivered = futures::future::join_all(sends).await;
        if delivered.into_iter().all(|is_delivered| is_delivered) {
            pause = PAUSE_MIN;
            continue;
        }
        // A new object interrupts the pause, so that one refusal does not delay the others.
        let newest = store.state().next_sequence;
        let changed = async {
            while store.state().next_sequence == newest {
                store.owed.notified().await;
            }
        };
        // The pause being over is no error: the next attempt is due.
        let _ = tokio::time::timeout(pause, stop.run_until_cancelled(changed)).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

fn next_batch(store: &Store, after: Option<u64>) -> Vec<Event> {
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let state = store.state();
    state
        .owed
        .range((from, Bound::Unbounded))
        .take(BATCH_MAX)
        .map(|(_, it)| it.clone())
        .collect()
}

/// Sends one notification and strikes it out. `false`: it is still owed.
async fn deliver_one(
    store: &Store,
    bucket: &str,
    notify: &Notify,
    client: &reqwest::Client,
    event: &Event,
) -> bool {
    let request = client
        .post(&notify.url)
        .bearer_auth(&notify.token)
        .json(&body(bucket, event));
    match request
        .send()
        .await
        .and_then(reqwest::Response::error_for_status)
    {
        Ok(_) => {}
        Err(error) => {
            let sequence = event.sequence;
            // The URL may be private.
            let error = error.without_url();
            tracing::debug!(%error, sequence, "notification {sequence} is not delivered yet");
            return false;
        }
    }
    let change = Change::Deliver {
        sequence: event.sequence,
    };
    match store.commit(change, Condition::None).await {
        Ok(()) => true,
        // It is sent once more, later: at least once.
        Err(refusal) => {
            tracing::debug!(%refusal, "a delivered notification is not struck out yet");
            false
        }
    }
}

/// S3's event message, version 2.1.
fn body(bucket: &str, event: &Event) -> serde_json::Value {
    let name = match event.cause {
        Cause::Put => "ObjectCreated:Put",
        Cause::Copy => "ObjectCreated:Copy",
        Cause::CompleteMultipartUpload => "ObjectCreated:CompleteMultipartUpload",
    };
    let at = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(event.at_ms) * 1_000_000);
    let at = at
        .ok()
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_default();
    json!({"Records": [{
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "us-east-1",
        "eventTime": at,
        "eventName": name,
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "kinolog",
            "bucket": {"name": bucket, "arn": format!("arn:aws:s3:::{bucket}")},
            "object": {
                "key": url_encoded(&event.key),
                "size": event.size,
                "eTag": event.etag,
                "sequencer": format!("{:016X}", event.sequence),
            },
        },
    }]})
}
