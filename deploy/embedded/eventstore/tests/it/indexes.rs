//! The index files: derived from the log, so that losing or garbling one changes no answer.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use eventstore::{Client, ReadAllOptions, ReadStreamOptions, ResolvedEvent, StreamPosition};
use kinolog_eventstore::Config;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

use crate::node::{Node, SOON, add, folder, position, read, read_all};
use crate::storage::{refused, segments};

const STREAMS: usize = 7;

#[tokio::test]
async fn each_finished_segment_has_one_index_file_that_a_restart_uses() {
    let dir = folder();
    let node = filled(dir.path()).await;
    let before = answers(&node.client).await.unwrap();
    settled(dir.path()).await;
    node.stop().await;
    let files = inodes(dir.path());

    let node = Node::start_with(config(dir.path())).await;
    assert_eq!(answers(&node.client).await.unwrap(), before);
    node.stop().await;
    let after = inodes(dir.path());
    for (file, inode) in files {
        if segment_of(&file) + 1 < segments(dir.path()).len() {
            assert_eq!(after.get(&file), Some(&inode), "{file} was made again");
        }
    }
}

#[tokio::test]
async fn index_files_that_are_lost_cut_or_garbled_are_made_again_on_opening() {
    let dir = folder();
    let node = filled(dir.path()).await;
    let before = answers(&node.client).await.unwrap();
    settled(dir.path()).await;
    node.stop().await;
    let mut random = StdRng::seed_from_u64(11);
    for round in 0..6 {
        for file in index_files(dir.path()) {
            let bytes = std::fs::read(&file).unwrap();
            match random.random_range(0..5) {
                0 => std::fs::remove_file(&file).unwrap(),
                1 => write(&file, &bytes[..random.random_range(0..bytes.len())]),
                2 => write(&file, &flipped(&bytes, 0..4096, &mut random)),
                3 => write(&file, &flipped(&bytes, 4096..bytes.len(), &mut random)),
                _ => {}
            }
        }
        let node = Node::start_with(config(dir.path())).await;
        eventually_right(&node.client, &before, &format!("round {round}")).await;
        settled(dir.path()).await;
        node.stop().await;
    }
}

#[tokio::test]
async fn a_bit_flipped_in_an_index_is_never_served_and_the_index_is_made_again() {
    let dir = folder();
    let node = filled(dir.path()).await;
    let before = answers(&node.client).await.unwrap();
    settled(dir.path()).await;
    let mut random = StdRng::seed_from_u64(12);
    for round in 0..6 {
        let files = index_files(dir.path());
        let file = &files[random.random_range(0..files.len())];
        let bytes = std::fs::read(file).unwrap();
        write(file, &flipped(&bytes, 4096..bytes.len(), &mut random));
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        eventually_right(&node.client, &before, &format!("round {round}, {name}")).await;
    }
    node.stop().await;
}

#[tokio::test]
async fn a_log_that_ends_before_its_index_does_is_not_opened() {
    let dir = folder();
    let node = filled(dir.path()).await;
    settled(dir.path()).await;
    node.stop().await;
    let last = index_files(dir.path()).pop().unwrap();
    let name = last.file_name().unwrap().to_str().unwrap();
    let end: usize = name[name.len() - 14..name.len() - 4].parse().unwrap();
    let segment = &segments(dir.path())[segment_of(name)];
    let bytes = std::fs::read(segment).unwrap();

    write(segment, &bytes[..end - 1]);
    let error = refused(dir.path()).await;
    assert!(error.contains("the segment is cut"), "{error}");

    let mut garbled = bytes.clone();
    garbled[end - 1] ^= 1;
    write(segment, &garbled);
    let error = refused(dir.path()).await;
    assert!(error.contains("the log is damaged"), "{error}");
    assert!(error.contains("segment-"), "{error}");
}

