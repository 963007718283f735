//! A client as anyone could write it: GraphQL, a PUT, a WebSocket, and the log's own streams.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::platform::Platform;

/// How long anything may take before the test calls it stuck.
pub const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    graphql: String,
    notifications: String,
    eventstore: String,
    pub token: String,
}

impl Client {
    pub fn of(platform: &Platform) -> Self {
        Self {
            http: reqwest::Client::builder()
                .timeout(Duration::from_secs(20))
                .build()
                .unwrap(),
            graphql: platform.address("graphql"),
            notifications: platform.address("notifications"),
            eventstore: platform.address("eventstore"),
            token: platform.address("token"),
        }
    }

    /// One GraphQL request; an error is whatever kept it from an answer.
    pub async fn try_graphql(&self, query: &str, variables: &Value) -> Result<Value, String> {
        let body = json!({ "query": query, "variables": variables });
        let request = self
            .http
            .post(&self.graphql)
            .bearer_auth(&self.token)
            .json(&body);
        let answer = request.send().await.map_err(|error| format!("{error:?}"))?;
        let answer: Value = answer.json().await.map_err(|error| format!("{error:?}"))?;
        if let Some(errors) = answer.get("errors") {
            return Err(errors.to_string());
        }
        Ok(answer["data"].clone())
    }

