//! What renditions look like, and how many bits they have: ours, and ffmpeg's.
//!
//! # Invariants
//!
//! * Ours are what a player would get: the segments that the playlists list.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail, ensure};
use m3u8_rs::Playlist;
use reqwest::Url;
use serde_json::{Value, json};

use crate::{
    Bench,
    ffmpeg::{at_rate, done, rendition},
    job::{Job, Picture, Planned},
    platform::Platform,
    report::{Bar, Figure},
};

/// Every so many pictures are judged: it is the difference that counts.
const EVERY: u32 = 3;
const POINTS_MAX: f64 = 0.5;
const BITRATE_PERCENT_MAX: f64 = 2.0;

/// What both sides of a comparison are taken to be.
const COLOURS: &str = "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709";

/// Downloads our renditions with a picture, as files.
pub async fn download(platform: &Platform, job: &Job, folder: &Path) -> anyhow::Result<()> {
    let query = "query($id: ID!) { video(id: $id) { playback { hls } } }";
    let data = platform
        .client
        .query(query, json!({"id": job.video}))
        .await?;
    let hls = data["video"]["playback"]["hls"].as_str();
    let base = Url::parse(&platform.addresses.api)?;
    let hls = base.join(hls.context("the video has no HLS address")?)?;
    let Playlist::MasterPlaylist(master) = playlist(platform, &hls).await? else {
        bail!("{hls} is no master playlist");
    };
    for variant in &master.variants {
        let url = hls.join(&variant.uri)?;
        let file = url.path().rsplit('/').next().unwrap_or_default();
        let name = file.strip_suffix(".m3u8").unwrap_or(file).to_owned();
        one(platform, &url, &ours(folder, &name)).await?;
    }
    Ok(())
}

/// The init and all segments, one behind the other.
async fn one(platform: &Platform, url: &Url, path: &Path) -> anyhow::Result<()> {
    let Playlist::MediaPlaylist(media) = playlist(platform, url).await? else {
        bail!("{url} is no media playlist");
    };
    let mut file = File::create(path)?;
    let maps = media
        .segments
        .iter()
        .find_map(|segment| segment.map.as_ref());
    let init = url.join(&maps.context("the playlist names no init")?.uri)?;
    file.write_all(&platform.client.get(&init).await?)?;
    for segment in &media.segments {
        let bytes = platform.client.get(&url.join(&segment.uri)?).await?;
        file.write_all(&bytes)?;
    }
    Ok(())
}

async fn playlist(platform: &Platform, url: &Url) -> anyhow::Result<Playlist> {
    let text = platform.client.get(url).await?;
    match m3u8_rs::parse_playlist_res(&text) {
        Ok(playlist) => Ok(playlist),
        Err(error) => bail!("{url} is no playlist: {error}"),
    }
}

fn ours(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("ours-{name}.mp4"))
}

/// Prints how far ours are from ffmpeg's, rendition by rendition.
pub fn compare(
    bench: &Bench,
    source: &Path,
    planned: &Planned,
    folder: &Path,
) -> anyhow::Result<()> {
    let vmaf = bench.vmaf.as_deref();
    let vmaf =
        vmaf.context("no ffmpeg with libvmaf is named; `cargo xtask bench transcode` brings one")?;
    for picture in planned.pictures() {
        let (ours, theirs) = (
            ours(folder, &picture.name),
            rendition(folder, &picture.name),
        );
        bitrate(bench, &picture, &ours, &theirs)?;
        let mine = score(vmaf, &ours, source, &picture, planned)?;
        let other = score(vmaf, &theirs, source, &picture, planned)?;
        bench.report.print(&Figure {
            name: &format!("VMAF of {}: how far below ffmpeg's", picture.name),
            unit: "points",
            values: &[other - mine],
            beside: "the most allowed",
            beside_values: &[POINTS_MAX],
            bar: Bar::ValueAtMost(POINTS_MAX),
            note: &format!(
                "ours {mine:.2}, ffmpeg's {other:.2}, each against the source at its size, \
                 every {EVERY} pictures; of one run"
            ),
        });
    }
    Ok(())
}

