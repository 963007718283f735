//! A conductor with one task to give, which remembers everything it was told.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use protocol::conductor_server::{Conductor, ConductorServer};
use protocol::task::Spec;
use protocol::{
    Capacity, ClaimRequest, ClaimResponse, DemandRequest, DemandResponse, FailRequest,
    FailResponse, FinishRequest, FinishResponse, HeartbeatRequest, HeartbeatResponse, Init, Lease,
    PresignOutputsRequest, PresignOutputsResponse, Presigned, PublishRequest, PublishResponse,
    RenewSourceRequest, RenewSourceResponse, Segment, Source, Task, finish_request,
};
use tokio::sync::Notify;
use tonic::{Request, Response, Status};

use crate::store;

pub const TOKEN: &str = "a-worker-token";

/// What the worker reported at last.
#[derive(Debug, Clone)]
pub enum End {
    Finished(finish_request::Result),
    Failed(FailRequest),
}

#[derive(Default)]
pub struct Told {
    pub claims: Vec<String>,
    /// What the worker said of itself, with each claim and each heartbeat.
    pub capacities: Vec<Capacity>,
    pub beats: u32,
    pub renewals: u32,
    pub inits: BTreeMap<String, Init>,
    pub segments: BTreeMap<String, Vec<Segment>>,
    pub from: HashMap<String, u32>,
    pub end: Option<End>,
}

pub struct Desk {
    pub told: Mutex<Told>,
    pub changed: Notify,
    task: Task,
    store: SocketAddr,
    /// The lease is given to another as soon as it is asked about.
    pub lost: Mutex<bool>,
    /// Calls that are answered "not now" first.
    pub away: Mutex<u32>,
}

impl Desk {
    pub async fn start(
        spec: Spec,
        size: u64,
        store: SocketAddr,
        expires_at_ms: u64,
    ) -> (Arc<Desk>, SocketAddr) {
        let task = Task {
            lease: Some(lease()),
            lease_ms: 10_000,
            heartbeat_ms: 200,
            source: Some(source(store, size, expires_at_ms)),
            spec: Some(spec),
            memory_mib: 100,
        };
        let desk = Arc::new(Desk {
            told: Mutex::default(),
            changed: Notify::new(),
            task,
            store,
            lost: Mutex::default(),
            away: Mutex::default(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = ConductorServer::new(Served(Arc::clone(&desk)));
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        tokio::spawn(async move {
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming)
                .await
                .unwrap();
        });
        (desk, address)
    }

    #[expect(clippy::result_large_err, reason = "the served trait wants it unboxed")]
    fn allowed<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let token = request.metadata().get("authorization");
        if token.and_then(|t| t.to_str().ok()) != Some(&format!("Bearer {TOKEN}")) {
            return Err(Status::unauthenticated("who are you"));
        }
        let mut away = self.away.lock().unwrap();
        if *away > 0 {
            *away -= 1;
            return Err(Status::unavailable("not now"));
        }
        Ok(())
    }

    #[expect(clippy::result_large_err, reason = "the served trait wants it unboxed")]
    fn holds<T>(&self, request: &Request<T>, asked: Option<&Lease>) -> Result<(), Status> {
        self.allowed(request)?;
        if asked != Some(&lease()) || *self.lost.lock().unwrap() {
            return Err(Status::aborted("not yours"));
        }
        Ok(())
    }

    fn end(&self, end: End) {
        self.told.lock().unwrap().end = Some(end);
        self.changed.notify_waiters();
    }
}

pub fn lease() -> Lease {
    Lease {
        job: "0193c2a0-0000-7000-8000-000000000001".to_owned(),
        task: "encode-0".to_owned(),
        attempt: 1,
    }
}

fn source(store: SocketAddr, size_bytes: u64, expires_at_ms: u64) -> Source {
    Source {
        url: format!("http://{store}/source"),
        headers: HashMap::from([("if-match".to_owned(), store::ETAG.to_owned())]),
        size_bytes,
        expires_at_ms,
    }
}

struct Served(Arc<Desk>);

#[tonic::async_trait]
impl Conductor for Served {
    async fn claim(
        &self,
        request: Request<ClaimRequest>,
    ) -> Result<Response<ClaimResponse>, Status> {
        let id = request.get_ref().request_id.clone();
        let capacity = request.get_ref().capacity.clone().unwrap();
        let mut told = self.0.told.lock().unwrap();
        told.claims.push(id);
        told.capacities.push(capacity);
        drop(told);
        self.0.allowed(&request)?;
        let done = self.0.told.lock().unwrap().end.is_some() || *self.0.lost.lock().unwrap();
        let task = (!done).then(|| self.0.task.clone());
        Ok(Response::new(ClaimResponse { task }))
    }

