//! A video, from the promise of a file to public playback.
//!
//! # Invariants
//!
//! * A source is accepted once, as it was declared, and never replaced.
//! * At most one job is current. What an older job reports changes nothing.
//! * `became-playable` and `became-ready` happen once per job, playable first.
//! * At most one rendition is made again at a time. Until its job ends well the video is what it was.
//! * A deleted video stays deleted: everything after it is "already so" or refused.

use serde::{Deserialize, Serialize};

use crate::{
    code::Code,
    decider::Decider,
    fact::Fact,
    id::{JobId, Owner, RenditionId, VideoId},
    video::decide::check_request,
};

mod asked;
mod decide;
mod rejection;
mod retry;

pub use asked::{Asked, Redo, job_asked_for};
pub use rejection::Rejection;
pub use retry::Retry;

pub type Event = Fact<Kind>;

/// Who may see a video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// Anyone; listed and found.
    Public,
    /// Anyone who knows its id; never listed or found by others.
    Unlisted,
    /// Its owner.
    #[default]
    Private,
}

impl Visibility {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Unlisted => "unlisted",
            Self::Private => "private",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Public, Self::Unlisted, Self::Private]
            .into_iter()
            .find(|v| v.as_str() == text)
    }
}

/// How urgent its uploader says a video is: among several, which is processed first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    High,
    #[default]
    Normal,
    Low,
}

impl Priority {
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// What is not said in an event.
    fn is_normal(&self) -> bool {
        *self == Self::Normal
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nothing is known of it: no such video.
    #[default]
    Unknown,
    Uploading,
    Processing,
    Ready,
    Failed,
    Expired,
    Deleted,
}

/// What people say about a video.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Details {
    pub title: String,
    pub description: String,
    pub tags: Vec<String>,
    pub visibility: Visibility,
}

/// What is to change; `None` stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Changes {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tags: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub visibility: Option<Visibility>,
}

/// The file as its uploader declares it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Declared {
    pub file_name: String,
    pub content_type: String,
    pub size_bytes: u64,
    /// Lower-case hex.
    pub checksum_sha256: Option<String>,
}

/// The file as the store has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    pub size_bytes: u64,
    /// Without quotes.
    pub etag: String,
    /// Lower-case hex; `None` where nothing was declared to compare it with.
    pub checksum_sha256: Option<String>,
}

/// What a player needs to know before it loads anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Picture {
    pub duration_ms: u64,
    /// As shown; 0 for audio alone.
    pub width: u32,
    pub height: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Kind {
    #[serde(rename = "video.upload-requested.v1")]
    UploadRequested {
        #[serde(flatten)]
        details: Details,
        #[serde(flatten)]
        declared: Declared,
        /// Where the source will stand in the object store.
        key: String,
        expires_at_ms: i64,
        #[serde(skip_serializing_if = "Priority::is_normal", default)]
        priority: Priority,
    },
    #[serde(rename = "video.upload-completed.v1")]
    UploadCompleted {
        key: String,
        etag: String,
        size_bytes: u64,
        #[serde(skip_serializing_if = "Priority::is_normal", default)]
        priority: Priority,
    },
    #[serde(rename = "video.upload-rejected.v1")]
    UploadRejected { code: Code, message: String },
    #[serde(rename = "video.upload-expired.v1")]
    UploadExpired {},
    #[serde(rename = "video.details-changed.v1")]
    DetailsChanged {
        #[serde(flatten)]
        changes: Changes,
    },
    #[serde(rename = "video.became-playable.v1")]
    BecamePlayable {
        job: JobId,
        #[serde(flatten)]
        picture: Picture,
    },
    #[serde(rename = "video.became-ready.v1")]
    BecameReady {
        job: JobId,
        #[serde(flatten)]
        picture: Picture,
    },
    #[serde(rename = "video.processing-failed.v1")]
    ProcessingFailed {
        job: JobId,
        code: Code,
        message: String,
    },
    #[serde(rename = "video.processing-retried.v1")]
    ProcessingRetried {
        key: String,
        etag: String,
        size_bytes: u64,
        #[serde(skip_serializing_if = "Priority::is_normal", default)]
        priority: Priority,
    },
    /// One rendition is to be made again; the video stays as `job` made it until that is done.
    #[serde(rename = "video.rendition-retried.v1")]
    RenditionRetried {
        rendition: RenditionId,
        job: JobId,
        key: String,
        etag: String,
        size_bytes: u64,
        #[serde(skip_serializing_if = "Priority::is_normal", default)]
        priority: Priority,
    },
    /// From now on `job` is the one that counts: it made `rendition`, and took over the others.
    #[serde(rename = "video.rendition-replaced.v1")]
    RenditionReplaced { job: JobId, rendition: RenditionId },
    /// The video stays what it was.
    #[serde(rename = "video.rendition-retry-failed.v1")]
    RenditionRetryFailed {
        job: JobId,
        rendition: RenditionId,
        code: Code,
        message: String,
    },
    #[serde(rename = "video.deleted.v1")]
    Deleted { key: String },
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    Owner(Owner),
    /// Someone with the scope `operate`.
    Operator(String),
    /// Kinolog itself.
    Platform,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    RequestUpload {
        video: VideoId,
        owner: Owner,
        details: Details,
        declared: Declared,
        key: String,
        expires_at_ms: i64,
        priority: Priority,
        at_ms: i64,
    },
    /// The store has the object; is it what was declared?
    CompleteUpload {
        found: Found,
        at_ms: i64,
    },
    /// Nobody finished the upload in time.
    ExpireUpload {
        at_ms: i64,
    },
    ChangeDetails {
        by: By,
        changes: Changes,
        at_ms: i64,
    },
    RetryProcessing {
        by: By,
        at_ms: i64,
    },
    RetryRendition {
        by: By,
        rendition: RenditionId,
        /// What the video's current job made.
        made: Vec<RenditionId>,
        /// The ETag of the source as the store has it; `None`: it has none.
        kept: Option<String>,
        at_ms: i64,
    },
    Delete {
        by: By,
        at_ms: i64,
    },
    /// From the conductor: `job` has something to show.
    Playable {
        job: JobId,
        picture: Picture,
        at_ms: i64,
    },
    Ready {
        job: JobId,
        picture: Picture,
        at_ms: i64,
    },
    Fail {
        job: JobId,
        code: Code,
        message: String,
        at_ms: i64,
    },
}

