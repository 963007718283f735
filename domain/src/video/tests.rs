use uuid::Uuid;

use super::*;
use crate::{id::EventId, testing::given};

mod builders;
mod properties;
mod retry;

use builders::*;

// Asking for an upload.

#[test]
fn an_upload_is_asked_for() {
    given::<Video>([])
        .when(request("a walk"))
        .then([requested()]);
}

#[test]
fn the_same_request_again_is_already_so() {
    given::<Video>([requested()])
        .when(request("a walk"))
        .then([]);
    given::<Video>(ready()).when(request("a walk")).then([]);
}

#[test]
fn a_repeated_request_is_compared_with_the_first_one_not_with_later_changes() {
    given::<Video>([requested(), renamed("a run")])
        .when(request("a walk"))
        .then([]);
    given::<Video>([requested(), renamed("a run")])
        .when(request("a run"))
        .then_rejected(Rejection::KeyReused);
}

#[test]
fn a_key_is_not_used_for_another_file() {
    let Command::RequestUpload {
        video,
        owner,
        details,
        declared,
        key,
        expires_at_ms,
        priority,
        at_ms,
    } = request("a walk")
    else {
        unreachable!("that is what it makes")
    };
    let declared = Declared {
        size_bytes: 8,
        ..declared
    };
    let other = Command::RequestUpload {
        video,
        owner,
        details,
        declared,
        key,
        expires_at_ms,
        priority,
        at_ms,
    };
    given::<Video>([requested()])
        .when(other)
        .then_rejected(Rejection::KeyReused);
}

#[test]
fn an_expired_upload_is_not_answered_with_its_dead_address() {
    given::<Video>([requested(), expired()])
        .when(request("a walk"))
        .then_rejected(Rejection::UploadExpired);
}

#[test]
fn a_deleted_video_is_not_asked_for_again() {
    given::<Video>([requested(), deleted()])
        .when(request("a walk"))
        .then_rejected(Rejection::Deleted);
}

#[test]
fn details_have_limits() {
    let too_long = |field, max: usize| Rejection::Invalid {
        field,
        problem: format!("at most {max} characters"),
    };
    let with = |change: fn(&mut Details)| {
        let mut details = details("a walk");
        change(&mut details);
        request_with(details)
    };
    // Characters count, not bytes.
    let longest = details(&"ü".repeat(200));
    assert!(Video::default().decide(request_with(longest)).is_ok());
    given::<Video>([])
        .when(with(|it| it.title = "ü".repeat(201)))
        .then_rejected(too_long("title", 200));
    given::<Video>([])
        .when(with(|it| it.title = " \t".to_owned()))
        .then_rejected(Rejection::Invalid {
            field: "title",
            problem: "a title is needed".to_owned(),
        });
    given::<Video>([])
        .when(with(|it| it.title = "a \0 b".to_owned()))
        .then_rejected(Rejection::Invalid {
            field: "title",
            problem: "the character NUL is not allowed".to_owned(),
        });
    given::<Video>([])
        .when(with(|it| it.tags = vec!["\0".to_owned()]))
        .then_rejected(Rejection::Invalid {
            field: "tags",
            problem: "the character NUL is not allowed".to_owned(),
        });
    given::<Video>([])
        .when(with(|it| it.description = "d".repeat(5_001)))
        .then_rejected(too_long("description", 5_000));
    given::<Video>([])
        .when(with(|it| it.tags = vec!["t".to_owned(); 31]))
        .then_rejected(Rejection::Invalid {
            field: "tags",
            problem: "at most 30 tags".to_owned(),
        });
    for tag in ["", " ", &"t".repeat(51)] {
        let mut details = details("a walk");
        details.tags = vec![tag.to_owned()];
        given::<Video>([])
            .when(request_with(details))
            .then_rejected(Rejection::Invalid {
                field: "tags",
                problem: "a tag has 1 to 50 characters".to_owned(),
            });
    }
}

#[test]
fn a_file_name_has_a_limit() {
    let mut command = request("a walk");
    if let Command::RequestUpload { declared, .. } = &mut command {
        declared.file_name = "f".repeat(256);
    }
    given::<Video>([])
        .when(command)
        .then_rejected(Rejection::Invalid {
            field: "fileName",
            problem: "at most 255 characters".to_owned(),
        });
}

// The file arrives, or does not.

#[test]
fn a_file_as_it_was_declared_is_accepted() {
    given::<Video>([requested()])
        .when(complete(7, Some("ab")))
        .then([completed()]);
}

#[test]
fn a_file_of_another_size_is_rejected() {
    given::<Video>([requested()])
        .when(complete(8, Some("ab")))
        .then([rejected(
            "the file has 8 bytes, but 7 were declared; upload it again",
        )]);
}

