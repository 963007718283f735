//! Read models in PostgreSQL: a schema each, with its checkpoint and its stopped videos.
//!
//! # Invariants
//!
//! * Rows, checkpoint and notifications are one transaction, which begins with the fence.
//! * Only who took the read model over last moves its checkpoint.
//! * The video of an event that cannot be applied is stopped: what comes later for it is not applied
//!   either, until it is tried again by a program that can.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    marker::PhantomData,
    num::TryFromIntError,
};

use anyhow::Context;
use domain::{
    fact::AnyEvent,
    id::{JobId, VideoId},
};
use eventlog::{Epoch, Recorded};
use sqlx::{Connection, PgConnection, PgPool, Transaction, migrate::Migrator};
use uuid::Uuid;

use crate::{
    Config,
    overview::Stopped,
    runner::{Applied, Batch, Projection, Subject, subject},
    schemas::{migrate_schema, pool, schema},
    verify::Digest,
};

/// A projection writes through one connection, and looks through the same.
const CONNECTIONS_MAX: u32 = 1;

/// Where a read model stands, as its store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub epoch: String,
    /// `None` at the beginning of the log.
    pub commit: Option<u64>,
    pub caught_up: bool,
    /// The commit position of the last event up to there: what its log must still have.
    pub last_event: Option<u64>,
    /// How many events of ours were read up to there.
    pub events: u64,
}

