//! A job of sixty chunks whose workers vanish and whose conductor is killed, at seeded moments.
//!
//! `KINOLOG_TEST_SEED` runs one seed alone.

use std::{collections::BTreeMap, net::SocketAddr, sync::Mutex, time::Duration};

use domain::{fact::AnyEvent, id::JobId, job, video::Status};
use futures::{StreamExt, TryStreamExt};
use protocol::{Lease, Task, finish_request::Result as Outcome, task::Spec};
use tonic::{Code, Status as Refusal};
use uuid::Uuid;

use crate::{
    worker::{Worker, encoded, probed, segment},
    world::{TOKEN, World, eventually},
};

const SEEDS: u64 = 20;
const WORLDS: usize = 4;
const WORKERS: u64 = 3;
/// A key frame every ten seconds of an hour.
const SEGMENTS: u32 = 360;
const SEGMENT_US: u64 = 10_000_000;
/// Stored at a time by one worker.
const STORED: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_chunks_survive_the_death_of_workers_and_conductors() {
    let only = std::env::var("KINOLOG_TEST_SEED").ok();
    let seeds: Vec<u64> = match only {
        Some(seed) => vec![seed.parse().expect("a seed is a number")],
        None => (0..SEEDS).collect(),
    };
    let runs = futures::stream::iter(seeds).map(|seed| async move {
        tokio::time::timeout(Duration::from_secs(240), survive(seed))
            .await
            .unwrap_or_else(|_| panic!("seed {seed} came to no end"));
    });
    runs.buffer_unordered(WORLDS).collect::<Vec<()>>().await;
}

