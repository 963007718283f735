//! What a worker's children keep in memory while they make renditions of a large picture.

use std::time::Duration;

use crate::{
    Bench,
    job::{self, Until},
    platform::Platform,
    processes,
    report::{Bar, Figure},
};

const MB_MAX: f64 = 1500.0;
/// How much more a long source may take than a short one: peaks are not sampled to the byte.
const GROWTH_MAX: f64 = 1.1;
const SAMPLE_EVERY: Duration = Duration::from_millis(20);

pub async fn measure(bench: &Bench) -> anyhow::Result<()> {
    // One picture a second: an hour of them has the memory of an hour and the work of minutes. A
    // minute has short chunks: at four a second they have as many pictures as an hour's, and fill
    // every queue as those do.
    let long = if bench.quick { 5 } else { 60 };
    let mut peaks = vec![];
    for (minutes, rate) in [(1, 4), (long, 1)] {
        peaks.push((minutes, rate, peak_mb(bench, minutes, rate).await?));
    }
    if !bench.quick {
        peaks.push((1, 30, peak_mb(bench, 1, 30).await?));
    }
    for (minutes, rate, peak) in &peaks {
        bench.report.print(&Figure {
            name: &format!(
                "peak memory of a worker's children, 2160p, {minutes} min at {rate} fps"
            ),
            unit: "MB",
            values: &[*peak],
            beside: "the limit",
            beside_values: &[MB_MAX],
            bar: Bar::ValueAtMost(MB_MAX),
            note: "resident, all children together, the largest of samples 20 ms apart; of one run",
        });
    }
    let (short, long) = (&peaks[0], &peaks[1]);
    bench.report.print(&Figure {
        name: &format!("peak memory of a worker's children, 2160p, {} min", long.0),
        unit: "MB",
        values: &[long.2],
        beside: "1 min",
        beside_values: &[short.2],
        bar: Bar::RatioAtMost(GROWTH_MAX),
        note: "1 min at 4 fps, so that their chunks have about as many pictures",
    });
    Ok(())
}

async fn peak_mb(bench: &Bench, minutes: u32, rate: u32) -> anyhow::Result<f64> {
    let source = bench.sources.large(minutes * 60, rate)?;
    let platform = Platform::start(&bench.folder, "platform").await?;
    let workers = platform.workers();
    let running = job::run(&platform, &source, Until::Ready);
    tokio::pin!(running);
    let mut sampling = tokio::time::interval(SAMPLE_EVERY);
    let mut peak = 0;
    loop {
        tokio::select! {
            done = &mut running => {
                done?;
                return Ok(peak as f64 / 1e6);
            }
            _ = sampling.tick() => peak = peak.max(processes::resident_bytes_below(&workers)?),
        }
    }
}
