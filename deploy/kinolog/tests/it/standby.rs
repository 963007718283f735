//! Two conductors as processes of their own: when the one that leads is killed, the other goes on.

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    client::{Client, PATIENCE},
    media,
    platform::{Platform, is_alive, kinolog, signal},
};

const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(10);

/// A process that ends with the test.
pub struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The supervisor stands still, so that it does not start what is killed again.
struct Standing(u32);

impl Standing {
    fn still(platform: &Platform) -> Self {
        let supervisor = platform.addresses()["supervisor"].as_u64().unwrap() as u32;
        signal(supervisor, libc::SIGSTOP);
        Self(supervisor)
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        signal(self.0, libc::SIGCONT);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_takes_over_a_running_job_within_ten_seconds() {
    let platform = Platform::start_with("standby", &["--workers", "0"]);
    let client = Client::of(&platform);
    let leader = platform.pid("conductor");
    let environment = environment_of(leader);
    let standby_at = free_address();
    let _standby = start(
        Command::new(kinolog()).args(["conduct", "--listen", &standby_at]),
        &environment,
        &platform.dir.join("standby.log"),
    );
    let both = format!("{},http://{standby_at}", platform.address("conductor"));
    let worker = kinolog().with_file_name("kinolog-worker");
    let scratch = platform.dir.join("scratch");
    let _worker = start(
        Command::new(worker)
            .args(["--conductor", &both, "--name", "worker-of-two"])
            .arg("--scratch")
            .arg(&scratch),
        &environment,
        &platform.dir.join("worker-of-two.log"),
    );

    let clip = media::clip("standby.mp4", 90);
    let video = client.upload(&clip, "goes on").await;
    let running = until(&client, "something is encoded", |queue| {
        // A chunk may be done before its progress is told for the first time.
        let mut running = queue["running"].as_array().unwrap().iter();
        running
            .find(|it| it["videoId"] == json!(video) && it["kind"] != "probe")
            .cloned()
    });
    let running = running.await;
    let supervisor = Standing::still(&platform);
    signal(leader, libc::SIGKILL);
    let killed = Instant::now();
    let at = OffsetDateTime::now_utc();
    let taken_over = until(&client, "the standby leads", |queue| {
        let shown = OffsetDateTime::parse(queue["at"].as_str()?, &Rfc3339).unwrap();
        (shown > at).then_some(())
    });
    taken_over.await;
    println!("taken over after {:?}", killed.elapsed());
    assert!(
        killed.elapsed() < TAKEN_OVER_WITHIN,
        "{:?}",
        killed.elapsed()
    );
    assert!(!is_alive(leader));
    drop(supervisor);

    client.settled(&video, &["READY"]).await;
    let job = running["jobId"].as_str().unwrap();
    let events = client.stream(&format!("job-{job}")).await;
    let count = |name: &str| events.iter().filter(|(it, _)| it == name).count();
    assert_eq!(
        count("job.lease-lost.v1"),
        0,
        "what ran went on: {events:?}"
    );
    assert_eq!(count("job.completed.v1"), 1);
}

/// What the supervisor told a role, but for the socket that it handed down.
pub fn environment_of(pid: u32) -> Vec<(String, String)> {
    let text = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    let text = String::from_utf8(text).unwrap();
    let variables = text.split('\0').filter_map(|line| line.split_once('='));
    variables
        .filter(|(name, _)| *name != "KINOLOG_LISTEN_FD")
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

pub fn start(command: &mut Command, environment: &[(String, String)], log: &Path) -> Process {
    let log = std::fs::File::create(log).unwrap();
    let child = command
        .env_clear()
        .envs(environment.iter().cloned())
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn();
    Process(child.expect("it starts"))
}

fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// Asks for the queues until they are as wanted.
async fn until<T>(client: &Client, what: &str, holds: impl Fn(&Value) -> Option<T>) -> T {
    let query = "{ queue { at running { videoId jobId kind } } }";
    let deadline = Instant::now() + PATIENCE;
    loop {
        let data = client.graphql(query, json!({})).await;
        let queue = Some(&data["queue"]).filter(|queue| queue.is_object());
        if let Some(found) = queue.and_then(&holds) {
            return found;
        }
        assert!(Instant::now() < deadline, "never: {what}: {data}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
