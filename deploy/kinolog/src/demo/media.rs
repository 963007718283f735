//! What the demo needs to know of media, asked from the program that links GStreamer.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Deserialize;
use tokio::process::Command;

/// A decoded file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Counted {
    /// Decoded pictures.
    pub frames: u64,
    /// Decoded sound, per channel.
    pub audio_samples: u64,
    pub duration_ms: u64,
    pub audio: Option<Audio>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Audio {
    pub sample_rate: u32,
}

/// A generated clip: a test picture with flashes, and beeps.
pub async fn clip(folder: &Path, seconds: u32) -> anyhow::Result<PathBuf> {
    let path = folder.join("clip.mp4");
    let mut command = Command::new(worker()?);
    command
        .arg("clip")
        .arg(&path)
        .arg("--seconds")
        .arg(seconds.to_string());
    output(command).await.context("failed to generate a clip")?;
    Ok(path)
}

/// Decodes a whole file and counts what came out.
pub async fn count(file: PathBuf) -> anyhow::Result<Counted> {
    let mut command = Command::new(worker()?);
    command.arg("count").arg(&file);
    let text = output(command)
        .await
        .with_context(|| format!("failed to decode {}", file.display()))?;
    let line = text.lines().last().unwrap_or_default();
    serde_json::from_str(line).with_context(|| format!("unexpected answer: {line}"))
}

fn worker() -> anyhow::Result<PathBuf> {
    let folder = std::env::current_exe()?
        .parent()
        .map(Path::to_owned)
        .unwrap_or_default();
    let path = folder.join("kinolog-worker");
    if !path.exists() {
        bail!(
            "the program {} is missing; `cargo xtask up` builds it",
            path.display()
        );
    }
    Ok(path)
}

async fn output(mut command: Command) -> anyhow::Result<String> {
    let output = command.kill_on_drop(true).output().await?;
    if !output.status.success() {
        bail!(
            "{}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
