//! One video as it was: its streams, folded up to a position or a time.
//!
//! # Invariants
//!
//! * The rules fold (`domain`), so that the past is what decisions were made on; what the catalogue
//!   shows beside that is added in the same way as there. `fold_tests` compares the two.
//! * A video's clock never goes back: the first event that is later than the asked time ends the past,
//!   though one behind it may say that it was earlier. `versions` keeps the same clock.

use std::collections::BTreeMap;

use domain::{
    decider::Decider,
    fact::AnyEvent,
    id::{EventId, JobId, RenditionId, VideoId},
    job::{self, Job, Outcome},
    media::Published,
    video::{self as rules, Kind, Status, job_asked_for},
};
use eventlog::{Log, LogError};

use super::{Failure, RenditionState, Retry, RetryState, Video, jobs::job_of};

/// A film of twelve hours has a tenth of these.
pub const EVENTS_MAX: usize = 200_000;

/// A moment of the past, both ends included: what was recorded at it is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Moment {
    /// A commit position.
    Position(u64),
    /// In event time, in Unix ms.
    Time(i64),
}

/// Why the past of a video is not known.
#[derive(Debug, thiserror::Error)]
pub enum PastError {
    #[error("more than {EVENTS_MAX} events happened to video {0} by then")]
    TooLong(VideoId),
    #[error("event {revision} of {stream} cannot be read")]
    Unreadable { stream: String, revision: u64 },
    #[error(transparent)]
    Log(#[from] LogError),
}

/// A video as it was, with what was made of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Past {
    pub video: Video,
    /// In the order of the ladder.
    pub renditions: Vec<RenditionState>,
}

/// `None` where there was no such video yet, or it was deleted.
pub async fn past(log: &Log, id: VideoId, moment: Moment) -> Result<Option<Past>, PastError> {
    let mut history = log.history(id, None);
    let mut fold = Fold::default();
    for _ in 0..EVENTS_MAX {
        let Some(entry) = history.next().await? else {
            return Ok(fold.past(moment));
        };
        let Ok(event) = domain::codec::decode(&entry.type_name, &entry.data) else {
            return Err(PastError::Unreadable {
                stream: entry.stream,
                revision: entry.revision,
            });
        };
        match fold.place(moment, entry.commit, &entry.stream, &event) {
            Place::Before => fold.take(entry.commit, entry.id, &entry.stream, &event),
            Place::Aside => {}
            Place::After => return Ok(fold.past(moment)),
        }
    }
    Err(PastError::TooLong(id))
}

/// Where an event stands, as seen from a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Before,
    /// It is later, and what follows it may not be.
    Aside,
    After,
}

/// What a job says of its video beside how much of it is made.
fn is_planned_or_poster(event: &job::Kind) -> bool {
    match event {
        job::Kind::LadderPlanned { .. } => true,
        job::Kind::TaskFinished { outcome, .. } => matches!(outcome, Outcome::Poster { .. }),
        job::Kind::Planned { .. }
        | job::Kind::RenditionsTakenOver { .. }
        | job::Kind::TaskStarted { .. }
        | job::Kind::SegmentsPublished { .. }
        | job::Kind::TaskFailed { .. }
        | job::Kind::LeaseLost { .. }
        | job::Kind::TaskCancelled { .. }
        | job::Kind::Completed {}
        | job::Kind::Failed { .. }
        | job::Kind::Cancelled {} => false,
    }
}

/// Whether an event says no more than that some more of a video is made.
pub(super) fn is_progress(event: &AnyEvent) -> bool {
    match event {
        AnyEvent::Job(fact) => matches!(fact.event, job::Kind::SegmentsPublished { .. }),
        AnyEvent::Video(_) | AnyEvent::Views(_) => false,
    }
}

/// What is known after some events.
#[derive(Default)]
pub(crate) struct Fold {
    state: rules::Video,
    jobs: BTreeMap<JobId, Job>,
    video: Option<Video>,
    /// What the current job shows, and who made it, in the order of the ladder.
    makers: Vec<(RenditionId, JobId)>,
}

