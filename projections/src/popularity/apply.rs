//! How views are counted.

use std::collections::{BTreeSet, HashSet};

use anyhow::Context;
use domain::{fact::AnyEvent, id::VideoId, video, views};
use eventlog::{Epoch, Recorded};
use redis::{AsyncCommands, Script, aio::ConnectionManager};
use uuid::Uuid;

use super::{HOUR_MS, HOURS_KEPT, PREFIX, checkpoint, connection, key, prefix};
use crate::{
    Config,
    overview::Stopped,
    runner::{Applied, Batch, Projection, Subject, subject},
    store::Checkpoint,
    verify::Digest,
};

/// How long the sessions of a day are remembered. Past midnight a day's views may still come, not for long;
/// and the log itself knows a session's view of the day by its id.
const SESSIONS_KEPT_SECONDS: u32 = 4 * 24 * 60 * 60;

/// How many keys Redis looks at before it serves others.
const ERASED_PER_STEP: usize = 1_000;

pub(crate) struct Popularity {
    redis: ConnectionManager,
    script: Script,
    generation: i64,
    /// What the checkpoint knows us by.
    holder: Uuid,
}

impl Projection for Popularity {
    const NAME: &'static str = super::NAME;
    const VERSION: i64 = super::VERSION;
    /// Whoever wrote before finds itself fenced, and pauses.
    type Held = ();

    fn open(config: &Config, generation: i64) -> anyhow::Result<Self> {
        Ok(Self {
            redis: connection(&config.redis_url)?,
            script: Script::new(include_str!("apply.lua")),
            generation,
            holder: Uuid::new_v4(),
        })
    }

    fn rebuild(&self) -> String {
        format!("delete the keys {}* in Redis", prefix(self.generation))
    }

    async fn prepare(&mut self, epoch: Epoch) -> anyhow::Result<Checkpoint> {
        let key = self.key("checkpoint");
        let _: bool = self.redis.hset_nx(&key, "epoch", epoch.to_string()).await?;
        let checkpoint = self.checkpoint().await?;
        let checkpoint = checkpoint.context("the checkpoint is gone again")?;
        if checkpoint.epoch == epoch.to_string() {
            let holder = self.holder.to_string();
            let _: () = self.redis.hset(&key, "holder", holder).await?;
        }
        // Read again: only from now on nobody else moves it.
        let checkpoint = self.checkpoint().await?;
        checkpoint.context("the checkpoint is gone again")
    }

    async fn checkpoint(&mut self) -> anyhow::Result<Option<Checkpoint>> {
        checkpoint(&mut self.redis, self.generation).await
    }

    async fn apply(&mut self, epoch: Epoch, batch: &Batch) -> anyhow::Result<Applied> {
        let mut stopped = HashSet::new();
        let mut changes = vec![];
        for recorded in &batch.events {
            let Some(change) = change(recorded) else {
                continue;
            };
            if let Change::Stop(why) = &change
                && stopped.insert(why.video)
            {
                log_stop(why);
            }
            changes.push(change);
        }
        self.send(epoch, batch, changes).await
    }

    /// In one script, which holds up Redis for about a millisecond per thousand videos. Sessions are left
    /// out: they go by Redis' own clock.
    async fn digest(&mut self) -> anyhow::Result<Digest> {
        let script = Script::new(include_str!("digest.lua"));
        let mut call = script.prepare_invoke();
        for name in ["checkpoint", "views", "hours", "deleted", "stopped"] {
            call.key(self.key(name));
        }
        call.arg(prefix(self.generation));
        type Found = (String, Vec<(String, u64, String)>);
        let (commit, parts): Found = call.invoke_async(&mut self.redis).await?;
        Ok(Digest {
            position: (!commit.is_empty()).then(|| commit.parse()).transpose()?,
            parts: parts
                .into_iter()
                .map(|(name, rows, digest)| (name, (rows, digest)))
                .collect(),
        })
    }

    async fn hold(&mut self, epoch: Epoch) -> anyhow::Result<((), Option<u64>)> {
        Ok(((), self.prepare(epoch).await?.commit))
    }

    async fn erase(&mut self) -> anyhow::Result<()> {
        // No other generation's keys: those go on with a `g` where the first's have their names.
        let pattern = match self.generation {
            1 => format!("{PREFIX}[^g]*"),
            _ => format!("{}*", prefix(self.generation)),
        };
        let mut cursor = 0_u64;
        loop {
            let (next, keys): (u64, Vec<String>) = redis::cmd("SCAN")
                .arg(cursor)
                .arg("MATCH")
                .arg(&pattern)
                .arg("COUNT")
                .arg(ERASED_PER_STEP)
                .query_async(&mut self.redis)
                .await?;
            if !keys.is_empty() {
                let _: () = self.redis.unlink(keys).await?;
            }
            cursor = next;
            if cursor == 0 {
                return Ok(());
            }
        }
    }
}

impl Popularity {
    fn key(&self, rest: &str) -> String {
        key(self.generation, rest)
    }