#[test]
fn a_file_with_another_checksum_is_rejected() {
    let message = "the file's SHA-256 is not the one that was declared; it was changed or damaged on its way, upload it again";
    for checksum in [Some("cd"), None] {
        given::<Video>([requested()])
            .when(complete(7, checksum))
            .then([rejected(message)]);
    }
}

#[test]
fn a_file_is_accepted_or_rejected_once() {
    given::<Video>([requested(), completed()])
        .when(complete(7, Some("ab")))
        .then([]);
    given::<Video>([requested(), completed()])
        .when(complete(8, Some("ab")))
        .then([]);
    given::<Video>([requested(), rejected("no")])
        .when(complete(7, Some("ab")))
        .then([]);
    given::<Video>(ready())
        .when(complete(7, Some("ab")))
        .then([]);
}

#[test]
fn a_file_that_nobody_waits_for_is_refused() {
    given::<Video>([])
        .when(complete(7, None))
        .then_rejected(Rejection::Unknown);
    given::<Video>([requested(), expired()])
        .when(complete(7, None))
        .then_rejected(Rejection::UploadExpired);
    given::<Video>([requested(), deleted()])
        .when(complete(7, None))
        .then_rejected(Rejection::Deleted);
}

#[test]
fn an_upload_expires_at_its_time_and_not_before() {
    let expire = |at_ms| Command::ExpireUpload { at_ms };
    given::<Video>([requested()]).when(expire(99)).then([]);
    given::<Video>([requested()])
        .when(expire(100))
        .then([fact_at(100, Kind::UploadExpired {})]);
    given::<Video>([requested(), expired()])
        .when(expire(200))
        .then([]);
    given::<Video>([requested(), completed()])
        .when(expire(200))
        .then([]);
    given::<Video>([requested(), deleted()])
        .when(expire(200))
        .then([]);
    given::<Video>([])
        .when(expire(200))
        .then_rejected(Rejection::Unknown);
}

// What people change.

#[test]
fn the_owner_and_operators_change_details() {
    for by in [owner(ADA), By::Operator("root".to_owned()), By::Platform] {
        given::<Video>([requested()])
            .when(rename(by, "a run"))
            .then([renamed("a run")]);
    }
}

#[test]
fn others_change_nothing() {
    given::<Video>([requested()])
        .when(rename(owner(BOB), "a run"))
        .then_rejected(Rejection::NotOwner);
    given::<Video>([requested()])
        .when(delete(owner(BOB)))
        .then_rejected(Rejection::NotOwner);
    given::<Video>(failed())
        .when(retry(owner(BOB)))
        .then_rejected(Rejection::NotOwner);
}

#[test]
fn details_that_are_already_so_are_not_recorded_again() {
    given::<Video>([requested(), renamed("a run")])
        .when(rename(owner(ADA), "a run"))
        .then([]);
}

#[test]
fn changed_details_have_the_same_limits() {
    given::<Video>([requested()])
        .when(rename(owner(ADA), " "))
        .then_rejected(Rejection::Invalid {
            field: "title",
            problem: "a title is needed".to_owned(),
        });
}

#[test]
fn a_deleted_video_is_not_changed() {
    given::<Video>([requested(), deleted()])
        .when(rename(owner(ADA), "a run"))
        .then_rejected(Rejection::Deleted);
}

#[test]
fn a_video_that_is_not_there_is_not_changed() {
    let commands = [
        rename(owner(ADA), "a run"),
        delete(owner(ADA)),
        retry(owner(ADA)),
        playable(JOB),
        became(JOB),
        fail(JOB),
    ];
    for command in commands {
        given::<Video>([])
            .when(command)
            .then_rejected(Rejection::Unknown);
    }
}

#[test]
fn a_video_is_deleted_once_whatever_its_status() {
    for events in [
        vec![requested()],
        vec![requested(), expired()],
        ready(),
        failed(),
    ] {
        given::<Video>(events.clone())
            .when(delete(owner(ADA)))
            .then([deleted()]);
        let gone = events.into_iter().chain([deleted()]);
        given::<Video>(gone).when(delete(owner(ADA))).then([]);
    }
}

#[test]
fn a_stream_truncated_at_its_deletion_still_knows_whose_it_was() {
    given::<Video>([deleted()])
        .when(delete(owner(ADA)))
        .then([]);
    given::<Video>([deleted()])
        .when(delete(owner(BOB)))
        .then_rejected(Rejection::NotOwner);
    given::<Video>([deleted()])
        .when(request("a walk"))
        .then_rejected(Rejection::Deleted);
}

// What jobs report.

#[test]
fn a_job_makes_a_video_playable_then_ready() {
    given::<Video>(processing())
        .when(playable(JOB))
        .then([became_playable(JOB)]);
    given::<Video>(processing().into_iter().chain([became_playable(JOB)]))
        .when(became(JOB))
        .then([became_ready(JOB)]);
}

