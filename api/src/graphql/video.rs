//! A video as clients see it.

use std::sync::Arc;

use async_graphql::{ComplexObject, Context, Enum, ID, Object, Result, SimpleObject};
use domain::{
    id::VideoId,
    media::Kind,
    video::{self as rules, Status as State},
};
use projections::catalogue::{self, Past, RenditionState};
use time::OffsetDateTime;

use crate::{
    app::moment,
    graphql::{
        app, connection,
        retry::{self, RenditionRetry},
        scalar::Long,
        viewer,
    },
    play::Urls,
    viewer::Viewer,
};

/// Who may see a video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "domain::video::Visibility")]
pub(crate) enum Visibility {
    /// Anyone; it is listed and found.
    Public,
    /// Anyone who knows its id; it is never listed or found by others.
    Unlisted,
    /// Its owner.
    Private,
}

/// How urgent a video is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "domain::video::Priority")]
pub(crate) enum Priority {
    /// Before all others of its kind.
    High,
    Normal,
    /// When nothing else is to be done.
    Low,
}

/// Where a video stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum Status {
    /// Its file has not arrived yet.
    Uploading,
    /// Its renditions are being made. It may be playable already.
    Processing,
    /// All required renditions are there.
    Ready,
    /// See `failure`.
    Failed,
    /// Nobody finished the upload in time.
    Expired,
    Deleted,
}

impl From<State> for Status {
    fn from(state: State) -> Self {
        match state {
            State::Uploading => Self::Uploading,
            State::Processing => Self::Processing,
            State::Ready => Self::Ready,
            State::Failed => Self::Failed,
            State::Expired => Self::Expired,
            // What is not known is not shown.
            State::Deleted | State::Unknown => Self::Deleted,
        }
    }
}

/// Why a video failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "domain::code::Code")]
pub(crate) enum FailureCode {
    UploadMismatch,
    UploadExpired,
    SourceNotMedia,
    SourceTruncated,
    SourceCorrupt,
    SourceUnsupported,
    SourceTooLarge,
    SourceTooLong,
    SourceTooManyTracks,
    ProcessingStalled,
    ProcessingCrashed,
    ProcessingOutOfResources,
    StorageUnavailable,
}

/// Why a video failed, and a sentence for whoever uploaded it.
#[derive(SimpleObject)]
#[graphql(complex)]
pub(crate) struct Failure {
    code: FailureCode,
    message: String,
    /// Whose history may be shown to this viewer.
    #[graphql(skip)]
    history_of: Option<VideoId>,
}

#[ComplexObject]
impl Failure {
    /// Who tried what, and when: the last 100 attempts at the video's tasks, oldest first. For
    /// its owner and for operators; null for others, and in announcements.
    #[graphql(complexity = "connection::cost(None, child_complexity)")]
    async fn attempts(&self, ctx: &Context<'_>) -> Result<Option<Vec<Attempt>>> {
        let Some(video) = self.history_of else {
            return Ok(None);
        };
        let attempts = app(ctx)?.attempts.load_one(video).await?;
        let attempts = attempts.unwrap_or_default();
        Ok(Some(attempts.iter().map(Attempt::from).collect()))
    }
}

