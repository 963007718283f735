use super::*;
use crate::{decider::fold, testing::given};

mod again;
mod builders;
mod chunks;
mod properties;

use builders::*;

// The DAG.

#[test]
fn a_job_is_planned_once() {
    let planned = Kind::Planned {
        job: JOB,
        source: source(),
        tasks: plan::first_tasks(),
    };
    given::<Job>([]).when(plan()).then([fact(planned)]);
    given::<Job>(history([])).when(plan()).then([]);
    given::<Job>(completed()).when(plan()).then([]);
}

#[test]
fn a_job_that_was_not_planned_does_nothing() {
    let commands = [
        start("probe"),
        publish("encode", 1, "360p", 0, 1),
        done("encode", 1),
        fail("probe", 1, Code::ProcessingCrashed),
        lose("probe", 1),
        cancel(),
    ];
    for command in commands {
        given::<Job>([])
            .when(command)
            .then_rejected(Rejection::Unknown);
    }
}

#[test]
fn a_task_is_started_with_its_next_attempt() {
    given::<Job>(history([]))
        .when(start("probe"))
        .then([started("probe", 1)]);
    given::<Job>(history([start("probe"), lose("probe", 1)]))
        .when(start("probe"))
        .then([started("probe", 2)]);
}

#[test]
fn only_what_is_runnable_is_started() {
    let not_runnable = |task: &str| Rejection::NotRunnable(TaskId(task.to_owned()));
    given::<Job>(history([start("probe")]))
        .when(start("probe"))
        .then_rejected(not_runnable("probe"));
    given::<Job>(probed())
        .when(start("finish"))
        .then_rejected(not_runnable("finish"));
    given::<Job>(probed())
        .when(start("probe"))
        .then_rejected(not_runnable("probe"));
    given::<Job>(probed())
        .when(start("dance"))
        .then_rejected(Rejection::UnknownTask(TaskId("dance".to_owned())));
    given::<Job>(completed())
        .when(start("probe"))
        .then_rejected(Rejection::Ended);
}

#[test]
fn what_makes_a_video_playable_is_handed_out_first() {
    let job: Job = fold(&probed());
    let runnable: Vec<&str> = job
        .runnable()
        .iter()
        .map(|task| task.id.0.as_str())
        .collect();
    assert_eq!(runnable, ["audio", "encode", "poster"]);
    assert!(fold::<Job>(&completed()).runnable().is_empty());
}

#[test]
fn a_probe_leads_to_a_ladder() {
    let plan = plan::after_probe(&media(), &[], 1).unwrap();
    let ladder = Kind::LadderPlanned {
        media: media(),
        boundaries_us: plan.boundaries_us,
        renditions: plan.renditions,
        tasks: plan.tasks,
    };
    let finished = Kind::TaskFinished {
        lease: lease("probe", 1),
        outcome: found_outcome(media()),
    };
    given::<Job>(history([start("probe")]))
        .when(found(media()))
        .then([fact(finished), fact(ladder)]);
}

#[test]
fn a_source_that_is_refused_fails_the_job_at_once() {
    let silence = Media {
        video: None,
        audio: None,
        ..media()
    };
    let message = "there is neither picture nor sound in this file";
    given::<Job>(history([start("probe")]))
        .when(found(silence))
        .then([
            failed_task("probe", 1, Code::SourceNotMedia, message),
            failed_job("probe", 1, Code::SourceNotMedia, message),
        ]);
}

// Segments.

#[test]
fn the_first_segments_come_with_their_init() {
    given::<Job>(encoding())
        .when(publish("encode", 1, "360p", 0, 2))
        .then([published("360p", 0, 2)]);
    given::<Job>(encoding())
        .when(publish_with("360p", None))
        .then_rejected(Rejection::NoInit);
}

#[test]
fn an_init_that_playlists_cannot_name_is_none() {
    for codec in ["", "avc1\n#EXT-X-ENDLIST", "avc1\",X=\"", "<avc1>"] {
        let init = Init {
            codec: codec.to_owned(),
            ..init("360p")
        };
        given::<Job>(encoding())
            .when(publish_with("360p", Some(init)))
            .then_rejected(Rejection::NoInit);
    }
    let timeless = Init {
        timescale: 0,
        ..init("360p")
    };
    given::<Job>(encoding())
        .when(publish_with("360p", Some(timeless)))
        .then_rejected(Rejection::NoInit);
}

#[test]
fn segments_reported_again_are_published_once() {
    let two = || history_after(encoding(), [publish("encode", 1, "360p", 0, 2)]);
    given::<Job>(two())
        .when(publish("encode", 1, "360p", 0, 2))
        .then([]);
    given::<Job>(two())
        .when(publish("encode", 1, "360p", 1, 1))
        .then([]);
    // What is new in a repeated report is published.
    given::<Job>(two())
        .when(publish("encode", 1, "360p", 1, 2))
        .then([published("360p", 2, 1)]);
}

#[test]
fn segments_come_in_order() {
    given::<Job>(encoding())
        .when(publish("encode", 1, "360p", 1, 1))
        .then_rejected(Rejection::OutOfOrder {
            rendition: RenditionId("360p".to_owned()),
            published: 0,
            from: 1,
        });
}

