//! Keeps one read model: follows every generation that is to be followed, and puts a new one in the place
//! of the one that serves.
//!
//! # Invariants
//!
//! * A generation serves only when it stands where the one before it stands, which is held still for that
//!   moment: no reader ever goes back.
//! * A generation of the same version that does not say what the serving one says is refused, unless
//!   somebody accepted that before.
//! * Any number of instances may run this: each generation has its lease.

use std::{collections::HashMap, time::Duration};

use anyhow::Context;
use eventlog::Log;
use sqlx::PgPool;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    Config, announcements, catalogue,
    generations::{Generation, Generations, State},
    lease::Lease,
    owners,
    popularity::{self, Popularity},
    reader::Model,
    runner::{self, BackOff, Projection},
    schemas,
    verify::{Compared, bring_to, compare},
};

/// How often is looked for generations that are new or to be dropped.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often is looked whether a new one has caught up.
const CAUGHT_UP_EVERY: Duration = Duration::from_millis(100);

/// The generation that is made to be compared with, and erased again.
const SCRATCH: i64 = 0;

/// How long the serving one is held still. PostgreSQL lets go of whoever holds it longer than 30 s, and a
/// generation that is behind would serve.
const HELD_MAX: Duration = Duration::from_secs(10);

/// How often the writer of a kept generation may come between it and its way back.
const SWAPS_MAX: usize = 50;

/// What all generations of all read models need.
#[derive(Clone)]
pub(crate) struct Engine {
    pub config: Config,
    pub log: Log,
    pub pool: PgPool,
}

impl Engine {
    pub(crate) fn new(config: &Config, log: &Log) -> anyhow::Result<Self> {
        Ok(Self {
            config: config.clone(),
            log: log.clone(),
            pool: schemas::engine(&config.postgres_url)?,
        })
    }

    pub(crate) fn generations<P: Projection>(&self) -> Generations {
        Generations::new(self.pool.clone(), P::NAME)
    }

    pub(crate) fn lease<P: Projection>(&self, number: i64) -> Lease {
        let name = schemas::schema(P::NAME, number);
        Lease::new(&self.config.postgres_url, self.pool.clone(), P::NAME, name)
    }
}

/// Until `stop`; fails only when going on would be wrong.
pub(crate) async fn keep<P: Projection + 'static>(
    engine: Engine,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let generations = engine.generations::<P>();
    let mut back_off = BackOff::new(P::NAME);
    let mut followed: HashMap<(i64, bool), CancellationToken> = HashMap::new();
    let mut followers = JoinSet::new();
    let ended = loop {
        match look::<P>(&engine, &generations).await {
            Ok(all) => {
                back_off.reset();
                follow_these::<P>(&engine, &stop, all, &mut followed, &mut followers);
            }
            Err(error) => back_off.wait("look at its generations", &error).await,
        }
        tokio::select! {
            () = stop.cancelled() => break Ok(()),
            Some(ended) = followers.join_next() => match ended.context("a follower broke off")? {
                // A new one has begun to serve, or its generation is dropped.
                Ok(key) => drop(followed.remove(&key)),
                Err(error) => break Err(error),
            },
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    };
    for token in followed.values() {
        token.cancel();
    }
    while followers.join_next().await.is_some() {}
    ended
}

async fn look<P: Projection>(
    engine: &Engine,
    generations: &Generations,
) -> anyhow::Result<Vec<Generation>> {
    let all = match generations.of_version(P::VERSION).await {
        Err(_) => {
            schemas::migrate_engine(&engine.config.postgres_url).await?;
            generations.of_version(P::VERSION).await?
        }
        Ok(all) => all,
    };
    for number in generations.drop_old().await? {
        P::open(&engine.config, number)?.erase().await?;
        generations.forget(number).await?;
        tracing::info!(
            projection = P::NAME,
            "erased generation {number} of {}",
            P::NAME
        );
    }
    Ok(all)
}

