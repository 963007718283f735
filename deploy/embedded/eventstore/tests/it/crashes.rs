//! The process killed at random moments, and its log as a crash may leave it.
//!
//! A failure prints its seed; with `KINOLOG_TEST_SEED=7` the same is chosen again, though the
//! processes do not meet in the same order.
//!
//! # Invariants
//!
//! * A log is damaged only when every client has seen its connection end: then the test
//!   knows all that anybody was told.
//! * Only what is behind that is damaged, except where the damage must be named.

mod appender;
mod damage;
mod subscriber;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use eventstore::{ReadAllOptions, ResolvedEvent};
use futures::future::join_all;
use nix::sys::signal::Signal;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;
use uuid::Uuid;

use self::appender::{Appender, Habit};
use self::subscriber::{Subscriber, Wanted};
use crate::node::{SOON, add, client, folder, position, read_all};
use crate::process::Process;

const KILLS: usize = 50;
/// A few groups each, so that many kills come where one segment ends and the next begins.
const SEGMENT_BYTES: u64 = 48 * 1024;
/// The filtered subscription's types.
const SOME: &str = "some.";
/// The type of the last event.
const END: &str = "some.end";

/// What the clients were told, all together.
pub struct Told {
    /// The last position that was acknowledged or shown to anybody.
    position: watch::Sender<u64>,
    /// Appends acknowledged.
    appends: watch::Sender<u64>,
    /// Whether to begin no further appends.
    enough: watch::Sender<bool>,
}