#[test]
fn ready_includes_playable() {
    given::<Video>(processing())
        .when(became(JOB))
        .then([became_playable(JOB), became_ready(JOB)]);
}

#[test]
fn each_is_announced_once() {
    let shown = || processing().into_iter().chain([became_playable(JOB)]);
    given::<Video>(shown()).when(playable(JOB)).then([]);
    given::<Video>(ready()).when(playable(JOB)).then([]);
    given::<Video>(ready()).when(became(JOB)).then([]);
    given::<Video>(failed()).when(fail(JOB)).then([]);
}

#[test]
fn a_ready_video_does_not_fail() {
    given::<Video>(ready()).when(fail(JOB)).then([]);
}

#[test]
fn a_failure_withdraws_what_was_playable() {
    given::<Video>(processing().into_iter().chain([became_playable(JOB)]))
        .when(fail(JOB))
        .then([processing_failed(JOB)]);
    let state: Video = crate::decider::fold(&failed());
    assert!(!state.playable);
    assert_eq!(state.status, Status::Failed);
}

#[test]
fn what_a_deleted_videos_job_reports_changes_nothing() {
    for command in [playable(JOB), became(JOB), fail(JOB)] {
        given::<Video>(processing().into_iter().chain([deleted()]))
            .when(command)
            .then([]);
    }
}

#[test]
fn a_failed_video_is_processed_again_from_its_source() {
    given::<Video>(failed())
        .when(retry(owner(ADA)))
        .then([retried()]);
}

#[test]
fn what_is_being_processed_already_is_not_retried() {
    given::<Video>(processing())
        .when(retry(owner(ADA)))
        .then([]);
    given::<Video>(failed().into_iter().chain([retried()]))
        .when(retry(owner(ADA)))
        .then([]);
}

#[test]
fn only_what_failed_is_retried() {
    let cases = [
        (vec![requested()], Status::Uploading),
        (vec![requested(), expired()], Status::Expired),
        (ready(), Status::Ready),
    ];
    for (events, status) in cases {
        given::<Video>(events)
            .when(retry(owner(ADA)))
            .then_rejected(Rejection::NotFailed { status });
    }
    given::<Video>([requested(), deleted()])
        .when(retry(owner(ADA)))
        .then_rejected(Rejection::Deleted);
}

#[test]
fn a_rejected_upload_leaves_nothing_to_retry() {
    given::<Video>([requested(), rejected("no")])
        .when(retry(owner(ADA)))
        .then_rejected(Rejection::NoSource);
}

#[test]
fn after_a_retry_the_old_job_is_not_heard_and_the_new_one_is() {
    let again = || failed().into_iter().chain([retried()]);
    for command in [playable(JOB), became(JOB), fail(JOB)] {
        given::<Video>(again()).when(command).then([]);
    }
    given::<Video>(again())
        .when(became(NEXT_JOB))
        .then([became_playable(NEXT_JOB), became_ready(NEXT_JOB)]);
}

#[test]
fn only_one_job_is_current() {
    given::<Video>(processing().into_iter().chain([became_playable(JOB)]))
        .when(became(NEXT_JOB))
        .then([]);
}

#[test]
fn an_accepted_source_and_a_retry_ask_for_a_job_each() {
    let event = EventId(Uuid::from_u128(9));
    let source = crate::job::Source {
        key: "sources/v/original".to_owned(),
        etag: "e".to_owned(),
        size_bytes: 7,
    };
    let asked = Some(Asked {
        job: JobId::caused_by(event),
        source,
        priority: Priority::Normal,
        redo: None,
    });
    assert_eq!(job_asked_for(&completed(), event), asked);
    assert_eq!(job_asked_for(&retried(), event), asked);
    assert_eq!(job_asked_for(&deleted(), event), None);
}

#[test]
fn what_was_said_to_be_urgent_is_so_for_its_job_and_for_every_retry() {
    let urgent = |mut event: Event| {
        match &mut event.event {
            Kind::UploadRequested { priority, .. }
            | Kind::UploadCompleted { priority, .. }
            | Kind::ProcessingRetried { priority, .. } => *priority = Priority::High,
            other => panic!("{other:?} has no priority"),
        }
        event
    };
    given::<Video>([urgent(requested())])
        .when(complete(7, Some("ab")))
        .then([urgent(completed())]);
    let failed = processing_failed(JOB);
    given::<Video>([urgent(requested()), urgent(completed()), failed])
        .when(retry(By::Owner(Owner(ADA.to_owned()))))
        .then([urgent(retried())]);
    let stored = serde_json::to_value(urgent(requested())).unwrap();
    assert_eq!(stored["priority"], "high");
    let asked = job_asked_for(&urgent(completed()), EventId(Uuid::nil()));
    assert_eq!(asked.unwrap().priority, Priority::High);
}