#[test]
fn a_task_publishes_its_own_renditions_only() {
    for rendition in ["audio", "9000p"] {
        given::<Job>(encoding())
            .when(publish("encode", 1, rendition, 0, 1))
            .then_rejected(Rejection::NotItsRendition(RenditionId(
                rendition.to_owned(),
            )));
    }
}

#[test]
fn the_next_attempt_goes_on_after_the_last_published_segment() {
    let again = history_after(
        encoding(),
        [
            publish("encode", 1, "360p", 0, 2),
            lose("encode", 1),
            start("encode"),
        ],
    );
    let next = Kind::SegmentsPublished {
        lease: lease("encode", 2),
        rendition: RenditionId("360p".to_owned()),
        from: 2,
        init: None,
        segments: segments("360p", 2, 1),
    };
    given::<Job>(again)
        .when(publish("encode", 2, "360p", 2, 1))
        .then([fact(next)]);
}

// Who may report.

#[test]
fn only_the_running_attempt_reports() {
    let lost = || history_after(encoding(), [lose("encode", 1)]);
    let taken_over = || history_after(lost(), [start("encode")]);
    for events in [lost(), taken_over(), probed(), cancelled()] {
        let reports = [
            publish("encode", 1, "360p", 0, 1),
            done("encode", 1),
            fail("encode", 1, Code::ProcessingCrashed),
            lose("encode", 1),
        ];
        for report in reports {
            given::<Job>(events.clone())
                .when(report)
                .then_rejected(Rejection::NotLeased(lease("encode", 1)));
        }
    }
    given::<Job>(probed())
        .when(lose("dance", 1))
        .then_rejected(Rejection::UnknownTask(TaskId("dance".to_owned())));
}

#[test]
fn a_finished_task_reported_again_is_already_so() {
    given::<Job>(encoding())
        .when(done("encode", 1))
        .then([finished("encode", 1)]);
    given::<Job>(history_after(encoding(), [done("encode", 1)]))
        .when(done("encode", 1))
        .then([]);
    given::<Job>(completed()).when(check(1)).then([]);
}

#[test]
fn a_task_leaves_its_own_kind_behind() {
    given::<Job>(encoding())
        .when(Command::Finish {
            lease: lease("encode", 1),
            outcome: found_outcome(media()),
            slots: 1,
            at_ms: 1,
        })
        .then_rejected(Rejection::WrongOutcome(TaskId("encode".to_owned())));
}

// Mishaps.

#[test]
fn a_failed_task_is_tried_again_up_to_its_maximum() {
    let code = Code::ProcessingCrashed;
    let twice = || {
        history_after(
            encoding(),
            [
                fail("encode", 1, code),
                start("encode"),
                fail("encode", 2, code),
                start("audio"),
                start("encode"),
            ],
        )
    };
    given::<Job>(encoding())
        .when(fail("encode", 1, code))
        .then([failed_task("encode", 1, code, "no")]);
    // What else runs is ended too.
    given::<Job>(twice()).when(fail("encode", 3, code)).then([
        failed_task("encode", 3, code, "no"),
        fact(Kind::TaskCancelled {
            lease: lease("audio", 1),
        }),
        failed_job("encode", 3, code, "no"),
    ]);
    let job: Job = fold(&history_after(twice(), [fail("encode", 3, code)]));
    assert_eq!(job.end, End::Failed);
    assert_eq!(job.failure, Some((code, "no".to_owned())));
    assert_eq!(job.running().count(), 0);
}

#[test]
fn a_source_that_is_to_blame_is_not_tried_again() {
    let code = Code::SourceCorrupt;
    given::<Job>(encoding())
        .when(fail("encode", 1, code))
        .then([
            failed_task("encode", 1, code, "no"),
            failed_job("encode", 1, code, "no"),
        ]);
}

#[test]
fn a_lease_is_lost_up_to_its_maximum() {
    let lost_often =
        (1..LOST_LEASES_MAX).flat_map(|attempt| [lose("encode", attempt), start("encode")]);
    let events = history_after(encoding(), lost_often);
    given::<Job>(encoding())
        .when(lose("encode", 1))
        .then([lost("encode", 1)]);
    given::<Job>(events).when(lose("encode", 5)).then([
        lost("encode", 5),
        failed_job(
            "encode",
            5,
            Code::ProcessingStalled,
            "processing was started 5 times and its worker vanished each time; retry it, or tell the operator",
        ),
    ]);
}

#[test]
fn failures_and_lost_leases_are_counted_apart() {
    let code = Code::ProcessingCrashed;
    let mixed = history_after(
        encoding(),
        [
            fail("encode", 1, code),
            start("encode"),
            lose("encode", 2),
            start("encode"),
            fail("encode", 3, code),
            start("encode"),
            lose("encode", 4),
            start("encode"),
        ],
    );
    given::<Job>(mixed)
        .when(lose("encode", 5))
        .then([lost("encode", 5)]);
}