    async fn send(
        &mut self,
        epoch: Epoch,
        batch: &Batch,
        changes: Vec<Change>,
    ) -> anyhow::Result<Applied> {
        let mut call = self.script.prepare_invoke();
        for name in ["checkpoint", "views", "hours", "deleted", "stopped"] {
            call.key(self.key(name));
        }
        let position = |commit: Option<u64>| commit.map(|c| c.to_string()).unwrap_or_default();
        call.arg(prefix(self.generation))
            .arg(epoch.to_string())
            .arg(position(batch.from))
            .arg(position(batch.to))
            .arg(u8::from(batch.caught_up))
            .arg(HOURS_KEPT)
            .arg(SESSIONS_KEPT_SECONDS)
            .arg(position(batch.last_event()))
            .arg(self.holder.to_string())
            .arg(batch.events.len());
        for change in changes {
            change.add_to(&mut call)?;
        }
        let applied: u8 = call.invoke_async(&mut self.redis).await?;
        Ok(match applied {
            1 => Applied::Yes,
            _ => Applied::Fenced,
        })
    }

    /// Counts the views of `video` again, from `events`, which are all up to where the store stands.
    /// Fenced when it does not stand there any more.
    pub(crate) async fn count_again(
        &mut self,
        epoch: Epoch,
        at: Option<u64>,
        video: VideoId,
        events: &[Recorded],
    ) -> anyhow::Result<Applied> {
        let again: Vec<Change> = events.iter().filter_map(change).collect();
        let days: BTreeSet<&String> = again.iter().filter_map(Change::day).collect();
        let mut changes = vec![Change::Forget { video }];
        changes.extend(days.into_iter().map(|day| Change::ForgetDay {
            video,
            day: day.clone(),
        }));
        changes.extend(again);
        // It moves nothing: nothing new was read.
        let nowhere = Batch {
            from: at,
            to: at,
            ..Batch::default()
        };
        self.send(epoch, &nowhere, changes).await
    }
}

enum Change {
    View {
        video: VideoId,
        day: String,
        hour: i64,
        id: String,
    },
    Delete {
        video: VideoId,
    },
    Stop(Stopped),
    Forget {
        video: VideoId,
    },
    ForgetDay {
        video: VideoId,
        day: String,
    },
}

/// `None` for what has nothing to do with views.
fn change(recorded: &Recorded) -> Option<Change> {
    let concerns = ["views.", "video.deleted."]
        .iter()
        .any(|prefix| recorded.type_name.starts_with(prefix));
    if !concerns {
        return None;
    }
    match &recorded.event {
        Ok(AnyEvent::Views(fact)) => {
            let views::Kind::Recorded { session } = &fact.event;
            let (_, id) = views::stream_and_id(fact.video, session, fact.at_ms);
            Some(Change::View {
                video: fact.video,
                day: views::day(fact.at_ms),
                hour: fact.at_ms.div_euclid(HOUR_MS),
                id: id.to_string(),
            })
        }
        Ok(AnyEvent::Video(fact)) => match &fact.event {
            video::Kind::Deleted { .. } => Some(Change::Delete { video: fact.video }),
            video::Kind::UploadRequested { .. }
            | video::Kind::UploadCompleted { .. }
            | video::Kind::UploadRejected { .. }
            | video::Kind::UploadExpired {}
            | video::Kind::DetailsChanged { .. }
            | video::Kind::BecamePlayable { .. }
            | video::Kind::BecameReady { .. }
            | video::Kind::ProcessingFailed { .. }
            | video::Kind::ProcessingRetried { .. }
            | video::Kind::RenditionRetried { .. }
            | video::Kind::RenditionReplaced { .. }
            | video::Kind::RenditionRetryFailed { .. } => None,
        },
        Ok(AnyEvent::Job(_)) => None,
        Err(error) => {
            let video = match subject(recorded) {
                Subject::Video(video) => video,
                Subject::Job(job) => VideoId(job.0),
                Subject::Unknown => VideoId::default(),
            };
            Some(Change::Stop(Stopped {
                video,
                position: recorded.commit,
                type_name: recorded.type_name.clone(),
                error: error.to_string(),
            }))
        }
    }
}

impl Change {
    fn day(&self) -> Option<&String> {
        match self {
            Self::View { day, .. } | Self::ForgetDay { day, .. } => Some(day),
            Self::Delete { .. } | Self::Stop(_) | Self::Forget { .. } => None,
        }
    }

    fn add_to(&self, call: &mut redis::ScriptInvocation<'_>) -> anyhow::Result<()> {
        let mut add = |what: &str, video: &VideoId, day: &str, hour: &str, detail: &str| {
            call.arg(what)
                .arg(video.to_string())
                .arg(day)
                .arg(hour)
                .arg(detail);
        };
        match self {
            Self::View {
                video,
                day,
                hour,
                id,
            } => add("view", video, day, &hour.to_string(), id),
            Self::Delete { video } => add("delete", video, "", "", ""),
            Self::Stop(why) => add("stop", &why.video, "", "", &serde_json::to_string(why)?),
            Self::Forget { video } => add("forget", video, "", "", ""),
            Self::ForgetDay { video, day } => add("forget day", video, day, "", ""),
        }
        Ok(())
    }
}

fn log_stop(why: &Stopped) {
    let (name, video) = (super::NAME, why.video);
    tracing::error!(
        projection = name,
        video.id = %video,
        event.position = why.position,
        event.type_name = why.type_name,
        error = why.error,
        "{name} stopped video {video}: an event cannot be applied. With a program that can: kinolog projections retry {name} {video}"
    );
}
