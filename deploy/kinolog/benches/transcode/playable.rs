//! From the end of an upload to a video that plays.

use std::fs;

use anyhow::{Context, ensure};

use crate::{
    Bench, ffmpeg,
    job::{self, Planned, Until},
    platform::Platform,
    report::{Bar, Figure, median},
};

const ROUNDS: u32 = 3;
/// What the platform may take beside the encoding of a first segment.
const OVERHEAD_SECONDS: f64 = 1.5;
/// What people would call at once.
const AIM_SECONDS: f64 = 2.0;

/// Passed through: however long the source is.
pub async fn passed_through(bench: &Bench) -> anyhow::Result<()> {
    // In lengths of FILE: minutes, if it is the default one.
    let lengths: [u32; 3] = if bench.quick { [1, 2, 12] } else { [1, 10, 60] };
    let mut sources = vec![];
    for times in lengths {
        sources.push(bench.sources.repeated(times)?);
    }
    let platform = Platform::start(&bench.folder, "platform").await?;
    let mut seconds: [Vec<f64>; 3] = Default::default();
    let mut plans: [Option<Planned>; 3] = Default::default();
    for round in 1..=ROUNDS {
        eprintln!("round {round} of {ROUNDS}");
        for (index, source) in sources.iter().enumerate() {
            let job = job::run(&platform, source, Until::Playable).await?;
            seconds[index].push(job.playable_seconds()?);
            plans[index] = Some(job.planned()?.clone());
            job::forget(&platform, &job).await?;
        }
    }
    drop(platform);
    for (values, plan) in seconds.iter().zip(&plans).skip(1) {
        let plan = plan.as_ref().context("nothing was measured")?;
        let said = length(plan);
        let longest = std::ptr::eq(values, &seconds[2]);
        bench.report.print(&Figure {
            name: &format!("upload complete to playable, passed through, {said}"),
            unit: "s",
            values,
            beside: "the shortest one",
            beside_values: &seconds[0],
            bar: Bar::RatioAtMost(1.3),
            note: &format!(
                "aim {AIM_SECONDS} s{}; its tasks: {}",
                if longest {
                    ""
                } else {
                    "; the bar is for the longest"
                },
                plan.kinds.join(", ")
            ),
        });
    }
    let plan = plans[0].as_ref().context("nothing was measured")?;
    bench.report.print(&Figure {
        name: &format!(
            "upload complete to playable, passed through, {}",
            length(plan)
        ),
        unit: "s",
        values: &seconds[0],
        beside: "the aim",
        beside_values: &[AIM_SECONDS],
        bar: Bar::RatioAtMost(1.0),
        note: &format!("its tasks: {}", plan.kinds.join(", ")),
    });
    Ok(())
}

/// Nothing can be passed through: somebody has to encode a first segment.
pub async fn encoded(bench: &Bench) -> anyhow::Result<()> {
    let source = bench.sources.repeated_to_be_encoded(10)?;
    let folder = bench.folder.join("playable");
    fs::create_dir_all(&folder)?;
    let platform = Platform::start(&bench.folder, "platform").await?;
    let (mut ours, mut theirs) = (vec![], vec![]);
    let mut said = String::new();
    for round in 1..=ROUNDS {
        eprintln!("round {round} of {ROUNDS}");
        let job = job::run(&platform, &source, Until::Playable).await?;
        ours.push(job.playable_seconds()?);
        job::forget(&platform, &job).await?;
        let plan = job.planned()?;
        ensure!(
            !plan.is_passed_through(),
            "a source that had to be encoded was passed through"
        );
        let alone = ffmpeg::first_segment(&source, plan, &folder)?;
        theirs.push(alone + OVERHEAD_SECONDS);
        said = length(plan);
    }
    drop(platform);
    fs::remove_dir_all(&folder)?;
    bench.report.print(&Figure {
        name: &format!("upload complete to playable, to be encoded, {said}"),
        unit: "s",
        values: &ours,
        beside: "ffmpeg, first segment of the lowest rendition, + 1.5 s",
        beside_values: &theirs,
        bar: Bar::RatioAtMost(1.5),
        note: &format!("ffmpeg alone {:.2} s", median(&theirs) - OVERHEAD_SECONDS),
    });
    Ok(())
}

fn length(plan: &Planned) -> String {
    let seconds = plan.media.duration_ms.div_ceil(1000);
    if seconds.is_multiple_of(60) {
        format!("{} min", seconds / 60)
    } else {
        format!("{seconds} s")
    }
}
