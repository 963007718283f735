//! hls.js in a real browser plays a video to its end.
//!
//! The page reports to this test's own server, so that no browser driver is needed.

use std::{path::PathBuf, process::Stdio, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    response::Html,
    routing::{get, post},
};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::{
    client::Client,
    media,
    platform::{Platform, target},
};

const PAGE: &str = include_str!("browser.html");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hls_js_plays_to_the_end() {
    let platform = Platform::start("browser");
    let client = Client::of(&platform);
    let video = client
        .upload(&media::clip("browser.mp4", 6), "Played in a browser")
        .await;
    let found = client.settled(&video, &["READY", "FAILED"]).await;
    assert_eq!(found["status"], "READY", "{found}");

    let (address, mut reports) = server(found["playback"]["hls"].as_str().unwrap()).await;
    let profile = tempfile::tempdir_in(target()).unwrap();
    let mut chromium = tokio::process::Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--disable-quic",
        ])
        .args([
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
        ])
        .args([
            "--disable-sync",
            "--autoplay-policy=no-user-gesture-required",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("{address}/"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("chromium is installed by `cargo xtask test`");
    let report = tokio::time::timeout(Duration::from_secs(90), reports.recv()).await;
    chromium.kill().await.unwrap();
    let report = report
        .expect("the page reports in time")
        .expect("the server lives");

    assert_eq!(report["ended"], true, "{report}");
    assert_eq!(report["fatal"], Value::Null, "{report}");
    let (time, duration) = (
        report["currentTime"].as_f64().unwrap(),
        report["duration"].as_f64().unwrap(),
    );
    assert!(time >= duration - 0.1, "{report}");
    assert!((duration - 6.0).abs() < 0.1, "{report}");
    assert!(
        report["frames"].as_u64().unwrap() > 0,
        "pictures were decoded: {report}"
    );
}

#[derive(Clone)]
struct Page {
    html: String,
    script: String,
    reports: mpsc::Sender<Value>,
}

async fn server(playlist: &str) -> (String, mpsc::Receiver<Value>) {
    let (reports, received) = mpsc::channel(1);
    let script = std::env::var_os("KINOLOG_TEST_HLSJS").map(PathBuf::from);
    let script = script.expect("KINOLOG_TEST_HLSJS names hls.js; run `cargo xtask test`");
    let page = Page {
        html: PAGE.replace("{playlist}", playlist),
        script: std::fs::read_to_string(script).expect("hls.js can be read"),
        reports,
    };
    let router = Router::new()
        .route(
            "/",
            get(|State(page): State<Page>| async { Html(page.html) }),
        )
        .route(
            "/hls.js",
            get(|State(page): State<Page>| async {
                ([("content-type", "text/javascript")], page.script)
            }),
        )
        .route(
            "/report",
            post(
                |State(page): State<Page>, Json(report): Json<Value>| async move {
                    // The first report decides; the test may be gone when another comes.
                    let _ = page.reports.try_send(report);
                },
            ),
        )
        .with_state(page);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, received)
}
