//! Workers on demand, and what operators see of them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{client::Client, media, platform::Platform};

/// Longer than a worker waits for more to do.
const GONE_WITHIN: Duration = Duration::from_secs(60);
/// Shorter than that.
const SHOWN_WITHIN: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_come_when_there_is_work_and_go_when_there_is_none() {
    let platform = Platform::start_with("on-demand", &["--workers-on-demand"]);
    let client = Client::of(&platform);
    assert!(
        !platform.plays("worker-1"),
        "none is kept while nothing is to be done"
    );
    for round in 1..=2 {
        let began = Instant::now();
        let clip = media::clip("on-demand.mp4", 2);
        let video = client.upload(&clip, &format!("round {round}")).await;
        client.settled(&video, &["READY"]).await;
        println!("round {round}: ready after {:?}", began.elapsed());
        assert!(platform.plays("worker-1"));
        let queue = shown(&client, "worker-1").await;
        let worker = &queue["queue"]["workers"][0];
        assert!(worker["slots"].as_u64() > Some(0), "{queue}");
        assert!(worker["memoryMib"].as_u64() > Some(0), "{queue}");

        let deadline = Instant::now() + GONE_WITHIN;
        while platform.plays("worker-1") {
            assert!(Instant::now() < deadline, "the worker stays");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// The queues once this worker is in them: they are shown a moment after they are so.
async fn shown(client: &Client, worker: &str) -> Value {
    let query = "{ queue { at slots workers { name slots running memoryMib } tasks { task } } }";
    let deadline = Instant::now() + SHOWN_WITHIN;
    loop {
        let queue = client.graphql(query, json!({})).await;
        if queue["queue"]["workers"][0]["name"] == worker {
            return queue;
        }
        assert!(Instant::now() < deadline, "it is not shown: {queue}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