    /// Repeats a request until it is answered, as a client does while a part is being restarted.
    pub async fn graphql(&self, query: &str, variables: Value) -> Value {
        let mut last = String::new();
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match self.try_graphql(query, &variables).await {
                Ok(data) => return data,
                Err(error) => last = error,
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("no answer to {query}: {last}");
    }

    pub async fn create_upload(&self, input: Value) -> Value {
        let query = "mutation($input: CreateUploadInput!) { createUpload(input: $input) {
            upload { method url headers { name value } } video { id } position
            userErrors { field message code } } }";
        self.graphql(query, json!({ "input": input })).await["createUpload"].clone()
    }

    /// Uploads a file, insisting until the platform has it, and answers with the video's id.
    pub async fn upload(&self, path: &Path, title: &str) -> String {
        let bytes = std::fs::read(path).unwrap();
        let input = json!({
            "title": title, "fileName": path.file_name().unwrap().to_str().unwrap(),
            "contentType": "video/mp4", "sizeBytes": bytes.len(), "visibility": "PUBLIC",
            "idempotencyKey": format!("{title}-{}", bytes.len()),
        });
        let deadline = Instant::now() + PATIENCE;
        loop {
            let created = self.create_upload(input.clone()).await;
            assert_eq!(created["userErrors"], json!([]), "{created}");
            let video = created["video"]["id"].as_str().unwrap().to_owned();
            // 412: an earlier attempt got through though its answer was lost.
            match self.put(&created["upload"], bytes.clone()).await {
                Ok(status) if status.is_success() || status.as_u16() == 412 => {
                    self.complete(&video).await;
                    return video;
                }
                answer => assert!(
                    Instant::now() < deadline,
                    "the PUT does not get through: {answer:?}"
                ),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub async fn put(&self, upload: &Value, bytes: Vec<u8>) -> Result<reqwest::StatusCode, String> {
        let mut request = self.http.put(upload["url"].as_str().unwrap()).body(bytes);
        for header in upload["headers"].as_array().unwrap() {
            request = request.header(
                header["name"].as_str().unwrap(),
                header["value"].as_str().unwrap(),
            );
        }
        request
            .send()
            .await
            .map(|answer| answer.status())
            .map_err(|error| format!("{error:?}"))
    }

    pub async fn complete(&self, video: &str) -> Value {
        let query = "mutation($input: CompleteUploadInput!) { completeUpload(input: $input) {
            video { id status } position userErrors { field message code } } }";
        self.graphql(query, json!({ "input": { "videoId": video } }))
            .await["completeUpload"]
            .clone()
    }

    /// Waits until the video's status is one of `wanted`, and answers with what is known of it.
    pub async fn settled(&self, video: &str, wanted: &[&str]) -> Value {
        let query = "query($id: ID!) { video(id: $id) { id title status playable durationMs width height
            failure { code message } renditions { id kind width height } playback { hls dash } posterUrl } }";
        let deadline = Instant::now() + PATIENCE;
        loop {
            let data = self.graphql(query, json!({ "id": video })).await;
            let found = &data["video"];
            if wanted.contains(&found["status"].as_str().unwrap_or_default()) {
                return found.clone();
            }
            assert!(Instant::now() < deadline, "{video} is stuck: {found}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub async fn fetch(&self, url: &str) -> (u16, Vec<u8>) {
        let answer = self
            .http
            .get(url)
            .send()
            .await
            .expect("the address answers");
        let status = answer.status().as_u16();
        (
            status,
            answer.bytes().await.expect("the body arrives").to_vec(),
        )
    }

    /// The types of all events of a stream, with their payloads.
    pub async fn stream(&self, stream: &str) -> Vec<(String, Value)> {
        let settings = self
            .eventstore
            .parse()
            .expect("addresses.json has the log's address");
        let client = eventstore::Client::new(settings).expect("the client takes the address");
        let options = eventstore::ReadStreamOptions::default();
        let mut events = client
            .read_stream(stream, &options)
            .await
            .expect("the stream can be read");
        let mut found = vec![];
        while let Some(event) = events.next().await.expect("the stream goes on") {
            let recorded = event.get_original_event();
            let data = serde_json::from_slice(&recorded.data).unwrap_or(Value::Null);
            found.push((recorded.event_type.clone(), data));
        }
        found
    }

    /// Follows `/notifications` for everything of the token's owner, coming back with its last position.
    pub fn watch(&self) -> Watch {
        let frames = Arc::new(Mutex::new(vec![]));
        let (client, seen) = (self.clone(), frames.clone());
        let task = tokio::spawn(async move {
            let mut after: Option<String> = None;
            loop {
                // The connection ends when a part is killed; the next one goes on from `after`.
                let _ = client.listen(&mut after, &seen).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        Watch { frames, task }
    }

    async fn listen(
        &self,
        after: &mut Option<String>,
        seen: &Mutex<Vec<Value>>,
    ) -> Result<(), String> {
        let said = |error: tokio_tungstenite::tungstenite::Error| error.to_string();
        let (mut socket, _) = tokio_tungstenite::connect_async(&self.notifications)
            .await
            .map_err(said)?;
        let mut subscribe = json!({ "type": "subscribe", "mine": true });
        if let Some(position) = &after {
            subscribe["after"] = json!(position);
        }
        for frame in [json!({ "type": "auth", "token": self.token }), subscribe] {
            socket
                .send(Message::text(frame.to_string()))
                .await
                .map_err(said)?;
        }
        while let Some(message) = socket.next().await {
            let Message::Text(text) = message.map_err(said)? else {
                continue;
            };
            let frame: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
            if let Some(position) = frame["position"].as_str() {
                *after = Some(position.to_owned());
            }
            seen.lock().unwrap().push(frame);
        }
        Ok(())
    }
}

pub struct Watch {
    frames: Arc<Mutex<Vec<Value>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Watch {
    pub fn frames(&self, kind: &str, video: &str) -> usize {
        let frames = self.frames.lock().unwrap();
        frames
            .iter()
            .filter(|f| f["type"] == kind && f["video"]["id"] == video)
            .count()
    }

    pub fn errors(&self) -> Vec<Value> {
        self.frames
            .lock()
            .unwrap()
            .iter()
            .filter(|f| f["type"] == "error")
            .cloned()
            .collect()
    }

    /// Waits until the socket has said `subscribed`.
    pub async fn subscribed(&self) {
        self.until("the subscription", |frames| {
            frames.iter().any(|f| f["type"] == "subscribed")
        })
        .await;
    }

    pub async fn heard(&self, kind: &str, video: &str) {
        self.until(kind, |frames| {
            frames
                .iter()
                .any(|f| f["type"] == kind && f["video"]["id"] == video)
        })
        .await;
    }

    async fn until(&self, what: &str, is_there: impl Fn(&[Value]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_there(&self.frames.lock().unwrap()) {
            let frames = self.frames.lock().unwrap().len();
            assert!(
                Instant::now() < deadline,
                "{what} never came; {frames} frames did: {:?}",
                self.errors()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}
