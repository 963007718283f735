//! Kill -9, one process after the other, at moments drawn across the making of a video.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::Value;

use crate::{
    client::Client,
    media,
    platform::{Platform, is_alive, signal},
};

const ROLES: [&str; 8] = [
    "eventstore",
    "objectstore",
    "postgres",
    "redis",
    "api",
    "projections",
    "conductor",
    "worker-1",
];
const KILLS_PER_ROLE: u64 = 3;

/// How soon the supervisor must have a role back.
const BACK_WITHIN: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_killed_a_video_becomes_ready_exactly_once() {
    let seed: u64 =
        std::env::var("KINOLOG_TEST_SEED").map_or(20_261_120, |text| text.parse().unwrap());
    println!("seed {seed} (KINOLOG_TEST_SEED)");
    let platform = Platform::start("kill");
    let client = Client::of(&platform);
    let clip = media::clip("kill.mp4", 5);
    let watch = client.watch();
    watch.subscribed().await;

    let undisturbed = Instant::now();
    let video = client.upload(&clip, "undisturbed").await;
    watch.heard("ready", &video).await;
    let usual = undisturbed.elapsed();
    println!("undisturbed: {usual:?}");
    let mut videos = vec![video];

    for (index, role) in ROLES.iter().enumerate() {
        for round in 0..KILLS_PER_ROLE {
            let mut random = StdRng::seed_from_u64(seed + index as u64 * 100 + round);
            // One draw from each third, so that the whole of the way is covered.
            let part = (round as f64 + random.random::<f64>()) / KILLS_PER_ROLE as f64;
            let at = usual.mul_f64(part);
            let began = Instant::now();
            let title = format!("{role} killed in round {round}");
            let (video, ()) = tokio::join!(client.upload(&clip, &title), async {
                tokio::time::sleep(at).await;
                killed_and_back(&platform, role).await;
            });
            watch.heard("ready", &video).await;
            println!("{role} killed at {at:?}: ready after {:?}", began.elapsed());
            check_streams(&client, &video).await;
            videos.push(video);
        }
    }
    for video in &videos {
        assert_eq!(
            watch.frames("ready", video),
            1,
            "one ready frame for {video}"
        );
        assert_eq!(
            watch.frames("playable", video),
            1,
            "one playable frame for {video}"
        );
        assert_eq!(watch.frames("failed", video), 0, "no failure of {video}");
        assert_eq!(client.settled(video, &["READY"]).await["playable"], true);
    }
}

async fn killed_and_back(platform: &Platform, role: &str) {
    let pid = platform.pid(role);
    signal(pid, libc::SIGKILL);
    let killed = Instant::now();
    loop {
        let now = platform.pid(role);
        if now != pid && is_alive(now) {
            return;
        }
        assert!(
            killed.elapsed() < BACK_WITHIN,
            "{role} is not back within {BACK_WITHIN:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Exactly one `became-ready`, and exactly one end for each start.
async fn check_streams(client: &Client, video: &str) {
    let events = client.stream(&format!("video-{video}")).await;
    let ready: Vec<&Value> = events
        .iter()
        .filter(|(name, _)| name == "video.became-ready.v1")
        .map(|(_, data)| data)
        .collect();
    assert_eq!(ready.len(), 1, "one became-ready in {events:?}");
    let job = ready[0]["job"].as_str().unwrap();

    let events = client.stream(&format!("job-{job}")).await;
    let mut attempts: BTreeMap<(String, u64), (u32, u32)> = BTreeMap::new();
    for (name, data) in &events {
        let lease = (
            data["task"].as_str().unwrap_or_default().to_owned(),
            data["attempt"].as_u64().unwrap_or(0),
        );
        match name.as_str() {
            "job.task-started.v1" => attempts.entry(lease).or_default().0 += 1,
            "job.task-finished.v2"
            | "job.task-failed.v1"
            | "job.lease-lost.v1"
            | "job.task-cancelled.v1" => {
                attempts.entry(lease).or_default().1 += 1;
            }
            _ => {}
        }
    }
    assert!(
        !attempts.is_empty(),
        "the job stream has starts: {events:?}"
    );
    for (lease, counts) in attempts {
        assert_eq!(
            counts,
            (1, 1),
            "one start and one end of {lease:?} in {events:?}"
        );
    }
}