/// One try of one worker at one task.
#[derive(SimpleObject)]
pub(crate) struct Attempt {
    job_id: ID,
    /// Unique within its job: `probe`, `audio`, `poster`.
    task: String,
    /// The how-manieth it was of this task.
    attempt: u32,
    worker: String,
    started_at: OffsetDateTime,
    /// Null while it runs.
    ended_at: Option<OffsetDateTime>,
    outcome: AttemptOutcome,
    /// Where it failed: why.
    code: Option<FailureCode>,
    message: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum AttemptOutcome {
    Running,
    Finished,
    Failed,
    /// Its worker gave no sign of life.
    LeaseLost,
    /// The job ended before it.
    Cancelled,
}

impl From<&catalogue::Attempt> for Attempt {
    fn from(attempt: &catalogue::Attempt) -> Self {
        let failure = attempt.failure.as_ref();
        Self {
            job_id: ID(attempt.job.to_string()),
            task: attempt.task.clone(),
            attempt: attempt.attempt,
            worker: attempt.worker.clone(),
            started_at: moment(attempt.started_ms),
            ended_at: attempt.ended_ms.map(moment),
            outcome: match attempt.outcome {
                catalogue::AttemptOutcome::Running => AttemptOutcome::Running,
                catalogue::AttemptOutcome::Finished => AttemptOutcome::Finished,
                catalogue::AttemptOutcome::Failed => AttemptOutcome::Failed,
                catalogue::AttemptOutcome::LeaseLost => AttemptOutcome::LeaseLost,
                catalogue::AttemptOutcome::Cancelled => AttemptOutcome::Cancelled,
            },
            code: failure.map(|failure| failure.code.into()),
            message: failure.map(|failure| failure.message.clone()),
        }
    }
}

impl From<&catalogue::Failure> for Failure {
    fn from(failure: &catalogue::Failure) -> Self {
        Self {
            code: failure.code.into(),
            message: failure.message.clone(),
            history_of: None,
        }
    }
}

impl Failure {
    /// To somebody who may see who tried what.
    pub(crate) fn with_history_of(video: VideoId, failure: &catalogue::Failure) -> Self {
        Self {
            history_of: Some(video),
            ..Self::from(failure)
        }
    }
}

/// Where to play a video. A private video's addresses end after twelve hours; ask again then.
#[derive(SimpleObject)]
pub(crate) struct Playback {
    /// The HLS master playlist.
    hls: String,
    /// The DASH manifest, once the video is ready.
    dash: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum RenditionKind {
    Video,
    Audio,
}

/// One encoded version of a video.
#[derive(SimpleObject)]
pub(crate) struct Rendition {
    /// Unique within its video: `720p`, `audio`.
    id: ID,
    kind: RenditionKind,
    /// As RFC 6381 has it, `avc1.640028`; known once the first segment is there.
    codec: Option<String>,
    width: Option<u32>,
    height: Option<u32>,
    /// What it is meant to have on average.
    bitrate_bps: Long,
    /// What is published of it so far.
    size_bytes: Long,
}

impl From<&RenditionState> for Rendition {
    fn from(state: &RenditionState) -> Self {
        let (kind, width, height) = match state.rendition.kind {
            Kind::Video { width, height, .. } => (RenditionKind::Video, Some(width), Some(height)),
            Kind::Audio { .. } => (RenditionKind::Audio, None, None),
        };
        Self {
            id: ID(state.rendition.id.to_string()),
            kind,
            codec: state.codec.clone(),
            width,
            height,
            bitrate_bps: Long(i64::from(state.rendition.bitrate_kbps) * 1000),
            size_bytes: Long::of(state.size_bytes),
        }
    }
}

/// A video, to someone who may see it.
#[derive(Debug, Clone)]
pub(crate) struct Video(pub catalogue::Video);

impl Video {
    /// The entry as it is right after a command, though the catalogue may not know yet.
    pub(crate) fn after(mut entry: catalogue::Video, state: &rules::Video) -> Self {
        entry.details = state.details.clone();
        entry.status = state.status;
        entry.playable = state.playable;
        if state.status != State::Failed {
            entry.failure = None;
        }
        if let Some(retry) = &state.retry {
            entry.retry = Some(retry::running(retry));
        }
        Self(entry)
    }

    /// Whether this is somebody who may see who tried what.
    fn tells_all_to(&self, viewer: &Viewer) -> bool {
        viewer.owns(&self.0.owner) || viewer.operates()
    }

    /// Whether it can be played now: where it was played in the past may be gone.
    fn is_played(&self) -> bool {
        self.0.playable && self.0.as_of.is_none()
    }

    /// If this is the video as it was: all of that.
    async fn past(&self, ctx: &Context<'_>) -> Result<Option<Arc<Past>>> {
        let Some(moment) = self.0.as_of else {
            return Ok(None);
        };
        let past = app(ctx)?.pasts.load_one((self.0.id, moment)).await?;
        Ok(past)
    }

