//! One rendition is made again; the others are taken over.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::{super::*, builders::*};
use crate::{
    decider::fold,
    plan::{Chunk, Spec},
    testing::given,
};

const NEXT: JobId = JobId(Uuid::from_u128(2));
const THIRD: JobId = JobId(Uuid::from_u128(3));

#[test]
fn the_others_are_taken_over_and_only_this_one_is_planned() {
    let old: Job = fold(&completed());
    let again = Again::of(&old, &id("240p")).unwrap();
    let redone: Job = fold(&redone(NEXT, Some(again)));
    assert_eq!(redone.boundaries_us, old.boundaries_us);
    assert_eq!(redone.media, old.media);
    assert_eq!(redone.renditions.keys().collect::<Vec<_>>(), [&id("240p")]);
    let taken_over = redone.taken_over.as_ref().unwrap();
    let made_by = taken_over.replaced.made_by;
    assert_eq!((taken_over.from, made_by), (JOB, JOB));
    let kept: Vec<(&str, u32, u64)> = taken_over
        .kept
        .iter()
        .map(|kept| {
            let id = kept.rendition.id.0.as_str();
            (id, kept.segments, kept.duration_ms)
        })
        .collect();
    let whole = [
        ("144p", 6, 12_000),
        ("360p", 6, 12_000),
        ("audio", 6, 12_000),
    ];
    assert_eq!(kept, whole);
    assert_eq!(taken_over.poster.as_ref().unwrap().key, "poster.jpg");
    assert_eq!(runnable(&redone), ["encode"]);
    assert!(redone.is_playable(), "its video is");
}

#[test]
fn a_rendition_is_made_again_as_it_was_made_first() {
    let specs = |events: &[Event], rendition: &str| -> Vec<Spec> {
        let again = Again::of(&fold(events), &id(rendition)).unwrap();
        let job: Job = fold(&redone(NEXT, Some(again)));
        job.runnable().into_iter().map(|t| t.spec.clone()).collect()
    };
    let chunk = Chunk::default();
    let renditions = vec![id("360p")];
    assert_eq!(
        specs(&completed(), "360p"),
        [Spec::Encode { renditions, chunk }]
    );
    let rendition = id("audio");
    assert_eq!(specs(&completed(), "audio"), [Spec::Audio { rendition }]);
    let renditions = vec![id("360p")];
    assert_eq!(
        specs(&passed_through(), "360p"),
        [Spec::Passthrough { renditions }]
    );
}

#[test]
fn a_long_rendition_is_made_again_in_chunks() {
    let mut old: Job = fold(&completed());
    old.boundaries_us = (0..30).map(|n| n * 2_000_000).collect();
    old.media.as_mut().unwrap().duration_ms = 60_000;
    let again = Again::of(&old, &id("144p")).unwrap();
    let job: Job = fold(&redone(NEXT, Some(again)));
    let runnable = runnable(&job);
    assert_eq!(runnable[..2], ["encode-0000", "encode-0001"]);
    assert!(!runnable.contains(&"finish".to_owned()));
}

#[test]
fn a_redone_rendition_completes_with_those_that_were_taken_over() {
    let events = history_after(redone_240p(), remade("240p", 6));
    given::<Job>(events)
        .when(check(1))
        .then([finished_check(), fact(Kind::Completed {})]);
}

#[test]
fn a_redone_rendition_that_is_not_like_the_others_fails_its_job() {
    let events = history_after(redone_240p(), remade("240p", 5));
    let message = "not every rendition was made in full; retry the processing";
    let code = Code::ProcessingCrashed;
    given::<Job>(events)
        .when(check(1))
        .then([failed_task("finish", 1, code, message)]);
}

#[test]
fn a_redone_sound_that_is_shorter_than_the_old_one_fails_its_job() {
    let again = Again::of(&fold(&completed()), &id("audio"));
    let mut commands = vec![start("audio"), publish("audio", 1, "audio", 0, 5)];
    commands.extend([done("audio", 1), start("finish")]);
    let message = "not every rendition was made in full; retry the processing";
    let code = Code::ProcessingCrashed;
    given::<Job>(history_after(redone(NEXT, again), commands))
        .when(check(1))
        .then([failed_task("finish", 1, code, message)]);
}

