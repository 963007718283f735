//! Conductors that die: before, during and after every call of a worker.

use std::time::Duration;

use domain::{
    id::{CommandId, TaskId},
    job::{Event, Job, Kind, Lease as Attempt},
    video::Status,
};
use eventlog::{Envelope, Revision};
use protocol::{Lease, Task, finish_request::Result as Outcome, task::Spec};
use tonic::{Code, Status as Refusal};
use uuid::Uuid;

use crate::{
    worker::{Worker, encoded, job_of, lease_of, probed},
    world::{World, count},
};

/// One call of a worker.
#[derive(Clone)]
enum Call {
    Claim(Uuid),
    Segment(Lease, String, u32),
    Store(Lease, String),
    Finish(Lease, Outcome),
}

/// A worker that goes on where it was, whatever its conductor does meanwhile.
struct Patient {
    calls: usize,
    pending: Vec<Call>,
}

impl Patient {
    /// The calls that a task takes.
    fn plan(&mut self, task: &Task) {
        let lease = task.lease.clone().unwrap();
        let mut calls = match task.spec.as_ref().unwrap() {
            Spec::Probe(_) => vec![Call::Finish(lease, probed())],
            Spec::Encode(spec) => {
                let segment = |index, rendition: &str| {
                    Call::Segment(lease.clone(), rendition.to_owned(), index)
                };
                let targets = |index| {
                    let targets = spec.targets.iter();
                    targets.map(move |target| segment(index, &target.rendition))
                };
                let mut calls: Vec<Call> = (0..spec.boundaries_us.len() as u32)
                    .flat_map(targets)
                    .collect();
                calls.push(Call::Finish(lease.clone(), encoded()));
                calls
            }
            Spec::Audio(spec) => {
                let mut calls: Vec<Call> = (0..spec.boundaries_us.len() as u32)
                    .map(|index| Call::Segment(lease.clone(), spec.rendition.clone(), index))
                    .collect();
                calls.push(Call::Finish(lease.clone(), encoded()));
                calls
            }
            Spec::Passthrough(_) => panic!("nothing is passed through here"),
            Spec::Poster(spec) => {
                let poster = protocol::PosterResult {
                    name: "poster.jpg".to_owned(),
                    width: spec.width,
                    height: spec.height,
                    size_bytes: "the bytes of poster.jpg".len() as u64,
                };
                vec![
                    Call::Store(lease.clone(), "poster.jpg".to_owned()),
                    Call::Finish(lease, Outcome::Poster(poster)),
                ]
            }
        };
        calls.reverse();
        self.pending = calls;
    }

    fn next(&mut self) -> Call {
        self.calls += 1;
        self.pending
            .pop()
            .unwrap_or_else(|| Call::Claim(Uuid::now_v7()))
    }
}

async fn make(worker: &Worker, call: &Call) -> Result<Option<Task>, Refusal> {
    match call {
        Call::Claim(request) => return worker.claim_with(*request, &[], 300).await,
        Call::Segment(lease, rendition, index) => {
            worker
                .make_segment(lease, rendition, *index)
                .await
                .map(drop)?;
        }
        Call::Store(lease, name) => worker.store(lease, name).await.map(drop)?,
        Call::Finish(lease, outcome) => worker.finish(lease, outcome.clone()).await?,
    }
    Ok(None)
}

/// The same call until some conductor answers it.
async fn insist(worker: &Worker, call: &Call) -> Option<Task> {
    loop {
        match make(worker, call).await {
            Ok(task) => return task,
            Err(refusal) if refusal.code() == Code::Unavailable => {}
            // The report was heard, and the job is over since.
            Err(refusal) if refusal.code() == Code::NotFound => return None,
            Err(refusal) => panic!("{refusal}"),
        }
    }
}

