//! What a second worker is worth.

use std::process::Command;

use anyhow::{Context, ensure};

use crate::{
    Bench,
    ffmpeg::done,
    job::{self, Until},
    platform::Platform,
    report::{Bar, Figure},
};

const ROUNDS: u32 = 3;

pub async fn measure(bench: &Bench) -> anyhow::Result<()> {
    let cores = std::thread::available_parallelism()?.get();
    ensure!(cores >= 2, "two workers need two cores");
    let source = bench.sources.to_be_encoded()?;
    let one = started(bench, "platform-1", 1).await?;
    let two = started(bench, "platform-2", 2).await?;
    let (mut alone, mut together) = (vec![], vec![]);
    let mut seconds = 0;
    for round in 1..=ROUNDS {
        eprintln!("round {round} of {ROUNDS}");
        for (platform, values) in [(&one, &mut alone), (&two, &mut together)] {
            let job = job::run(platform, &source, Until::Ready).await?;
            values.push(job.ready_seconds()?);
            seconds = job.planned()?.media.duration_ms / 1000;
            job::forget(platform, &job).await?;
        }
    }
    bench.report.print(&Figure {
        name: "wall with one single-threaded worker",
        unit: "s",
        values: &alone,
        beside: "with two",
        beside_values: &together,
        bar: Bar::RatioAtLeast(1.6),
        note: &format!(
            "{seconds} s, everything encoded; each worker is held on one core, \
             with all threads of its tasks"
        ),
    });
    Ok(())
}

/// A platform whose workers have one core each.
async fn started(bench: &Bench, name: &str, workers: u32) -> anyhow::Result<Platform> {
    let workers = workers.to_string();
    let platform = Platform::start_with(&bench.folder, name, |up| {
        up.args(["--workers", &workers])
            .env("KINOLOG_WORKER_SLOTS", "1")
    });
    let platform = platform.await?;
    for (core, pid) in platform.workers().into_iter().enumerate() {
        // All threads it has; what it starts later inherits it.
        let (core, pid) = (core.to_string(), pid.to_string());
        let mut hold = Command::new("taskset");
        hold.args(["--all-tasks", "--cpu-list", "--pid", &core, &pid]);
        done(&mut hold).context("failed to hold a worker on a core")?;
    }
    Ok(platform)
}
