//! Whether this machine can transcode, and which package is missing if not.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use gstreamer as gst;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::launch::Launcher;
use crate::wire::{self, Finding, Head};

/// How long the self-test of the sandbox may take: nothing in it waits.
const SELF_TEST_WAIT: Duration = Duration::from_secs(30);

/// Every element we name, and those without which common files cannot be read.
const NEEDED: &[(&str, &str)] = &[
    ("queue", "libgstreamer1.0-0"),
    ("tee", "libgstreamer1.0-0"),
    ("identity", "libgstreamer1.0-0"),
    ("fakesink", "libgstreamer1.0-0"),
    ("parsebin", "gstreamer1.0-plugins-base"),
    ("appsink", "gstreamer1.0-plugins-base"),
    ("videoconvert", "gstreamer1.0-plugins-base"),
    ("audioconvert", "gstreamer1.0-plugins-base"),
    ("audioresample", "gstreamer1.0-plugins-base"),
    ("audiorate", "gstreamer1.0-plugins-base"),
    ("oggdemux", "gstreamer1.0-plugins-base"),
    ("vorbisdec", "gstreamer1.0-plugins-base"),
    ("opusdec", "gstreamer1.0-plugins-base"),
    ("qtdemux", "gstreamer1.0-plugins-good"),
    ("matroskademux", "gstreamer1.0-plugins-good"),
    ("avidemux", "gstreamer1.0-plugins-good"),
    ("flvdemux", "gstreamer1.0-plugins-good"),
    ("wavparse", "gstreamer1.0-plugins-good"),
    ("flacparse", "gstreamer1.0-plugins-good"),
    ("aacparse", "gstreamer1.0-plugins-good"),
    ("mpegaudioparse", "gstreamer1.0-plugins-good"),
    ("deinterlace", "gstreamer1.0-plugins-good"),
    ("videoflip", "gstreamer1.0-plugins-good"),
    ("jpegenc", "gstreamer1.0-plugins-good"),
    ("vp9dec", "gstreamer1.0-plugins-good"),
    ("tsdemux", "gstreamer1.0-plugins-bad"),
    ("mpegpsdemux", "gstreamer1.0-plugins-bad"),
    ("h264parse", "gstreamer1.0-plugins-bad"),
    ("h265parse", "gstreamer1.0-plugins-bad"),
    ("av1parse", "gstreamer1.0-plugins-bad"),
    ("av1dec", "gstreamer1.0-plugins-bad"),
    ("x264enc", "gstreamer1.0-plugins-ugly"),
    ("avdec_h264", "gstreamer1.0-libav"),
    ("avdec_h265", "gstreamer1.0-libav"),
    ("avdec_aac", "gstreamer1.0-libav"),
    ("avenc_aac", "gstreamer1.0-libav"),
    ("cmafmux", "built into the worker"),
];

/// `kinolog-worker check`: 0 when all is there, 1 with what is missing.
pub async fn run(launcher: &Launcher, sandbox: bool) -> anyhow::Result<ExitCode> {
    gst::init().context("failed to start GStreamer")?;
    gstfmp4::plugin_register_static().context("failed to register the muxer")?;
    let missing: Vec<_> = NEEDED
        .iter()
        .filter(|(element, _)| gst::ElementFactory::find(element).is_none())
        .collect();
    for (element, package) in &missing {
        println!("missing: {element} (package {package})");
    }
    let mut open = 0;
    let (findings, lacking) = findings(launcher).await?;
    if let Some(lacking) = lacking {
        println!("warning: {lacking}");
    }
    if sandbox {
        for finding in findings {
            let held = finding.errno != 0;
            open += u32::from(!held);
            let verdict = if held { "refused" } else { "NOT REFUSED" };
            println!(
                "sandbox: {}: {verdict} ({})",
                finding.attempt, finding.errno
            );
        }
    }
    if missing.is_empty() && open == 0 {
        println!("ok: {} elements", NEEDED.len());
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}

/// Logs what the sandbox lacks on this machine: the tasks themselves go on without it.
pub async fn warn_of_sandbox(launcher: &Launcher) {
    match findings(launcher).await {
        Ok((_, None)) => {}
        Ok((_, Some(lacking))) => tracing::warn!("{lacking}"),
        Err(error) => tracing::warn!("failed to try the sandbox: {error:#}"),
    }
}

/// What a child found when it tried to break out, and what its sandbox lacks.
async fn findings(launcher: &Launcher) -> anyhow::Result<(Vec<Finding>, Option<String>)> {
    let tried = timeout(SELF_TEST_WAIT, self_test(launcher)).await;
    tried.context("the child said nothing in time")?
}

async fn self_test(launcher: &Launcher) -> anyhow::Result<(Vec<Finding>, Option<String>)> {
    let mut launched = launcher.launch(true)?;
    let mut output = launched.output.take().context("no output socket")?;
    let mut start = [0u8; 8];
    output
        .read_exact(&mut start)
        .await
        .context("the child said nothing")?;
    let (head_len, _) = wire::split_pair(start);
    if head_len > wire::HEAD_BYTES_MAX {
        bail!("the child said too much");
    }
    let mut head = vec![0u8; head_len as usize];
    output
        .read_exact(&mut head)
        .await
        .context("the child was cut short")?;
    match serde_json::from_slice(&head)? {
        Head::Findings { findings, missing } => Ok((findings, missing)),
        _ => bail!("the child said something else"),
    }
}

/// Scans the plugins once and leaves the registry where `GST_REGISTRY` says.
pub fn warm_registry() -> ExitCode {
    match gst::init() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed to start GStreamer: {error}");
            ExitCode::FAILURE
        }
    }
}
