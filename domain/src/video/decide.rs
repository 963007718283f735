//! What may happen next to a video. One function per command, in the order of its life.

use super::{
    By, Changes, DESCRIPTION_CHARS_MAX, Declared, Details, Event, FILE_NAME_CHARS_MAX, Found, Kind,
    Picture, Rejection, Status, TAG_CHARS_MAX, TAGS_MAX, TITLE_CHARS_MAX, Video,
};
use crate::{
    code::Code,
    fact::Fact,
    id::{JobId, Owner},
};

impl Video {
    pub(super) fn fact(&self, at_ms: i64, event: Kind) -> Event {
        Fact {
            video: self.id,
            owner: self.owner.clone(),
            at_ms,
            event,
        }
    }

    pub(super) fn facts(&self, at_ms: i64, event: Kind) -> Result<Vec<Event>, Rejection> {
        Ok(vec![self.fact(at_ms, event)])
    }

    /// A job reports only while the video is being processed, and only the current one.
    fn listens_to(&self, job: JobId) -> bool {
        self.status == Status::Processing
            && self.job.is_none_or(|current| current == job)
            && !self.past_jobs.contains(&job)
    }

    fn must_exist(&self) -> Result<(), Rejection> {
        match self.status {
            Status::Unknown => Err(Rejection::Unknown),
            Status::Uploading
            | Status::Processing
            | Status::Ready
            | Status::Failed
            | Status::Expired
            | Status::Deleted => Ok(()),
        }
    }

    pub(super) fn may_be_changed_by(&self, by: &By) -> Result<(), Rejection> {
        self.must_exist()?;
        match by {
            By::Owner(owner) if *owner != self.owner => Err(Rejection::NotOwner),
            By::Owner(_) | By::Operator(_) | By::Platform => Ok(()),
        }
    }

    pub(super) fn same_request(
        &self,
        owner: &Owner,
        details: &Details,
        declared: &Declared,
    ) -> Result<Vec<Event>, Rejection> {
        if self.status == Status::Deleted {
            return Err(Rejection::Deleted);
        }
        // What was changed meanwhile does not make it another request.
        let is_same =
            self.owner == *owner && self.declared == *declared && self.requested == *details;
        if !is_same {
            return Err(Rejection::KeyReused);
        }
        // Its answer would be an address that does not work any more.
        if self.status == Status::Expired {
            return Err(Rejection::UploadExpired);
        }
        Ok(vec![])
    }

    pub(super) fn complete_upload(
        &self,
        found: Found,
        at_ms: i64,
    ) -> Result<Vec<Event>, Rejection> {
        match self.status {
            Status::Unknown => return Err(Rejection::Unknown),
            Status::Deleted => return Err(Rejection::Deleted),
            Status::Expired => return Err(Rejection::UploadExpired),
            Status::Processing | Status::Ready | Status::Failed => return Ok(vec![]),
            Status::Uploading => {}
        }
        if let Some(message) = self.mismatch(&found) {
            return self.facts(
                at_ms,
                Kind::UploadRejected {
                    code: Code::UploadMismatch,
                    message,
                },
            );
        }
        let event = Kind::UploadCompleted {
            key: self.key.clone(),
            etag: found.etag,
            size_bytes: found.size_bytes,
            priority: self.priority,
        };
        self.facts(at_ms, event)
    }

    pub(super) fn expire_upload(&self, at_ms: i64) -> Result<Vec<Event>, Rejection> {
        self.must_exist()?;
        if self.status != Status::Uploading || at_ms < self.expires_at_ms {
            return Ok(vec![]);
        }
        self.facts(at_ms, Kind::UploadExpired {})
    }

    /// How what arrived differs from what was declared, as a sentence.
    fn mismatch(&self, found: &Found) -> Option<String> {
        if found.size_bytes != self.declared.size_bytes {
            return Some(format!(
                "the file has {} bytes, but {} were declared; upload it again",
                found.size_bytes, self.declared.size_bytes
            ));
        }
        let declared = self.declared.checksum_sha256.as_ref()?;
        (found.checksum_sha256.as_ref() != Some(declared)).then(|| {
            "the file's SHA-256 is not the one that was declared; it was changed or damaged on its way, upload it again"
                .to_owned()
        })
    }

    pub(super) fn change_details(
        &self,
        by: &By,
        changes: Changes,
        at_ms: i64,
    ) -> Result<Vec<Event>, Rejection> {
        self.may_be_changed_by(by)?;
        if self.status == Status::Deleted {
            return Err(Rejection::Deleted);
        }
        let after = changes.clone().applied_to(self.details.clone());
        check_details(&after)?;
        if after == self.details {
            return Ok(vec![]);
        }
        self.facts(at_ms, Kind::DetailsChanged { changes })
    }