/// Makes a video ready while the conductor is killed `after` call number `unlucky` began, whose
/// answer is lost. How many calls it took.
async fn survive(world: &mut World, unlucky: usize, after: Duration) -> usize {
    let (video, job) = world.upload().await;
    let mut patient = Patient {
        calls: 0,
        pending: vec![],
    };
    let mut worker = world.worker("worker-1");
    while world.video(video).await.status != Status::Ready {
        let call = patient.next();
        if patient.calls == unlucky {
            let (early, call) = (worker.clone(), call.clone());
            let lost = tokio::spawn(async move { make(&early, &call).await.is_ok() });
            // Not to wait for something: this is the fault's moment.
            tokio::time::sleep(after).await;
            world.restart().await;
            lost.await.unwrap();
            worker = world.worker("worker-1");
        }
        let task = insist(&worker, &call).await;
        task.inspect(|task| patient.plan(task));
    }
    world.assert_ready_once(video, job).await;
    patient.calls
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_call_it_makes_the_video_ready_exactly_once() {
    // Three worlds at a time: most of it is waiting for disks.
    tokio::join!(
        killed_at_every_third(0),
        killed_at_every_third(1),
        killed_at_every_third(2)
    );
}

async fn killed_at_every_third(first: usize) {
    let mut world = World::new().await;
    let calls = survive(&mut world, usize::MAX, Duration::ZERO).await;
    for unlucky in (1..=calls).skip(first).step_by(3) {
        let after = [0, 3, 9][(unlucky / 3) % 3];
        survive(&mut world, unlucky, Duration::from_millis(after)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_it_finishes_it_takes_up_its_own_attempt() {
    let mut world = World::new().await;
    let (video, job) = world.upload().await;
    world.worker("worker-1").work_all(4).await;
    for _ in 0..3 {
        world.restart().await;
    }
    world
        .until_video(video, "ready", |video| video.status == Status::Ready)
        .await;
    world.assert_ready_once(video, job).await;
    let state = world.job(job).await;
    let finish = state
        .tasks
        .values()
        .find(|p| p.task.id.0 == "finish")
        .unwrap();
    assert_eq!((finish.attempts, finish.lost_leases), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_wait_for_a_log_that_is_away_and_are_recorded_once() {
    let mut world = World::new().await;
    let (video, job) = world.upload().await;
    let worker = world.worker("worker-1");
    let probe = worker.claim("probe").await;
    world.lose_log().await;
    let lease = lease_of(&probe);
    let reporting = tokio::spawn({
        let (worker, lease) = (worker.clone(), lease.clone());
        async move { worker.finish(&lease, probed()).await }
    });
    assert!(
        !worker.heartbeat(&lease).await.unwrap(),
        "the lease needs no log"
    );
    world.find_log().await;
    reporting.await.unwrap().unwrap();
    assert_eq!(
        count(&world.job_events(job).await, "job.task-finished.v2"),
        1
    );
    worker.work_all(3).await;
    world
        .until_video(video, "ready", |video| video.status == Status::Ready)
        .await;
    world.assert_ready_once(video, job).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_conductor_appended_is_read_before_anything_is_decided() {
    let world = World::new().await;
    world.upload().await;
    let worker = world.worker("worker-1");
    let probe = worker.claim("probe").await;
    let job = job_of(&probe);
    let state = world.job(job).await;
    let lost = Event {
        video: state.video,
        owner: state.owner,
        at_ms: 1,
        event: Kind::LeaseLost {
            lease: Attempt {
                task: TaskId("probe".to_owned()),
                attempt: 1,
            },
        },
    };
    let by = Envelope::new(CommandId(Uuid::now_v7()), "conductor");
    let last = world.job_events(job).await.len() as u64 - 1;
    world
        .log
        .append::<Job>(job, Revision::Exact(last), &by, &[lost])
        .await
        .unwrap();

    let refused = worker
        .finish(&lease_of(&probe), probed())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Aborted);
    let again = worker.claim("probe").await;
    assert_eq!(lease_of(&again).attempt, 2);
}
