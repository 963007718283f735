//! The events of one upload, as they are recorded.
//!
//! # Invariants
//!
//! * Read from the log itself, not from a read model.
//! * Checked: one `became-playable`, one `became-ready`, and one end for every task that started.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use domain::{
    fact::AnyEvent,
    job,
    media::{Media, Rendition},
    video,
};
use eventlog::{Followed, Log, Position, Recorded};
use tokio_util::sync::CancellationToken;

use crate::{platform::Addresses, upload::Uploaded};

/// How far our view of the log may be behind what was announced.
pub const LAG_MAX: Duration = Duration::from_secs(15);

/// What the events said.
#[derive(Default)]
pub struct Timeline {
    pub plan: Option<Plan>,
    playable: u32,
    ready: u32,
    /// Started minus ended, and started, per attempt.
    attempts: BTreeMap<(String, u32), (i32, i32)>,
    failure: Option<String>,
}

pub struct Plan {
    pub media: Media,
    pub renditions: Vec<Rendition>,
}

/// Prints the events of `uploaded` until the one that ends its processing.
pub async fn follow(
    addresses: &Addresses,
    uploaded: &Uploaded,
    stop: CancellationToken,
) -> anyhow::Result<Timeline> {
    let log = Log::new(&addresses.eventstore)?;
    let asked_at: Position = uploaded
        .asked_at
        .parse()
        .context("the api answered with no usable position")?;
    let began = Instant::now();
    let mut timeline = Timeline::default();
    let stream = format!("video-{}", uploaded.video);
    for recorded in log.read_stream(&stream, None, 1).await? {
        print_event(began, &recorded);
    }
    let mut events = log.follow(Some(asked_at.commit), stop);
    while let Some(followed) = events.recv().await {
        let Followed::Event(recorded) = followed else {
            continue;
        };
        if belongs_to(&recorded, &uploaded.video)? {
            print_event(began, &recorded);
            if timeline.take(&recorded)? {
                return Ok(timeline);
            }
        }
    }
    bail!("the event log ended its subscription")
}

fn belongs_to(recorded: &Recorded, video: &str) -> anyhow::Result<bool> {
    Ok(match &recorded.event {
        Ok(AnyEvent::Video(fact)) => fact.video.to_string() == video,
        Ok(AnyEvent::Job(fact)) => fact.video.to_string() == video,
        Ok(AnyEvent::Views(_)) => false,
        Err(error) => bail!("event {} cannot be read: {error}", recorded.id),
    })
}

fn print_event(began: Instant, recorded: &Recorded) {
    let category = recorded.stream.split('-').next().unwrap_or_default();
    let text = match &recorded.event {
        Ok(AnyEvent::Job(fact)) => job_details(&fact.event),
        Ok(AnyEvent::Video(_) | AnyEvent::Views(_)) | Err(_) => String::new(),
    };
    println!(
        "{:>7.2} s  {category:>5} #{:<3} {:<28} {text}",
        began.elapsed().as_secs_f64(),
        recorded.revision,
        recorded.type_name,
    );
}

fn job_details(event: &job::Kind) -> String {
    use job::Kind;
    match event {
        Kind::Planned { .. } | Kind::Completed {} | Kind::Cancelled {} => String::new(),
        Kind::RenditionsTakenOver { taken_over } => {
            format!("all but {}", taken_over.replaced.rendition.id)
        }
        Kind::LadderPlanned { renditions, .. } => {
            let names: Vec<&str> = renditions.iter().map(|one| one.id.0.as_str()).collect();
            names.join(" ")
        }
        Kind::TaskStarted { lease, worker } => format!("{} by {worker}", attempt(lease)),
        Kind::SegmentsPublished {
            lease,
            rendition,
            from,
            segments,
            ..
        } => format!(
            "{} {rendition} {from}..{}",
            attempt(lease),
            *from as usize + segments.len()
        ),
        Kind::TaskFinished { lease, .. }
        | Kind::LeaseLost { lease }
        | Kind::TaskCancelled { lease } => attempt(lease),
        Kind::TaskFailed {
            lease,
            code,
            message,
        } => {
            format!("{} {}: {message}", attempt(lease), code.as_str())
        }
        Kind::Failed { code, message, .. } => format!("{}: {message}", code.as_str()),
    }
}

fn attempt(lease: &job::Lease) -> String {
    format!("{} (attempt {})", lease.task, lease.attempt)
}

impl Timeline {
    /// Whether this event ends the processing.
    fn take(&mut self, recorded: &Recorded) -> anyhow::Result<bool> {
        match &recorded.event {
            Ok(AnyEvent::Job(fact)) => self.take_job(&fact.event),
            Ok(AnyEvent::Video(fact)) => return Ok(self.take_video(&fact.event)),
            Ok(AnyEvent::Views(_)) => {}
            Err(error) => bail!("event {} cannot be read: {error}", recorded.id),
        }
        Ok(false)
    }

    fn take_job(&mut self, event: &job::Kind) {
        use job::Kind;
        match event {
            Kind::LadderPlanned {
                media, renditions, ..
            } => {
                self.plan = Some(Plan {
                    media: media.clone(),
                    renditions: renditions.clone(),
                });
            }
            Kind::TaskStarted { lease, .. } => {
                let entry = self
                    .attempts
                    .entry((lease.task.0.clone(), lease.attempt))
                    .or_default();
                entry.0 += 1;
                entry.1 += 1;
            }
            Kind::TaskFinished { lease, .. }
            | Kind::TaskFailed { lease, .. }
            | Kind::LeaseLost { lease }
            | Kind::TaskCancelled { lease } => {
                self.attempts
                    .entry((lease.task.0.clone(), lease.attempt))
                    .or_default()
                    .0 -= 1;
            }
            Kind::Planned { .. }
            | Kind::RenditionsTakenOver { .. }
            | Kind::SegmentsPublished { .. }
            | Kind::Completed {}
            | Kind::Failed { .. }
            | Kind::Cancelled {} => {}
        }
    }

    fn take_video(&mut self, event: &video::Kind) -> bool {
        use video::Kind;
        match event {
            Kind::BecamePlayable { .. } => self.playable += 1,
            Kind::BecameReady { .. } => self.ready += 1,
            Kind::ProcessingFailed { code, message, .. }
            | Kind::UploadRejected { code, message } => {
                self.failure = Some(format!("{}: {message}", code.as_str()));
            }
            Kind::Deleted { .. } => self.failure = Some("the video was deleted".to_owned()),
            Kind::UploadRequested { .. }
            | Kind::UploadCompleted { .. }
            | Kind::UploadExpired {}
            | Kind::DetailsChanged { .. }
            | Kind::ProcessingRetried { .. }
            | Kind::RenditionRetried { .. }
            | Kind::RenditionReplaced { .. }
            | Kind::RenditionRetryFailed { .. } => {}
        }
        self.ready > 0 || self.failure.is_some()
    }

    /// Whether every step happened exactly as often as it must.
    pub fn check(&self) -> anyhow::Result<()> {
        if let Some(failure) = &self.failure {
            bail!("processing failed: {failure}");
        }
        if (self.playable, self.ready) != (1, 1) {
            bail!(
                "became playable {} times and ready {} times",
                self.playable,
                self.ready
            );
        }
        for ((task, attempt), (open, started)) in &self.attempts {
            if (*open, *started) != (0, 1) {
                bail!(
                    "attempt {attempt} of {task} started {started} times and is open {open} times"
                );
            }
        }
        Ok(())
    }
}
