//! Making one rendition of a ready video again.
//!
//! # Invariants
//!
//! * The video stays ready and playable, as its current job made it, however the retry ends.
//! * The current job is replaced in one step, by one event, and only by the job of the retry.

use super::{By, Event, Kind, Rejection, Status, Video};
use crate::{
    code::Code,
    id::{JobId, RenditionId},
};

/// A retry under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    pub rendition: RenditionId,
    pub asked_at_ms: i64,
}

impl Video {
    pub(super) fn retry_rendition(
        &self,
        by: &By,
        rendition: RenditionId,
        made: Vec<RenditionId>,
        kept: Option<String>,
        at_ms: i64,
    ) -> Result<Vec<Event>, Rejection> {
        self.may_be_changed_by(by)?;
        let status = self.status;
        let job = match status {
            Status::Deleted => return Err(Rejection::Deleted),
            Status::Ready => self.job.ok_or(Rejection::NotReady { status })?,
            Status::Unknown
            | Status::Uploading
            | Status::Processing
            | Status::Failed
            | Status::Expired => return Err(Rejection::NotReady { status }),
        };
        if let Some(retry) = &self.retry {
            let rendition = retry.rendition.clone();
            return Err(Rejection::RetryUnderWay { rendition });
        }
        if !made.contains(&rendition) {
            return Err(Rejection::NoSuchRendition { rendition, made });
        }
        let source = self.source.clone().ok_or(Rejection::SourceGone)?;
        if kept.as_ref() != Some(&source.etag) {
            return Err(Rejection::SourceGone);
        }
        let event = Kind::RenditionRetried {
            rendition,
            job,
            key: self.key.clone(),
            etag: source.etag,
            size_bytes: source.size_bytes,
            priority: self.priority,
        };
        self.facts(at_ms, event)
    }

    pub(super) fn begin_retry(&mut self, rendition: &RenditionId, asked_at_ms: i64) {
        self.retry = Some(Retry {
            rendition: rendition.clone(),
            asked_at_ms,
        });
    }

    /// `past`: the job that does not count any more.
    pub(super) fn end_retry(&mut self, past: Option<JobId>) {
        self.retry = None;
        self.past_jobs.extend(past);
    }

    /// The retry that `job` was begun for. The job of a retry is the only one that a ready video
    /// has not heard of before.
    fn retried_by(&self, job: JobId) -> Option<&Retry> {
        let is_news = self.job != Some(job) && !self.past_jobs.contains(&job);
        let retry = self.retry.as_ref()?;
        (self.status == Status::Ready && is_news).then_some(retry)
    }

    pub(super) fn rendition_replaced(&self, job: JobId, at_ms: i64) -> Option<Event> {
        let rendition = self.retried_by(job)?.rendition.clone();
        Some(self.fact(at_ms, Kind::RenditionReplaced { job, rendition }))
    }

    pub(super) fn rendition_retry_failed(
        &self,
        job: JobId,
        code: Code,
        message: &str,
        at_ms: i64,
    ) -> Option<Event> {
        let event = Kind::RenditionRetryFailed {
            job,
            rendition: self.retried_by(job)?.rendition.clone(),
            code,
            message: message.to_owned(),
        };
        Some(self.fact(at_ms, event))
    }
}
