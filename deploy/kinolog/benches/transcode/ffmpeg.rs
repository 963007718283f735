//! What ours is measured against: ffmpeg and x264 as Debian has them, told the same.
//!
//! # Invariants
//!
//! * The pictures, bit rates, buffers and key frames are those of the job beside it.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, ensure};
use nix::sys::signal::Signal;

use crate::{
    job::{Picture, Planned},
    platform::end_with_us,
    processes,
};

/// As the worker asks x264: an average that a buffer of two seconds at that rate holds.
const BUFFER_SECONDS: u32 = 2;
/// Above any segment: key frames come where they are asked for, and nowhere else.
const KEY_FRAME_DISTANCE_MAX: &str = "2000";
const FRAGMENTED: [&str; 4] = [
    "-movflags",
    "+frag_keyframe+empty_moov+default_base_moof",
    "-f",
    "mp4",
];

/// Runs ffmpeg to its end.
pub fn ffmpeg<'a>(
    first: impl IntoIterator<Item = &'a str>,
    arguments: impl FnOnce(&mut Command) -> &mut Command,
) -> anyhow::Result<()> {
    let mut command = Command::new("ffmpeg");
    command
        .args(["-nostdin", "-hide_banner", "-loglevel", "error", "-y"])
        .args(first);
    arguments(&mut command);
    done(&mut command)
}

/// Runs a command to its end; what it says goes to standard error.
pub fn done(command: &mut Command) -> anyhow::Result<()> {
    end_with_us(command, Signal::SIGKILL);
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .with_context(|| format!("failed to start {name}"))?;
    ensure!(status.success(), "{name} failed: {status}: {command:?}");
    Ok(())
}

/// The one command an expert would write: a decode, a split, the renditions and the sound.
/// How long it took.
pub fn ladder(source: &Path, planned: &Planned, folder: &Path) -> anyhow::Result<f64> {
    let pictures = planned.pictures();
    let first = pictures.first().context("the source has no picture")?;
    let mut graph = format!("[0:v]{},split={}", at_rate(first), pictures.len());
    for index in 0..pictures.len() {
        write!(graph, "[s{index}]")?;
    }
    for (index, picture) in pictures.iter().enumerate() {
        write!(graph, ";[s{index}]{}[v{index}]", scaled(picture))?;
    }
    let began = Instant::now();
    ffmpeg(["-i"], |command| {
        command.arg(source).args(["-filter_complex", &graph]);
        for (index, picture) in pictures.iter().enumerate() {
            command
                .args(["-map", &format!("[v{index}]")])
                .args(encoder(picture, planned))
                .args(FRAGMENTED)
                .arg(rendition(folder, &picture.name));
        }
        if planned.media.audio.is_some() {
            command
                .args(["-map", "0:a:0", "-c:a", "aac", "-b:a", "128k"])
                .args(["-ac", "2", "-ar", "48000"])
                .args(FRAGMENTED)
                .arg(rendition(folder, "audio"));
        }
        command
    })?;
    Ok(began.elapsed().as_secs_f64())
}

/// Where the command leaves a rendition.
pub fn rendition(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("ffmpeg-{name}.mp4"))
}

/// How long the first segment of the lowest rendition takes.
pub fn first_segment(source: &Path, planned: &Planned, folder: &Path) -> anyhow::Result<f64> {
    let pictures = planned.pictures();
    let lowest = pictures.last().context("the source has no picture")?;
    let end_us = planned.boundaries_us.get(1).copied();
    let end_us = end_us.unwrap_or(planned.media.duration_ms * 1000);
    let began = Instant::now();
    ffmpeg(["-i"], |command| {
        command
            .arg(source)
            .args(["-t", &seconds(end_us), "-an", "-vf", &scaled(lowest)])
            .args(encoder(lowest, planned))
            .args(FRAGMENTED)
            .arg(rendition(folder, "first"))
    })?;
    Ok(began.elapsed().as_secs_f64())
}

