//! `kinolog projections`: the read models as operators see and mend them.
//!
//! # Invariants
//!
//! * It speaks to the stores themselves, so that it also works while no role runs.

use std::{path::Path, time::Duration};

use anyhow::{Context, ensure};
use clap::{Args, Subcommand};
use domain::id::VideoId;
use eventlog::Log;
use projections::{
    Config,
    again::{self, Tried},
    overview::{Overview, overview},
    reader::{Model, Reader},
};
use serde::Serialize;

use crate::{config::Settings, platform::Platform};

/// How long the speed of the read models is measured.
const MEASURED: Duration = Duration::from_secs(1);

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
            "{name:<14} at {position}, {lag_bytes} bytes behind the log{state}; {events} events, {}/s; {stopped} videos stopped\n",
            self.events_per_second
        );
        for why in stopped_videos {
            text.push_str(&format!(
                "  {} at {} by {}: {}\n",
                why.video, why.position, why.type_name, why.error
            ));
        }
        text
    }
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
