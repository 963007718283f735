//! Keeps one lease alive, and says when it is lost.
//!
//! # Invariants
//!
//! * While no heartbeat is answered the encoder goes on, for one lease time: then the
//!   task may be another worker's, and everything stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use protocol::Lease;
use tokio::time::{Instant, sleep};

use crate::link::{Link, LinkError};

/// How often at the least and at the most, whatever the conductor says.
const BEAT_MIN: Duration = Duration::from_millis(100);
const BEAT_MAX: Duration = Duration::from_secs(60);

/// Beats until the lease is lost; returns why.
pub(crate) async fn keep(
    link: &Link,
    lease: &Lease,
    lease_time: Duration,
    beat: Duration,
    permille: Arc<AtomicU32>,
) -> String {
    let beat = beat.clamp(BEAT_MIN, BEAT_MAX);
    let mut answered_at = Instant::now();
    loop {
        sleep(beat).await;
        let sent_at = Instant::now();
        match link
            .heartbeat(lease, permille.load(Ordering::Relaxed))
            .await
        {
            Ok(false) => answered_at = sent_at,
            Ok(true) => return "the job was cancelled".to_owned(),
            Err(LinkError::Away(reason)) => {
                tracing::warn!(task = lease.task, "no answer to a heartbeat: {reason}");
                if answered_at.elapsed() > lease_time {
                    return "the conductor was away for a whole lease".to_owned();
                }
            }
            Err(error) => return error.to_string(),
        }
    }
}
