//! `kinolog projections`, `rebuild` and `verify`: the read models as operators see, mend and prove them.
//!
//! # Invariants
//!
//! * They speak to the stores themselves; only a rebuild needs the role `projections` to do the work.

use std::{path::Path, time::Duration};

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};
use domain::id::VideoId;
use eventlog::Log;
use projections::{
    Config,
    again::{self, Tried},
    engine,
    generations::State,
    overview::{Overview, overview},
    reader::{Model, Reader},
};
use serde::Serialize;

use crate::{config::Settings, platform::Platform};

/// How long the speed of the read models is measured.
const MEASURED: Duration = Duration::from_secs(1);
/// How often is looked how a rebuild goes.
const REBUILT_EVERY: Duration = Duration::from_millis(250);

#[derive(Args)]
pub struct ProjectionsArgs {
    /// One JSON object per read model on a line of its own.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Subcommand)]
enum Action {
    /// Tries stopped videos again, after a fix. Every other video goes on meanwhile.
    Retry {
        /// catalogue, announcements or popularity.
        name: String,
        /// None: all that it stopped.
        video: Option<String>,
    },
}

#[derive(Args)]
pub struct RebuildArgs {
    /// catalogue, announcements or popularity.
    name: String,
    /// Have the one serve again that served before.
    #[arg(long)]
    back: bool,
    /// Have the new one serve even if it does not say what the serving one says: after a fix.
    #[arg(long, conflicts_with = "back")]
    accept: bool,
}

#[derive(Args)]
pub struct VerifyArgs {
    /// catalogue, announcements or popularity.
    name: String,
}

/// Where the log and the read models are.
pub struct Stores {
    pub log: Log,
    pub config: Config,
}

impl Stores {
    /// Those that the settings name, or else those of the platform on `data`.
    pub fn find(settings: &Settings, data: &Path) -> anyhow::Result<Self> {
        let named = [
            &settings.eventstore,
            &settings.postgres.0,
            &settings.redis.0,
        ];
        let [eventstore, postgres_url, redis_url] = match named.iter().all(|it| it.is_empty()) {
            false => {
                settings.need(&["eventstore", "postgres", "redis"])?;
                named.map(String::clone)
            }
            true => {
                let found = Platform::find(data)?.addresses;
                [found.eventstore, found.postgres, found.redis]
            }
        };
        Ok(Self {
            log: Log::new(&eventstore).context("the address of the event log cannot be used")?,
            config: Config {
                postgres_url,
                redis_url,
            },
        })
    }
}

pub async fn projections(stores: &Stores, args: ProjectionsArgs) -> anyhow::Result<()> {
    match args.action {
        None => show(stores, args.json).await,
        Some(Action::Retry { name, video }) => {
            let video = video
                .map(|id| id.parse().with_context(|| format!("{id} is no video's id")))
                .transpose()?;
            retry(stores, model(&name)?, video, args.json).await
        }
    }
}

fn model(name: &str) -> anyhow::Result<Model> {
    Model::named(name).with_context(|| {
        let known = Model::ALL.map(Model::name).join(", ");
        format!("there is no read model {name}; there is {known}")
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    #[serde(flatten)]
    overview: Overview,
    events_per_second: u64,
}

async fn show(stores: &Stores, json: bool) -> anyhow::Result<()> {
    let before = look(stores).await?;
    tokio::time::sleep(MEASURED).await;
    for (before, overview) in before.into_iter().zip(look(stores).await?) {
        let line = Line {
            // Of what was rebuilt meanwhile nothing can be said.
            events_per_second: overview.events.saturating_sub(before.events) / MEASURED.as_secs(),
            overview,
        };
        match json {
            true => println!("{}", serde_json::to_string(&line)?),
            false => print!("{}", line.text()),
        }
    }
    Ok(())
}

async fn look(stores: &Stores) -> anyhow::Result<Vec<Overview>> {
    let reader = Reader::new(&stores.config.postgres_url, &stores.config.redis_url)?;
    let head = stores.log.head().await?;
    let mut all = vec![];
    for model in Model::ALL {
        let found = overview(&reader, model, head).await;
        all.push(found.with_context(|| format!("failed to look at {}", model.name()))?);
    }
    Ok(all)
}

impl Line {
    fn text(&self) -> String {
        let Overview {
            name,
            generation,
            version,
            beside,
            position,
            caught_up,
            events,
            lag_bytes,
            stopped,
            stopped_videos,
        } = &self.overview;
        let position = position.map_or("the beginning".to_owned(), |at| at.to_string());
        let state = if *caught_up { "" } else { ", being built" };
        let mut text = format!(
            "{name:<14} generation {generation} of version {version} at {position}, {lag_bytes} bytes behind the log{state}; {events} events, {}/s; {stopped} videos stopped\n",
            self.events_per_second
        );
        for other in beside {
            text.push_str(&format!(
                "  generation {} of version {}: {} since {} s{}\n",
                other.number,
                other.version,
                other.state.as_str(),
                other.age_seconds,
                other
                    .note
                    .as_deref()
                    .map(|note| format!(": {note}"))
                    .unwrap_or_default()
            ));
        }
        for why in stopped_videos {
            text.push_str(&format!(
                "  {} at {} by {}: {}\n",
                why.video, why.position, why.type_name, why.error
            ));
        }
        text
    }
}

/// Waits until the new generation serves, however long that takes; it is built without us, too.
pub async fn rebuild(stores: &Stores, args: &RebuildArgs) -> anyhow::Result<()> {
    let model = model(&args.name)?;
    let name = model.name();
    if args.back {
        let number = engine::back(&stores.config, &stores.log, model).await?;
        println!("generation {number} of {name} serves again");
        return Ok(());
    }
    let number = engine::begin(&stores.config, model, args.accept).await?;
    println!("generation {number} of {name} is being built");
    loop {
        tokio::time::sleep(REBUILT_EVERY).await;
        let all = engine::generations(&stores.config, model).await?;
        let generation = all.into_iter().find(|it| it.number == number);
        let generation = generation.with_context(|| format!("generation {number} is gone"))?;
        match generation.state {
            State::Building => {}
            State::Serving | State::Kept => {
                println!("generation {number} of {name} serves");
                return Ok(());
            }
            State::Refused | State::Dropped => bail!(
                "generation {number} of {name} does not say what the serving one says: {}. \
                 If that is the fix, kinolog rebuild {name} --accept",
                generation.note.unwrap_or_default()
            ),
        }
    }
}

pub async fn verify(stores: &Stores, args: &VerifyArgs) -> anyhow::Result<()> {
    let model = model(&args.name)?;
    let name = model.name();
    let compared = engine::verify(&stores.config, &stores.log, model).await?;
    let position = compared
        .position
        .map_or("the beginning".to_owned(), |at| at.to_string());
    ensure!(
        compared.differences.is_empty(),
        "{name} is not what the log says at {position}: {}",
        compared.differences.join("; ")
    );
    println!(
        "{name} is what the log says at {position}: {} rows",
        compared.rows
    );
    Ok(())
}

async fn retry(
    stores: &Stores,
    model: Model,
    video: Option<VideoId>,
    json: bool,
) -> anyhow::Result<()> {
    let tried = again::again(&stores.config, &stores.log, model, video).await?;
    for Tried { video, stopped } in &tried {
        match (json, stopped) {
            (true, _) => println!(
                "{}",
                serde_json::json!({"video": video, "goesOn": stopped.is_none(), "stopped": stopped})
            ),
            (false, None) => println!("{video} goes on"),
            (false, Some(why)) => println!(
                "{video} stopped again at {} by {}: {}",
                why.position, why.type_name, why.error
            ),
        }
    }
    let again = tried.iter().filter(|tried| tried.stopped.is_some()).count();
    ensure!(again == 0, "{again} of {} stopped again", tried.len());
    if tried.is_empty() && !json {
        println!("{} has stopped no video", model.name());
    }
    Ok(())
}
