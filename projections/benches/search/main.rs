//! `cargo xtask bench search`: how long searches take, beside bare Tantivy asked the same.
//!
//! # Invariants
//!
//! * Both have the same videos and are asked the same queries in the same order by as many clients;
//!   they alternate in the same run, and what is printed are the medians.
//! * Standard output has one JSON object per figure, and nothing else.
//! * Both must find something for most queries, or nothing is printed.

mod bare;
mod clients;
mod corpus;
mod report;

use std::{path::PathBuf, time::Instant};

use anyhow::Context;
use clap::Parser;
use projections::search::{Index, Ranking, Search};

use bare::Bare;
use clients::Latencies;
use corpus::Corpus;
use report::Figure;

const VIDEOS: u64 = 1_000_000;
const VIDEOS_QUICK: u64 = 100_000;
const QUERIES: usize = 4_000;
const QUERIES_QUICK: usize = 1_000;
const ROUNDS: usize = 3;
const FIRST: usize = 20;

/// Measures searches.
#[derive(Parser)]
struct Cli {
    /// Smaller sizes: a look, not a figure. The lines say so.
    #[arg(long)]
    quick: bool,
    /// How many videos, if not as many as the figure says. The lines say so.
    #[arg(long)]
    videos: Option<u64>,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What one side was measured to take, a value per round.
#[derive(Default)]
struct Side {
    p50: Vec<f64>,
    p99: Vec<f64>,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let (videos, queries) = match cli.quick {
        true => (VIDEOS_QUICK, QUERIES_QUICK),
        false => (VIDEOS, QUERIES),
    };
    let videos = cli.videos.unwrap_or(videos);
    let quick = cli.quick || cli.videos.is_some();
    let corpus = Corpus::new(videos);
    let folder = tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))
        .context("failed to make a folder for the indexes")?;
    let ours = built("kinolog", || {
        let dir = folder.path().join("kinolog");
        std::fs::create_dir_all(&dir)?;
        Index::of_samples(
            &dir,
            Ranking::default(),
            (0..videos).map(|n| corpus.video(n)),
        )
    })?;
    ours.rank_by_views(corpus.views());
    let bare = built("bare Tantivy", || {
        let dir: PathBuf = folder.path().join("bare");
        std::fs::create_dir_all(&dir)?;
        Bare::new(&dir, (0..videos).map(|n| corpus.video(n)))
    })?;

    let asked = corpus.queries(queries);
    let (our, their) = measure(
        &asked,
        |text| found(&ours, text, false),
        |text| bare.found(text, FIRST),
    )?;
    let note = format!(
        "{videos} videos, {} clients, {queries} queries: words, phrases, mistakes; first {FIRST}; 3 rounds",
        clients::CLIENTS
    );
    let print = |name: &str, our: &[f64], their: &[f64], beside: &str, most: f64| {
        let figure = Figure {
            name,
            values: our,
            beside,
            beside_values: their,
            ratio_max: most,
            note: &note,
            quick,
        };
        figure.print();
    };
    let beside = "bare Tantivy BM25 over the three fields, the same queries";
    print("mixed queries p50", &our.p50, &their.p50, beside, 1.5);
    print("mixed queries p99", &our.p99, &their.p99, beside, 1.5);

    let typed = corpus.typed(queries);
    let (our, their) = measure(
        &typed,
        |text| found(&ours, text, true),
        |text| bare.typed(text, FIRST),
    )?;
    let beside = "bare Tantivy: BM25 of the words, and a prefix query over title and tags";
    print("prefix as you type p99", &our.p99, &their.p99, beside, 2.0);
    Ok(())
}

fn built<T>(what: &str, build: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let began = Instant::now();
    let built = build().with_context(|| format!("failed to build the index of {what}"))?;
    eprintln!("{what}: indexed in {:.1} s", began.elapsed().as_secs_f64());
    Ok(built)
}

fn found(index: &Index, text: &str, as_you_type: bool) -> anyhow::Result<usize> {
    let hits = index.search(&Search {
        text: text.to_owned(),
        as_you_type,
        first: FIRST,
        now_ms: corpus::NOW_MS,
        ..Search::default()
    })?;
    Ok(hits.videos.len())
}

/// Both sides in turn. The first round of each only warms up.
fn measure(
    asked: &[String],
    ours: impl Fn(&str) -> anyhow::Result<usize> + Sync,
    theirs: impl Fn(&str) -> anyhow::Result<usize> + Sync,
) -> anyhow::Result<(Side, Side)> {
    let (mut our, mut their) = (Side::default(), Side::default());
    for round in 0..=ROUNDS {
        let one = clients::ask(asked, &ours)?;
        let other = clients::ask(asked, &theirs)?;
        if round > 0 {
            our.add(&one);
            their.add(&other);
        }
    }
    Ok((our, their))
}

impl Side {
    fn add(&mut self, latencies: &Latencies) {
        self.p50.push(latencies.ms(0.5));
        self.p99.push(latencies.ms(0.99));
    }
}