/// Begins to follow what is new, and lets go of what is dropped.
fn follow_these<P: Projection + 'static>(
    engine: &Engine,
    stop: &CancellationToken,
    all: Vec<Generation>,
    followed: &mut HashMap<(i64, bool), CancellationToken>,
    followers: &mut JoinSet<anyhow::Result<(i64, bool)>>,
) {
    let mut wanted = HashMap::new();
    for generation in all {
        if generation.state.is_followed() && generation.version <= P::VERSION {
            let is_building = generation.state == State::Building;
            wanted.insert((generation.number, is_building), generation);
        }
    }
    followed.retain(|key, token| {
        let stays = wanted.contains_key(key);
        if !stays {
            token.cancel();
        }
        stays
    });
    for (key, generation) in wanted {
        if followed.contains_key(&key) {
            continue;
        }
        let token = stop.child_token();
        followed.insert(key, token.clone());
        let engine = engine.clone();
        followers.spawn(async move {
            match generation.state == State::Building {
                true => build::<P>(&engine, &generation, token).await?,
                false => follow::<P>(&engine, &generation, token).await?,
            }
            Ok(key)
        });
    }
}

async fn follow<P: Projection>(
    engine: &Engine,
    generation: &Generation,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let projection = P::open(&engine.config, generation.number)?;
    let lease = engine.lease::<P>(generation.number);
    runner::run(projection, lease, engine.log.clone(), stop).await
}

