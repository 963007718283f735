//! `cargo xtask bench eventstore`: the speed of the node, each figure beside its limit or peer.
//!
//! # Invariants
//!
//! * The node is the real program in a process of its own, on a real folder; a peer that
//!   serves is a process of its own too. Both have the same sockets.
//! * A figure and its peer alternate in the same run; what is printed are the medians.
//! * Standard output has one JSON object per figure, and nothing else.
//! * Nothing is printed that was not measured: an answer that is not what was asked for
//!   ends the run with an error.

mod append;
mod catch_up;
mod dataset;
mod events;
mod memory;
mod opening;
mod peer;
mod process;
mod random_reads;
mod report;
mod scan;
#[path = "../../src/socket.rs"]
mod socket;
mod wire;

use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use kinolog_eventstore::limits;

use dataset::Dataset;
use report::Report;

/// Measures the event store.
#[derive(Parser)]
struct Cli {
    /// Smaller sizes: a look, not a figure. The lines say so.
    #[arg(long)]
    quick: bool,
    /// Only these figures.
    #[arg(long)]
    figure: Vec<Figure>,
    /// Leaves the data there for the next run.
    #[arg(long)]
    keep: bool,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
    /// Serves this set of events from memory instead of measuring.
    #[arg(long, hide = true)]
    peer: Option<peer::Kind>,
}

/// In the order they run: those that share events stand together.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Figure {
    Appenders,
    Latency,
    CatchUp,
    Memory,
    Filtered,
    Open,
    RandomReads,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    match cli.peer {
        Some(kind) => runtime.block_on(peer::serve(kind, cli.quick)),
        None => runtime.block_on(run(&cli)),
    }
}

async fn run(cli: &Cli) -> anyhow::Result<()> {
    let report = Report {
        bench: "eventstore",
        quick: cli.quick,
    };
    let wanted: Vec<Figure> = Figure::value_variants()
        .iter()
        .copied()
        .filter(|figure| cli.figure.is_empty() || cli.figure.contains(figure))
        .collect();
    let folder = folder()?;
    let sizes = events::Sizes::new(cli.quick);
    let set = |name, shape| Dataset::new(&folder, name, shape, cli.quick);
    let (catch_up, many, streams) = (
        set("catch-up", sizes.catch_up),
        set("many", sizes.many),
        set("streams", sizes.streams),
    );
    for (at, figure) in wanted.iter().enumerate() {
        match figure {
            Figure::Appenders => append::appenders(&report, &folder).await?,
            Figure::Latency => append::latency(&report, &folder).await?,
            Figure::CatchUp => catch_up::measure(&report, &catch_up).await?,
            Figure::Memory => memory::measure(&report, &many).await?,
            Figure::Filtered => scan::measure(&report, &many).await?,
            Figure::Open => opening::measure(&report, &many).await?,
            Figure::RandomReads => random_reads::measure(&report, &streams).await?,
        }
        if cli.keep {
            continue;
        }
        // As early as nobody needs it any more: the sets together are larger than each.
        for set in [&catch_up, &many, &streams] {
            let later = wanted[at + 1..].iter().any(|later| uses(*later, set.name));
            if uses(*figure, set.name) && !later {
                set.delete()?;
            }
        }
    }
    Ok(())
}

fn uses(figure: Figure, set: &str) -> bool {
    let needed = match figure {
        Figure::Appenders | Figure::Latency => return false,
        Figure::CatchUp => "catch-up",
        Figure::Memory | Figure::Filtered | Figure::Open => "many",
        Figure::RandomReads => "streams",
    };
    needed == set
}

/// On the disk the project is on: one in memory would not show what a sync costs.
fn folder() -> anyhow::Result<PathBuf> {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let target = target.parent().context("cargo's folder has no parent")?;
    let folder = target.join("bench").join("eventstore");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("failed to make {}", folder.display()))?;
    Ok(folder)
}
