//! Appending: many at once, and one after the other.
//!
//! All go through the Rust client. Its own time is in the figures, and not in those of the
//! disk they are compared with. Kinolog appends with a call for each append; official clients
//! of other languages (.NET, Node.js) put all appends of a process on one BatchAppend call.
//! So 64 appenders are measured both ways; each waits for the answer to its one event. The
//! note says what the same calls come to when nothing is done for them: on a disk that syncs
//! in less time than 64 calls take, those are the limit, and not the disk.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use eventstore::{AppendToStreamOptions, BatchAppendClient, Client, EventData, ExpectedRevision};
use uuid::Uuid;

use crate::events;
use crate::peer;
use crate::process::Process;
use crate::report::{Bar, Figure, Report, median};
use crate::wire::Wire;
use kinolog_eventstore::protocol::shared;
use kinolog_eventstore::protocol::streams::AppendReq;
use kinolog_eventstore::protocol::streams::append_req::{
    Content, Options, ProposedMessage, options::ExpectedStreamRevision,
};

const EVENT_BYTES: usize = 1024;
const APPENDERS: u64 = 64;
/// How long each of the two appends before it is the other's turn.
const SLICE: Duration = Duration::from_millis(400);
/// Calls of one round of latencies.
const LATENCIES: u64 = 400;

pub async fn appenders(report: &Report, folder: &Path) -> anyhow::Result<()> {
    let rounds = if report.quick { 5 } else { 21 };
    let dir = folder.join("appenders");
    remove(&dir)?;
    let node = Process::node(&dir).await?;
    let bare = File::create(folder.join("bare"))?;
    let client = node.client()?;
    let one_call = client.batch_append(&Default::default()).await?;
    let echo = Process::peer(peer::Kind::Nothing, report.quick).await?;
    let echo_client = echo.client()?;
    let (calls, batches) = (Appender::Calls(&client), Appender::OneCall(&one_call));
    let echo_one_call = echo_client.batch_append(&Default::default()).await?;
    let nothing = (
        Appender::Calls(&echo_client),
        Appender::OneCall(&echo_one_call),
    );
    let (mut with_calls, mut with_one, mut beside) = (vec![], vec![], vec![]);
    let mut echoes = (vec![], vec![]);
    for round in 0..rounds {
        eprintln!("64 appenders, round {}", round + 1);
        beside.push(bare_mb_per_second(&bare)?);
        with_calls.push(mb_per_second(&calls, round).await?);
        with_one.push(mb_per_second(&batches, round + rounds).await?);
        echoes.0.push(mb_per_second(&nothing.0, round).await?);
        echoes.1.push(mb_per_second(&nothing.1, round).await?);
    }
    drop(node);
    remove(&dir)?;
    std::fs::remove_file(folder.join("bare"))?;
    let figures = [
        (
            "64 appenders × 1 event, acknowledged durable",
            &with_calls,
            median(&echoes.0),
            "an Append call of the Rust client per event, all on one connection",
        ),
        (
            "64 appenders × 1 event, acknowledged durable, on one BatchAppend call",
            &with_one,
            median(&echoes.1),
            "a batch of the Rust client per event",
        ),
    ];
    for (name, values, echoed, note) in figures {
        report.print(&Figure {
            name,
            unit: "MB/s",
            values,
            beside: "bare appends of 64 × 1 KiB, each with fdatasync",
            beside_values: &beside,
            bar: Bar::RatioAtLeast(0.7),
            note: &format!("{note}; a tonic service that only answers them takes {echoed:.1} MB/s"),
        });
    }
    Ok(())
}

/// How an event is appended.
enum Appender<'a> {
    Calls(&'a Client),
    OneCall(&'a BatchAppendClient),
}

impl Appender<'_> {
    async fn append(&self, appender: u64, number: u64) -> anyhow::Result<()> {
        match self {
            Self::Calls(client) => append_one(client, appender, number).await,
            Self::OneCall(batches) => {
                let name = events::stream_name(appender);
                let events = vec![event(appender, number)];
                batches
                    .append_to_stream(name, ExpectedRevision::Any, events)
                    .await
                    .context("a batch failed")?;
                Ok(())
            }
        }
    }
}

