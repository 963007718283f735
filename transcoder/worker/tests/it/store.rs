//! A store that knows ranges, versions and create-only writes, and nothing else.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, put};

pub const ETAG: &str = "version-1";

#[derive(Clone, Default)]
pub struct Store {
    source: Arc<Mutex<Bytes>>,
    etag: Arc<Mutex<String>>,
    pub objects: Arc<Mutex<BTreeMap<String, Bytes>>>,
    /// Bytes that GETs of the source answered.
    pub read_bytes: Arc<Mutex<u64>>,
    /// GETs refused as a store in trouble would.
    pub busy: Arc<Mutex<u32>>,
}

impl Store {
    pub async fn start(source: Bytes) -> (Store, SocketAddr) {
        let store = Store::default();
        *store.source.lock().unwrap() = source;
        *store.etag.lock().unwrap() = ETAG.to_owned();
        let routes = Router::new()
            .route("/source", get(read))
            .route("/out/{name}", put(write))
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(store.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        (store, address)
    }

    /// Somebody replaces the source.
    pub fn change(&self) {
        *self.etag.lock().unwrap() = "version-2".to_owned();
    }

    pub fn object(&self, name: &str) -> Bytes {
        let objects = self.objects.lock().unwrap();
        objects
            .get(name)
            .unwrap_or_else(|| panic!("no object {name}"))
            .clone()
    }
}

async fn read(State(store): State<Store>, headers: HeaderMap) -> (StatusCode, Bytes) {
    {
        let mut busy = store.busy.lock().unwrap();
        if *busy > 0 {
            *busy -= 1;
            return (StatusCode::SERVICE_UNAVAILABLE, Bytes::new());
        }
    }
    if headers["if-match"].to_str().unwrap() != *store.etag.lock().unwrap() {
        return (StatusCode::PRECONDITION_FAILED, Bytes::new());
    }
    let source = store.source.lock().unwrap().clone();
    let range = headers["range"]
        .to_str()
        .unwrap()
        .strip_prefix("bytes=")
        .unwrap();
    let (from, to) = range.split_once('-').unwrap();
    let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
    if from >= source.len() {
        return (StatusCode::RANGE_NOT_SATISFIABLE, Bytes::new());
    }
    let part = source.slice(from..(to + 1).min(source.len()));
    *store.read_bytes.lock().unwrap() += part.len() as u64;
    (StatusCode::PARTIAL_CONTENT, part)
}

async fn write(
    State(store): State<Store>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    assert_eq!(headers["if-none-match"], "*");
    let mut objects = store.objects.lock().unwrap();
    if objects.contains_key(&name) {
        return StatusCode::PRECONDITION_FAILED;
    }
    objects.insert(name, body);
    StatusCode::OK
}
