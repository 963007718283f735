//! The builds of a read model: which one serves, which are followed beside it, and until when.
//!
//! # Invariants
//!
//! * At most one generation of a read model serves, and only a swap changes which.
//! * A program writes no generation of a newer version than its own.
//! * A generation is erased a minute after nobody is to read or follow it any more.

use std::time::Duration;

use serde::Serialize;
use sqlx::PgPool;

use crate::store;

/// Heard by readers when another generation serves.
pub(crate) const CHANNEL: &str = "read_models";

/// How long a generation that served before is followed, for a quick way back.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// How long readers and followers have to leave one.
const LEAVE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Building,
    Serving,
    /// It served before.
    Kept,
    /// It is not what the serving one says.
    Refused,
    /// Nobody follows it; it is erased soon.
    Dropped,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Generation {
    pub number: i64,
    pub version: i64,
    pub state: State,
    /// How long it has been in this state.
    pub age_seconds: u64,
    pub accepted: bool,
    /// Of a refused one: where it differs.
    pub note: Option<String>,
}

/// The generations of one read model.
#[derive(Clone)]
pub(crate) struct Generations {
    pub pool: PgPool,
    pub name: &'static str,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Building => "building",
            Self::Serving => "serving",
            Self::Kept => "kept",
            Self::Refused => "refused",
            Self::Dropped => "dropped",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [
            Self::Building,
            Self::Serving,
            Self::Kept,
            Self::Refused,
            Self::Dropped,
        ]
        .into_iter()
        .find(|state| state.as_str() == text)
    }

    pub(crate) fn is_followed(self) -> bool {
        match self {
            Self::Building | Self::Serving | Self::Kept => true,
            Self::Refused | Self::Dropped => false,
        }
    }
}

impl Generations {
    pub(crate) fn new(pool: PgPool, name: &'static str) -> Self {
        Self { pool, name }
    }

    /// All of them, oldest first. The first of all comes into being here, and a first one of a new
    /// `version`, which is built beside the one that serves.
    pub(crate) async fn of_version(&self, version: i64) -> anyhow::Result<Vec<Generation>> {
        sqlx::query!(
            "insert into generations (read_model, generation, version, state)
             select $1, coalesce(max(generation), 0) + 1, $2,
                case when count(*) = 0 then 'serving' else 'building' end
             from generations where read_model = $1
             having coalesce(max(version), 0) < $2
             on conflict do nothing",
            self.name,
            version
        )
        .execute(&self.pool)
        .await?;
        self.all().await
    }

    pub(crate) async fn all(&self) -> anyhow::Result<Vec<Generation>> {
        let rows = sqlx::query!(
            r#"select generation, version, state, accepted, note,
                extract(epoch from now() - since)::bigint as "age!"
             from generations where read_model = $1 order by generation"#,
            self.name
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(Generation {
                    number: row.generation,
                    version: row.version,
                    state: State::parse(&row.state)
                        .ok_or_else(|| anyhow::anyhow!("unknown state {}", row.state))?,
                    age_seconds: row.age.max(0) as u64,
                    accepted: row.accepted,
                    note: row.note,
                })
            })
            .collect()
    }

    /// Begins another one, unless one is being built already; says which is.
    pub(crate) async fn begin(&self, version: i64, accepted: bool) -> anyhow::Result<i64> {
        let number = sqlx::query_scalar!(
            "insert into generations (read_model, generation, version, state, accepted)
             select $1, max(generation) + 1, $2, 'building', $3
             from generations where read_model = $1
             having count(*) filter (where state = 'building') = 0
             returning generation",
            self.name,
            version,
            accepted
        )
        .fetch_optional(&self.pool)
        .await?;
        number.ok_or_else(|| anyhow::anyhow!("{} is being rebuilt already", self.name))
    }

    /// The only way for another one to serve. Whoever calls holds still the one that serves.
    pub(crate) async fn swap(&self, from: i64, to: i64) -> anyhow::Result<()> {
        let mut tx = self.pool.begin().await?;
        let left = sqlx::query!(
            "update generations set state = 'kept', since = now()
             where read_model = $1 and generation = $2 and state = 'serving'",
            self.name,
            from
        )
        .execute(&mut *tx)
        .await?;
        let taken = sqlx::query!(
            "update generations set state = 'serving', since = now(), note = null
             where read_model = $1 and generation = $2 and state in ('building', 'kept')",
            self.name,
            to
        )
        .execute(&mut *tx)
        .await?;
        anyhow::ensure!(
            left.rows_affected() == 1 && taken.rows_affected() == 1,
            "another generation of {} serves meanwhile",
            self.name
        );
        sqlx::query!("select pg_notify($1, $2)", CHANNEL, self.name)
            .fetch_one(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    pub(crate) async fn refuse(&self, number: i64, note: &str) -> anyhow::Result<()> {
        sqlx::query!(
            "update generations set state = 'refused', since = now(), note = $3
             where read_model = $1 and generation = $2 and state = 'building'",
            self.name,
            number,
            note
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Lets go of what is too old or was followed by another kept one. Says what may be erased now.
    pub(crate) async fn drop_old(&self) -> anyhow::Result<Vec<i64>> {
        sqlx::query!(
            "update generations as g set state = 'dropped', since = now()
             where read_model = $1 and state in ('kept', 'refused') and (
                since < now() - $2::float8 * interval '1 second'
                or exists (select from generations as newer
                    where newer.read_model = g.read_model and newer.state = g.state and newer.since > g.since))",
            self.name,
            KEPT.as_secs_f64()
        )
        .execute(&self.pool)
        .await?;
        let due = sqlx::query_scalar!(
            "select generation from generations
             where read_model = $1 and state = 'dropped' and since < now() - $2::float8 * interval '1 second'",
            self.name,
            LEAVE.as_secs_f64()
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(due)
    }

    /// It was erased.
    pub(crate) async fn forget(&self, number: i64) -> anyhow::Result<()> {
        sqlx::query!(
            "delete from generations where read_model = $1 and generation = $2 and state = 'dropped'",
            self.name,
            number
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

/// Of every read model, the generation that serves.
pub(crate) async fn serving(pool: &PgPool) -> sqlx::Result<Vec<(String, i64)>> {
    let found =
        sqlx::query!("select read_model, generation from generations where state = 'serving'")
            .fetch_all(pool)
            .await;
    match found {
        Ok(rows) => Ok(rows
            .into_iter()
            .map(|row| (row.read_model, row.generation))
            .collect()),
        // Nobody has built anything here yet.
        Err(error) if store::is_undefined(&error) => Ok(vec![]),
        Err(error) => Err(error),
    }
}
