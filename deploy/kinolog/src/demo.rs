//! `kinolog demo`: the whole path with one file, watched and checked from outside.
//!
//! # Invariants
//!
//! * Everything is seen through public ports: GraphQL, WebSocket, the event log, `/play`.
//! * What it starts it stops. The last line of its output is one JSON object.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    client::{Client, Request},
    platform::{self, Addresses, Platform, Started},
    up,
    upload::{self, Uploaded},
    watch::Watch,
};
use timeline::Timeline;

mod judge;
mod media;
mod playback;
mod progress;
mod timeline;

/// How long search may take to know a video that the catalogue knows.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(10);
const SEARCH_PAUSE: Duration = Duration::from_millis(50);

#[derive(Args)]
pub struct DemoArgs {
    /// Any video; none: a generated clip.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// How long the generated clip is.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
}

pub async fn run(data: &Path, config: Option<&Path>, args: DemoArgs) -> anyhow::Result<()> {
    if let Some(file) = &args.file
        && !file.is_file()
    {
        bail!("there is no file {}", file.display());
    }
    let (addresses, started) = match Platform::running(data)? {
        Some(platform) => (platform.addresses, None),
        None => {
            println!("starting a platform in {}", data.display());
            let started = start(data, config).await?;
            (started.addresses.clone(), Some(started))
        }
    };
    let outcome = with_interrupt(show(&addresses, &args)).await;
    if let Some(mut started) = started {
        up::down(data).await?;
        started.supervisor.wait().await?;
    }
    println!("{}", outcome?);
    Ok(())
}

async fn start(data: &Path, config: Option<&Path>) -> anyhow::Result<Started> {
    let mut arguments = vec!["--ports".to_owned(), "0".to_owned()];
    if let Some(config) = config {
        let config = platform::absolute(config)?;
        arguments.extend(["--config".to_owned(), config.to_string_lossy().into_owned()]);
    }
    platform::start(data, &arguments).await
}

/// Ctrl-C ends the demo like a failure, so that what it started is stopped.
async fn with_interrupt(
    work: impl Future<Output = anyhow::Result<Value>>,
) -> anyhow::Result<Value> {
    tokio::select! {
        outcome = work => outcome,
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
    }
}

async fn show(addresses: &Addresses, args: &DemoArgs) -> anyhow::Result<Value> {
    let folder = Scratch::new(&addresses.data)?;
    let file = match &args.file {
        Some(file) => file.clone(),
        None => media::clip(&folder.0, args.seconds).await?,
    };
    let client = Client::new(addresses)?;
    // The source is judged while it is being processed.
    let counted = tokio::spawn(media::count(file.clone()));

    let title = format!(
        "{} {}",
        upload::title_of(&file),
        &uuid::Uuid::new_v4().simple().to_string()[..8]
    );
    let request = Request {
        title: title.chars().take(200).collect(),
        description: "uploaded by kinolog demo".to_owned(),
        tags: vec!["demo".to_owned()],
        visibility: "PUBLIC".to_owned(),
        idempotency_key: uuid::Uuid::new_v4().to_string(),
    };
    println!("uploading {}", file.display());
    let began = Instant::now();
    let uploaded = upload::one(&client, &file, &request).await?;
    let upload_seconds = began.elapsed().as_secs_f64();
    println!(
        "uploaded: video {} in {upload_seconds:.1} s",
        uploaded.video
    );

    let announced_and_found = async {
        let followed = follow(addresses, &client, &uploaded).await?;
        find_by_search(&client, &uploaded.video, &request.title).await?;
        println!("found by search: {}", request.title);
        Ok(followed)
    };
    // Played while it grows, as a viewer would: what fails to be processed ends both.
    let (followed, played) = tokio::try_join!(
        announced_and_found,
        playback::all(&client, addresses, &uploaded.video)
    )?;
    let source = counted.await?.context("the source cannot be decoded")?;
    let plan = followed
        .timeline
        .plan
        .as_ref()
        .context("the timeline shows no plan")?;
    let renditions = judge::compare(plan, &source, &played)?;
    Ok(json!({
        "video": uploaded.video,
        "position": followed.position,
        "seconds": {
            "upload": rounded(upload_seconds),
            "playable": rounded(followed.playable_seconds),
            "ready": rounded(followed.ready_seconds),
        },
        "renditions": renditions,
    }))
}

/// What was seen between the upload and the end of processing.
struct Followed {
    timeline: Timeline,
    position: String,
    /// After the upload was complete.
    playable_seconds: f64,
    ready_seconds: f64,
}

/// Prints the timeline and the progress until the announcement comes that ends it.
async fn follow(
    addresses: &Addresses,
    client: &Client,
    uploaded: &Uploaded,
) -> anyhow::Result<Followed> {
    let stop = CancellationToken::new();
    let _stop_at_the_end = stop.clone().drop_guard();
    let progress = progress::show(client.clone(), uploaded.video.clone(), stop.clone());
    let timeline = timeline::follow(addresses, uploaded, stop.clone());
    tokio::pin!(progress, timeline);

    let began = Instant::now();
    let what = json!({"videos": [uploaded.video]});
    let mut watch = Watch::new(addresses, what, Some(uploaded.asked_at.clone()));
    let mut playable_seconds = None;
    let mut shown = None;
    let announced = loop {
        let announcement = tokio::select! {
            next = watch.next() => next?,
            done = &mut timeline, if shown.is_none() => {
                shown = Some(done?);
                continue;
            }
            ended = &mut progress => bail!("the progress cannot be read: {:?}", ended.err()),
        };
        println!(
            "announcement: {} {}",
            announcement["type"], announcement["video"]
        );
        match announcement["type"].as_str() {
            Some("playable") => playable_seconds = Some(began.elapsed().as_secs_f64()),
            Some("ready") => break announcement,
            Some(_) | None => bail!("processing failed: {}", announcement["video"]["failure"]),
        }
    };
    let ready_seconds = began.elapsed().as_secs_f64();
    let timeline = match shown {
        Some(timeline) => timeline,
        None => tokio::time::timeout(timeline::LAG_MAX, timeline)
            .await
            .context("the event log does not show what was announced")??,
    };
    timeline.check()?;
    Ok(Followed {
        timeline,
        position: announced["position"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        playable_seconds: playable_seconds.context("it was ready without ever being playable")?,
        ready_seconds,
    })
}

async fn find_by_search(client: &Client, video: &str, title: &str) -> anyhow::Result<()> {
    let query =
        "query($text: String!) { search(query: $text, first: 20) { edges { node { id } } } }";
    let deadline = Instant::now() + SEARCH_TIMEOUT;
    loop {
        let data = client.query(query, json!({"text": title})).await?;
        let edges = data["search"]["edges"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        if edges.iter().any(|edge| edge["node"]["id"] == *video) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("search does not find the video {video} by its title `{title}`");
        }
        tokio::time::sleep(SEARCH_PAUSE).await;
    }
}

fn rounded(seconds: f64) -> f64 {
    (seconds * 100.0).round() / 100.0
}

/// A folder for what the demo downloads; gone when it ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(data: &Path) -> anyhow::Result<Self> {
        let folder = data.join(format!("demo-{}", std::process::id()));
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("failed to create {}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Only space is lost when it stays.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