    /// A video that the catalogue does not know yet.
    pub(crate) fn new(state: &rules::Video, created_ms: i64, commit: u64) -> Self {
        Self(catalogue::Video {
            id: state.id,
            owner: state.owner.clone(),
            details: state.details.clone(),
            status: state.status,
            playable: state.playable,
            created_ms,
            ready_ms: None,
            declared: state.declared.clone(),
            upload_key: state.key.clone(),
            expires_at_ms: state.expires_at_ms,
            job: None,
            segments_planned: 0,
            segments_published: 0,
            duration_ms: None,
            width: None,
            height: None,
            poster_key: None,
            failure: None,
            retry: state.retry.as_ref().map(retry::running),
            as_of: None,
            commit,
        })
    }
}

/// What a person uploaded, and what became of it.
#[Object]
impl Video {
    /// A UUID; the same that `node(id:)` takes.
    pub(crate) async fn id(&self) -> ID {
        ID(self.0.id.to_string())
    }

    async fn title(&self) -> &str {
        &self.0.details.title
    }

    async fn description(&self) -> &str {
        &self.0.details.description
    }

    async fn tags(&self) -> &[String] {
        &self.0.details.tags
    }

    async fn visibility(&self) -> Visibility {
        self.0.details.visibility.into()
    }

    async fn status(&self) -> Status {
        self.0.status.into()
    }

    /// Whether a player can start it from its beginning, though not all may be encoded yet.
    async fn playable(&self) -> bool {
        self.0.playable
    }

    /// How much of the processing is done, from 0 to 1.
    async fn progress(&self) -> f64 {
        self.0.progress()
    }

    async fn duration_ms(&self) -> Option<Long> {
        self.0.duration_ms.map(Long::of)
    }

    /// As shown; null for sound alone, and before it is known.
    async fn width(&self) -> Option<u32> {
        self.0.width
    }

    async fn height(&self) -> Option<u32> {
        self.0.height
    }

    async fn created_at(&self) -> OffsetDateTime {
        moment(self.0.created_ms)
    }

    async fn ready_at(&self) -> Option<OffsetDateTime> {
        self.0.ready_ms.map(moment)
    }

    /// How often it was viewed, once per session and day. Null, with an error, while the
    /// counters are away.
    #[graphql(complexity = 2)]
    async fn views(&self, ctx: &Context<'_>) -> Result<Option<Long>> {
        if self.0.as_of.is_some() {
            return Ok(None);
        }
        let views = app(ctx)?.views.load_one(self.0.id).await?;
        Ok(views.map(Long::of))
    }

    /// The encoded versions, as far as they are made.
    #[graphql(complexity = "3 + child_complexity")]
    async fn renditions(&self, ctx: &Context<'_>) -> Result<Option<Vec<Rendition>>> {
        if let Some(past) = self.past(ctx).await? {
            return Ok(Some(past.renditions.iter().map(Rendition::from).collect()));
        }
        let Some(job) = self.0.job else {
            return Ok(Some(vec![]));
        };
        let renditions = app(ctx)?
            .renditions
            .load_one(job)
            .await?
            .unwrap_or_default();
        Ok(Some(renditions.iter().map(Rendition::from).collect()))
    }

    /// Where to play it; null before it is playable.
    async fn playback(&self, ctx: &Context<'_>) -> Result<Option<Playback>> {
        if !self.is_played() {
            return Ok(None);
        }
        let urls = Urls::of(app(ctx)?, self.0.id, self.0.details.visibility);
        Ok(Some(Playback {
            hls: urls.hls(),
            dash: (self.0.status == State::Ready).then(|| urls.dash()),
        }))
    }

    async fn poster_url(&self, ctx: &Context<'_>) -> Result<Option<String>> {
        if !self.is_played() || self.0.poster_key.is_none() {
            return Ok(None);
        }
        let urls = Urls::of(app(ctx)?, self.0.id, self.0.details.visibility);
        Ok(Some(urls.poster()))
    }

    /// Why it failed, if it did.
    async fn failure(&self, ctx: &Context<'_>) -> Result<Option<Failure>> {
        // Who tried what is known as it is now.
        let tell = self.tells_all_to(viewer(ctx)?) && self.0.as_of.is_none();
        Ok(self.0.failure.as_ref().map(|failure| match tell {
            true => Failure::with_history_of(self.0.id, failure),
            false => Failure::from(failure),
        }))
    }

    /// The last time that one of its renditions was made again. For its owner and for operators;
    /// null for others.
    async fn rendition_retry(&self, ctx: &Context<'_>) -> Result<Option<RenditionRetry>> {
        if !self.tells_all_to(viewer(ctx)?) {
            return Ok(None);
        }
        Ok(RenditionRetry::of(&self.0))
    }
}
