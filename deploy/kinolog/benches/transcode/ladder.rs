//! The figures of one whole ladder: its wall, its look, its cost, and what passing through saves.
//!
//! They share their runs: each round has one of ours with everything encoded, one ffmpeg
//! command, one of ours with the source passed through, and one of x264 alone.

use std::{fs, path::Path};

use anyhow::{Context, ensure};

use crate::{
    Bench, Figure as Wanted, ffmpeg,
    job::{self, Job, Planned, Until},
    platform::Platform,
    processes, quality,
    report::{Bar, Figure},
};

const ROUNDS: u32 = 3;

#[derive(Default)]
struct Measured {
    encoded: Vec<f64>,
    encoded_cpu: Vec<f64>,
    passed: Vec<f64>,
    ffmpeg: Vec<f64>,
    x264_cpu: Vec<f64>,
}

pub async fn measure(bench: &Bench, wanted: &[Wanted]) -> anyhow::Result<()> {
    let is_wanted = |figures: &[Wanted]| figures.iter().any(|it| wanted.contains(it));
    let (file, to_encode) = (&bench.sources.file, bench.sources.to_be_encoded()?);
    let folder = bench.folder.join("ladder");
    fs::create_dir_all(&folder)?;
    let platform = Platform::start(&bench.folder, "platform").await?;
    let mut measured = Measured::default();
    let (mut planned, mut passed_plan) = (None, None);
    for round in 1..=ROUNDS {
        eprintln!("round {round} of {ROUNDS}");
        let job = encoded(&platform, &to_encode, &mut measured).await?;
        let plan = job.planned()?.clone();
        if round == ROUNDS && is_wanted(&[Wanted::Quality]) {
            quality::download(&platform, &job, &folder).await?;
        }
        job::forget(&platform, &job).await?;
        if is_wanted(&[Wanted::Ladder, Wanted::Quality, Wanted::Passthrough]) {
            let wall = ffmpeg::ladder(&to_encode, &plan, &folder)?;
            measured.ffmpeg.push(wall);
        }
        if is_wanted(&[Wanted::Passthrough]) {
            let job = job::run(&platform, file, Until::Ready).await?;
            measured.passed.push(job.ready_seconds()?);
            job::forget(&platform, &job).await?;
            passed_plan = Some(job.planned()?.clone());
        }
        if is_wanted(&[Wanted::Cpu]) {
            let cpu = ffmpeg::x264_cpu(&to_encode, &plan, &folder)?;
            measured.x264_cpu.push(cpu);
        }
        planned = Some(plan);
    }
    drop(platform);
    let planned = planned.context("nothing was measured")?;
    print(bench, wanted, &measured, &planned, passed_plan.as_ref());
    if is_wanted(&[Wanted::Quality]) {
        quality::compare(bench, &to_encode, &planned, &folder)?;
    }
    fs::remove_dir_all(&folder)?;
    Ok(())
}

/// One job that encodes everything, timed, and what it cost from the upload's beginning.
async fn encoded(
    platform: &Platform,
    source: &Path,
    measured: &mut Measured,
) -> anyhow::Result<Job> {
    let before = processes::cpu_seconds(platform.supervisor())?;
    let job = job::run(platform, source, Until::Ready).await?;
    // What ended last is counted when its parent has waited for it.
    platform.idle().await?;
    let after = processes::cpu_seconds(platform.supervisor())?;
    ensure!(
        !job.planned()?.is_passed_through(),
        "a source that had to be encoded was passed through"
    );
    measured.encoded.push(job.ready_seconds()?);
    measured.encoded_cpu.push(after - before);
    Ok(job)
}

fn print(
    bench: &Bench,
    wanted: &[Wanted],
    measured: &Measured,
    planned: &Planned,
    passed_plan: Option<&Planned>,
) {
    let names: Vec<String> = planned.pictures().into_iter().map(|it| it.name).collect();
    let source = format!(
        "{} s of {} in {}",
        planned.media.duration_ms / 1000,
        names.first().map_or("?", String::as_str),
        names.join(" ")
    );
    if wanted.contains(&Wanted::Ladder) {
        bench.report.print(&Figure {
            name: "full ladder, everything encoded, wall",
            unit: "s",
            values: &measured.encoded,
            beside: "one ffmpeg command",
            beside_values: &measured.ffmpeg,
            bar: Bar::RatioAtMost(1.0),
            note: &format!(
                "{source}; ours from upload-completed to became-ready, planning included"
            ),
        });
    }
    if wanted.contains(&Wanted::Cpu) {
        bench.report.print(&Figure {
            name: "whole job, everything encoded, CPU of all our processes",
            unit: "s",
            values: &measured.encoded_cpu,
            beside: "x264 alone on the same scaled pictures",
            beside_values: &measured.x264_cpu,
            bar: Bar::RatioAtMost(1.25),
            note: &format!("{source}; user and system time, ours with the upload itself"),
        });
    }
    if let Some(plan) = passed_plan {
        bench.report.print(&Figure {
            name: "full ladder, source passed through, wall",
            unit: "s",
            values: &measured.passed,
            beside: "one ffmpeg command",
            beside_values: &measured.ffmpeg,
            bar: Bar::RatioAtMost(0.6),
            note: &format!(
                "{source}; ours from upload-completed to became-ready; its tasks: {}",
                plan.kinds.join(", ")
            ),
        });
    }
}