    async fn heartbeat(
        &self,
        request: Request<HeartbeatRequest>,
    ) -> Result<Response<HeartbeatResponse>, Status> {
        self.0.holds(&request, request.get_ref().lease.as_ref())?;
        let mut told = self.0.told.lock().unwrap();
        told.beats += 1;
        told.capacities.extend(request.into_inner().capacity);
        drop(told);
        self.0.changed.notify_waiters();
        Ok(Response::new(HeartbeatResponse { cancelled: false }))
    }

    async fn renew_source(
        &self,
        request: Request<RenewSourceRequest>,
    ) -> Result<Response<RenewSourceResponse>, Status> {
        self.0.holds(&request, request.get_ref().lease.as_ref())?;
        self.0.told.lock().unwrap().renewals += 1;
        let size = self.0.task.source.as_ref().unwrap().size_bytes;
        let source = Some(source(self.0.store, size, 0));
        Ok(Response::new(RenewSourceResponse { source }))
    }

    async fn presign_outputs(
        &self,
        request: Request<PresignOutputsRequest>,
    ) -> Result<Response<PresignOutputsResponse>, Status> {
        self.0.holds(&request, request.get_ref().lease.as_ref())?;
        let outputs = request
            .into_inner()
            .files
            .into_iter()
            .map(|file| Presigned {
                method: "PUT".to_owned(),
                url: format!("http://{}/out/{}", self.0.store, file.name),
                headers: HashMap::from([("if-none-match".to_owned(), "*".to_owned())]),
                key: file.name,
            })
            .collect();
        Ok(Response::new(PresignOutputsResponse { outputs }))
    }

    async fn publish(
        &self,
        request: Request<PublishRequest>,
    ) -> Result<Response<PublishResponse>, Status> {
        self.0.holds(&request, request.get_ref().lease.as_ref())?;
        let request = request.into_inner();
        let mut told = self.0.told.lock().unwrap();
        let start = *told
            .from
            .entry(request.rendition.clone())
            .or_insert(request.from);
        if let Some(init) = request.init {
            told.inits.entry(request.rendition.clone()).or_insert(init);
        }
        let known = told.segments.entry(request.rendition).or_default();
        if request.from != start + known.len() as u32 {
            return Err(Status::failed_precondition("out of order"));
        }
        known.extend(request.segments);
        let published = start + known.len() as u32;
        drop(told);
        self.0.changed.notify_waiters();
        Ok(Response::new(PublishResponse { published }))
    }

    async fn finish(
        &self,
        request: Request<FinishRequest>,
    ) -> Result<Response<FinishResponse>, Status> {
        self.0.holds(&request, request.get_ref().lease.as_ref())?;
        self.0
            .end(End::Finished(request.into_inner().result.unwrap()));
        Ok(Response::new(FinishResponse {}))
    }

    async fn fail(&self, request: Request<FailRequest>) -> Result<Response<FailResponse>, Status> {
        self.0.holds(&request, request.get_ref().lease.as_ref())?;
        self.0.end(End::Failed(request.into_inner()));
        Ok(Response::new(FailResponse {}))
    }

    async fn demand(&self, _: Request<DemandRequest>) -> Result<Response<DemandResponse>, Status> {
        Err(Status::unimplemented("no worker asks for it"))
    }
}