/// User and system time of x264 alone, over pictures that were scaled before.
pub fn x264_cpu(source: &Path, planned: &Planned, folder: &Path) -> anyhow::Result<f64> {
    let mut sum = 0.0;
    for picture in planned.pictures() {
        let raw = folder.join("scaled.yuv");
        let rate = format!("{}/{}", picture.rate.num, picture.rate.den);
        let filter = format!("{},{}", at_rate(&picture), scaled(&picture));
        ffmpeg(["-i"], |command| {
            command
                .arg(source)
                .args([
                    "-an", "-vf", &filter, "-pix_fmt", "yuv420p", "-f", "rawvideo",
                ])
                .arg(&raw)
        })?;
        let keys = folder.join("keys.txt");
        std::fs::write(&keys, key_frames(&picture, planned))?;
        let before = processes::cpu_seconds_waited_for()?;
        done(&mut x264(&picture, &rate, &raw, &keys))?;
        sum += processes::cpu_seconds_waited_for()? - before;
        std::fs::remove_file(&raw)?;
    }
    Ok(sum)
}

fn x264(picture: &Picture, rate: &str, raw: &Path, keys: &Path) -> Command {
    let kbps = picture.bitrate_kbps;
    let mut command = Command::new("x264");
    command
        .args(["--quiet", "--no-progress", "--preset", "veryfast"])
        .args(["--profile", "high", "--bitrate", &kbps.to_string()])
        .args(["--vbv-maxrate", &kbps.to_string()])
        .args(["--vbv-bufsize", &(kbps * BUFFER_SECONDS).to_string()])
        .args([
            "--keyint",
            KEY_FRAME_DISTANCE_MAX,
            "--no-scenecut",
            "--qpfile",
        ])
        .arg(keys)
        .args(["--demuxer", "raw", "--input-csp", "i420", "--fps", rate])
        .args([
            "--input-res",
            &format!("{}x{}", picture.width, picture.height),
        ])
        .args(["--muxer", "raw", "-o", "/dev/null"])
        .arg(raw);
    command
}

fn encoder(picture: &Picture, planned: &Planned) -> Vec<String> {
    let kbps = picture.bitrate_kbps;
    let keys: Vec<String> = planned
        .boundaries_us
        .iter()
        .map(|us| seconds(*us))
        .collect();
    let rate = format!("{kbps}k");
    let buffer = format!("{}k", kbps * BUFFER_SECONDS);
    let said = [
        "-c:v",
        "libx264",
        "-preset",
        "veryfast",
        "-profile:v",
        "high",
        "-pix_fmt",
        "yuv420p",
        "-b:v",
        &rate,
        "-maxrate",
        &rate,
        "-bufsize",
        &buffer,
        "-g",
        KEY_FRAME_DISTANCE_MAX,
        "-x264-params",
        "scenecut=0:open-gop=0",
        "-forced-idr",
        "1",
        "-force_key_frames",
        &keys.join(","),
    ];
    said.map(str::to_owned).to_vec()
}

/// At a constant rate from the first picture on. A container may round times, and begin a little
/// later than zero: no picture is made twice for that.
pub fn at_rate(picture: &Picture) -> String {
    format!(
        "setpts=PTS-STARTPTS,fps={}/{}",
        picture.rate.num, picture.rate.den
    )
}

fn scaled(picture: &Picture) -> String {
    format!(
        "scale={}:{}:flags=bicubic,setsar=1",
        picture.width, picture.height
    )
}

/// The pictures that segments begin with, as x264 reads them.
fn key_frames(picture: &Picture, planned: &Planned) -> String {
    let unit = u128::from(picture.rate.den) * 1_000_000;
    let mut lines = String::new();
    for us in &planned.boundaries_us {
        let scaled = u128::from(*us) * u128::from(picture.rate.num);
        lines.push_str(&format!("{} I\n", (scaled + unit / 2) / unit));
    }
    lines
}

fn seconds(us: u64) -> String {
    format!("{}.{:06}", us / 1_000_000, us % 1_000_000)
}