async fn survive(seed: u64) {
    let mut dice = Dice::of(seed);
    let mut world = World::with(|config| {
        config.lease = Duration::from_millis(1_500);
        config.heartbeat = Duration::from_millis(300);
    })
    .await;
    let (video, job) = world.upload().await;
    let address = Mutex::new(world.address);
    let workers = (0..WORKERS).map(|number| work(&address, Dice::of(seed * WORKERS + number)));
    let killing = async {
        for _ in 0..2 + dice.below(4) {
            // Not to wait for something: this is the fault's moment.
            tokio::time::sleep(Duration::from_millis(50 + dice.below(800))).await;
            world.restart().await;
            *address.lock().unwrap() = world.address;
        }
        while world.video(video).await.status != Status::Ready {
            let end = world.job(job).await.failure;
            assert_eq!(end, None, "seed {seed}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        _ = futures::future::join_all(workers) => panic!("workers go on for ever"),
        () = killing => {}
    }
    world.assert_ready_once(video, job).await;
    assert_each_segment_once(&world, job, seed).await;
    world.delete(video).await;
    let prefix = format!("videos/{video}");
    eventually("its objects are erased", async || {
        world.keys(&prefix).await.is_empty()
    })
    .await;
}

async fn assert_each_segment_once(world: &World, job: JobId, seed: u64) {
    let mut published: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for recorded in world.job_events(job).await {
        if let Ok(AnyEvent::Job(fact)) = recorded.event
            && let job::Kind::SegmentsPublished {
                rendition,
                from,
                segments,
                ..
            } = fact.event
        {
            let numbers = from..from + segments.len() as u32;
            published.entry(rendition.0).or_default().extend(numbers);
        }
    }
    let names: Vec<&str> = published.keys().map(String::as_str).collect();
    assert_eq!(names, ["144p", "240p"], "seed {seed}");
    for (rendition, mut numbers) in published {
        numbers.sort_unstable();
        let all: Vec<u32> = (0..SEGMENTS).collect();
        assert_eq!(numbers, all, "seed {seed}, {rendition}");
    }
}

/// One worker after another: each vanishes sooner or later, and the next takes its place.
async fn work(address: &Mutex<SocketAddr>, mut dice: Dice) {
    let mut request = Uuid::now_v7();
    loop {
        let name = format!("worker-{}", dice.below(1_000_000));
        loop {
            let now = *address.lock().unwrap();
            let worker = Worker::new(now, &name, TOKEN);
            let Ok(claimed) = worker.claim_with(request, &[], 200).await else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            request = Uuid::now_v7();
            let Some(task) = claimed else { continue };
            let vanishes_after = (dice.below(12) == 0).then(|| dice.below(4));
            if !run(address, &name, &task, vanishes_after, &mut dice).await {
                break;
            }
        }
    }
}

/// Runs a task; `false` if the worker vanished over it.
async fn run(
    address: &Mutex<SocketAddr>,
    name: &str,
    task: &Task,
    vanishes_after: Option<u64>,
    dice: &mut Dice,
) -> bool {
    let lease = task.lease.clone().unwrap();
    let (rendition, mut left) = match task.spec.as_ref().unwrap() {
        Spec::Passthrough(spec) => {
            let video = spec.video.clone().unwrap();
            (video.rendition, video.published..SEGMENTS)
        }
        Spec::Encode(spec) => {
            let target = &spec.targets[0];
            let end = match spec.segments {
                0 => SEGMENTS,
                segments => spec.first_segment + segments,
            };
            let begin = spec.first_segment + target.published;
            (target.rendition.clone(), begin..end)
        }
        Spec::Probe(_) | Spec::Poster(_) => (String::new(), 0..0),
        Spec::Audio(_) => panic!("the film is silent"),
    };
    let mut calls = 0;
    while !left.is_empty() {
        if vanishes_after == Some(calls) {
            return false;
        }
        calls += 1;
        let batch = left.start..left.end.min(left.start + 1 + dice.below(40) as u32);
        let published = insist(address, name, async |worker| {
            publish(&worker, &lease, &rendition, batch.clone()).await
        });
        if published.await.is_none() {
            return true;
        }
        left.start = batch.end;
    }
    if vanishes_after.is_some() {
        return false;
    }
    insist(address, name, async |worker| {
        let outcome = match task.spec.as_ref().unwrap() {
            Spec::Probe(_) => a_silent_hour(),
            Spec::Poster(spec) => Outcome::Poster(protocol::PosterResult {
                name: "poster.jpg".to_owned(),
                width: spec.width,
                height: spec.height,
                size_bytes: worker.store(&lease, "poster.jpg").await?,
            }),
            Spec::Passthrough(_) | Spec::Encode(_) | Spec::Audio(_) => encoded(),
        };
        worker.finish(&lease, outcome).await
    })
    .await;
    true
}

async fn publish(
    worker: &Worker,
    lease: &Lease,
    rendition: &str,
    batch: std::ops::Range<u32>,
) -> Result<(), Refusal> {
    let from = batch.start;
    let stored = futures::stream::iter(batch).map(|index| async move {
        let name = format!("{rendition}-{index}.m4s");
        let size_bytes = worker.store(lease, &name).await?;
        let mut segment = segment(name, size_bytes, index);
        (segment.time, segment.duration) = (u64::from(index) * 10_000, 10_000);
        Ok::<_, Refusal>(segment)
    });
    let segments = stored.buffered(STORED).try_collect().await?;
    let init = worker.make_init(lease, rendition).await?;
    worker
        .publish(lease, rendition, from, Some(init), segments)
        .await?;
    Ok(())
}

/// Repeats a call until some conductor answers it; `None` if the lease is gone.
async fn insist<T>(
    address: &Mutex<SocketAddr>,
    name: &str,
    call: impl AsyncFn(Worker) -> Result<T, Refusal>,
) -> Option<T> {
    loop {
        let now = *address.lock().unwrap();
        match call(Worker::new(now, name, TOKEN)).await {
            Ok(done) => return Some(done),
            Err(refusal) if matches!(refusal.code(), Code::NotFound | Code::Aborted) => {
                return None;
            }
            // Killed in the middle of an answer, or of a greeting, it says nothing about itself: a
            // worker takes all of these for a conductor that is away.
            Err(refusal)
                if matches!(
                    refusal.code(),
                    Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled
                ) =>
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(refusal) => panic!("{refusal}"),
        }
    }
}

/// An hour of picture that is passed through, and encoded once.
fn a_silent_hour() -> Outcome {
    let Outcome::Probe(mut probe) = probed() else {
        panic!("a probe leaves what it found");
    };
    probe.duration_ms = u64::from(SEGMENTS) * SEGMENT_US / 1000;
    probe.audio = None;
    probe.tracks = 1;
    probe.cuts_us = (0..u64::from(SEGMENTS)).map(|n| n * SEGMENT_US).collect();
    Outcome::Probe(probe)
}

/// The same numbers for the same seed (xorshift).
struct Dice(u64);

impl Dice {
    fn of(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
