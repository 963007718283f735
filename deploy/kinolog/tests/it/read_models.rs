//! Two processes that keep the read models: one is frozen, the other takes over; and what an operator sees.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::{
    client::Client,
    platform::{Platform, kinolog, signal},
    standby::{environment_of, start},
};

const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(10);

/// A process that stands still, until this is dropped.
struct Frozen(u32);

impl Frozen {
    fn now(pid: u32) -> Self {
        signal(pid, libc::SIGSTOP);
        Self(pid)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        signal(self.0, libc::SIGCONT);
    }
}

/// Creates an upload, and waits until the catalogue shows it.
async fn create(client: &Client, title: &str) {
    let input = json!({
        "title": title, "fileName": "clip.mp4", "contentType": "video/mp4", "sizeBytes": 1000,
        "visibility": "PUBLIC", "idempotencyKey": title,
    });
    let created = client.create_upload(input).await;
    assert_eq!(created["userErrors"], json!([]), "{created}");
    let query = "query($id: ID!, $at: String) { video(id: $id, minPosition: $at) { title } }";
    let asked = json!({ "id": created["video"]["id"], "at": created["position"] });
    let began = Instant::now();
    loop {
        let shown = client.graphql(query, asked.clone()).await;
        if shown["video"]["title"] == title {
            return;
        }
        assert!(began.elapsed() < TAKEN_OVER_WITHIN, "{title} is not shown");
    }
}

/// Who wrote the catalogue last.
async fn holder(platform: &Platform) -> uuid::Uuid {
    let mut connection = PgConnection::connect(&platform.address("postgres"))
        .await
        .unwrap();
    sqlx::query_scalar("select holder from catalogue_g1.checkpoint")
        .fetch_one(&mut connection)
        .await
        .unwrap()
}

fn said(platform: &Platform, arguments: &[&str]) -> String {
    let output = Command::new(kinolog())
        .args(arguments)
        .arg("--data")
        .arg(&platform.dir)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_process_is_taken_over_and_thawed_writes_nothing() {
    let platform = Platform::start_with("read-models", &["--workers", "0"]);
    let client = Client::of(&platform);
    let first = platform.pid("projections");
    create(&client, "before").await;
    let _standby = start(
        Command::new(kinolog()).arg("project"),
        &environment_of(first),
        &platform.dir.join("standby.log"),
    );
    let holder_before = holder(&platform).await;
    let frozen = Frozen::now(first);
    create(&client, "meanwhile").await;
    let taken_over = holder(&platform).await;
    assert_ne!(taken_over, holder_before);

    // What was read before the frost is tried now, and refused.
    drop(frozen);
    for number in 0..5 {
        create(&client, &format!("afterwards {number}")).await;
    }
    assert_eq!(holder(&platform).await, taken_over);

    let lines = said(&platform, &["projections", "--json"]);
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let names: Vec<&str> = lines
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        ["catalogue", "announcements", "owners", "popularity"]
    );
    for line in &lines {
        assert_eq!(line["lagBytes"], 0, "{line}");
        assert_eq!(line["stoppedVideos"], json!([]), "{line}");
        assert_eq!(line["generation"], 1, "{line}");
    }
    assert!(said(&platform, &["verify", "catalogue"]).contains("is what the log says"));
    let rebuilt = said(&platform, &["rebuild", "catalogue"]);
    assert!(
        rebuilt.contains("generation 2 of catalogue serves"),
        "{rebuilt}"
    );
    create(&client, "after the rebuild").await;
    let back = said(&platform, &["rebuild", "catalogue", "--back"]);
    assert_eq!(back, "generation 1 of catalogue serves again\n");
    create(&client, "after the way back").await;
}
