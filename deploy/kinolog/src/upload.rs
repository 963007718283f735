//! `kinolog upload`: files into a platform, with a bar that tells rate and time left.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::{
    client::{self, Client, Measured, Request, Sent, Upload},
    platform::Platform,
    retry::Patience,
};

#[derive(Args)]
pub struct UploadArgs {
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The file's name, if none is given.
    #[arg(long)]
    title: Option<String>,
    #[arg(long, default_value = "")]
    description: String,
    /// May be given several times.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    #[arg(long, value_enum, default_value_t = Visibility::Private)]
    visibility: Visibility,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Visibility {
    Public,
    Unlisted,
    Private,
}

impl Visibility {
    pub fn graphql(self) -> &'static str {
        match self {
            Self::Public => "PUBLIC",
            Self::Unlisted => "UNLISTED",
            Self::Private => "PRIVATE",
        }
    }
}

/// Uploads one file after the other; a failed one does not keep the others back.
pub async fn run(platform: &Platform, args: UploadArgs) -> anyhow::Result<()> {
    let client = Client::new(&platform.addresses)?;
    let mut failed = 0;
    for file in &args.files {
        let request = Request {
            title: args.title.clone().unwrap_or_else(|| title_of(file)),
            description: args.description.clone(),
            tags: args.tags.clone(),
            visibility: args.visibility.graphql().to_owned(),
            idempotency_key: uuid::Uuid::new_v4().to_string(),
        };
        match one(&client, file, &request).await {
            Ok(done) => println!(
                "{}",
                json!({"video": done.video, "position": done.position})
            ),
            Err(error) => {
                failed += 1;
                eprintln!("kinolog: {}: {error:#}", file.display());
            }
        }
    }
    if failed > 0 {
        bail!("{failed} of {} files were not uploaded", args.files.len());
    }
    Ok(())
}

/// A file that is in the store.
pub struct Uploaded {
    pub video: String,
    /// Of the `upload-requested` event.
    pub asked_at: String,
    /// Of the last event that the upload led to.
    pub position: String,
}

/// Measures, asks, sends and completes.
pub async fn one(client: &Client, file: &Path, request: &Request) -> anyhow::Result<Uploaded> {
    let measured = client::measure(file).await?;
    let upload = client
        .create_upload(file, &measured, request)
        .await
        .with_context(|| format!("{} was refused", file.display()))?;
    let (video, asked_at) = (upload.video.clone(), upload.position.clone());
    send(client, file, &measured, request, upload).await?;
    let position = client.complete_upload(&video).await?;
    Ok(Uploaded {
        video,
        asked_at,
        position,
    })
}

/// Sends the file until the store has it. Every attempt asks for a fresh address, under the same
/// idempotency key: the one before may have expired, or its file may have arrived after all.
async fn send(
    client: &Client,
    file: &Path,
    measured: &Measured,
    request: &Request,
    mut upload: Upload,
) -> anyhow::Result<()> {
    let bar = bar(measured.size_bytes, &request.title)?;
    let mut patience = Patience::new();
    while let Some(place) = &upload.place {
        let shown = bar.clone();
        let sent = client
            .put(place, file, measured.size_bytes, move |sent| {
                shown.set_position(sent)
            })
            .await?;
        match sent {
            Sent::Stored => break,
            Sent::Away(error) => patience.after(error).await?,
        }
        upload = client.create_upload(file, measured, request).await?;
    }
    bar.finish();
    Ok(())
}

pub fn title_of(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    if stem.trim().is_empty() {
        "untitled".to_owned()
    } else {
        stem.chars().take(200).collect()
    }
}

fn bar(size_bytes: u64, title: &str) -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template(
        "{msg} [{wide_bar}] {bytes}/{total_bytes} {bytes_per_sec}, {eta} left",
    )?;
    Ok(ProgressBar::new(size_bytes)
        .with_style(style)
        .with_message(title.to_owned()))
}
