//! Whatever workers and the conductor say, in whatever order, the invariants hold.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const TASKS: [&str; 5] = ["probe", "encode", "audio", "poster", "finish"];
const RENDITIONS: [&str; 4] = ["360p", "240p", "144p", "audio"];
/// So many segments the source has.
const SEGMENTS: u32 = 6;
const CODES: [Code; 3] = [
    Code::ProcessingCrashed,
    Code::StorageUnavailable,
    Code::SourceCorrupt,
];

/// One thing said to a job. Attempts and places are meant relative to where it stands, so
/// that enough of what is said makes sense.
#[derive(Debug, Clone)]
enum Said {
    Start(usize),
    Publish {
        /// By a task that does not make the rendition.
        stray: bool,
        late: bool,
        rendition: usize,
        back: u32,
        count: u32,
    },
    Finish {
        task: usize,
        late: bool,
    },
    Fail {
        task: usize,
        late: bool,
        code: usize,
    },
    Lose {
        task: usize,
        late: bool,
    },
    Cancel,
}

fn said() -> impl Strategy<Value = Said> {
    let task = || 0..TASKS.len();
    let late = || prop::bool::weighted(0.05);
    let stray = prop::bool::weighted(0.05);
    let publish = (stray, late(), 0..RENDITIONS.len(), 0u32..4, 1u32..4).prop_map(
        |(stray, late, rendition, back, count)| Said::Publish {
            stray,
            late,
            rendition,
            back,
            count,
        },
    );
    let code = prop_oneof![19 => 0usize..2, 1 => Just(2)];
    prop_oneof![
        200 => task().prop_map(Said::Start),
        600 => publish,
        80 => (task(), late()).prop_map(|(task, late)| Said::Finish { task, late }),
        15 => (task(), late(), code)
            .prop_map(|(task, late, code)| Said::Fail { task, late, code }),
        20 => (task(), late()).prop_map(|(task, late)| Said::Lose { task, late }),
        1 => Just(Said::Cancel),
    ]
}

impl Said {
    fn to(&self, job: &Job) -> Command {
        let attempt = |task: usize, late: bool| {
            let id = TaskId(TASKS[task].to_owned());
            let attempts = job.tasks.get(&id).map_or(0, |progress| progress.attempts);
            if late {
                attempts.saturating_sub(1)
            } else {
                attempts
            }
        };
        match *self {
            Self::Start(task) => start(TASKS[task]),
            Self::Publish {
                stray,
                late,
                rendition,
                back,
                count,
            } => {
                let task = if (RENDITIONS[rendition] == "audio") == stray {
                    1
                } else {
                    2
                };
                let id = RenditionId(RENDITIONS[rendition].to_owned());
                let have = job
                    .renditions
                    .get(&id)
                    .map_or(0, |p| p.segments.len() as u32);
                let from = (have + 1).saturating_sub(back);
                let count = count.min(SEGMENTS.saturating_sub(from));
                publish(
                    TASKS[task],
                    attempt(task, late),
                    RENDITIONS[rendition],
                    from,
                    count,
                )
            }
            Self::Finish { task, late } => Command::Finish {
                lease: lease(TASKS[task], attempt(task, late)),
                outcome: match TASKS[task] {
                    "probe" => found_outcome(media()),
                    "poster" => Outcome::Poster {
                        key: "poster.jpg".to_owned(),
                        width: 2,
                        height: 2,
                        size_bytes: 1,
                    },
                    "finish" => Outcome::Checked { playlists: vec![] },
                    _ => encoded_outcome(),
                },
                slots: 1,
                at_ms: 1,
            },
            Self::Fail { task, late, code } => fail(TASKS[task], attempt(task, late), CODES[code]),
            Self::Lose { task, late } => lose(TASKS[task], attempt(task, late)),
            Self::Cancel => cancel(),
        }
    }
}

/// Everything that came of what was said.
fn events_of(all: &[Said]) -> Vec<Event> {
    let mut events = history([]);
    let mut job: Job = fold(&events);
    for said in all {
        // A refusal changes nothing: that is what it is.
        for event in job.decide(said.to(&job)).unwrap_or_default() {
            job = job.evolve(&event);
            events.push(event);
        }
    }
    events
}

