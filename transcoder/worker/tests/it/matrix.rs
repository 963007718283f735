//! Every kind of source, and what it becomes: the table of the README, row by row.
//!
//! A row is written by what the worker really makes. Where it differs from the table, the test
//! says both; a row without a source fails as well as a source without a row.

mod films;

use std::collections::BTreeMap;
use std::path::Path;

use axum::body::Bytes;
use domain::plan::Plan;
use futures::StreamExt;
use protocol::task::Spec;
use protocol::{Audio, AudioSpec, EncodeSpec, ProbeResult, Video};

use crate::encode::{encoded, film as played, samples};
use crate::judge;
use crate::planned::{best, plan};
use crate::probe::probed;
use crate::worker::Run;
use films::FILMS;

/// Where the table begins.
const HEADING: &str = "## What each source becomes";
/// A film has no more segments than this: each is an object to be stored.
const SEGMENTS_MAX: usize = 300;
/// Workers at once: as many as the smallest machine has cores.
const AT_ONCE: usize = 2;

#[tokio::test(flavor = "multi_thread")]
async fn every_source_becomes_what_the_table_says() {
    let table = table();
    let made: Vec<(&str, String)> = futures::stream::iter(FILMS)
        .map(|(name, film)| async move {
            let film = tokio::task::spawn_blocking(film);
            // A source that fails is told beside all others that differ.
            let row = tokio::spawn(async { row(name, film.await.unwrap()).await });
            (
                *name,
                row.await.unwrap_or_else(|error| format!("{name}: {error}")),
            )
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;

    let mut wrong = Vec::new();
    for (name, row) in &made {
        match table.get(*name) {
            Some(said) if said == row => {}
            said => wrong.push(format!("made: {row}\nsaid: {said:?}")),
        }
    }
    wrong.sort();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let unmade: Vec<&String> = table
        .keys()
        .filter(|name| !made.iter().any(|(made, _)| made == name))
        .collect();
    assert!(unmade.is_empty(), "nobody makes {unmade:?}");
}

/// The table's rows by their source.
fn table() -> BTreeMap<String, String> {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let text = std::fs::read_to_string(place).unwrap();
    let (_, section) = text.split_once(HEADING).expect("the table has a heading");
    let section = section.split("\n## ").next().unwrap();
    section
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let name = line.split('`').nth(1).unwrap();
            (name.to_owned(), line.to_owned())
        })
        .collect()
}

async fn row(name: &str, source: Bytes) -> String {
    let found = probed(source.clone()).await;
    let tracks = [
        found.video.as_ref().map(described),
        found.audio.as_ref().map(heard),
    ];
    let tracks: Vec<String> = tracks.into_iter().flatten().collect();
    let pictures = match &found.video {
        Some(video) => pictures(&found, video, &source).await,
        None => "none".to_owned(),
    };
    let sound = match &found.audio {
        Some(_) => sound(&found, &source).await,
        None => "none".to_owned(),
    };
    format!(
        "| `{name}` | {}, {} | {pictures} | {sound} |",
        seconds(found.duration_ms),
        tracks.join(", ")
    )
}

fn described(video: &Video) -> String {
    let mut text = format!("{} {}x{}", short(&video.codec), video.width, video.height);
    if (video.width, video.height) != (video.display_width, video.display_height) {
        text += &format!(" shown {}x{}", video.display_width, video.display_height);
    }
    if video.rotation > 0 {
        text += &format!(" turned {}°", video.rotation);
    }
    match (video.frame_rate_num, video.frame_rate_den) {
        (0, _) => text += " at no rate",
        (num, 1) => text += &format!(" at {num}"),
        (num, den) => text += &format!(" at {num}/{den}"),
    }
    text
}

fn heard(audio: &Audio) -> String {
    format!(
        "{} of {} at {} Hz",
        short(&audio.codec),
        audio.channels,
        audio.sample_rate
    )
}

fn short(codec: &str) -> &str {
    codec
        .split('/')
        .next_back()
        .unwrap()
        .trim_start_matches("x-")
}

fn seconds(ms: u64) -> String {
    format!("{:.1} s", ms as f64 / 1000.0)
}

/// The planned boundaries; of very long films every so many of them.
fn boundaries_us(plan: Plan) -> Vec<u64> {
    let each = plan.boundaries_us.len().div_ceil(SEGMENTS_MAX);
    plan.boundaries_us.into_iter().step_by(each).collect()
}

async fn pictures(found: &ProbeResult, video: &Video, source: &Bytes) -> String {
    let plan = plan(found);
    let target = best(&plan);
    let rate = match (target.frame_rate_num, target.frame_rate_den) {
        (num, 1) => num.to_string(),
        (num, den) => format!("{num}/{den}"),
    };
    let spec = EncodeSpec {
        boundaries_us: boundaries_us(plan),
        targets: vec![target],
        source: Some(video.clone()),
        duration_ms: found.duration_ms,
        first_segment: 0,
        segments: 0,
    };
    let mut run = Run::begin(Spec::Encode(spec), source.clone()).await;
    encoded(&mut run).await;
    let made = judge::pictures(&played(&run, "made"));
    assert_eq!(made.seen[0].at_ns, 0);
    assert!(
        made.caps.to_string().contains("progressive"),
        "{}",
        made.caps
    );
    assert!(
        made.caps
            .to_string()
            .contains("pixel-aspect-ratio=(fraction)1/1")
    );
    format!(
        "{} of {}x{} at {rate}, {}",
        made.seen.len(),
        made.width,
        made.height,
        made.colorimetry
    )
}

async fn sound(found: &ProbeResult, source: &Bytes) -> String {
    let spec = AudioSpec {
        boundaries_us: boundaries_us(plan(found)),
        rendition: "audio".to_owned(),
        bitrate_kbps: 128,
        channels: 2,
        sample_rate: 48_000,
        published: 0,
        source: found.audio.clone(),
        duration_ms: found.duration_ms,
    };
    let mut run = Run::begin(Spec::Audio(spec), source.clone()).await;
    encoded(&mut run).await;
    let frames = u64::from(samples(&run.segments("audio")));
    format!("{} of 2", seconds(frames * 1024 / 48))
}