impl Fold {
    /// Where the next event stands. Only what changes a video moves its clock.
    pub(crate) fn place(
        &self,
        moment: Moment,
        commit: u64,
        stream: &str,
        event: &AnyEvent,
    ) -> Place {
        let asked = match moment {
            Moment::Position(asked) if commit <= asked => return Place::Before,
            Moment::Position(_) => return Place::After,
            Moment::Time(asked) => asked,
        };
        let (at_ms, moves_clock) = match event {
            AnyEvent::Video(fact) => (fact.at_ms, true),
            AnyEvent::Views(fact) => (fact.at_ms, false),
            AnyEvent::Job(fact) => {
                let current = self.video.as_ref().and_then(|video| video.job);
                let is_current = current.is_some() && current == job_of(stream);
                let changes = is_planned_or_poster(&fact.event);
                (fact.at_ms, is_current && changes)
            }
        };
        match (at_ms > asked, moves_clock) {
            (false, _) => Place::Before,
            (true, false) => Place::Aside,
            (true, true) => Place::After,
        }
    }

    pub(crate) fn take(&mut self, commit: u64, id: EventId, stream: &str, event: &AnyEvent) {
        let changed = match event {
            AnyEvent::Video(fact) => {
                self.state = std::mem::take(&mut self.state).evolve(fact);
                self.take_own(id, fact);
                true
            }
            AnyEvent::Job(fact) => job_of(stream).is_some_and(|job| self.take_of_job(job, fact)),
            AnyEvent::Views(_) => false,
        };
        if let Some(video) = self.video.as_mut().filter(|_| changed) {
            video.commit = commit;
        }
    }

    fn take_own(&mut self, id: EventId, fact: &rules::Event) {
        if let Kind::UploadRequested { .. } = fact.event {
            self.video = Some(Video::asked_for(&self.state, fact.at_ms));
        }
        let asked = job_asked_for(fact, id);
        if let Some(asked) = &asked {
            self.jobs.insert(asked.job, Job::default());
        }
        let Some(video) = &mut self.video else { return };
        video.status = self.state.status;
        video.playable = self.state.playable;
        video.details = self.state.details.clone();
        match &fact.event {
            Kind::UploadCompleted { .. } | Kind::ProcessingRetried { .. } => {
                if let Some(asked) = asked {
                    video.begin_job(asked.job, asked.source.size_bytes);
                    self.makers.clear();
                }
            }
            Kind::UploadRejected { code, message }
            | Kind::ProcessingFailed { code, message, .. } => {
                video.failure = Some(Failure {
                    code: *code,
                    message: message.clone(),
                });
            }
            Kind::BecamePlayable { job, picture } => {
                video.show(*job, picture);
                video.ready_ms = None;
            }
            Kind::BecameReady { job, picture } => {
                video.show(*job, picture);
                video.playable = true;
                video.ready_ms = Some(fact.at_ms);
            }
            Kind::RenditionRetried { rendition, .. } => {
                video.retry = Some(Retry {
                    rendition: rendition.clone(),
                    state: RetryState::Running,
                    asked_ms: fact.at_ms,
                    ended_ms: None,
                    failure: None,
                });
            }
            Kind::RenditionReplaced { job, rendition } => self.switch(fact.at_ms, *job, rendition),
            Kind::RenditionRetryFailed { code, message, .. } => {
                if let Some(retry) = &mut video.retry {
                    retry.state = RetryState::Failed;
                    retry.ended_ms = Some(fact.at_ms);
                    retry.failure = Some(Failure {
                        code: *code,
                        message: message.clone(),
                    });
                }
            }
            Kind::Deleted { .. } => *self = Self::default(),
            Kind::UploadRequested { .. } | Kind::UploadExpired {} | Kind::DetailsChanged { .. } => {
            }
        }
    }

    /// `job` is the current one from now on; it made `rendition`, and took over the others.
    fn switch(&mut self, at_ms: i64, job: JobId, rendition: &RenditionId) {
        for (id, maker) in &mut self.makers {
            if id == rendition {
                *maker = job;
            }
        }
        let published = self.published().map(|(_, it)| it.count() as u64).sum();
        let Some(video) = &mut self.video else { return };
        video.job = Some(job);
        video.segments_published = published;
        if let Some(retry) = &mut video.retry {
            retry.state = RetryState::Done;
            retry.ended_ms = Some(at_ms);
        }
    }