impl Told {
    pub fn position(&self, position: u64) {
        self.position.send_modify(|it| *it = position.max(*it));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_fifty_kills_readers_and_subscribers_have_each_acknowledged_event_once() {
    let mut random = StdRng::seed_from_u64(seed());
    let dir = folder();
    let told = Arc::new(Told {
        position: watch::Sender::new(0),
        appends: watch::Sender::new(0),
        enough: watch::Sender::new(false),
    });
    let mut appenders = appenders(&mut random);
    let mut subscribers: Vec<_> = [Wanted::All, Wanted::OfType(SOME), Wanted::Stream("exact0")]
        .map(Subscriber::new)
        .into();

    let mut done = "nothing";
    for _ in 0..KILLS {
        let process = Process::start_with(dir.path(), SEGMENT_BYTES);
        let appending = appenders
            .into_iter()
            .map(|it| it.run(process.port, told.clone()));
        let appending: Vec<_> = appending.map(tokio::spawn).collect();
        let following = subscribers
            .into_iter()
            .map(|it| it.run(process.port, told.clone()));
        let following: Vec<_> = following.map(tokio::spawn).collect();
        let appended = moment(&mut random, &told).await;
        process.signal(Signal::SIGKILL);
        let said = process.said().await;
        assert!(appended, "no append succeeds after {done}: {said}");
        appenders = ended(appending).await;
        subscribers = ended(following).await;
        done = damage::tail(dir.path(), *told.position.borrow(), &mut random);
        damage::indexes(dir.path(), &mut random);
        if crate::storage::segments(dir.path()).is_empty() {
            // Killed before there was a log.
            continue;
        }
        let verified = verify(dir.path());
        assert!(verified.is_ok(), "{done}: {verified:?}");
    }

    let process = Process::start_with(dir.path(), SEGMENT_BYTES);
    told.enough.send_replace(true);
    let appending = appenders
        .into_iter()
        .map(|it| it.run(process.port, told.clone()));
    let following = subscribers
        .into_iter()
        .map(|it| it.run(process.port, told.clone()));
    let following: Vec<_> = following.map(tokio::spawn).collect();
    let appenders = ended(appending.map(tokio::spawn).collect()).await;
    let client = client(process.port);
    add(&client, "exact0", END, 1).await;
    let subscribers = ended(following).await;
    let truth = read_all(&client, &ReadAllOptions::default()).await.unwrap();
    process.signal(Signal::SIGTERM);
    assert!(process.end().await.success());

    consistent(&truth);
    acknowledged(&truth, &appenders);
    subscribers.iter().for_each(|it| it.has_seen(&truth));
    let verified = verify(dir.path()).unwrap();
    assert_eq!(verified["events"], truth.len());
    assert_eq!(verified["torn_bytes"], 0);
    assert!(verified["segments"].as_u64().unwrap() > 3, "{verified}");
}

#[tokio::test]
async fn garbled_bytes_that_were_acknowledged_are_named_and_never_served() {
    let mut random = StdRng::seed_from_u64(seed());
    let dir = folder();
    let process = Process::start_with(dir.path(), 4096);
    let writer = client(process.port);
    for number in 0..40 {
        add(&writer, &format!("s{}", number % 3), "x", 1).await;
    }
    let truth = ids(&read_all(&writer, &ReadAllOptions::default()).await.unwrap());
    process.signal(Signal::SIGTERM);
    assert!(process.end().await.success());

    for _ in 0..16 {
        let damaged = damage::anywhere(dir.path(), &mut random);
        let process = Process::start_with(dir.path(), 4096);
        let served = served(process.port).await;
        assert!(truth.starts_with(&served), "{damaged:?}");
        assert!(served.len() < damaged.position, "{damaged:?} was served");
        process.signal(Signal::SIGTERM);
        let said = process.said().await;
        for named in damaged.names() {
            assert!(said.contains(&named), "{damaged:?}: {said}");
        }
        assert!(
            verify(dir.path())
                .unwrap_err()
                .contains(&damaged.names()[0])
        );
        damaged.repair();
    }
    verify(dir.path()).unwrap();
}

fn seed() -> u64 {
    let chosen = std::env::var("KINOLOG_TEST_SEED").ok();
    let seed = chosen.map_or_else(rand::random, |text| text.parse().unwrap());
    println!("KINOLOG_TEST_SEED={seed}");
    seed
}

fn appenders(random: &mut StdRng) -> Vec<Appender> {
    [
        ("exact0", Habit::Exact),
        ("exact1", Habit::Exact),
        ("rivals", Habit::Exact),
        ("rivals", Habit::Exact),
        ("any", Habit::Any),
        ("any", Habit::Any),
        ("alone", Habit::Any),
    ]
    .map(|(stream, habit)| Appender::new(stream, habit, StdRng::from_rng(random)))
    .into()
}

/// One kill in four comes while the log is being opened, the others amid appends. Whether
/// those went on.
async fn moment(random: &mut StdRng, told: &Told) -> bool {
    let mut latest = 60_000;
    if random.random_ratio(3, 4) {
        let appends = *told.appends.borrow() + random.random_range(1..40);
        let mut acknowledged = told.appends.subscribe();
        let enough = acknowledged.wait_for(|now| *now >= appends);
        if tokio::time::timeout(SOON, enough).await.is_err() {
            return false;
        }
        latest = 6_000;
    }
    tokio::time::sleep(Duration::from_micros(random.random_range(0..latest))).await;
    true
}

async fn ended<T>(tasks: Vec<tokio::task::JoinHandle<T>>) -> Vec<T> {
    let ended = tokio::time::timeout(SOON, join_all(tasks)).await;
    let ended = ended.expect("clients notice that the node is gone, or that it is over");
    ended.into_iter().map(|task| task.unwrap()).collect()
}

fn verify(dir: &Path) -> Result<serde_json::Value, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_kinolog-eventstore"))
        .arg("verify")
        .arg(dir)
        .output()
        .unwrap();
    if output.status.success() {
        return Ok(serde_json::from_slice(&output.stdout).unwrap());
    }
    Err(String::from_utf8(output.stderr).unwrap())
}

/// What a reader gets until it is refused.
async fn served(port: u16) -> Vec<Uuid> {
    let client = client(port);
    let mut found = vec![];
    if let Ok(mut answers) = client.read_all(&ReadAllOptions::default()).await {
        while let Ok(Some(event)) = answers.next().await {
            found.push(event);
        }
    }
    ids(&found)
}

fn ids(events: &[ResolvedEvent]) -> Vec<Uuid> {
    events.iter().map(|it| it.get_original_event().id).collect()
}

/// Positions increase, revisions have no gap, and no event is there twice.
fn consistent(truth: &[ResolvedEvent]) {
    assert!(truth.is_sorted_by(|before, after| position(before) < position(after)));
    let mut next: HashMap<&str, u64> = HashMap::new();
    for event in truth.iter().map(ResolvedEvent::get_original_event) {
        let next = next.entry(&event.stream_id).or_default();
        assert_eq!(event.revision, *next, "of {}", event.stream_id);
        *next += 1;
    }
    let distinct: HashSet<_> = ids(truth).into_iter().collect();
    assert_eq!(distinct.len(), truth.len());
}

/// Each acknowledged append stands where it was said to stand, as it was given; no refused
/// one does.
fn acknowledged(truth: &[ResolvedEvent], appenders: &[Appender]) {
    let places: HashMap<_, _> = truth
        .iter()
        .map(|it| (it.get_original_event().id, it.get_original_event()))
        .collect();
    let mut count = 0;
    for appender in appenders {
        for append in &appender.acknowledged {
            let last = append.events.len() - 1;
            for (index, (id, data)) in append.events.iter().enumerate() {
                let there = places[id];
                let revision = append.last_revision - (last - index) as u64;
                assert_eq!(there.stream_id, appender.stream);
                assert_eq!(there.revision, revision);
                assert_eq!(there.data, *data);
            }
            assert_eq!(
                places[&append.events[last].0].position.commit,
                append.position
            );
            count += append.events.len();
        }
        assert!(!appender.acknowledged.is_empty());
        assert!(appender.refused.iter().all(|id| !places.contains_key(id)));
    }
    // And the one that begins the log, and the one that ends it. So nobody is left without an answer.
    assert_eq!(truth.len(), count + 2);
}
