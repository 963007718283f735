//! What workers can call: claim, heartbeat, addresses, publish, finish, fail; and demand, for
//! whoever starts them.
//!
//! # Invariants
//!
//! * Nothing is answered without the worker token, and nothing of a job without its lease.
//! * Signed addresses are given for an attempt's own folder only, create-only, of a stated size.
//! * Every call may be repeated.
#![expect(
    clippy::result_large_err,
    reason = "gRPC answers with this type; a refusal is rare and its size does not matter"
)]

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use domain::{
    code::Code,
    id::{JobId, RenditionId},
    job::Lease,
};
use objects::Objects;
use protocol::conductor_server::{Conductor, ConductorServer};
use sha2::{Digest, Sha256};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Response, Status,
    service::{Routes, interceptor::InterceptedService},
    transport::{Server, server::TcpIncoming},
};

use crate::{
    Config,
    actor::{Answer, Assignment, Message},
    desk::{Claim, Desk, Pick},
    figures,
    handle::JobHandle,
    stream::Refusal,
    wire,
};

/// How long a signed address works.
pub(crate) const SIGNED_FOR: Duration = Duration::from_secs(60 * 60);

/// The longest a claim waits for a task, or a supervisor for demand.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Those that wait at a time.
const CLAIMS_MAX: usize = 1024;
const REQUEST_BYTES_MAX: usize = 256 * 1024;
/// The longest any request may take.
const REQUEST_MAX: Duration = Duration::from_secs(90);
/// Requests under way on one connection.
const REQUESTS_MAX: usize = 64;

struct Service {
    desk: Arc<Desk>,
    objects: Objects,
    config: Config,
    stop: CancellationToken,
    claims: Semaphore,
}

pub(crate) async fn serve(
    listener: TcpListener,
    config: Config,
    objects: Objects,
    desk: Arc<Desk>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let token = Sha256::digest(format!("Bearer {}", config.worker_token));
    let service = Service {
        desk,
        objects,
        config,
        stop: stop.clone(),
        claims: Semaphore::new(CLAIMS_MAX),
    };
    let server = ConductorServer::new(service).max_decoding_message_size(REQUEST_BYTES_MAX);
    let guarded = InterceptedService::new(server, move |request: Request<()>| {
        let given = request.metadata().get("authorization");
        if given.is_some_and(|given| is_token(given.as_bytes(), &token)) {
            return Ok(request);
        }
        Err(Status::unauthenticated("a worker token is needed"))
    });
    figures::count();
    let figures = figures::routes(move |headers| {
        let given = headers.get("authorization");
        given.is_some_and(|given| is_token(given.as_bytes(), &token))
    });
    let routes: Routes = Routes::new(guarded)
        .into_axum_router()
        .merge(figures)
        .into();
    let incoming = TcpIncoming::from_listener(listener, true, None)
        .map_err(|error| anyhow::anyhow!("failed to serve on the given socket: {error}"))?;
    Server::builder()
        .timeout(REQUEST_MAX)
        .concurrency_limit_per_connection(REQUESTS_MAX)
        .http2_keepalive_interval(Some(Duration::from_secs(10)))
        .accept_http1(true)
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, async move { stop.cancelled().await })
        .await?;
    Ok(())
}

/// Compares digests, every byte of them: how long it takes says nothing about the token.
fn is_token(given: &[u8], token: &[u8]) -> bool {
    let given = Sha256::digest(given);
    let difference = given.iter().zip(token).fold(0, |sum, (a, b)| sum | (a ^ b));
    difference == 0
}

impl Service {
    /// Standbys, and conductors that have not read everything yet, know nothing.
    fn is_leading(&self) -> Result<(), Status> {
        if self.desk.is_open() && !self.stop.is_cancelled() {
            return Ok(());
        }
        Err(Status::unavailable(
            "this conductor does not lead at the moment; try again",
        ))
    }

    fn open_job(&self, job: JobId) -> Result<Arc<JobHandle>, Status> {
        self.is_leading()?;
        self.desk
            .job(job)
            .ok_or_else(|| Status::not_found("there is no such open job"))
    }

    /// The job of a lease that stands.
    fn leased(&self, job: JobId, lease: &Lease) -> Result<Arc<JobHandle>, Status> {
        let handle = self.open_job(job)?;
        if handle.leases.prolong(lease, Instant::now()) {
            return Ok(handle);
        }
        Err(wire::not_leased())
    }

    async fn source(&self, handle: &JobHandle) -> Result<protocol::Source, Status> {
        let source = &handle.source;
        let signed = self
            .objects
            .presign_get(&source.key, Some(&source.etag), SIGNED_FOR)
            .await
            .map_err(unsigned)?;
        Ok(protocol::Source {
            url: signed.url,
            headers: signed.headers.into_iter().collect(),
            size_bytes: source.size_bytes,
            expires_at_ms: signed.expires_at_ms.max(0) as u64,
        })
    }