    /// Whether the video changed as its viewers see it.
    fn take_of_job(&mut self, id: JobId, fact: &job::Event) -> bool {
        let Some(job) = self.jobs.remove(&id) else {
            return false;
        };
        self.jobs.insert(id, job.evolve(fact));
        let Some(video) = self.video.as_mut().filter(|video| video.job == Some(id)) else {
            return false;
        };
        match &fact.event {
            job::Kind::LadderPlanned {
                media,
                boundaries_us,
                renditions,
                ..
            } => {
                let ids = renditions
                    .iter()
                    .map(|rendition| (rendition.id.clone(), id));
                self.makers = ids.collect();
                video.segments_planned = (boundaries_us.len() * renditions.len()) as u64;
                video.duration_ms = Some(media.duration_ms);
                video.width = media.video.as_ref().map(|it| it.display_width);
                video.height = media.video.as_ref().map(|it| it.display_height);
                true
            }
            job::Kind::SegmentsPublished { segments, .. } => {
                video.segments_published += segments.len() as u64;
                true
            }
            job::Kind::TaskFinished {
                outcome: Outcome::Poster { key, .. },
                ..
            } => {
                video.poster_key = Some(key.clone());
                true
            }
            job::Kind::Planned { .. }
            | job::Kind::RenditionsTakenOver { .. }
            | job::Kind::TaskStarted { .. }
            | job::Kind::TaskFinished { .. }
            | job::Kind::TaskFailed { .. }
            | job::Kind::LeaseLost { .. }
            | job::Kind::TaskCancelled { .. }
            | job::Kind::Completed {}
            | job::Kind::Failed { .. }
            | job::Kind::Cancelled {} => false,
        }
    }

    fn published(&self) -> impl Iterator<Item = (JobId, &Published)> {
        self.makers.iter().filter_map(|(rendition, maker)| {
            let job = self.jobs.get(maker)?;
            Some((*maker, job.renditions.get(rendition)?))
        })
    }

    pub(crate) fn past(&self, moment: Moment) -> Option<Past> {
        let mut video = self.video.clone()?;
        let current = video.job.unwrap_or_default();
        let renditions = self.published().map(|(maker, published)| {
            let planned = self
                .jobs
                .get(&maker)
                .map_or(0, |job| job.boundaries_us.len());
            state_of(current, published, planned as u64)
        });
        let renditions = renditions.collect();
        video.as_of = Some(moment);
        Some(Past { video, renditions })
    }
}

fn state_of(job: JobId, published: &Published, segments_planned: u64) -> RenditionState {
    let segments = published.segments.iter().chain(published.ahead.values());
    let init_bytes = published.init.as_ref().map_or(0, |init| init.size_bytes);
    RenditionState {
        job,
        rendition: published.rendition.clone(),
        codec: published.init.as_ref().map(|init| init.codec.clone()),
        size_bytes: init_bytes + segments.map(|segment| segment.size_bytes).sum::<u64>(),
        segments_planned,
        segments_published: published.count() as u64,
    }
}

impl Video {
    fn asked_for(state: &rules::Video, created_ms: i64) -> Self {
        Self {
            id: state.id,
            owner: state.owner.clone(),
            details: state.details.clone(),
            status: Status::Uploading,
            playable: false,
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
            retry: None,
            as_of: None,
            commit: 0,
        }
    }

    /// What an older job made is not shown any more.
    fn begin_job(&mut self, job: JobId, size_bytes: u64) {
        self.playable = false;
        self.job = Some(job);
        self.declared.size_bytes = size_bytes;
        self.segments_planned = 0;
        self.segments_published = 0;
        self.duration_ms = None;
        self.width = None;
        self.height = None;
        self.poster_key = None;
        self.ready_ms = None;
        self.failure = None;
    }

    fn show(&mut self, job: JobId, picture: &rules::Picture) {
        let shown = |pixels: u32| (pixels > 0).then_some(pixels);
        self.job = Some(job);
        self.duration_ms = Some(picture.duration_ms);
        self.width = shown(picture.width);
        self.height = shown(picture.height);
    }
}