fn bitrate(bench: &Bench, picture: &Picture, ours: &Path, theirs: &Path) -> anyhow::Result<()> {
    let (mine, other) = (measured(ours)?, measured(theirs)?);
    ensure!(
        mine.frames == other.frames,
        "{} has {} pictures, ffmpeg's has {}",
        picture.name,
        mine.frames,
        other.frames
    );
    let percent = (mine.bytes as f64 / other.bytes as f64 - 1.0) * 100.0;
    let seconds =
        mine.frames as f64 * f64::from(picture.rate.den) / f64::from(picture.rate.num.max(1));
    let kbps = |bytes: u64| bytes as f64 * 8.0 / 1000.0 / seconds;
    bench.report.print(&Figure {
        name: &format!("bit rate of {}: how far from ffmpeg's", picture.name),
        unit: "%",
        values: &[percent.abs()],
        beside: "the most allowed",
        beside_values: &[BITRATE_PERCENT_MAX],
        bar: Bar::ValueAtMost(BITRATE_PERCENT_MAX),
        note: &format!(
            "ours {:.0} kb/s, ffmpeg's {:.0} kb/s, without containers; of one run",
            kbps(mine.bytes),
            kbps(other.bytes)
        ),
    });
    Ok(())
}

struct Measured {
    frames: u64,
    bytes: u64,
}

/// The pictures of a file, without what is around them.
fn measured(path: &Path) -> anyhow::Result<Measured> {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", "v:0"])
        .args(["-show_entries", "packet=size", "-of", "default=nw=1:nk=1"])
        .arg(path)
        .output()
        .context("failed to start ffprobe")?;
    ensure!(
        output.status.success(),
        "ffprobe cannot read {}",
        path.display()
    );
    let text = String::from_utf8(output.stdout)?;
    let sizes: Vec<u64> = text
        .lines()
        .filter_map(|line| line.trim().parse().ok())
        .collect();
    ensure!(!sizes.is_empty(), "{} has no picture", path.display());
    Ok(Measured {
        frames: sizes.len() as u64,
        bytes: sizes.iter().sum(),
    })
}

/// The mean VMAF of a rendition against its source.
fn score(
    vmaf: &Path,
    file: &Path,
    source: &Path,
    picture: &Picture,
    planned: &Planned,
) -> anyhow::Result<f64> {
    let video = planned
        .media
        .video
        .as_ref()
        .context("the source has no picture")?;
    let log = file.with_extension("json");
    let threads = std::thread::available_parallelism()?;
    let size = format!("{}:{}", video.display_width, video.display_height);
    // By number: a container that rounds times would pair pictures with their neighbours.
    let numbered = format!("setpts=N*{}/({}*TB)", picture.rate.den, picture.rate.num);
    // As they are: of two that say different things of their colours, ffmpeg converts one.
    let graph = format!(
        "[0:v]{COLOURS},{numbered},scale={size}:flags=bicubic[ours];\
         [1:v]{COLOURS},{},{numbered}[source];\
         [ours][source]libvmaf=n_threads={threads}:n_subsample={EVERY}:log_fmt=json:log_path={}",
        at_rate(picture),
        log.display()
    );
    let mut command = Command::new(vmaf);
    command
        .args(["-nostdin", "-hide_banner", "-loglevel", "error", "-i"])
        .arg(file)
        .arg("-i")
        .arg(source)
        .args(["-lavfi", &graph, "-f", "null", "-"]);
    done(&mut command)?;
    let report: Value = serde_json::from_slice(&fs::read(&log)?)?;
    report["pooled_metrics"]["vmaf"]["mean"]
        .as_f64()
        .context("libvmaf says no mean")
}
