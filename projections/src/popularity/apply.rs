//! How views are counted.

use std::collections::HashSet;

use anyhow::Context;
use domain::{fact::AnyEvent, id::VideoId, video, views};
use eventlog::{Epoch, Recorded};
use redis::{AsyncCommands, Script, aio::ConnectionManager};

use super::{HOUR_MS, PREFIX, WINDOW_HOURS, checkpoint, connection, key};
use crate::{
    runner::{Applied, Batch, Projection, Subject, subject},
    store::Checkpoint,
};

/// How long the sessions of a day are remembered. Past midnight a day's views may still come, not for long;
/// and the log itself knows a session's view of the day by its id.
const SESSIONS_KEPT_SECONDS: u32 = 4 * 24 * 60 * 60;

pub(crate) struct Popularity {
    redis: ConnectionManager,
    script: Script,
}

impl Popularity {
    pub(crate) fn new(url: &str) -> anyhow::Result<Self> {
        Ok(Self {
            redis: connection(url)?,
            script: Script::new(include_str!("apply.lua")),
        })
    }
}

impl Projection for Popularity {
    const NAME: &'static str = super::NAME;
    const REBUILD: &'static str = "delete the keys {kinolog:popularity:0}:* in Redis";

    async fn prepare(&mut self, epoch: Epoch) -> anyhow::Result<Checkpoint> {
        let _: bool = self
            .redis
            .hset_nx(key("checkpoint"), "epoch", epoch.to_string())
            .await?;
        let checkpoint = checkpoint(&mut self.redis).await?;
        checkpoint.context("the checkpoint is gone again")
    }

    async fn checkpoint(&mut self) -> anyhow::Result<Option<Checkpoint>> {
        checkpoint(&mut self.redis).await
    }

    async fn apply(&mut self, epoch: Epoch, batch: &Batch) -> anyhow::Result<Applied> {
        let mut call = self.script.prepare_invoke();
        for name in ["checkpoint", "views", "hours", "deleted", "stopped"] {
            call.key(key(name));
        }
        let position = |commit: Option<u64>| commit.map(|c| c.to_string()).unwrap_or_default();
        call.arg(PREFIX)
            .arg(epoch.to_string())
            .arg(position(batch.from))
            .arg(position(batch.to))
            .arg(u8::from(batch.caught_up))
            .arg(WINDOW_HOURS)
            .arg(SESSIONS_KEPT_SECONDS)
            .arg(position(batch.last_event()));
        let mut stopped = HashSet::new();
        for recorded in &batch.events {
            let Some(change) = change(recorded) else {
                continue;
            };
            if let Change::Stop { video, reason } = &change
                && stopped.insert(*video)
            {
                log_stop(*video, recorded, reason);
            }
            change.add_to(&mut call);
        }
        let applied: u8 = call.invoke_async(&mut self.redis).await?;
        Ok(match applied {
            1 => Applied::Yes,
            _ => Applied::Fenced,
        })
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
    Stop {
        video: VideoId,
        reason: String,
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
            Some(Change::Stop {
                video,
                reason: format!("at {}: {error}", recorded.commit),
            })
        }
    }
}

impl Change {
    fn add_to(&self, call: &mut redis::ScriptInvocation<'_>) {
        match self {
            Self::View {
                video,
                day,
                hour,
                id,
            } => {
                call.arg("view")
                    .arg(video.to_string())
                    .arg(day)
                    .arg(*hour)
                    .arg(id);
            }
            Self::Delete { video } => {
                call.arg("delete")
                    .arg(video.to_string())
                    .arg("")
                    .arg("")
                    .arg("");
            }
            Self::Stop { video, reason } => {
                call.arg("stop")
                    .arg(video.to_string())
                    .arg("")
                    .arg("")
                    .arg(reason);
            }
        }
    }
}

fn log_stop(video: VideoId, recorded: &Recorded, reason: &str) {
    tracing::error!(
        projection = super::NAME,
        video.id = %video,
        event.position = recorded.commit,
        event.type_name = recorded.type_name,
        error = reason,
        "popularity stopped video {video}: an event cannot be applied; rebuild it with a program that can"
    );
    metrics::counter!("kinolog_projection_stopped_videos", "projection" => super::NAME)
        .increment(1);
}
