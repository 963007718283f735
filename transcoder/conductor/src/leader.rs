//! Leadership: at most one conductor acts at a time.
//!
//! # Invariants
//!
//! * Leadership is a session-level advisory lock on a connection of its own. A connection that
//!   is lost is leadership lost; it is never taken up again by the same conductor.
//! * Under it lies a net: jobs are appended to at exact revisions, the checkpoint is compared
//!   before it is set. Two leaders for a moment waste work and break nothing.

use std::time::Duration;

use anyhow::{Context, bail};
use sqlx::{ConnectOptions, PgConnection};
use tokio_util::sync::CancellationToken;

use crate::store;

/// "kinocond": the lock every conductor of this database wants.
const LOCK: i64 = 0x6b69_6e6f_636f_6e64;

/// How often a standby asks, and a leader looks after its connection.
const STANDBY_EVERY: Duration = Duration::from_millis(200);
const CHECK_EVERY: Duration = Duration::from_secs(1);
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// PostgreSQL gives up a connection whose other end is gone without a word, and with it the lock,
/// within 5 s: a standby may have been told nothing, and leads within 10 s all the same.
const LOST_SOON: [(&str, &str); 4] = [
    ("tcp_keepalives_idle", "2"),
    ("tcp_keepalives_interval", "1"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "5000"),
];

pub(crate) struct Leadership {
    connection: PgConnection,
}

impl Leadership {
    /// Waits until this conductor leads. `None`: it was told to stop before.
    ///
    /// PostgreSQL may be away meanwhile.
    pub(crate) async fn wait(
        postgres_url: &str,
        stop: &CancellationToken,
    ) -> anyhow::Result<Option<Self>> {
        let options = store::options(postgres_url)?.options(LOST_SOON);
        let mut waiting = false;
        while !stop.is_cancelled() {
            match attempt(&options).await {
                Ok(Some(connection)) => return Ok(Some(Self { connection })),
                Ok(None) if waiting => {}
                Ok(None) => {
                    waiting = true;
                    tracing::info!("another conductor leads, this one waits");
                }
                Err(error) => tracing::warn!(
                    error = format!("{error:#}"),
                    "failed to ask for the leadership, trying again"
                ),
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(STANDBY_EVERY) => {}
            }
        }
        Ok(None)
    }

    /// Fails as soon as the leadership is lost.
    pub(crate) async fn keep(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(CHECK_EVERY) => {}
            }
            let check = sqlx::query!("select 1 as one").fetch_one(&mut self.connection);
            match tokio::time::timeout(CHECK_TIMEOUT, check).await {
                Ok(answer) => answer.context("the leadership was lost with its connection")?,
                Err(_) => bail!("the leadership is in doubt: PostgreSQL does not answer"),
            };
        }
    }
}

async fn attempt(
    options: &sqlx::postgres::PgConnectOptions,
) -> anyhow::Result<Option<PgConnection>> {
    let mut connection = options
        .connect()
        .await
        .context("failed to connect to PostgreSQL")?;
    let row = sqlx::query!(r#"select pg_try_advisory_lock($1) as "locked!""#, LOCK)
        .fetch_one(&mut connection)
        .await?;
    Ok(row.locked.then_some(connection))
}
