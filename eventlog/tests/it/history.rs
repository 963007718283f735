//! The streams of a video and of its jobs as one.

use domain::{
    fact::Fact,
    id::{JobId, TaskId},
    job::{self, Job, Lease},
    video::{Command, Found, Video},
};
use eventlog::{Entry, Log, Revision};

use crate::{
    node::{Node, in_time},
    stories::{VIDEO, by, owner, rename, request},
};

/// More than fit into one page.
const JOB_EVENTS: u64 = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_events_of_a_video_and_its_job_come_in_the_order_of_the_log_from_anywhere() {
    let node = Node::start().await;
    let log = node.log();
    let expected = in_time(written(&log)).await;
    assert_eq!(expected.len() as u64, JOB_EVENTS + 3);
    assert!(expected.is_sorted());
    let all = in_time(read(&log, None)).await;
    assert_eq!(commits(&all), expected);
    assert_eq!(all[0].about.as_ref().unwrap().video, VIDEO);
    assert_eq!(all[0].metadata.as_ref().unwrap().actor, "ada");
    for index in [0, 1, 2, 130, 131, 258, 301, 302] {
        let rest = in_time(read(&log, Some(expected[index]))).await;
        assert_eq!(commits(&rest), expected[index + 1..], "after {index}");
    }
    assert_eq!(in_time(read(&log, Some(u64::MAX - 1))).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_this_program_cannot_read_is_part_of_the_history() {
    let node = Node::start().await;
    let log = node.log();
    in_time(log.execute::<Video>(VIDEO, &by(1), request()))
        .await
        .unwrap();
    let newer = eventstore::EventData::json("video.dreamt-of.v9", &serde_json::json!({"x": 1}));
    let stream = format!("video-{VIDEO}");
    let options = eventstore::AppendToStreamOptions::default();
    let client = node.client();
    let appended = client.append_to_stream(stream, &options, newer.unwrap());
    in_time(appended).await.unwrap();
    let all = in_time(read(&log, None)).await;
    assert_eq!(all.len(), 2);
    assert_eq!(all[1].type_name, "video.dreamt-of.v9");
    assert_eq!((&all[1].about, &all[1].metadata), (&None, &None));
}

fn commits(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.commit).collect()
}

async fn read(log: &Log, after: Option<u64>) -> Vec<Entry> {
    let mut history = log.history(VIDEO, after);
    let mut entries = vec![];
    while let Some(entry) = history.next().await.unwrap() {
        entries.push(entry);
    }
    entries
}

/// A video, its job, and a word about the video in the middle of it: their positions, as they were written.
async fn written(log: &Log) -> Vec<u64> {
    let mut commits = vec![];
    let requested = log.execute::<Video>(VIDEO, &by(1), request()).await;
    commits.push(requested.unwrap().position);
    let found = Found {
        size_bytes: 7,
        etag: "etag".to_owned(),
        checksum_sha256: None,
    };
    let complete = Command::CompleteUpload { found, at_ms: 2 };
    let completed = log.execute::<Video>(VIDEO, &by(2), complete).await;
    commits.push(completed.unwrap().position);
    let own = log.read_stream(&format!("video-{VIDEO}"), None, 10).await;
    let job = JobId::caused_by(own.unwrap().last().unwrap().id);
    let mut at = Revision::NoStream;
    for number in 0..JOB_EVENTS {
        if number == JOB_EVENTS / 2 {
            let renamed = log.execute::<Video>(VIDEO, &by(3), rename("a run")).await;
            commits.push(renamed.unwrap().position);
        }
        let event = Fact {
            video: VIDEO,
            owner: owner(),
            at_ms: 3,
            event: job::Kind::LeaseLost {
                lease: Lease {
                    task: TaskId("probe".to_owned()),
                    attempt: number as u32,
                },
            },
        };
        let by = by(100 + u128::from(number));
        let appended = log.append::<Job>(job, at, &by, &[event]).await.unwrap();
        at = Revision::Exact(appended.revision);
        commits.push(appended.position);
    }
    commits
}