/// Ends when the generation serves or is refused.
async fn build<P: Projection>(
    engine: &Engine,
    generation: &Generation,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let lease = engine.lease::<P>(generation.number);
    let mut back_off = BackOff::new(P::NAME);
    let building = async {
        loop {
            lease.taken().await;
            tokio::select! {
                built = build_once::<P>(engine, generation, &stop) => match built {
                    Ok(()) => return,
                    Err(error) => back_off.wait("build a new generation", &error).await,
                },
                () = lease.lost() => {}
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = building => {}
    }
    lease.given_back().await;
    Ok(())
}

async fn build_once<P: Projection>(
    engine: &Engine,
    generation: &Generation,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let generations = engine.generations::<P>();
    let number = generation.number;
    let all = generations.all().await?;
    if !all
        .iter()
        .any(|it| it.number == number && it.state == State::Building)
    {
        // Another instance was there first.
        return Ok(());
    }
    let mut fresh = P::open(&engine.config, number)?;
    tracing::info!(
        projection = P::NAME,
        "building generation {number} of {}",
        P::NAME
    );
    tokio::select! {
        ended = runner::follow_for_ever(&mut fresh, &engine.log, stop) => return ended,
        caught_up = caught_up::<P>(engine, number) => caught_up?,
    }
    let all = generations.all().await?;
    let serving = all.iter().find(|it| it.state == State::Serving);
    let serving = serving.context("no generation serves")?;
    if serving.version == generation.version && !generation.accepted {
        let epoch = engine.log.epoch().await?;
        let mut old = P::open(&engine.config, serving.number)?;
        let compared = compare(&mut old, &mut fresh, &engine.log, epoch).await?;
        if !compared.differences.is_empty() {
            let note = compared.differences.join("; ");
            tracing::error!(
                projection = P::NAME,
                "generation {number} of {} does not say what generation {} says, which goes on serving: {note}",
                P::NAME,
                serving.number
            );
            return generations.refuse(number, &note).await;
        }
        tracing::info!(
            projection = P::NAME,
            "generation {number} of {} says what generation {} says: {} rows at {:?}",
            P::NAME,
            serving.number,
            compared.rows,
            compared.position
        );
    }
    swap::<P>(engine, serving.number, number).await
}

async fn caught_up<P: Projection>(engine: &Engine, number: i64) -> anyhow::Result<()> {
    let mut looking = P::open(&engine.config, number)?;
    loop {
        tokio::time::sleep(CAUGHT_UP_EVERY).await;
        if looking
            .checkpoint()
            .await?
            .is_some_and(|found| found.caught_up)
        {
            return Ok(());
        }
    }
}

/// Begins another generation of a read model, which a running engine builds, and which then serves.
/// `accepted`: even if it does not say what the serving one says.
pub async fn begin(config: &Config, model: Model, accepted: bool) -> anyhow::Result<i64> {
    let generations = Generations::new(schemas::engine(&config.postgres_url)?, model.name());
    let version = match model {
        Model::Catalogue => catalogue::VERSION,
        Model::Announcements => announcements::VERSION,
        Model::Owners => owners::VERSION,
        Model::Popularity => popularity::VERSION,
    };
    generations.begin(version, accepted).await
}

pub async fn generations(config: &Config, model: Model) -> anyhow::Result<Vec<Generation>> {
    let pool = schemas::engine(&config.postgres_url)?;
    Generations::new(pool, model.name()).all().await
}

/// Has the generation serve again that served last. Says which.
pub async fn back(config: &Config, log: &Log, model: Model) -> anyhow::Result<i64> {
    let engine = Engine::new(config, log)?;
    match model {
        Model::Catalogue => back_of::<catalogue::Projection>(&engine).await,
        Model::Announcements => back_of::<announcements::Projection>(&engine).await,
        Model::Owners => back_of::<owners::Projection>(&engine).await,
        Model::Popularity => back_of::<Popularity>(&engine).await,
    }
}

async fn back_of<P: Projection>(engine: &Engine) -> anyhow::Result<i64> {
    let all = engine.generations::<P>().all().await?;
    let serving = all.iter().find(|it| it.state == State::Serving);
    let serving = serving.context("no generation serves")?.number;
    let kept = all.iter().filter(|it| it.state == State::Kept);
    let kept = kept.min_by_key(|it| it.age_seconds);
    let kept = kept
        .context("no generation is kept that served before")?
        .number;
    let mut left = SWAPS_MAX;
    loop {
        left -= 1;
        match swap::<P>(engine, serving, kept).await {
            Ok(()) => return Ok(kept),
            // It has a writer, who may come between.
            Err(_) if left > 0 => {}
            Err(error) => return Err(error),
        }
    }
}

/// Compares what serves with a fresh fold of the log, made beside it and erased again.
pub async fn verify(config: &Config, log: &Log, model: Model) -> anyhow::Result<Compared> {
    let engine = Engine::new(config, log)?;
    match model {
        Model::Catalogue => verify_of::<catalogue::Projection>(&engine).await,
        Model::Announcements => verify_of::<announcements::Projection>(&engine).await,
        Model::Owners => verify_of::<owners::Projection>(&engine).await,
        Model::Popularity => verify_of::<Popularity>(&engine).await,
    }
}

async fn verify_of<P: Projection>(engine: &Engine) -> anyhow::Result<Compared> {
    let all = engine.generations::<P>().all().await?;
    let serving = all.iter().find(|it| it.state == State::Serving);
    let serving = serving.context("no generation serves")?;
    anyhow::ensure!(
        serving.version == P::VERSION,
        "generation {} of {} was built by version {} of its projection, this program has version {}",
        serving.number,
        P::NAME,
        serving.version,
        P::VERSION
    );
    let lease = engine.lease::<P>(SCRATCH);
    lease.taken().await;
    let compared = async {
        let epoch = engine.log.epoch().await?;
        let mut serving = P::open(&engine.config, serving.number)?;
        let mut fresh = P::open(&engine.config, SCRATCH)?;
        // What somebody left who was interrupted.
        fresh.erase().await?;
        let compared = compare(&mut serving, &mut fresh, &engine.log, epoch).await;
        fresh.erase().await?;
        compared
    };
    let compared = tokio::select! {
        compared = compared => compared,
        () = lease.lost() => Err(anyhow::anyhow!("somebody else verifies {} meanwhile", P::NAME)),
    };
    lease.given_back().await;
    compared
}

/// Puts `to` in the place of `from`. Nobody else may write `to` meanwhile.
pub(crate) async fn swap<P: Projection>(engine: &Engine, from: i64, to: i64) -> anyhow::Result<()> {
    let epoch = engine.log.epoch().await?;
    let mut old = P::open(&engine.config, from)?;
    let mut new = P::open(&engine.config, to)?;
    // First most of the way while the old one goes on, then the rest while it is held still.
    let ahead = old.checkpoint().await?.and_then(|found| found.commit);
    bring_to(&mut new, &engine.log, epoch, ahead).await?;
    let (held, at) = old.hold(epoch).await?;
    let rest = bring_to(&mut new, &engine.log, epoch, at);
    tokio::time::timeout(HELD_MAX, rest)
        .await
        .context("the log did not give the rest in time")??;
    engine.generations::<P>().swap(from, to).await?;
    drop(held);
    tracing::info!(
        projection = P::NAME,
        "generation {to} of {} serves instead of {from}, from {at:?} on",
        P::NAME
    );
    Ok(())
}
