//! `cargo xtask bench transcode`: the speed of the whole platform, each figure beside its peer.
//!
//! # Invariants
//!
//! * The platform is the real one, a process per role, on a folder and ports of its own;
//!   nothing else runs on it, and it ends with this process.
//! * A figure and its peer alternate in the same run; what is printed are the medians.
//! * Standard output has one JSON object per figure, and nothing else.
//! * Nothing is printed that was not measured: a video that is not made as the figure says
//!   ends the run with an error.

mod ffmpeg;
mod job;
mod ladder;
mod media;
mod memory;
mod platform;
mod playable;
mod processes;
mod quality;
#[path = "../../../embedded/eventstore/benches/eventstore/report.rs"]
mod report;
mod workers;

use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, ValueEnum};

use media::Sources;
use report::Report;

/// Measures how fast a video becomes playable and ready.
#[derive(Parser)]
struct Cli {
    /// What is processed; none: a clip is generated.
    #[arg(env = "KINOLOG_BENCH_FILE")]
    file: Option<PathBuf>,
    /// Where FILE is meant from.
    #[arg(long, hide = true, env = "KINOLOG_BENCH_FROM", default_value = ".")]
    from: PathBuf,
    /// Shorter sources: a look, not a figure. The lines say so.
    #[arg(long)]
    quick: bool,
    /// Only these figures.
    #[arg(long)]
    figure: Vec<Figure>,
    /// Leaves the sources that were made from FILE there for the next run.
    #[arg(long)]
    keep: bool,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
    /// An ffmpeg that has libvmaf.
    #[arg(long, hide = true, env = "KINOLOG_BENCH_VMAF")]
    vmaf: Option<PathBuf>,
}

/// In the order they run.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Figure {
    /// Everything encoded, wall.
    Ladder,
    /// What that looks like, and how many bits it has.
    Quality,
    /// What that costs.
    Cpu,
    /// The source passed through, wall.
    Passthrough,
    PlayablePassthrough,
    PlayableEncoded,
    Workers,
    Memory,
}

/// What all figures share.
struct Bench {
    report: Report,
    quick: bool,
    /// For platforms, sources and what is encoded.
    folder: PathBuf,
    sources: Sources,
    vmaf: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    // On this thread, which lives as long as the process: what it starts ends with it.
    runtime.block_on(run(cli))
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    let folder = folder()?;
    let file = cli.file.map(|file| cli.from.join(file));
    let sources = Sources::new(&folder, file.as_deref(), cli.quick)?;
    let bench = Bench {
        report: Report {
            bench: "transcode",
            quick: cli.quick,
        },
        quick: cli.quick,
        folder,
        sources,
        vmaf: cli.vmaf,
    };
    let wanted = |figure: Figure| cli.figure.is_empty() || cli.figure.contains(&figure);
    let of_the_ladder = [
        Figure::Ladder,
        Figure::Quality,
        Figure::Cpu,
        Figure::Passthrough,
    ];
    let ladder: Vec<Figure> = of_the_ladder.into_iter().filter(|it| wanted(*it)).collect();
    if !ladder.is_empty() {
        ladder::measure(&bench, &ladder).await?;
    }
    if wanted(Figure::PlayablePassthrough) {
        playable::passed_through(&bench).await?;
    }
    if wanted(Figure::PlayableEncoded) {
        playable::encoded(&bench).await?;
    }
    if wanted(Figure::Workers) {
        workers::measure(&bench).await?;
    }
    if wanted(Figure::Memory) {
        memory::measure(&bench).await?;
    }
    if !cli.keep {
        bench.sources.delete()?;
    }
    Ok(())
}

/// On the disk the project is on: objects are written and synced there as they would be.
fn folder() -> anyhow::Result<PathBuf> {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let target = target.parent().context("cargo's folder has no parent")?;
    let folder = target.join("bench").join("transcode");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("failed to make {}", folder.display()))?;
    Ok(folder)
}
