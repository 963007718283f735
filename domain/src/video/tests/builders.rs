//! Small commands and events. Their arguments are what a test is about.

use uuid::Uuid;

use super::super::*;

pub(super) const JOB: JobId = JobId(Uuid::from_u128(1));
pub(super) const NEXT_JOB: JobId = JobId(Uuid::from_u128(2));
pub(super) const ADA: &str = "ada";
pub(super) const BOB: &str = "bob";

pub(super) fn fact(event: Kind) -> Event {
    fact_at(1, event)
}

pub(super) fn fact_at(at_ms: i64, event: Kind) -> Event {
    Fact {
        video: VideoId(Uuid::from_u128(7)),
        owner: Owner(ADA.to_owned()),
        at_ms,
        event,
    }
}

pub(super) fn owner(name: &str) -> By {
    By::Owner(Owner(name.to_owned()))
}

pub(super) fn details(title: &str) -> Details {
    Details {
        title: title.to_owned(),
        ..Details::default()
    }
}

pub(super) fn declared() -> Declared {
    Declared {
        file_name: "walk.mp4".to_owned(),
        content_type: "video/mp4".to_owned(),
        size_bytes: 7,
        checksum_sha256: Some("ab".to_owned()),
    }
}

pub(super) fn picture() -> Picture {
    Picture {
        duration_ms: 5,
        width: 640,
        height: 360,
    }
}

pub(super) fn request(title: &str) -> Command {
    request_with(details(title))
}

pub(super) fn request_with(details: Details) -> Command {
    let Fact {
        video,
        owner,
        at_ms,
        ..
    } = requested();
    Command::RequestUpload {
        video,
        owner,
        details,
        declared: declared(),
        key: "sources/v/original".to_owned(),
        expires_at_ms: 100,
        priority: Priority::Normal,
        at_ms,
    }
}

pub(super) fn complete(size_bytes: u64, checksum: Option<&str>) -> Command {
    let found = Found {
        size_bytes,
        etag: "e".to_owned(),
        checksum_sha256: checksum.map(str::to_owned),
    };
    Command::CompleteUpload { found, at_ms: 1 }
}

pub(super) fn rename(by: By, title: &str) -> Command {
    Command::ChangeDetails {
        by,
        changes: changes(title),
        at_ms: 1,
    }
}

pub(super) fn changes(title: &str) -> Changes {
    Changes {
        title: Some(title.to_owned()),
        ..Changes::default()
    }
}

pub(super) fn delete(by: By) -> Command {
    Command::Delete { by, at_ms: 1 }
}

pub(super) fn retry(by: By) -> Command {
    Command::RetryProcessing { by, at_ms: 1 }
}

pub(super) fn playable(job: JobId) -> Command {
    Command::Playable {
        job,
        picture: picture(),
        at_ms: 1,
    }
}

pub(super) fn became(job: JobId) -> Command {
    Command::Ready {
        job,
        picture: picture(),
        at_ms: 1,
    }
}

pub(super) fn fail(job: JobId) -> Command {
    Command::Fail {
        job,
        code: Code::SourceCorrupt,
        message: "no".to_owned(),
        at_ms: 1,
    }
}

pub(super) fn requested() -> Event {
    fact(Kind::UploadRequested {
        details: details("a walk"),
        declared: declared(),
        key: "sources/v/original".to_owned(),
        expires_at_ms: 100,
        priority: Priority::Normal,
    })
}

pub(super) fn completed() -> Event {
    fact(Kind::UploadCompleted {
        key: "sources/v/original".to_owned(),
        etag: "e".to_owned(),
        size_bytes: 7,
        priority: Priority::Normal,
    })
}

pub(super) fn retried() -> Event {
    fact(Kind::ProcessingRetried {
        key: "sources/v/original".to_owned(),
        etag: "e".to_owned(),
        size_bytes: 7,
        priority: Priority::Normal,
    })
}

pub(super) fn rejected(message: &str) -> Event {
    fact(Kind::UploadRejected {
        code: Code::UploadMismatch,
        message: message.to_owned(),
    })
}

pub(super) fn expired() -> Event {
    fact(Kind::UploadExpired {})
}

pub(super) fn renamed(title: &str) -> Event {
    fact(Kind::DetailsChanged {
        changes: changes(title),
    })
}

pub(super) fn deleted() -> Event {
    fact(Kind::Deleted {
        key: "sources/v/original".to_owned(),
    })
}

pub(super) fn became_playable(job: JobId) -> Event {
    let picture = picture();
    fact(Kind::BecamePlayable { job, picture })
}

pub(super) fn became_ready(job: JobId) -> Event {
    let picture = picture();
    fact(Kind::BecameReady { job, picture })
}

pub(super) fn processing_failed(job: JobId) -> Event {
    fact(Kind::ProcessingFailed {
        job,
        code: Code::SourceCorrupt,
        message: "no".to_owned(),
    })
}

pub(super) fn processing() -> Vec<Event> {
    vec![requested(), completed()]
}

pub(super) fn ready() -> Vec<Event> {
    vec![
        requested(),
        completed(),
        became_playable(JOB),
        became_ready(JOB),
    ]
}

pub(super) fn failed() -> Vec<Event> {
    vec![
        requested(),
        completed(),
        became_playable(JOB),
        processing_failed(JOB),
    ]
}
