//! Having one rendition of a ready video made again.
//!
//! # Invariants
//!
//! * The rule decides about facts that are looked up here: which renditions the current job made,
//!   by the log, and whether the source is still kept, by the object store.
//! * The same idempotency key, by the same person and for the same rendition, is one retry.

use domain::{
    decider::Decider,
    fact::AnyEvent,
    id::{CommandId, RenditionId, VideoId, derived},
    job::Job,
    video::{Command, Status, Video},
};
use eventlog::{Envelope, Executed, stream_name};
use uuid::Uuid;

use crate::{
    app::{App, now_ms},
    command::{self, Refused},
    error::{ApiError, internal},
    viewer::{Person, Viewer},
};

/// A job says what it makes within its first events: a probe has 8 attempts, of two events each.
const FIRST_EVENTS_MAX: usize = 64;

pub(crate) async fn rendition(
    app: &App,
    viewer: &Viewer,
    person: &Person,
    id: VideoId,
    rendition: RenditionId,
    idempotency_key: Option<&str>,
) -> Result<Executed<Video>, Refused> {
    let video = command::changeable(app, viewer, person, id).await?;
    let actor = viewer.actor();
    let retry = match idempotency_key {
        Some(key) => CommandId(derived(&[
            b"retry-rendition",
            id.0.as_bytes(),
            rendition.0.as_bytes(),
            actor.as_bytes(),
            key.as_bytes(),
        ])),
        None => CommandId(Uuid::now_v7()),
    };
    let command = Command::RetryRendition {
        by: person.by(),
        rendition,
        made: made(app, &video).await?,
        kept: kept(app, &video).await?,
        at_ms: now_ms(),
    };
    command::execute(app, id, &Envelope::new(retry, actor), command).await
}

/// What the current job of a ready video made.
async fn made(app: &App, video: &Video) -> Result<Vec<RenditionId>, ApiError> {
    let (Status::Ready, Some(job)) = (video.status, video.job) else {
        return Ok(vec![]);
    };
    let stream = stream_name::<Job>(job);
    let events = app.log.read_stream(&stream, None, FIRST_EVENTS_MAX).await;
    let events = events
        .map_err(anyhow::Error::from)
        .map_err(internal(format!("read what job {job} makes")))?;
    let job = events
        .iter()
        .fold(Job::default(), |job, recorded| match &recorded.event {
            Ok(AnyEvent::Job(fact)) => job.evolve(fact),
            Ok(AnyEvent::Video(_) | AnyEvent::Views(_)) | Err(_) => job,
        });
    Ok(job.all_renditions())
}

/// The ETag of the source of a ready video, as it is stored now.
async fn kept(app: &App, video: &Video) -> Result<Option<String>, ApiError> {
    if video.status != Status::Ready {
        return Ok(None);
    }
    let head = app.objects.head(&video.key).await;
    let head = head.map_err(internal(format!("look for the source of {}", video.id)))?;
    Ok(head.map(|head| head.etag))
}