/// Why an event was not applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unapplied {
    #[error(transparent)]
    Store(#[from] sqlx::Error),
    #[error("a number is larger than a table can hold")]
    Number(#[from] TryFromIntError),
    #[error(transparent)]
    Unreadable(#[from] anyhow::Error),
}

/// The rows of one read model.
pub(crate) trait Rows: Send {
    const NAME: &'static str;
    const VERSION: i64;
    const CHANNEL: &'static str;

    /// The tables of a generation.
    fn migrator() -> &'static Migrator;

    /// Whether events of this type can change anything here.
    fn concerns(type_name: &str) -> bool;

    /// Applies one event. What listeners should hear goes into `news`.
    fn apply(
        tx: &mut PgConnection,
        recorded: &Recorded,
        event: &AnyEvent,
        news: &mut BTreeSet<String>,
    ) -> impl Future<Output = Result<(), Unapplied>> + Send;

    /// Once per batch that has events, after them.
    fn tidy(
        tx: &mut PgConnection,
        events: &[Recorded],
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Whose job this is, for an event that does not say so itself.
    fn video_of(
        tx: &mut PgConnection,
        job: JobId,
    ) -> impl Future<Output = sqlx::Result<Option<VideoId>>> + Send;

    /// Deletes every row of a video, as if nothing had ever been applied for it.
    fn forget(
        tx: &mut PgConnection,
        video: VideoId,
    ) -> impl Future<Output = Result<(), Unapplied>> + Send;
}

pub(crate) struct Postgres<R> {
    url: String,
    schema: String,
    pool: PgPool,
    /// What the checkpoint knows us by.
    holder: Uuid,
    rows: PhantomData<R>,
}

impl<R: Rows + 'static> Projection for Postgres<R> {
    const NAME: &'static str = R::NAME;
    const VERSION: i64 = R::VERSION;
    /// The row of the checkpoint is locked by it.
    type Held = Transaction<'static, sqlx::Postgres>;

    fn open(config: &Config, generation: i64) -> anyhow::Result<Self> {
        let schema = schema(R::NAME, generation);
        Ok(Self {
            url: config.postgres_url.clone(),
            pool: pool(&config.postgres_url, &schema, CONNECTIONS_MAX)?,
            schema,
            holder: Uuid::new_v4(),
            rows: PhantomData,
        })
    }

    fn rebuild(&self) -> String {
        format!("drop schema {} cascade", self.schema)
    }

    async fn prepare(&mut self, epoch: Epoch) -> anyhow::Result<Checkpoint> {
        migrate_schema(&self.url, &self.schema, R::migrator()).await?;
        sqlx::query!(
            "insert into checkpoint (epoch, holder) values ($1, $2)
             on conflict (single) do update set holder = excluded.holder where checkpoint.epoch = excluded.epoch",
            epoch.to_string(),
            self.holder
        )
        .execute(&self.pool)
        .await?;
        let checkpoint = checkpoint(&self.pool).await?;
        checkpoint.context("the checkpoint is gone again")
    }

    async fn checkpoint(&mut self) -> anyhow::Result<Option<Checkpoint>> {
        checkpoint(&self.pool).await
    }

    async fn apply(&mut self, epoch: Epoch, batch: &Batch) -> anyhow::Result<Applied> {
        match self.apply_all(epoch, batch, Care::Little).await {
            Err(Unapplied::Store(error)) if !is_about_the_event(&error) => Err(error.into()),
            // An event is at fault. Find out which, with a savepoint for each.
            Err(_) => Ok(self.apply_all(epoch, batch, Care::Great).await?),
            Ok(applied) => Ok(applied),
        }
    }

    async fn digest(&mut self) -> anyhow::Result<Digest> {
        let mut tx = self.pool.begin().await?;
        sqlx::query!("set transaction isolation level repeatable read, read only")
            .execute(&mut *tx)
            .await?;
        let position = sqlx::query_scalar!("select commit from checkpoint")
            .fetch_optional(&mut *tx)
            .await?
            .flatten();
        let tables = sqlx::query!(
            r#"select of_table as "table!", row_count as "rows!", digest::text as "digest!" from digests($1)"#,
            self.schema
        )
        .fetch_all(&mut *tx)
        .await?;
        let mut parts = BTreeMap::new();
        for row in tables {
            parts.insert(row.table, (u64::try_from(row.rows)?, row.digest));
        }
        Ok(Digest {
            position: position.map(u64::try_from).transpose()?,
            parts,
        })
    }

    async fn hold(&mut self, _: Epoch) -> anyhow::Result<(Self::Held, Option<u64>)> {
        let mut tx = self.pool.begin().await?;
        let commit = sqlx::query_scalar!("select commit from checkpoint for update")
            .fetch_one(&mut *tx)
            .await?;
        Ok((tx, commit.map(u64::try_from).transpose()?))
    }

    async fn erase(&mut self) -> anyhow::Result<()> {
        sqlx::query!("select drop_schema($1)", self.schema)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

/// Whether each event has its own savepoint, so that those before it survive its failure.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Care {
    Little,
    Great,
}

impl<R: Rows> Postgres<R> {
    async fn apply_all(
        &mut self,
        epoch: Epoch,
        batch: &Batch,
        care: Care,
    ) -> Result<Applied, Unapplied> {
        let mut tx = self.pool.begin().await?;
        if !advance(&mut tx, epoch, self.holder, batch).await? {
            return Ok(Applied::Fenced);
        }
        apply_events::<R>(&mut tx, &batch.events, care).await?;
        tx.commit().await?;
        Ok(Applied::Yes)
    }
}

/// Applies the events to rows that stand right before them.
pub(crate) async fn apply_events<R: Rows>(
    tx: &mut PgConnection,
    events: &[Recorded],
    care: Care,
) -> Result<(), Unapplied> {
    if events.is_empty() {
        return Ok(());
    }
    let mut news = BTreeSet::new();
    // Read each time: somebody may have tried a video again meanwhile.
    let stopped = sqlx::query_scalar!("select video from stopped_videos")
        .fetch_all(&mut *tx)
        .await?;
    let mut stopped: HashSet<VideoId> = stopped.into_iter().map(VideoId).collect();
    for recorded in events.iter().filter(|r| R::concerns(&r.type_name)) {
        let video = video_of::<R>(tx, recorded).await?;
        if stopped.contains(&video) {
            continue;
        }
        let applied = match (&recorded.event, care) {
            (Err(error), _) => Err(Unapplied::Unreadable(anyhow::anyhow!("{error}"))),
            (Ok(event), Care::Little) => {
                R::apply(tx, recorded, event, &mut news).await?;
                Ok(())
            }
            (Ok(event), Care::Great) => {
                apply_carefully::<R>(tx, recorded, event, &mut news).await?
            }
        };
        if let Err(error) = applied {
            stop(tx, R::NAME, video, recorded, &error).await?;
            stopped.insert(video);
        }
    }
    R::tidy(tx, events).await?;
    notify::<R>(tx, news).await
}

/// The inner result is the event's fault, the outer one the store's.
async fn apply_carefully<R: Rows>(
    tx: &mut PgConnection,
    recorded: &Recorded,
    event: &AnyEvent,
    news: &mut BTreeSet<String>,
) -> Result<Result<(), Unapplied>, Unapplied> {
    let mut savepoint = tx.begin().await?;
    match R::apply(&mut savepoint, recorded, event, news).await {
        Ok(()) => {
            savepoint.commit().await?;
            Ok(Ok(()))
        }
        Err(Unapplied::Store(error)) if !is_about_the_event(&error) => Err(error.into()),
        Err(error) => {
            savepoint.rollback().await?;
            Ok(Err(error))
        }
    }
}

async fn video_of<R: Rows>(tx: &mut PgConnection, recorded: &Recorded) -> sqlx::Result<VideoId> {
    Ok(match subject(recorded) {
        Subject::Video(video) => video,
        // A job nobody knows stands for itself, so that it is stopped and seen at least.
        Subject::Job(job) => R::video_of(tx, job).await?.unwrap_or(VideoId(job.0)),
        Subject::Unknown => VideoId::default(),
    })
}

/// The fence: moves the checkpoint if it is ours and where the batch begins. Locks it until the
/// transaction ends.
async fn advance(
    tx: &mut PgConnection,
    epoch: Epoch,
    holder: Uuid,
    batch: &Batch,
) -> Result<bool, Unapplied> {
    let from = batch.from.map(i64::try_from).transpose()?;
    let to = batch.to.map(i64::try_from).transpose()?;
    let last_event = batch.last_event().map(i64::try_from).transpose()?;
    let moved = sqlx::query!(
        "update checkpoint set commit = $1, caught_up = caught_up or $2,
            last_event = coalesce($5, last_event), events = events + $7
         where epoch = $3 and commit is not distinct from $4 and holder = $6",
        to,
        batch.caught_up,
        epoch.to_string(),
        from,
        last_event,
        holder,
        batch.events.len() as i64
    )
    .execute(tx)
    .await?;
    Ok(moved.rows_affected() == 1)
}

async fn stop(
    tx: &mut PgConnection,
    name: &'static str,
    video: VideoId,
    recorded: &Recorded,
    error: &Unapplied,
) -> Result<(), Unapplied> {
    tracing::error!(
        projection = name,
        video.id = %video,
        event.position = recorded.commit,
        event.type_name = recorded.type_name,
        error = %error,
        "{name} stopped video {video}: an event cannot be applied. With a program that can: kinolog projections retry {name} {video}"
    );
    sqlx::query!(
        "insert into stopped_videos (video, commit, type_name, error) values ($1, $2, $3, $4)
         on conflict do nothing",
        video.0,
        i64::try_from(recorded.commit)?,
        recorded.type_name,
        // What PostgreSQL refused may stand in the message.
        error.to_string().replace('\0', "\u{fffd}")
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Heard by listeners when the transaction commits. Of a generation that does not serve nobody hears.
async fn notify<R: Rows>(tx: &mut PgConnection, news: BTreeSet<String>) -> Result<(), Unapplied> {
    if news.is_empty() {
        return Ok(());
    }
    let news: Vec<String> = news.into_iter().collect();
    sqlx::query!(
        "select pg_notify($1, news) from unnest($2::text[]) as news
         where exists (select from generations where read_model = $3 and state = 'serving'
            and current_schema() = read_model || '_g' || generation)",
        R::CHANNEL,
        &news,
        R::NAME
    )
    .fetch_all(tx)
    .await?;
    Ok(())
}

/// Whether the same event would fail again, as opposed to a store that is away, busy or broken.
fn is_about_the_event(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Encode(_) => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            // Data exception, integrity constraint, program limit.
            ["22", "23", "54"]
                .iter()
                .any(|class| code.starts_with(class))
        }),
        _ => false,
    }
}

/// `None` where nothing was built yet.
pub(crate) async fn checkpoint(pool: &PgPool) -> anyhow::Result<Option<Checkpoint>> {
    let found = sqlx::query!("select epoch, commit, caught_up, last_event, events from checkpoint")
        .fetch_optional(pool)
        .await;
    let row = match found {
        Ok(row) => row,
        Err(error) if is_undefined(&error) => None,
        Err(error) => return Err(error.into()),
    };
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Checkpoint {
        epoch: row.epoch,
        commit: row.commit.map(u64::try_from).transpose()?,
        caught_up: row.caught_up,
        last_event: row.last_event.map(u64::try_from).transpose()?,
        events: row.events.try_into()?,
    }))
}

/// Videos that were stopped, in the order in which it happened. At most `limit`.
pub(crate) async fn stopped(pool: &PgPool, limit: usize) -> anyhow::Result<Vec<Stopped>> {
    let rows = sqlx::query!(
        "select video, commit, type_name, error from stopped_videos order by commit, video limit $1",
        limit as i64
    )
    .fetch_all(pool)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Stopped {
                video: VideoId(row.video),
                position: row.commit.try_into()?,
                type_name: row.type_name,
                error: row.error,
            })
        })
        .collect()
}

pub(crate) async fn stopped_count(pool: &PgPool) -> anyhow::Result<u64> {
    let count = sqlx::query_scalar!(r#"select count(*) as "count!" from stopped_videos"#)
        .fetch_one(pool)
        .await?;
    Ok(count.try_into()?)
}

/// No table of that name, or not with that column: its migrations are still to come.
pub(crate) fn is_undefined(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(|error| error.code())
        .is_some_and(|code| code == "42P01" || code == "42703")
}
