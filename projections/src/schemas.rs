//! Where read models live in PostgreSQL: a schema per generation, one for the engine, and the way to each.
//!
//! # Invariants
//!
//! * Migrations run one at a time, whoever runs them; each step is borne by programs that still run.

use std::time::Duration;

use anyhow::Context;
use sqlx::{
    Connection, PgConnection, PgPool,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::{announcements, catalogue, generations::Generations, owners, store::Rows};

static ENGINE_MIGRATOR: Migrator = sqlx::migrate!("../migrations/read_models");

/// The schema of what the engine itself keeps.
const ENGINE: &str = "read_models";

/// Whoever migrates holds this advisory lock: "kinolog" in ASCII.
const MIGRATING: i64 = 0x006b_696e_6f6c_6f67;

const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

const IDLE_IN_TRANSACTION_MAX: &str = "30s";

/// So that no lease waits for another.
const ENGINE_CONNECTIONS_MAX: u32 = 3;

/// Connects when it is first used.
pub(crate) fn pool(url: &str, schema: &str, connections_max: u32) -> anyhow::Result<PgPool> {
    Ok(lazy(options(url, schema)?, connections_max))
}

/// The same, for queries that are planned each time anew, knowing what is asked.
pub(crate) fn pool_that_plans(url: &str, schema: &str, max: u32) -> anyhow::Result<PgPool> {
    let options = options(url, schema)?.options([("plan_cache_mode", "force_custom_plan")]);
    Ok(lazy(options, max))
}

fn options(url: &str, schema: &str) -> anyhow::Result<PgConnectOptions> {
    let options: PgConnectOptions = url.parse().context("failed to read the PostgreSQL URL")?;
    Ok(options.options([
        // What the engine keeps is seen by all.
        ("search_path", format!("{schema},{ENGINE}").as_str()),
        // A writer that is frozen in its transaction must not hold the checkpoint for ever.
        (
            "idle_in_transaction_session_timeout",
            IDLE_IN_TRANSACTION_MAX,
        ),
    ]))
}

fn lazy(options: PgConnectOptions, connections_max: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_lazy_with(options)
}

/// What the engine itself reads and writes with.
pub(crate) fn engine(url: &str) -> anyhow::Result<PgPool> {
    pool(url, ENGINE, ENGINE_CONNECTIONS_MAX)
}

/// The schema of one generation of a read model.
pub(crate) fn schema(name: &str, generation: i64) -> String {
    format!("{name}_g{generation}")
}

/// What the engine itself needs, and every generation that this program may write.
pub(crate) async fn migrate(url: &str) -> anyhow::Result<()> {
    migrate_engine(url).await?;
    migrate_all::<catalogue::Catalogue>(url).await?;
    migrate_all::<announcements::Announcements>(url).await?;
    migrate_all::<owners::Owners>(url).await
}

async fn migrate_all<R: Rows>(url: &str) -> anyhow::Result<()> {
    let generations = Generations::new(engine(url)?, R::NAME);
    for generation in generations.of_version(R::VERSION).await? {
        if generation.state.is_followed() && generation.version <= R::VERSION {
            migrate_schema(url, &schema(R::NAME, generation.number), R::migrator()).await?;
        }
    }
    Ok(())
}

pub(crate) async fn migrate_engine(url: &str) -> anyhow::Result<()> {
    let mut connection = migrating(url, ENGINE).await?;
    sqlx::query!("create schema if not exists read_models")
        .execute(&mut connection)
        .await?;
    let migrated = ENGINE_MIGRATOR
        .run_direct(None, &mut connection, false)
        .await;
    connection.close().await?;
    migrated.with_context(|| format!("failed to migrate {ENGINE}"))
}

pub(crate) async fn migrate_schema(
    url: &str,
    schema: &str,
    migrator: &Migrator,
) -> anyhow::Result<()> {
    let mut connection = migrating(url, schema).await?;
    sqlx::query!("select read_models.begin_schema($1)", schema)
        .execute(&mut connection)
        .await?;
    let migrated = migrator.run_direct(None, &mut connection, false).await;
    connection.close().await?;
    migrated.with_context(|| format!("failed to migrate {schema}"))
}

/// A connection with the lock of those who migrate, which is released with it.
async fn migrating(url: &str, schema: &str) -> anyhow::Result<PgConnection> {
    let options: PgConnectOptions = url.parse().context("failed to read the PostgreSQL URL")?;
    let options = options.options([("search_path", schema)]);
    let mut connection = PgConnection::connect_with(&options).await?;
    sqlx::query!("select pg_advisory_lock($1)", MIGRATING)
        .fetch_one(&mut connection)
        .await?;
    Ok(connection)
}