    pub(super) fn retry_processing(&self, by: &By, at_ms: i64) -> Result<Vec<Event>, Rejection> {
        self.may_be_changed_by(by)?;
        match self.status {
            Status::Deleted => Err(Rejection::Deleted),
            Status::Failed => {
                let source = self.source.clone().ok_or(Rejection::NoSource)?;
                let event = Kind::ProcessingRetried {
                    key: self.key.clone(),
                    etag: source.etag,
                    size_bytes: source.size_bytes,
                    priority: self.priority,
                };
                self.facts(at_ms, event)
            }
            Status::Processing => Ok(vec![]),
            Status::Unknown | Status::Uploading | Status::Ready | Status::Expired => {
                Err(Rejection::NotFailed {
                    status: self.status,
                })
            }
        }
    }

    pub(super) fn delete(&self, by: &By, at_ms: i64) -> Result<Vec<Event>, Rejection> {
        self.may_be_changed_by(by)?;
        if self.status == Status::Deleted {
            return Ok(vec![]);
        }
        let key = self.key.clone();
        self.facts(at_ms, Kind::Deleted { key })
    }

    pub(super) fn playable(
        &self,
        job: JobId,
        picture: Picture,
        at_ms: i64,
    ) -> Result<Vec<Event>, Rejection> {
        self.must_exist()?;
        if !self.listens_to(job) || self.playable {
            return Ok(vec![]);
        }
        self.facts(at_ms, Kind::BecamePlayable { job, picture })
    }

    pub(super) fn ready(
        &self,
        job: JobId,
        picture: Picture,
        at_ms: i64,
    ) -> Result<Vec<Event>, Rejection> {
        if let Some(replaced) = self.rendition_replaced(job, at_ms) {
            return Ok(vec![replaced]);
        }
        let mut events = self.playable(job, picture.clone(), at_ms)?;
        if self.listens_to(job) {
            events.push(self.fact(at_ms, Kind::BecameReady { job, picture }));
        }
        Ok(events)
    }

    pub(super) fn fail(
        &self,
        job: JobId,
        code: Code,
        message: String,
        at_ms: i64,
    ) -> Result<Vec<Event>, Rejection> {
        self.must_exist()?;
        if let Some(failed) = self.rendition_retry_failed(job, code, &message, at_ms) {
            return Ok(vec![failed]);
        }
        if !self.listens_to(job) {
            return Ok(vec![]);
        }
        self.facts(at_ms, Kind::ProcessingFailed { job, code, message })
    }
}

impl Changes {
    #[must_use]
    pub fn applied_to(self, details: Details) -> Details {
        Details {
            title: self.title.unwrap_or(details.title),
            description: self.description.unwrap_or(details.description),
            tags: self.tags.unwrap_or(details.tags),
            visibility: self.visibility.unwrap_or(details.visibility),
        }
    }
}

pub(super) fn check_request(details: &Details, declared: &Declared) -> Result<(), Rejection> {
    check_details(details)?;
    if declared.file_name.chars().count() > FILE_NAME_CHARS_MAX {
        return Err(too_long("fileName", FILE_NAME_CHARS_MAX));
    }
    check_text("fileName", &declared.file_name)?;
    check_text("contentType", &declared.content_type)
}

/// No database keeps a NUL in a text.
fn check_text(field: &'static str, text: &str) -> Result<(), Rejection> {
    if text.contains('\0') {
        return Err(Rejection::Invalid {
            field,
            problem: "the character NUL is not allowed".to_owned(),
        });
    }
    Ok(())
}

fn check_details(details: &Details) -> Result<(), Rejection> {
    check_text("title", &details.title)?;
    check_text("description", &details.description)?;
    for tag in &details.tags {
        check_text("tags", tag)?;
    }
    if details.title.trim().is_empty() {
        return Err(Rejection::Invalid {
            field: "title",
            problem: "a title is needed".to_owned(),
        });
    }
    if details.title.chars().count() > TITLE_CHARS_MAX {
        return Err(too_long("title", TITLE_CHARS_MAX));
    }
    if details.description.chars().count() > DESCRIPTION_CHARS_MAX {
        return Err(too_long("description", DESCRIPTION_CHARS_MAX));
    }
    if details.tags.len() > TAGS_MAX {
        return Err(Rejection::Invalid {
            field: "tags",
            problem: format!("at most {TAGS_MAX} tags"),
        });
    }
    if details
        .tags
        .iter()
        .any(|tag| tag.trim().is_empty() || tag.chars().count() > TAG_CHARS_MAX)
    {
        return Err(Rejection::Invalid {
            field: "tags",
            problem: format!("a tag has 1 to {TAG_CHARS_MAX} characters"),
        });
    }
    Ok(())
}

fn too_long(field: &'static str, chars_max: usize) -> Rejection {
    Rejection::Invalid {
        field,
        problem: format!("at most {chars_max} characters"),
    }
}