/// What is acknowledged to 64 appenders, each waiting for its last one.
async fn mb_per_second(how: &Appender<'_>, round: u64) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let appenders = (0..APPENDERS).map(|appender| async move {
        let mut acknowledged = 0;
        while begun.elapsed() < SLICE {
            how.append(appender, (round << 32) | acknowledged).await?;
            acknowledged += 1;
        }
        anyhow::Ok(acknowledged)
    });
    let acknowledged = futures::future::try_join_all(appenders).await?;
    let events: u64 = acknowledged.into_iter().sum();
    Ok((events * EVENT_BYTES as u64) as f64 / 1e6 / begun.elapsed().as_secs_f64())
}

async fn append_one(client: &Client, appender: u64, number: u64) -> anyhow::Result<()> {
    let event = event(appender, number);
    let options = AppendToStreamOptions::default().expected_revision(ExpectedRevision::Any);
    client
        .append_to_stream(events::stream_name(appender), &options, event)
        .await
        .context("an append failed")?;
    Ok(())
}

fn event(appender: u64, number: u64) -> EventData {
    EventData::binary(events::WANTED, data()).id(Uuid::from_u64_pair(appender, number))
}

fn bare_mb_per_second(mut file: &File) -> anyhow::Result<f64> {
    let group = [7; EVENT_BYTES * APPENDERS as usize];
    let begun = Instant::now();
    let mut bytes = 0;
    while begun.elapsed() < SLICE {
        file.write_all(&group)?;
        file.sync_data()?;
        bytes += group.len();
    }
    Ok(bytes as f64 / 1e6 / begun.elapsed().as_secs_f64())
}

pub async fn latency(report: &Report, folder: &Path) -> anyhow::Result<()> {
    let rounds = if report.quick { 3 } else { 9 };
    let dir = folder.join("latency");
    remove(&dir)?;
    let node = Process::node(&dir).await?;
    let client = node.client()?;
    let echo = Process::peer(peer::Kind::Nothing, report.quick).await?;
    let mut wire = Wire::connect(echo.port).await?;
    let mut bare = File::create(folder.join("bare"))?;
    let (mut values, mut beside) = (vec![], vec![]);
    for round in 0..rounds {
        eprintln!("one appender, round {}", round + 1);
        // One of each in turn: a sync takes now 0.1 ms and now 4, for the disk's own reasons.
        let (mut syncs, mut echoes, mut appends) = (vec![], vec![], vec![]);
        for number in 0..LATENCIES {
            bare.write_all(&[7; EVENT_BYTES])?;
            let begun = Instant::now();
            bare.sync_data()?;
            syncs.push(milliseconds(begun));
            let messages = messages(number);
            let begun = Instant::now();
            wire.append(messages).await?;
            echoes.push(milliseconds(begun));
            let begun = Instant::now();
            append_one(&client, 0, (round << 32) | number).await?;
            appends.push(milliseconds(begun));
        }
        beside.push(median(&syncs) + median(&echoes));
        values.push(median(&appends));
        eprintln!(
            "    sync {:.3} ms, echo {:.3} ms, append {:.3} ms",
            median(&syncs),
            median(&echoes),
            median(&appends)
        );
    }
    drop(node);
    remove(&dir)?;
    std::fs::remove_file(folder.join("bare"))?;
    report.print(&Figure {
        name: "one appender, p50 latency",
        unit: "ms",
        values: &values,
        beside: "one fdatasync of 1 KiB + one tonic echo, p50 each",
        beside_values: &beside,
        bar: Bar::RatioAtMost(1.5),
        note: "through the Rust client; the echo takes the same messages over tonic's own channel",
    });
    Ok(())
}

/// What the client sends for one append.
fn messages(number: u64) -> Vec<AppendReq> {
    let options = Options {
        stream_identifier: Some(shared::StreamIdentifier {
            stream_name: events::stream_name(0).into(),
        }),
        expected_stream_revision: Some(ExpectedStreamRevision::Any(())),
    };
    let id = Uuid::from_u64_pair(0, number).to_string();
    let proposed = ProposedMessage {
        id: Some(shared::Uuid {
            value: Some(shared::uuid::Value::String(id)),
        }),
        metadata: [
            ("type".to_owned(), events::WANTED.to_owned()),
            ("content-type".to_owned(), events::CONTENT_TYPE.to_owned()),
        ]
        .into(),
        custom_metadata: Bytes::new(),
        data: data(),
    };
    [
        Content::Options(options),
        Content::ProposedMessage(proposed),
    ]
    .map(|content| AppendReq {
        content: Some(content),
    })
    .into()
}

fn data() -> Bytes {
    Bytes::from_static(&[7; EVENT_BYTES])
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

fn remove(dir: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to delete {}", dir.display()))
        }
        _ => Ok(()),
    }
}