#[test]
fn a_rendition_that_was_taken_over_is_named_by_the_job_that_made_it() {
    let second: Job = fold(&history_after(
        redone_240p(),
        remade("240p", 6).into_iter().chain([check(1)]),
    ));
    assert_eq!(second.end, End::Completed);
    let again = Again::of(&second, &id("360p")).unwrap();
    let third: Job = fold(&redone(THIRD, Some(again)));
    let taken_over = third.taken_over.as_ref().unwrap();
    let made_by = taken_over.replaced.made_by;
    assert_eq!((taken_over.from, made_by), (NEXT, JOB));
    let makers: Vec<(&str, JobId)> = taken_over
        .kept
        .iter()
        .map(|kept| (kept.rendition.id.0.as_str(), kept.made_by))
        .collect();
    assert_eq!(makers, [("240p", NEXT), ("144p", JOB), ("audio", JOB)]);
    assert_eq!(taken_over.jobs(), [JOB, NEXT]);
    assert_eq!(taken_over.poster.as_ref().unwrap().key, "poster.jpg");
}

#[test]
fn what_was_taken_over_is_read_from_the_jobs_that_made_it() {
    let first: Job = fold(&completed());
    let second: Job = fold(&history_after(redone_240p(), remade("240p", 6)));
    let makers = BTreeMap::from([(JOB, first.clone())]);
    let whole = second.clone().whole(&makers).unwrap();
    assert_eq!(whole.renditions.len(), 4);
    assert_eq!(whole.renditions[&id("360p")], first.renditions[&id("360p")]);
    let own = &whole.renditions[&id("240p")].segments[0].key;
    assert_eq!(own, "240p-0.m4s");

    assert_eq!(second.clone().whole(&BTreeMap::new()), None);
    let mut shorter = first;
    let published = shorter.renditions.get_mut(&id("audio")).unwrap();
    published.segments.pop();
    assert_eq!(second.whole(&BTreeMap::from([(JOB, shorter)])), None);
}

#[test]
fn only_what_was_made_in_full_is_made_again() {
    assert_eq!(Again::of(&fold(&encoding()), &id("240p")), None);
    assert_eq!(Again::of(&fold(&cancelled()), &id("240p")), None);
    assert_eq!(Again::of(&fold(&completed()), &id("2160p")), None);
    let job: Job = fold(&redone(NEXT, None));
    assert_eq!(job.end, End::Failed);
    assert_eq!(job.failure.unwrap().0, Code::ProcessingCrashed);
}

#[test]
fn a_redo_is_planned_once() {
    given::<Job>(redone_240p()).when(redo(NEXT, None)).then([]);
    given::<Job>(redone(NEXT, None))
        .when(redo(NEXT, None))
        .then([]);
}

fn id(rendition: &str) -> RenditionId {
    RenditionId(rendition.to_owned())
}

fn redo(job: JobId, again: Option<Box<Again>>) -> Command {
    let Fact { video, owner, .. } = fact(Kind::Completed {});
    Command::Redo {
        job,
        video,
        owner,
        source: source(),
        again,
        slots: 1,
        at_ms: 1,
    }
}

fn redone(job: JobId, again: Option<Box<Again>>) -> Vec<Event> {
    history_after(vec![], [redo(job, again)])
}

fn redone_240p() -> Vec<Event> {
    redone(NEXT, Again::of(&fold(&completed()), &id("240p")))
}

/// One rendition, and the check is under way.
fn remade(rendition: &str, segments: u32) -> Vec<Command> {
    let mut commands = vec![start("encode")];
    commands.push(publish("encode", 1, rendition, 0, segments));
    commands.extend([done("encode", 1), start("finish")]);
    commands
}

fn finished_check() -> Event {
    fact(Kind::TaskFinished {
        lease: lease("finish", 1),
        outcome: Outcome::Checked { playlists: vec![] },
    })
}

fn runnable(job: &Job) -> Vec<String> {
    let tasks = job.runnable().into_iter();
    tasks.map(|task| task.id.0.clone()).collect()
}

/// A finished job whose top rendition is the source's own.
fn passed_through() -> Vec<Event> {
    let cuts_us = (0..6).map(|n| n * 2_000_000).collect();
    let found = Command::Finish {
        lease: lease("probe", 1),
        outcome: Outcome::Probed {
            media: media(),
            cuts_us,
        },
        slots: 1,
        at_ms: 1,
    };
    let mut commands = vec![start("probe"), found, start("passthrough")];
    commands.push(publish("passthrough", 1, "360p", 0, 6));
    commands.push(done("passthrough", 1));
    commands.push(start("encode"));
    for rendition in ["240p", "144p"] {
        commands.push(publish("encode", 1, rendition, 0, 6));
    }
    commands.push(done("encode", 1));
    commands.extend([start("audio"), publish("audio", 1, "audio", 0, 6)]);
    commands.extend([done("audio", 1), start("poster"), poster()]);
    commands.extend([start("finish"), check(1)]);
    history(commands)
}
