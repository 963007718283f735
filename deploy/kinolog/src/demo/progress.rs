//! How far the processing is, while it runs.

use std::{io::IsTerminal, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::client::Client;

const PERIOD: Duration = Duration::from_millis(500);
/// Without a terminal, a line is written each time it has grown by this.
const STEP_PERCENT: u64 = 10;

/// Shows the progress of a video until `stop`. Ends earlier only when it cannot be read.
pub async fn show(client: Client, video: String, stop: CancellationToken) -> anyhow::Result<()> {
    let style = ProgressStyle::with_template("processing [{wide_bar}] {pos} % {msg}")?;
    let bar = ProgressBar::new(100).with_style(style);
    let terminal = std::io::stderr().is_terminal();
    let mut written = None;
    let query = "query($id: ID!) { video(id: $id) { status progress } }";
    while !stop.is_cancelled() {
        let data = client.query(query, json!({"id": video})).await?;
        let percent = percent(data["video"]["progress"].as_f64().unwrap_or(0.0));
        bar.set_position(percent);
        let grown = written.is_none_or(|before| percent >= before + STEP_PERCENT);
        if !terminal && grown {
            eprintln!("processing: {percent} %");
            written = Some(percent);
        }
        tokio::time::sleep(PERIOD).await;
    }
    bar.finish_and_clear();
    Ok(())
}

/// The api tells a share of 1.
fn percent(progress: f64) -> u64 {
    (progress.clamp(0.0, 1.0) * 100.0).round() as u64
}