    /// Begins the task that was picked; `None` where it was gone meanwhile.
    async fn start(&self, pick: Pick, claim: &Claim) -> Result<Option<protocol::Task>, Status> {
        let handle = pick.handle.clone();
        let (answer, answered) = oneshot::channel();
        let start = Message::Start {
            task: pick.task.clone(),
            worker: claim.worker.clone(),
            request: claim.request,
            answer,
        };
        let told = pick.tell(start).await;
        let result = match told {
            Ok(()) => answered.await.map_err(|_| ()),
            Err(_) => Err(()),
        };
        match result {
            Ok(Ok(assignment)) => self.task(&handle, assignment).await.map(Some),
            Ok(Err(Refusal::Rejected(rejection))) => {
                tracing::debug!(job.id = %handle.job, %rejection, "a task was gone before it was claimed");
                self.desk.release(claim.request);
                Ok(None)
            }
            Ok(Err(refusal)) => Err(wire::refused(refusal)),
            // Its actor ended, and left the desk or is about to.
            Err(()) => Err(Status::unavailable("the job has just ended; try again")),
        }
    }

    async fn task(
        &self,
        handle: &JobHandle,
        assignment: Assignment,
    ) -> Result<protocol::Task, Status> {
        let Assignment {
            lease,
            spec,
            memory_mib,
        } = assignment;
        Ok(protocol::Task {
            lease: Some(protocol::Lease {
                job: handle.job.to_string(),
                task: lease.task.0,
                attempt: lease.attempt,
            }),
            lease_ms: self.config.lease.as_millis() as u32,
            heartbeat_ms: self.config.heartbeat().as_millis() as u32,
            source: Some(self.source(handle).await?),
            spec: Some(spec),
            memory_mib,
        })
    }
}

#[tonic::async_trait]
impl Conductor for Service {
    async fn claim(
        &self,
        request: Request<protocol::ClaimRequest>,
    ) -> Result<Response<protocol::ClaimResponse>, Status> {
        let request = request.into_inner();
        let id = request
            .request_id
            .parse()
            .map_err(|_| wire::invalid("the request id is not a UUID"))?;
        let claim = Claim {
            request: id,
            worker: wire::worker(request.worker)?,
            kinds: wire::kinds(request.kinds)?,
            capacity: wire::capacity(request.capacity.unwrap_or_default())?,
        };
        self.is_leading()?;
        let Ok(_place) = self.claims.try_acquire() else {
            return Err(Status::resource_exhausted(
                "too many workers wait for a task",
            ));
        };
        let until = Instant::now() + wait(request.wait_ms);
        let came = self.desk.ticket();
        let mut is_late = false;
        // Each turn either ends it or meets a task that was gone: those become fewer.
        while !is_late {
            let mut place = self.desk.stand(came, claim.clone());
            let pick = tokio::select! {
                biased;
                () = self.stop.cancelled() => {
                    self.is_leading()?;
                    None
                }
                pick = place.answer() => Some(pick.ok_or_else(|| {
                    Status::unavailable("the same request was sent again; its answer goes there")
                })?),
                () = tokio::time::sleep_until(until) => {
                    is_late = true;
                    place.give_up()
                }
            };
            if let Some(pick) = pick
                && let Some(task) = self.start(pick, &claim).await?
            {
                return Ok(Response::new(protocol::ClaimResponse { task: Some(task) }));
            }
        }
        Ok(Response::new(protocol::ClaimResponse { task: None }))
    }

    async fn heartbeat(
        &self,
        request: Request<protocol::HeartbeatRequest>,
    ) -> Result<Response<protocol::HeartbeatResponse>, Status> {
        let request = request.into_inner();
        let (job, lease) = wire::lease(request.lease)?;
        self.is_leading()?;
        let capacity = request.capacity.map(wire::capacity).transpose()?;
        self.desk.beats(&request.worker, capacity);
        let Some(handle) = self.desk.job(job) else {
            let gone = protocol::HeartbeatResponse { cancelled: true };
            return Ok(Response::new(gone));
        };
        if handle.leases.beat(
            &lease,
            &request.worker,
            request.progress_permille.min(1000),
            Instant::now(),
        ) {
            let goes_on = protocol::HeartbeatResponse { cancelled: false };
            return Ok(Response::new(goes_on));
        }
        if handle.over.load(Ordering::Relaxed) {
            let over = protocol::HeartbeatResponse { cancelled: true };
            return Ok(Response::new(over));
        }
        Err(wire::not_leased())
    }

    async fn renew_source(
        &self,
        request: Request<protocol::RenewSourceRequest>,
    ) -> Result<Response<protocol::RenewSourceResponse>, Status> {
        let (job, lease) = wire::lease(request.into_inner().lease)?;
        let handle = self.leased(job, &lease)?;
        let source = Some(self.source(&handle).await?);
        Ok(Response::new(protocol::RenewSourceResponse { source }))
    }

