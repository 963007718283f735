//! The first event of a log: which log it is.
//!
//! A real server begins its log with such an event, so that readers of the whole log always find
//! one that the system wrote; and a log that was begun anew can be told from the one before it.
//!
//! # Invariants
//!
//! * It is written once, to an empty log, before anybody is served.

use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::expect::Expected;
use crate::group::{Command, Request};
use crate::record::Draft;
use crate::store::Store;

/// Its stream and its type.
const NAME: &str = "$epoch-information";

/// Begins the log if it is empty. A disk that is full right now only means that it begins without.
pub(crate) async fn begin(store: &Store, queue: &mpsc::Sender<Request>) {
    if *store.head().borrow() > 0 {
        return;
    }
    let data = serde_json::json!({
        "epochId": Uuid::new_v4(),
        "epochNumber": 0,
        "epochPosition": 0,
        "prevEpochPosition": -1,
    });
    let draft = Draft {
        id: Uuid::new_v4(),
        kind: NAME.into(),
        content_type: "application/json".into(),
        metadata: bytes::Bytes::new(),
        data: data.to_string().into(),
    };
    let (answer, answered) = oneshot::channel();
    let request = Request {
        command: Command::Append {
            stream: NAME.into(),
            expected: Expected::NoStream,
            drafts: vec![draft],
        },
        answer,
        memory: None,
    };
    // A writer that is gone says why where its end is awaited.
    if queue.send(request).await.is_err() {
        return;
    }
    if let Ok(Err(refusal)) = answered.await {
        tracing::warn!("the log begins without its first event: {refusal}");
    }
}