fn config(dir: &Path) -> Config {
    Config {
        segment_bytes: 64 * 1024,
        ..Config::new(dir)
    }
}

async fn filled(dir: &Path) -> Node {
    let node = Node::start_with(config(dir)).await;
    for number in 0..60 {
        let kind = ["made", "changed", "gone"][number % 3];
        add(&node.client, &stream(number * number), kind, 40).await;
    }
    assert!(segments(dir).len() > 5);
    node
}

fn stream(number: usize) -> String {
    format!("s{}", number % STREAMS)
}

type Answer = Vec<(u64, Uuid)>;

/// What the node says to everything there is to ask about this log.
async fn answers(client: &Client) -> eventstore::Result<Vec<Answer>> {
    let mut answers = vec![];
    let all = ReadAllOptions::default().max_count(usize::MAX);
    answers.push(told(&read_all(client, &all).await?));
    let back = all.backwards().position(StreamPosition::End);
    answers.push(told(&read_all(client, &back).await?));
    for number in 0..STREAMS {
        let from = |position| ReadStreamOptions::default().position(position);
        let forwards = from(StreamPosition::Start);
        let backwards = from(StreamPosition::End).backwards();
        let middle = from(StreamPosition::Position(33)).max_count(50);
        for options in [forwards, backwards, middle] {
            match read(client, &format!("s{number}"), &options).await {
                Ok(found) => answers.push(told(&found)),
                Err(eventstore::Error::ResourceNotFound) => answers.push(vec![]),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(answers)
}

fn told(events: &[ResolvedEvent]) -> Answer {
    let one = |event: &ResolvedEvent| (position(event), event.get_original_event().id);
    events.iter().map(one).collect()
}

/// Asks until there is no error any more; what is answered is right from the first time.
async fn eventually_right(client: &Client, right: &[Answer], when: &str) {
    let begun = Instant::now();
    loop {
        match answers(client).await {
            Ok(answers) => return assert!(answers == right, "{when}: a wrong answer"),
            Err(error) => {
                assert!(begun.elapsed() < SOON, "{when}: {error}");
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Waits until each finished segment has one index file that covers it.
async fn settled(dir: &Path) {
    let begun = Instant::now();
    loop {
        let mut finished = segments(dir);
        finished.pop();
        let covered = finished.iter().zip(0..).all(|(segment, number)| {
            let len = std::fs::metadata(segment).unwrap().len();
            let whole = format!("index-{number:010}-{:010}-{len:010}.idx", 68);
            let files = index_files(dir);
            let of_it = files
                .iter()
                .map(|file| file.file_name().unwrap().to_str().unwrap());
            let of_it: Vec<_> = of_it.filter(|file| segment_of(file) == number).collect();
            of_it == [whole]
        });
        if covered {
            return;
        }
        assert!(begun.elapsed() < SOON, "{:?}", index_files(dir));
        tokio::task::yield_now().await;
    }
}

fn index_files(dir: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(dir).unwrap().map(|it| it.unwrap().path());
    let is_index = |file: &PathBuf| file.extension().is_some_and(|it| it == "idx");
    let mut files: Vec<_> = files.filter(is_index).collect();
    files.sort();
    files
}

fn segment_of(index: &str) -> usize {
    index["index-".len()..][..10].parse().unwrap()
}

fn inodes(dir: &Path) -> BTreeMap<String, u64> {
    let inode = |file: &PathBuf| {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        (name, std::fs::metadata(file).unwrap().ino())
    };
    index_files(dir).iter().map(inode).collect()
}

fn flipped(bytes: &[u8], range: std::ops::Range<usize>, random: &mut StdRng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..random.random_range(1..4) {
        bytes[random.random_range(range.clone())] ^= 1 << random.random_range(0..8);
    }
    bytes
}

/// Over what is there: the same file, as a bad disk would.
fn write(file: &Path, bytes: &[u8]) {
    std::fs::write(file, bytes).unwrap();
}
