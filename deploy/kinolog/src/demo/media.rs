//! What the demo needs to know of media, asked from the program that links GStreamer.

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use anyhow::{Context, bail};
use serde::Deserialize;
use tokio::{
    io::AsyncWriteExt,
    process::{Child, Command},
};

/// What judges gives way to what is judged.
const NICENESS: i32 = 10;

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
    counted(&text)
}

fn counted(text: &str) -> anyhow::Result<Counted> {
    let line = text.lines().last().unwrap_or_default();
    serde_json::from_str(line).with_context(|| format!("unexpected answer: {line}"))
}

/// Decodes a stream as it comes, and counts what came out.
pub struct Decoder(Child);

impl Decoder {
    pub fn start() -> anyhow::Result<Self> {
        let mut command = Command::new(worker()?);
        command.args(["count", "-"]).stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        // SAFETY: `nice` is a system call that touches no memory of ours.
        unsafe {
            command.pre_exec(|| {
                libc::nice(NICENESS);
                Ok(())
            });
        }
        Ok(Self(command.kill_on_drop(true).spawn()?))
    }

    pub async fn take(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let input = self.0.stdin.as_mut().context("a decoder has an input")?;
        input
            .write_all(bytes)
            .await
            .context("the decoder takes no more")
    }

    /// Nothing more comes: what was it?
    pub async fn end(mut self) -> anyhow::Result<Counted> {
        drop(self.0.stdin.take());
        counted(&said(self.0.wait_with_output().await?)?)
    }
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
    said(command.kill_on_drop(true).output().await?)
}

fn said(output: Output) -> anyhow::Result<String> {
    if !output.status.success() {
        bail!(
            "{}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
