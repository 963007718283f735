//! One rendition is made again, and the video stays what it is meanwhile.

use super::{super::*, builders::*};
use crate::{id::EventId, testing::given};

const LATER_JOB: JobId = JobId(uuid::Uuid::from_u128(3));

#[test]
fn a_rendition_of_a_ready_video_is_made_again() {
    given::<Video>(ready())
        .when(again(owner(ADA), "480p"))
        .then([rendition_retried("480p", JOB)]);
    given::<Video>(ready())
        .when(again(By::Operator("eve".to_owned()), "480p"))
        .then([rendition_retried("480p", JOB)]);
    let video: Video = crate::decider::fold(&retrying());
    assert_eq!((video.status, video.playable), (Status::Ready, true));
    assert_eq!(video.job, Some(JOB));
}

#[test]
fn only_its_owner_has_a_rendition_made_again() {
    given::<Video>(ready())
        .when(again(owner(BOB), "480p"))
        .then_rejected(Rejection::NotOwner);
    given::<Video>([])
        .when(again(owner(ADA), "480p"))
        .then_rejected(Rejection::Unknown);
}

#[test]
fn only_of_a_ready_video_is_a_rendition_made_again() {
    let cases = [
        (vec![requested()], Status::Uploading),
        (processing(), Status::Processing),
        (failed(), Status::Failed),
        (vec![requested(), expired()], Status::Expired),
    ];
    for (events, status) in cases {
        given::<Video>(events)
            .when(again(owner(ADA), "480p"))
            .then_rejected(Rejection::NotReady { status });
    }
    given::<Video>(ready().into_iter().chain([deleted()]))
        .when(again(owner(ADA), "480p"))
        .then_rejected(Rejection::Deleted);
}

#[test]
fn a_rendition_that_the_video_does_not_have_is_not_made() {
    let refused = Rejection::NoSuchRendition {
        rendition: rendition("2160p"),
        made: vec![rendition("480p"), rendition("audio")],
    };
    let words = refused.to_string();
    assert_eq!(
        words,
        "the video has no rendition 2160p; it has 480p, audio"
    );
    given::<Video>(ready())
        .when(again(owner(ADA), "2160p"))
        .then_rejected(refused);
}

#[test]
fn without_its_source_nothing_is_made_again() {
    for kept in [None, Some("another".to_owned())] {
        let command = Command::RetryRendition {
            by: owner(ADA),
            rendition: rendition("480p"),
            made: vec![rendition("480p")],
            kept,
            at_ms: 1,
        };
        given::<Video>(ready())
            .when(command)
            .then_rejected(Rejection::SourceGone);
    }
}

#[test]
fn one_rendition_is_made_again_at_a_time() {
    for next in ["480p", "audio"] {
        given::<Video>(retrying())
            .when(again(owner(ADA), next))
            .then_rejected(Rejection::RetryUnderWay {
                rendition: rendition("480p"),
            });
    }
    given::<Video>(retrying().into_iter().chain([replaced(NEXT_JOB)]))
        .when(again(owner(ADA), "audio"))
        .then([rendition_retried("audio", NEXT_JOB)]);
    given::<Video>(retrying().into_iter().chain([retry_failed(NEXT_JOB)]))
        .when(again(owner(ADA), "480p"))
        .then([rendition_retried("480p", JOB)]);
}

#[test]
fn the_job_that_made_a_rendition_again_becomes_the_current_one_once() {
    given::<Video>(retrying())
        .when(became(NEXT_JOB))
        .then([replaced(NEXT_JOB)]);
    let after = || retrying().into_iter().chain([replaced(NEXT_JOB)]);
    let video: Video = crate::decider::fold(&after().collect::<Vec<_>>());
    assert_eq!(video.job, Some(NEXT_JOB));
    for job in [JOB, NEXT_JOB] {
        for command in [playable(job), became(job), fail(job)] {
            given::<Video>(after()).when(command).then([]);
        }
    }
}

#[test]
fn what_is_being_made_again_is_not_shown_before_it_is_whole() {
    given::<Video>(retrying()).when(playable(NEXT_JOB)).then([]);
}

#[test]
fn a_failed_retry_leaves_the_video_as_it_was() {
    given::<Video>(retrying())
        .when(fail(NEXT_JOB))
        .then([retry_failed(NEXT_JOB)]);
    let after = || retrying().into_iter().chain([retry_failed(NEXT_JOB)]);
    let video: Video = crate::decider::fold(&after().collect::<Vec<_>>());
    assert_eq!((video.status, video.playable), (Status::Ready, true));
    assert_eq!((video.job, video.retry), (Some(JOB), None));
    given::<Video>(after()).when(became(NEXT_JOB)).then([]);
    given::<Video>(after()).when(fail(NEXT_JOB)).then([]);
}

#[test]
fn jobs_of_before_are_not_taken_for_the_one_of_a_retry() {
    let twice = || {
        let again = [replaced(NEXT_JOB), rendition_retried("audio", NEXT_JOB)];
        retrying().into_iter().chain(again)
    };
    for job in [JOB, NEXT_JOB] {
        given::<Video>(twice()).when(became(job)).then([]);
        given::<Video>(twice()).when(fail(job)).then([]);
    }
    given::<Video>(twice())
        .when(became(LATER_JOB))
        .then([fact(Kind::RenditionReplaced {
            job: LATER_JOB,
            rendition: rendition("audio"),
        })]);
}

#[test]
fn a_video_deleted_during_a_retry_stays_deleted() {
    let gone = || retrying().into_iter().chain([deleted()]);
    for command in [became(NEXT_JOB), fail(NEXT_JOB), playable(NEXT_JOB)] {
        given::<Video>(gone()).when(command).then([]);
    }
}

#[test]
fn a_retried_rendition_asks_for_a_job_that_takes_over_the_others() {
    let event = EventId(uuid::Uuid::from_u128(9));
    let asked = job_asked_for(&rendition_retried("480p", JOB), event).unwrap();
    assert_eq!(asked.job, JobId::caused_by(event));
    assert_eq!(asked.source.etag, "e");
    let redo = Redo {
        rendition: rendition("480p"),
        from: JOB,
    };
    assert_eq!(asked.redo, Some(redo));
    assert_eq!(job_asked_for(&replaced(NEXT_JOB), event), None);
    assert_eq!(job_asked_for(&retry_failed(NEXT_JOB), event), None);
}

fn rendition(id: &str) -> RenditionId {
    RenditionId(id.to_owned())
}

fn again(by: By, id: &str) -> Command {
    Command::RetryRendition {
        by,
        rendition: rendition(id),
        made: vec![rendition("480p"), rendition("audio")],
        kept: Some("e".to_owned()),
        at_ms: 1,
    }
}

fn rendition_retried(id: &str, job: JobId) -> Event {
    fact(Kind::RenditionRetried {
        rendition: rendition(id),
        job,
        key: "sources/v/original".to_owned(),
        etag: "e".to_owned(),
        size_bytes: 7,
        priority: Priority::Normal,
    })
}

fn replaced(job: JobId) -> Event {
    fact(Kind::RenditionReplaced {
        job,
        rendition: rendition("480p"),
    })
}

fn retry_failed(job: JobId) -> Event {
    fact(Kind::RenditionRetryFailed {
        job,
        rendition: rendition("480p"),
        code: Code::SourceCorrupt,
        message: "no".to_owned(),
    })
}

fn retrying() -> Vec<Event> {
    let mut events = ready();
    events.push(rendition_retried("480p", JOB));
    events
}