/// The state that decisions need.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Video {
    pub id: VideoId,
    pub owner: Owner,
    pub status: Status,
    pub playable: bool,
    pub details: Details,
    /// As they were first asked for; a repeated request says the same.
    pub requested: Details,
    pub declared: Declared,
    pub key: String,
    pub expires_at_ms: i64,
    /// As it was first asked for.
    pub priority: Priority,
    /// Once accepted: the ETag and size of the source.
    pub source: Option<Found>,
    /// The job that counts, once its first report came.
    pub job: Option<JobId>,
    /// Jobs that failed or were replaced; what they report later changes nothing.
    pub past_jobs: Vec<JobId>,
    /// The rendition that is being made again.
    pub retry: Option<Retry>,
}

/// The longest title, description and tag, in characters, and the most tags.
pub const TITLE_CHARS_MAX: usize = 200;
pub const DESCRIPTION_CHARS_MAX: usize = 5_000;
pub const TAGS_MAX: usize = 30;
pub const TAG_CHARS_MAX: usize = 50;
/// The longest file name, in characters.
pub const FILE_NAME_CHARS_MAX: usize = 255;

impl Decider for Video {
    const CATEGORY: &'static str = "video";

    type Id = VideoId;
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, command: Command) -> Result<Vec<Event>, Rejection> {
        match command {
            Command::RequestUpload {
                video,
                owner,
                details,
                declared,
                key,
                expires_at_ms,
                priority,
                at_ms,
            } => {
                if self.status != Status::Unknown {
                    return self.same_request(&owner, &details, &declared);
                }
                check_request(&details, &declared)?;
                let event = Kind::UploadRequested {
                    details,
                    declared,
                    key,
                    expires_at_ms,
                    priority,
                };
                Ok(vec![Fact {
                    video,
                    owner,
                    at_ms,
                    event,
                }])
            }
            Command::CompleteUpload { found, at_ms } => self.complete_upload(found, at_ms),
            Command::ExpireUpload { at_ms } => self.expire_upload(at_ms),
            Command::ChangeDetails { by, changes, at_ms } => {
                self.change_details(&by, changes, at_ms)
            }
            Command::RetryProcessing { by, at_ms } => self.retry_processing(&by, at_ms),
            Command::RetryRendition {
                by,
                rendition,
                made,
                kept,
                at_ms,
            } => self.retry_rendition(&by, rendition, made, kept, at_ms),
            Command::Delete { by, at_ms } => self.delete(&by, at_ms),
            Command::Playable {
                job,
                picture,
                at_ms,
            } => self.playable(job, picture, at_ms),
            Command::Ready {
                job,
                picture,
                at_ms,
            } => self.ready(job, picture, at_ms),
            Command::Fail {
                job,
                code,
                message,
                at_ms,
            } => self.fail(job, code, message, at_ms),
        }
    }

    fn evolve(mut self, fact: &Event) -> Self {
        match &fact.event {
            Kind::UploadRequested {
                details,
                declared,
                key,
                expires_at_ms,
                priority,
            } => {
                self.id = fact.video;
                self.owner = fact.owner.clone();
                self.status = Status::Uploading;
                self.details = details.clone();
                self.requested = details.clone();
                self.declared = declared.clone();
                self.key.clone_from(key);
                self.expires_at_ms = *expires_at_ms;
                self.priority = *priority;
            }
            Kind::UploadCompleted {
                etag, size_bytes, ..
            } => {
                self.status = Status::Processing;
                self.source = Some(Found {
                    size_bytes: *size_bytes,
                    etag: etag.clone(),
                    checksum_sha256: self.declared.checksum_sha256.clone(),
                });
            }
            Kind::UploadRejected { .. } => self.status = Status::Failed,
            Kind::UploadExpired {} => self.status = Status::Expired,
            Kind::DetailsChanged { changes } => {
                self.details = changes.clone().applied_to(self.details);
            }
            Kind::BecamePlayable { job, .. } => {
                self.job = Some(*job);
                self.playable = true;
            }
            Kind::BecameReady { job, .. } => {
                self.job = Some(*job);
                self.status = Status::Ready;
            }
            Kind::ProcessingFailed { job, .. } => {
                self.status = Status::Failed;
                self.playable = false;
                self.job = None;
                self.past_jobs.push(*job);
            }
            Kind::ProcessingRetried { .. } => self.status = Status::Processing,
            Kind::RenditionRetried { rendition, .. } => self.begin_retry(rendition, fact.at_ms),
            Kind::RenditionReplaced { job, .. } => {
                let old = self.job.replace(*job);
                self.end_retry(old);
            }
            Kind::RenditionRetryFailed { job, .. } => self.end_retry(Some(*job)),
            Kind::Deleted { .. } => {
                // A stream truncated at its deletion begins with it.
                self.id = fact.video;
                self.owner = fact.owner.clone();
                self.status = Status::Deleted;
                self.playable = false;
                self.retry = None;
            }
        }
        self
    }
}

#[cfg(test)]
mod tests;