fn is_end_of_job(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::Completed {} | Kind::Failed { .. } | Kind::Cancelled {}
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn every_start_has_one_end(all in prop::collection::vec(said(), 0..120)) {
        let events = events_of(&all);
        let mut open = BTreeSet::new();
        let mut ever = BTreeSet::new();
        for event in &events {
            match &event.event {
                Kind::TaskStarted { lease, .. } => {
                    prop_assert!(ever.insert(lease.clone()), "{lease:?} was started twice");
                    open.insert(lease.clone());
                }
                Kind::TaskFinished { lease, .. }
                | Kind::TaskFailed { lease, .. }
                | Kind::LeaseLost { lease }
                | Kind::TaskCancelled { lease } => {
                    prop_assert!(open.remove(lease), "{lease:?} ended and was not running");
                }
                Kind::SegmentsPublished { lease, .. } => {
                    prop_assert!(open.contains(lease), "{lease:?} was not running");
                }
                Kind::Planned { .. }
                | Kind::LadderPlanned { .. }
                | Kind::RenditionsTakenOver { .. } => {}
                Kind::Completed {} | Kind::Failed { .. } | Kind::Cancelled {} => {
                    prop_assert!(open.is_empty(), "{open:?} had no end");
                }
            }
        }
    }

    #[test]
    fn a_job_ends_once_and_nothing_follows(all in prop::collection::vec(said(), 0..120)) {
        let events = events_of(&all);
        let end = events.iter().position(|event| is_end_of_job(&event.event));
        if let Some(end) = end {
            prop_assert_eq!(end, events.len() - 1);
        }
    }

    #[test]
    fn segments_only_grow(all in prop::collection::vec(said(), 0..120)) {
        let mut keys: BTreeMap<RenditionId, Vec<String>> = BTreeMap::new();
        for event in events_of(&all) {
            let Kind::SegmentsPublished { rendition, from, init, segments, .. } = event.event else {
                continue;
            };
            let have = keys.entry(rendition.clone()).or_default();
            prop_assert_eq!(from as usize, have.len());
            prop_assert_eq!(init.is_some(), have.is_empty());
            prop_assert!(!segments.is_empty());
            for segment in segments {
                let expected = format!("{rendition}-{}.m4s", have.len());
                prop_assert_eq!(&segment.key, &expected);
                have.push(segment.key);
            }
        }
    }

    #[test]
    fn whatever_was_said_twice_was_done_once(all in prop::collection::vec(said(), 0..60)) {
        let mut job: Job = fold(&history([]));
        for said in &all {
            let command = said.to(&job);
            let Ok(events) = job.decide(command.clone()) else { continue };
            job = events.iter().fold(job, Job::evolve);
            let again = job.decide(command);
            prop_assert!(
                again.as_ref().is_ok_and(Vec::is_empty) || again.is_err(),
                "{said:?} was done twice: {again:?}"
            );
        }
    }

    #[test]
    fn mishaps_stay_under_their_maxima(all in prop::collection::vec(said(), 0..200)) {
        let job: Job = fold(&events_of(&all));
        for progress in job.tasks.values() {
            prop_assert!(progress.failures <= FAILURES_MAX);
            prop_assert!(progress.lost_leases <= LOST_LEASES_MAX);
        }
    }

    #[test]
    fn what_is_complete_is_as_long_as_its_source(
        all in prop::collection::vec(said(), 100..250),
    ) {
        let job: Job = fold(&events_of(&all));
        if job.end == End::Completed {
            let lengths = job.renditions.values().map(|published| published.segments.len());
            prop_assert_eq!(lengths.clone().max(), Some(SEGMENTS as usize));
            prop_assert!(lengths.min() > Some(0));
            let pictures: BTreeSet<usize> = ["360p", "240p", "144p"]
                .map(|id| job.renditions[&RenditionId(id.to_owned())].segments.len())
                .into();
            prop_assert_eq!(pictures.len(), 1);
        }
    }
}

/// That what is said above gets somewhere: a job that never ends proves little.
#[test]
fn what_is_said_at_random_reaches_every_end() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let long = prop::collection::vec(said(), 250);
    let mut ends = BTreeMap::new();
    for _ in 0..100 {
        let all = long.new_tree(&mut runner).unwrap().current();
        let job: Job = fold(&events_of(&all));
        *ends.entry(format!("{:?}", job.end)).or_insert(0) += 1;
    }
    for end in ["Completed", "Failed", "Cancelled"] {
        assert!(ends.contains_key(end), "{ends:?}");
    }
}
