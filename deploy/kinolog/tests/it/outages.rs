//! Our own commands go on when a part they talk to is killed in the middle of it.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    client::Client,
    media,
    platform::{Platform, kinolog, signal},
};

const PATIENCE: Duration = Duration::from_secs(60);
/// Long enough that its way into the store can be seen.
const LARGE_BYTES: u64 = 128 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_commands_outlive_the_parts_they_talk_to() {
    let platform = Platform::start("outages");
    let client = Client::of(&platform);
    a_file_arrives_though_the_store_is_killed_while_it_is_sent(&platform);
    what_is_announced_while_the_api_is_away_is_watched(&platform, &client).await;
    a_player_goes_on_when_the_api_is_back(&platform);
}

fn a_file_arrives_though_the_store_is_killed_while_it_is_sent(platform: &Platform) {
    let large = media::folder().join("large.mp4");
    fs::File::create(&large)
        .and_then(|file| file.set_len(LARGE_BYTES))
        .unwrap();
    let before = size_of(&platform.dir.join("objectstore"));
    let arrived = || size_of(&platform.dir.join("objectstore")).saturating_sub(before);

    let command = started(platform, &["upload", large.to_str().unwrap()]);
    until("the file begins to arrive", || arrived() > 1 << 20);
    signal(platform.pid("objectstore"), libc::SIGSTOP);
    assert!(arrived() < LARGE_BYTES, "the file was faster than the test");
    signal(platform.pid("objectstore"), libc::SIGKILL);

    let said = command.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "the upload gave up: {errors}");
    let answer: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert!(answer["video"].is_string(), "{answer}");
}

async fn what_is_announced_while_the_api_is_away_is_watched(platform: &Platform, client: &Client) {
    let mut watch = started(platform, &["watch", "--mine", "--until", "ready"]);
    let mut said = BufReader::new(watch.stderr.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "kinolog: watching");
    // It comes back only when all is over.
    signal(watch.id(), libc::SIGSTOP);
    signal(platform.pid("api"), libc::SIGKILL);
    let video = client
        .upload(&media::clip("outages.mp4", 2), "announced meanwhile")
        .await;
    client.settled(&video, &["READY"]).await;
    signal(watch.id(), libc::SIGCONT);

    ends(&mut watch, "`kinolog watch` misses what was announced");
    let announced: Vec<Value> = BufReader::new(watch.stdout.take().unwrap())
        .lines()
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
        .filter(|frame: &Value| frame["video"]["id"] == *video)
        .collect();
    let kinds: Vec<&str> = announced
        .iter()
        .filter_map(|frame| frame["type"].as_str())
        .collect();
    assert_eq!(kinds, ["playable", "ready"]);
}

fn a_player_goes_on_when_the_api_is_back(platform: &Platform) {
    let clip = media::clip("outages.mp4", 2);
    let mut demo = started(platform, &["demo", clip.to_str().unwrap()]);
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let playing = lines.any(|line| line.unwrap().starts_with("playing:"));
    assert!(playing, "the demo plays what it uploaded");
    // A request that nobody will answer.
    let api = platform.pid("api");
    signal(api, libc::SIGSTOP);
    let address = platform.address("api");
    let port: u16 = address.rsplit(':').next().unwrap().parse().unwrap();
    until("a request waits for the api", || is_asked(port));
    signal(api, libc::SIGKILL);

    let last = lines.map(Result::unwrap).last().unwrap_or_default();
    ends(&mut demo, "`kinolog demo` fails");
    let sum: Value = serde_json::from_str(&last).unwrap_or_default();
    assert!(sum["video"].is_string(), "its last line is JSON: {last}");
}

fn started(platform: &Platform, arguments: &[&str]) -> Child {
    Command::new(kinolog())
        .args(arguments)
        .arg("--data")
        .arg(&platform.dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// It must end well, and in time.
fn ends(child: &mut Child, otherwise: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            let mut said = String::new();
            if let Some(mut errors) = child.stderr.take() {
                errors.read_to_string(&mut said).unwrap();
            }
            assert!(status.success(), "{otherwise}: {status}: {said}");
            return;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("{otherwise}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// All that stands in a folder.
fn size_of(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    entries
        .flatten()
        // What is gone meanwhile has no size.
        .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
        .map(|(path, found)| match found.is_dir() {
            true => size_of(&path),
            false => found.len(),
        })
        .sum()
}

/// Whether bytes wait to be read on a connection to `port`.
fn is_asked(port: u16) -> bool {
    const ESTABLISHED: &str = "01";
    let local = format!(":{port:04X}");
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().skip(1).any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let unread = fields[4].split_once(':').map(|(_, unread)| unread);
        fields[1].ends_with(&local)
            && fields[3] == ESTABLISHED
            && unread.is_some_and(|bytes| bytes != "00000000")
    })
}
