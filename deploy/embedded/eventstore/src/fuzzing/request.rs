//! Calls to the node, without its sockets: gRPC frames, messages, and what they ask for.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::boxed;
use tonic::codegen::{Body, Service, http};
use tonic::service::{AxumBody, Routes};

use super::Cursor;
use super::memory;
use crate::disk::Disk;
use crate::grpc::{self, Node};
use crate::limits::SEGMENT_BYTES;
use crate::recovery;
use crate::writer;

/// Calls of one input, one after the other on the same log.
const CALLS_MAX: usize = 6;
/// Pieces of an answer that are waited for, and how long for each.
const PIECES_MAX: usize = 12;
const PIECE_WAIT: Duration = Duration::from_millis(3);

const METHODS: [&str; 7] = [
    "streams.Streams/Read",
    "streams.Streams/Append",
    "streams.Streams/BatchAppend",
    "streams.Streams/Delete",
    "streams.Streams/Tombstone",
    "server_features.ServerFeatures/GetSupportedMethods",
    "gossip.Gossip/Read",
];
/// Those with little to say, behind one number more.
const OTHERS: [&str; 5] = [
    "persistent_subscriptions.PersistentSubscriptions/Create",
    "monitoring.Monitoring/Stats",
    "operations.Operations/Shutdown",
    "operations.Operations/SetNodePriority",
    "operations.Operations/StartScavenge",
];

/// Makes the calls that the bytes describe. Whatever they did, the log opens afterwards
/// and has what was shown.
pub fn request(bytes: &[u8]) {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().expect("a runtime starts")
    });
    runtime.block_on(calls(&mut Cursor(bytes)));
}

async fn calls(script: &mut Cursor<'_>) {
    let disk: Arc<dyn Disk> = Arc::new(memory::example());
    let opened = recovery::open(&disk, SEGMENT_BYTES);
    let (store, tail) = opened.expect("the example is a log");
    let started = writer::start(disk.clone(), store.clone(), tail, SEGMENT_BYTES);
    let (queue, written) = started.expect("the writer starts");
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let node = Node::new(store.clone(), queue, tasks.clone(), stop.clone());
    let mut routes = grpc::routes(node, SocketAddr::from(([127, 0, 0, 1], 2113)), None);
    for _ in 0..CALLS_MAX {
        if script.is_empty() {
            break;
        }
        call(&mut routes, script).await;
    }
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    drop(routes);
    let ended = written.await.expect("the writer ends");
    ended.expect("a disk in memory does not fail");

    let opened = recovery::open(&disk, SEGMENT_BYTES);
    let (again, _) = opened.expect("a log that was written opens");
    let events = |store| memory::all(store).expect("what is shown can be read");
    assert_eq!(events(&again), events(&store));
}

async fn call(routes: &mut Routes, script: &mut Cursor<'_>) {
    let what = script.byte();
    let method = match METHODS.get(usize::from(what & 7)) {
        Some(method) => method,
        None => OTHERS[usize::from(script.byte()) % OTHERS.len()],
    };
    let body = match what >> 3 {
        31 => Bytes::copy_from_slice(script.bytes(usize::MAX)),
        count => framed(script, usize::from(count & 3) + 1),
    };
    let request = http::Request::post(format!("/event_store.client.{method}"))
        .header("content-type", "application/grpc")
        .body(boxed(AxumBody::from(body)))
        .expect("a path and a header that are always the same");
    let Ok(answering) = tokio::time::timeout(PIECE_WAIT, routes.call(request)).await else {
        return;
    };
    let mut body = answering.expect("a refusal is an answer").into_body();
    for _ in 0..PIECES_MAX {
        let piece = poll_fn(|context| Pin::new(&mut body).poll_frame(context));
        match tokio::time::timeout(PIECE_WAIT, piece).await {
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(_)) | None) | Err(_) => return,
        }
    }
}

/// Messages, each with its length in front of it as gRPC has it.
fn framed(script: &mut Cursor<'_>, count: usize) -> Bytes {
    let mut body = BytesMut::new();
    for _ in 0..count {
        let len = usize::from(script.byte()) << 8 | usize::from(script.byte());
        let message = script.bytes(len);
        body.put_u8(0);
        body.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
        body.put_slice(message);
    }
    body.freeze()
}
