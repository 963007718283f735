//! One file through the platform, timed by what the log says.
//!
//! Seconds count from `upload-completed`: that is when a person has done their part, and
//! planning is a part of ours.

use std::{path::Path, time::Duration};

use anyhow::{Context, bail, ensure};
use domain::{
    fact::AnyEvent,
    job,
    media::{Kind, Media, Ratio, Rendition},
    video,
};
use eventlog::{Followed, Log, Position, Recorded};
use kinolog::{
    client::Request,
    upload::{self, Uploaded},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::platform::Platform;

/// How long a job may take: the largest one here takes a tenth of it.
const JOB_TIMEOUT: Duration = Duration::from_secs(4 * 3600);

/// How far a job is followed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Until {
    Playable,
    Ready,
}

/// What the log says of one job.
#[derive(Default)]
pub struct Job {
    pub video: String,
    completed_ms: Option<i64>,
    playable_ms: Option<i64>,
    ready_ms: Option<i64>,
    planned: Option<Planned>,
}

#[derive(Clone)]
pub struct Planned {
    pub media: Media,
    pub boundaries_us: Vec<u64>,
    pub renditions: Vec<Rendition>,
    /// Names of the kinds of its tasks, each once.
    pub kinds: Vec<&'static str>,
}

/// A rendition with a picture.
#[derive(Clone, Debug)]
pub struct Picture {
    pub name: String,
    pub width: u32,
    pub height: u32,
    pub rate: Ratio,
    pub bitrate_kbps: u32,
}

/// Uploads a file and follows its job.
pub async fn run(platform: &Platform, file: &Path, until: Until) -> anyhow::Result<Job> {
    let request = Request {
        title: "bench".to_owned(),
        description: String::new(),
        tags: vec![],
        visibility: "PUBLIC".to_owned(),
        idempotency_key: uuid::Uuid::new_v4().to_string(),
    };
    let uploaded = upload::one(&platform.client, file, &request).await?;
    let followed = tokio::time::timeout(JOB_TIMEOUT, follow(platform, &uploaded, until));
    let job = followed
        .await
        .with_context(|| format!("{} is not done in time", file.display()))??;
    Ok(job)
}

/// Deletes the video, and with it the rest of its job.
pub async fn forget(platform: &Platform, job: &Job) -> anyhow::Result<()> {
    let query = "mutation($input: DeleteVideoInput!) { deleteVideo(input: $input) {
        userErrors { message } } }";
    let input = json!({"input": {"videoId": job.video}});
    let answer = platform.client.query(query, input).await?;
    let errors = &answer["deleteVideo"]["userErrors"];
    ensure!(
        errors.as_array().is_some_and(Vec::is_empty),
        "the video cannot be deleted: {errors}"
    );
    platform.idle().await
}

async fn follow(platform: &Platform, uploaded: &Uploaded, until: Until) -> anyhow::Result<Job> {
    let log = Log::new(&platform.addresses.eventstore)?;
    let from: Position = uploaded
        .asked_at
        .parse()
        .context("the api answered with no usable position")?;
    let stop = CancellationToken::new();
    let _stop_at_the_end = stop.clone().drop_guard();
    let mut events = log.follow(Some(from.commit), stop);
    let mut job = Job {
        video: uploaded.video.clone(),
        ..Job::default()
    };
    while let Some(followed) = events.recv().await {
        let Followed::Event(recorded) = followed else {
            continue;
        };
        job.take(&recorded)?;
        let is_done = match until {
            Until::Playable => job.playable_ms.is_some(),
            Until::Ready => job.ready_ms.is_some(),
        };
        if is_done {
            return Ok(job);
        }
    }
    bail!("the event log ended its subscription")
}

impl Job {
    fn take(&mut self, recorded: &Recorded) -> anyhow::Result<()> {
        match &recorded.event {
            Ok(AnyEvent::Video(fact)) if fact.video.to_string() == self.video => {
                self.take_video(fact)?;
            }
            Ok(AnyEvent::Job(fact)) if fact.video.to_string() == self.video => {
                self.take_job(&fact.event);
            }
            Ok(AnyEvent::Video(_) | AnyEvent::Job(_) | AnyEvent::Views(_)) => {}
            Err(error) => bail!("event {} cannot be read: {error}", recorded.id),
        }
        Ok(())
    }

    fn take_video(&mut self, fact: &video::Event) -> anyhow::Result<()> {
        use video::Kind;
        match &fact.event {
            Kind::UploadCompleted { .. } => self.completed_ms = Some(fact.at_ms),
            Kind::BecamePlayable { .. } => self.playable_ms = Some(fact.at_ms),
            Kind::BecameReady { .. } => self.ready_ms = Some(fact.at_ms),
            Kind::ProcessingFailed { message, .. } | Kind::UploadRejected { message, .. } => {
                bail!("processing failed: {message}")
            }
            Kind::UploadExpired {} => bail!("the upload expired"),
            Kind::Deleted { .. } => bail!("the video was deleted"),
            Kind::UploadRequested { .. }
            | Kind::DetailsChanged { .. }
            | Kind::ProcessingRetried { .. }
            | Kind::RenditionRetried { .. }
            | Kind::RenditionReplaced { .. }
            | Kind::RenditionRetryFailed { .. } => {}
        }
        Ok(())
    }

    fn take_job(&mut self, event: &job::Kind) {
        let job::Kind::LadderPlanned {
            media,
            boundaries_us,
            renditions,
            tasks,
            ..
        } = event
        else {
            return;
        };
        let mut kinds: Vec<&str> = tasks.iter().map(|task| task.spec.name()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        self.planned = Some(Planned {
            media: media.clone(),
            boundaries_us: boundaries_us.clone(),
            renditions: renditions.clone(),
            kinds,
        });
    }

    /// From the upload's end.
    pub fn playable_seconds(&self) -> anyhow::Result<f64> {
        self.seconds_to(self.playable_ms, "playable")
    }

    pub fn ready_seconds(&self) -> anyhow::Result<f64> {
        self.seconds_to(self.ready_ms, "ready")
    }

    fn seconds_to(&self, at_ms: Option<i64>, what: &str) -> anyhow::Result<f64> {
        let completed = self.completed_ms.context("the upload was never complete")?;
        let at = at_ms.with_context(|| format!("the video was never {what}"))?;
        Ok((at - completed) as f64 / 1000.0)
    }

    pub fn planned(&self) -> anyhow::Result<&Planned> {
        self.planned.as_ref().context("the job was never planned")
    }
}

impl Planned {
    /// The renditions with a picture, largest first.
    pub fn pictures(&self) -> Vec<Picture> {
        let pictures = self
            .renditions
            .iter()
            .filter_map(|rendition| match rendition.kind {
                Kind::Video {
                    width,
                    height,
                    frame_rate,
                    ..
                } => Some(Picture {
                    name: rendition.id.0.clone(),
                    width,
                    height,
                    rate: frame_rate,
                    bitrate_kbps: rendition.bitrate_kbps,
                }),
                Kind::Audio { .. } => None,
            });
        pictures.collect()
    }

    pub fn is_passed_through(&self) -> bool {
        self.kinds.contains(&"passthrough")
    }
}