    async fn presign_outputs(
        &self,
        request: Request<protocol::PresignOutputsRequest>,
    ) -> Result<Response<protocol::PresignOutputsResponse>, Status> {
        let request = request.into_inner();
        let (job, lease) = wire::lease(request.lease)?;
        if request.files.len() > wire::FILES_MAX {
            return Err(wire::invalid("at most 64 files at a time"));
        }
        let handle = self.leased(job, &lease)?;
        let mut outputs = vec![];
        for file in &request.files {
            let key = handle.key(&lease, wire::name(&file.name)?);
            let size_bytes = wire::size(file.size_bytes)?;
            let content_type = wire::content_type(&file.content_type)?;
            let signed = self
                .objects
                .presign_create(&key, size_bytes, content_type, SIGNED_FOR)
                .await
                .map_err(unsigned)?;
            outputs.push(protocol::Presigned {
                method: signed.method.to_owned(),
                url: signed.url,
                headers: signed.headers.into_iter().collect(),
                key,
            });
        }
        Ok(Response::new(protocol::PresignOutputsResponse { outputs }))
    }

    async fn publish(
        &self,
        request: Request<protocol::PublishRequest>,
    ) -> Result<Response<protocol::PublishResponse>, Status> {
        let request = request.into_inner();
        let (job, lease) = wire::lease(request.lease)?;
        let handle = self.leased(job, &lease)?;
        let init = request
            .init
            .map(|init| wire::init(&handle, &lease, init))
            .transpose()?;
        let segments = wire::segments(&handle, &lease, request.segments)?;
        let published = ask(&handle, |answer| Message::Publish {
            lease,
            rendition: RenditionId(request.rendition),
            from: request.from,
            init,
            segments,
            answer,
        });
        let published = published.await?;
        Ok(Response::new(protocol::PublishResponse { published }))
    }

    async fn finish(
        &self,
        request: Request<protocol::FinishRequest>,
    ) -> Result<Response<protocol::FinishResponse>, Status> {
        let request = request.into_inner();
        let (job, lease) = wire::lease(request.lease)?;
        let handle = self.open_job(job)?;
        let outcome = wire::outcome(&handle, &lease, request.result)?;
        // Whether the lease stands is the job's to say: a repeated report is welcome after its end.
        ask(&handle, |answer| Message::Finish {
            lease,
            outcome,
            answer,
        })
        .await?;
        Ok(Response::new(protocol::FinishResponse {}))
    }

    async fn fail(
        &self,
        request: Request<protocol::FailRequest>,
    ) -> Result<Response<protocol::FailResponse>, Status> {
        let request = request.into_inner();
        let (job, lease) = wire::lease(request.lease)?;
        let handle = self.open_job(job)?;
        let code = failure_code(&request.code);
        let message: String = request
            .message
            .chars()
            .take(wire::MESSAGE_CHARS_MAX)
            .collect();
        ask(&handle, |answer| Message::Fail {
            lease,
            code,
            message,
            answer,
        })
        .await?;
        Ok(Response::new(protocol::FailResponse {}))
    }

    async fn demand(
        &self,
        request: Request<protocol::DemandRequest>,
    ) -> Result<Response<protocol::DemandResponse>, Status> {
        self.is_leading()?;
        let Ok(_place) = self.claims.try_acquire() else {
            return Err(Status::resource_exhausted("too many wait"));
        };
        let mut left = self.desk.left();
        let some_are_left = left.wait_for(|left| *left > 0);
        let tasks = tokio::select! {
            () = self.stop.cancelled() => {
                self.is_leading()?;
                0
            }
            left = some_are_left => left.map_or(0, |left| *left),
            () = tokio::time::sleep(wait(request.into_inner().wait_ms)) => 0,
        };
        Ok(Response::new(protocol::DemandResponse {
            tasks: u32::try_from(tasks).unwrap_or(u32::MAX),
            workers: self.desk.workers(),
        }))
    }
}

fn wait(wait_ms: u32) -> Duration {
    Duration::from_millis(u64::from(wait_ms)).min(WAIT_MAX)
}

/// A word that is none of our codes, or speaks of the upload, which workers never see, is a crash.
fn failure_code(code: &str) -> Code {
    match Code::parse(code) {
        None | Some(Code::UploadMismatch | Code::UploadExpired) => Code::ProcessingCrashed,
        Some(code) => code,
    }
}

/// Has the job do something, and waits for what came of it.
async fn ask<T>(
    handle: &JobHandle,
    message: impl FnOnce(Answer<T>) -> Message,
) -> Result<T, Status> {
    let (answer, answered) = oneshot::channel();
    let ended = || Status::unavailable("the job has just ended, or its conductor; try again");
    handle
        .mailbox
        .send(message(answer))
        .await
        .map_err(|_| ended())?;
    answered.await.map_err(|_| ended())?.map_err(wire::refused)
}

fn unsigned(error: objects::Error) -> Status {
    tracing::error!(%error, "failed to sign an address");
    Status::unavailable("no address can be signed at the moment; try again")
}