#[test]
fn an_optional_task_is_given_up_and_the_job_goes_on() {
    let hopeless = [start("poster"), fail("poster", 1, Code::SourceCorrupt)];
    let failing = (1..=FAILURES_MAX).flat_map(|attempt| {
        [
            start("poster"),
            fail("poster", attempt, Code::ProcessingCrashed),
        ]
    });
    let vanishing =
        (1..=LOST_LEASES_MAX).flat_map(|attempt| [start("poster"), lose("poster", attempt)]);
    let given_up: [Vec<Command>; 3] = [hopeless.into(), failing.collect(), vanishing.collect()];
    for commands in given_up {
        let events = history_after(probed(), commands);
        let job: Job = fold(&events);
        assert_eq!(job.end, End::Open);
        let poster = &job.tasks[&TaskId("poster".to_owned())];
        assert_eq!(poster.state, TaskState::GivenUp);
        let events = history_after(events, encoded(6));
        given::<Job>(events)
            .when(start("finish"))
            .then([started("finish", 1)]);
    }
}

#[test]
fn an_optional_task_is_tried_again_before_it_is_given_up() {
    let once = [start("poster"), fail("poster", 1, Code::ProcessingCrashed)];
    given::<Job>(history_after(probed(), once))
        .when(start("poster"))
        .then([started("poster", 2)]);
}

#[test]
fn a_cancelled_job_ends_what_runs() {
    given::<Job>(encoding()).when(cancel()).then([
        fact(Kind::TaskCancelled {
            lease: lease("encode", 1),
        }),
        fact(Kind::Cancelled {}),
    ]);
}

#[test]
fn what_has_ended_is_not_cancelled() {
    for events in [cancelled(), completed()] {
        given::<Job>(events).when(cancel()).then([]);
    }
}

// The end.

#[test]
fn a_job_whose_sum_is_right_is_complete() {
    let checked = Kind::TaskFinished {
        lease: lease("finish", 1),
        outcome: Outcome::Checked { playlists: vec![] },
    };
    given::<Job>(to_be_checked(6))
        .when(check(1))
        .then([fact(checked), fact(Kind::Completed {})]);
}

#[test]
fn less_than_the_source_declared_is_never_complete() {
    let message = "the file says it lasts 12.0 s, but only 8.0 s could be read; it is cut off, upload it again";
    given::<Job>(to_be_checked(4)).when(check(1)).then([
        failed_task("finish", 1, Code::SourceTruncated, message),
        failed_job("finish", 1, Code::SourceTruncated, message),
    ]);
}

#[test]
fn renditions_of_different_lengths_are_never_complete() {
    let mut commands = encoded(6);
    commands.retain(|command| {
        !matches!(command, Command::Publish { rendition, from: 5, .. } if rendition.0 == "144p")
    });
    commands.extend([start("poster"), poster(), start("finish")]);
    let events = history_after(probed(), commands);
    given::<Job>(events).when(check(1)).then([failed_task(
        "finish",
        1,
        Code::ProcessingCrashed,
        "not every rendition was made in full; retry the processing",
    )]);
}

#[test]
fn a_rendition_without_segments_is_never_complete() {
    let mut commands = encoded(6);
    commands.retain(
        |command| !matches!(command, Command::Publish { rendition, .. } if rendition.0 == "audio"),
    );
    commands.extend([start("poster"), poster(), start("finish")]);
    let job: Job = fold(&history_after(probed(), commands));
    let events = job.decide(check(1)).unwrap();
    assert!(matches!(
        events[0].event,
        Kind::TaskFailed {
            code: Code::ProcessingCrashed,
            ..
        }
    ));
}

// What can be shown.

#[test]
fn playable_takes_one_picture_and_the_sound() {
    let is_playable = |events: Vec<Event>| fold::<Job>(&events).is_playable();
    let picture = || history_after(encoding(), [publish("encode", 1, "144p", 0, 1)]);
    assert!(!is_playable(history([])));
    assert!(!is_playable(encoding()));
    assert!(!is_playable(picture()));
    let sound = [start("audio"), publish("audio", 1, "audio", 0, 1)];
    assert!(!is_playable(history_after(encoding(), sound.clone())));
    assert!(is_playable(history_after(picture(), sound)));
}

#[test]
fn sound_alone_is_playable() {
    let podcast = Media {
        video: None,
        ..media()
    };
    let events = history([start("probe"), found(podcast), start("audio")]);
    assert!(!fold::<Job>(&events).is_playable());
    let events = history_after(events, [publish("audio", 1, "audio", 0, 1)]);
    let job: Job = fold(&events);
    assert!(job.is_playable());
    assert_eq!(job.picture().unwrap().width, 0);
}

#[test]
fn progress_goes_from_nothing_to_a_thousand() {
    let progress = |events: Vec<Event>| fold::<Job>(&events).progress_permille();
    assert_eq!(progress(history([])), 0);
    assert_eq!(progress(encoding()), 0);
    // One of four renditions with six segments each.
    let some = history_after(encoding(), [publish("encode", 1, "360p", 0, 6)]);
    assert_eq!(progress(some), 250);
    assert_eq!(progress(to_be_checked(6)), 1000);
}
