//! Who writes a read model: one instance, while the others stand by.
//!
//! # Invariants
//!
//! * A lease only keeps two from getting in each other's way. What keeps a read model right is the
//!   fence: its checkpoint names who took it over last, and nobody else moves it.
//! * Time is PostgreSQL's: no two clocks are ever compared.

use std::time::Duration;

use sqlx::{PgPool, postgres::types::PgInterval};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{runner::BackOff, schemas, store};

/// How long a holder may be silent.
const HELD: Duration = Duration::from_secs(3);
const PROLONG_EVERY: Duration = Duration::from_secs(1);
/// How often a standby looks whether it may take over.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Giving back is a courtesy: it makes others wait less.
const GIVE_BACK_MAX: Duration = Duration::from_secs(1);

pub(crate) struct Lease {
    url: String,
    pool: PgPool,
    /// Of the read model, for people.
    model: &'static str,
    name: String,
    holder: Uuid,
}

impl Lease {
    pub(crate) fn new(url: &str, pool: PgPool, model: &'static str, name: String) -> Self {
        Self {
            url: url.to_owned(),
            pool,
            model,
            name,
            holder: Uuid::new_v4(),
        }
    }

    /// Waits until it is ours, however long.
    pub(crate) async fn taken(&self) {
        let mut back_off = BackOff::new(self.model);
        loop {
            match self.take().await {
                Ok(true) => return,
                Ok(false) => tokio::time::sleep(LOOK_EVERY).await,
                // The first of all to come finds no table for it.
                Err(error) if store::is_undefined(&error) => {
                    if let Err(error) = schemas::migrate_engine(&self.url).await {
                        back_off.wait("prepare PostgreSQL", &error).await;
                    }
                }
                Err(error) => back_off.wait("take its lease", &error.into()).await,
            }
        }
    }

    /// Prolongs it; returns when it may be another's.
    pub(crate) async fn lost(&self) {
        let mut prolonged = Instant::now();
        loop {
            tokio::time::sleep(PROLONG_EVERY).await;
            match self.take().await {
                Ok(true) => prolonged = Instant::now(),
                Ok(false) => return,
                Err(_) if prolonged.elapsed() > HELD => return,
                Err(error) => {
                    tracing::debug!(%error, "failed to prolong the lease of {}", self.name)
                }
            }
        }
    }

    pub(crate) async fn given_back(&self) {
        let asked = sqlx::query!(
            "delete from leases where name = $1 and holder = $2",
            self.name,
            self.holder
        )
        .execute(&self.pool);
        // Whatever comes of it: who is not heard of loses it anyway.
        let _ = tokio::time::timeout(GIVE_BACK_MAX, asked).await;
    }

    /// Takes or prolongs it, unless another holds it.
    async fn take(&self) -> sqlx::Result<bool> {
        let held = PgInterval {
            months: 0,
            days: 0,
            microseconds: HELD.as_micros() as i64,
        };
        let taken = sqlx::query!(
            "insert into leases (name, holder, until) values ($1, $2, now() + $3)
             on conflict (name) do update set holder = excluded.holder, until = excluded.until
             where leases.holder = excluded.holder or leases.until < now()",
            self.name,
            self.holder,
            held
        )
        .execute(&self.pool)
        .await?;
        Ok(taken.rows_affected() == 1)
    }
}
