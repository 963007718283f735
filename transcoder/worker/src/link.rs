//! The line to the conductor: every call may be repeated, and is.
//!
//! # Invariants
//!
//! * A call is tried again with capped pauses while the conductor is away, for as long as
//!   the lease may still be ours, and no longer.
//! * "Not yours" ends the attempt at once; it is never tried again.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use protocol::conductor_client::ConductorClient;
use protocol::{
    ClaimRequest, FailRequest, FinishRequest, HeartbeatRequest, Lease, OutputFile,
    PresignOutputsRequest, Presigned, PublishRequest, RenewSourceRequest, Source, Task,
};
use tokio::time::{Instant, sleep, timeout};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::capacity::Capacity;
use crate::failure::Failure;

const CONNECT_WAIT_MAX: Duration = Duration::from_secs(5);
const CALL_WAIT_MAX: Duration = Duration::from_secs(15);
/// How long the conductor may hold a claim open.
const CLAIM_WAIT_MS: u32 = 20_000;
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Why a call did not come through.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LinkError {
    /// The lease is another's, or the job is gone.
    #[error("the lease was lost: {0}")]
    Lost(String),
    #[error("the conductor refused: {0}")]
    Refused(String),
    #[error("the conductor could not be reached: {0}")]
    Away(String),
    #[error("the conductor does not accept the worker token")]
    Token,
}

impl LinkError {
    fn of(status: &Status) -> LinkError {
        let message = status.message().to_owned();
        match status.code() {
            Code::Aborted | Code::NotFound => LinkError::Lost(message),
            Code::Unauthenticated | Code::PermissionDenied => LinkError::Token,
            Code::InvalidArgument
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::AlreadyExists
            | Code::Unimplemented
            | Code::DataLoss => LinkError::Refused(message),
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Internal
            | Code::Unavailable => LinkError::Away(message),
        }
    }
}

#[derive(Clone)]
struct Token(MetadataValue<Ascii>);

impl tonic::service::Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request
            .metadata_mut()
            .insert("authorization", self.0.clone());
        Ok(request)
    }
}

type Client = ConductorClient<InterceptedService<Channel, Token>>;

/// A cheap handle; connects when it is first used, and again when it has to.
#[derive(Clone)]
pub struct Link {
    conductors: Arc<Conductors>,
    worker: Worker,
}

/// One leads, the others wait to; nobody says which.
struct Conductors {
    clients: Vec<Client>,
    /// The one to call: another one as soon as this one is away.
    at: AtomicUsize,
}

impl Conductors {
    fn client(&self) -> (usize, Client) {
        let at = self.at.load(Ordering::Relaxed);
        (at, self.clients[at % self.clients.len()].clone())
    }

    /// Many calls may meet the same one being away: only one of them moves on.
    fn is_away(&self, at: usize) {
        let next = at.wrapping_add(1);
        let order = Ordering::Relaxed;
        // An error means that another call was quicker.
        let _moved = self.at.compare_exchange(at, next, order, order);
    }

    /// One try.
    async fn call<T, F>(
        &self,
        wait: Duration,
        call: impl FnOnce(Client) -> F,
    ) -> Result<T, LinkError>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let (at, client) = self.client();
        let answer = answered(timeout(wait, call(client)).await);
        if let Err(LinkError::Away(_)) = &answer {
            self.is_away(at);
        }
        answer
    }
}

/// Who calls.
#[derive(Clone)]
pub struct Worker {
    pub name: String,
    /// The kinds of tasks it takes; empty: all.
    pub kinds: Vec<String>,
    pub capacity: Capacity,
}

impl Link {
    /// `conductor` is an address, or several with commas between them.
    pub fn new(conductor: &str, token: &str, worker: Worker) -> anyhow::Result<Self> {
        let bearer = format!("Bearer {token}")
            .parse()
            .context("the worker token is not a header value")?;
        let token = Token(bearer);
        let client = |address: &str| {
            let endpoint = Endpoint::from_shared(address.to_owned())
                .with_context(|| format!("{address} is not the address of a conductor"))?
                .connect_timeout(CONNECT_WAIT_MAX)
                .tcp_nodelay(true)
                .http2_keep_alive_interval(Duration::from_secs(20))
                .keep_alive_timeout(Duration::from_secs(10));
            anyhow::Ok(ConductorClient::with_interceptor(
                endpoint.connect_lazy(),
                token.clone(),
            ))
        };
        let clients = conductor.split(',').map(str::trim).map(client);
        Ok(Link {
            conductors: Arc::new(Conductors {
                clients: clients.collect::<Result<_, _>>()?,
                at: AtomicUsize::new(0),
            }),
            worker,
        })
    }

    pub(crate) fn capacity(&self) -> Capacity {
        self.worker.capacity.clone()
    }

    /// One try to get a task, which waits for one at most `wait`; the same request gets the
    /// same task.
    pub async fn claim(
        &self,
        request_id: &str,
        wait: Option<Duration>,
    ) -> Result<Option<Task>, LinkError> {
        let wait_ms = wait.map_or(CLAIM_WAIT_MS, |wait| {
            u32::try_from(wait.as_millis()).map_or(CLAIM_WAIT_MS, |ms| ms.min(CLAIM_WAIT_MS))
        });
        let request = ClaimRequest {
            request_id: request_id.to_owned(),
            worker: self.worker.name.clone(),
            kinds: self.worker.kinds.clone(),
            wait_ms,
            capacity: Some(self.worker.capacity.said()),
        };
        let wait = CALL_WAIT_MAX + Duration::from_millis(CLAIM_WAIT_MS.into());
        let call = |mut client: Client| async move { client.claim(request).await };
        let answer = self.conductors.call(wait, call).await;
        answer.map(|answer| answer.task)
    }

    /// One try to keep the lease; true: the job is gone.
    pub(crate) async fn heartbeat(&self, lease: &Lease, permille: u32) -> Result<bool, LinkError> {
        let request = HeartbeatRequest {
            lease: Some(lease.clone()),
            worker: self.worker.name.clone(),
            progress_permille: permille,
            capacity: Some(self.worker.capacity.said()),
        };
        let call = |mut client: Client| async move { client.heartbeat(request).await };
        let answer = self.conductors.call(CALL_WAIT_MAX, call).await;
        answer.map(|answer| answer.cancelled)
    }

    pub(crate) async fn renew_source(
        &self,
        lease: &Lease,
        patience: Duration,
    ) -> Result<Source, LinkError> {
        let request = RenewSourceRequest {
            lease: Some(lease.clone()),
        };
        let answer = self
            .repeat(patience, |mut client| {
                let request = request.clone();
                async move { client.renew_source(request).await }
            })
            .await?;
        answer
            .source
            .ok_or_else(|| LinkError::Refused("an empty source".to_owned()))
    }

    pub(crate) async fn presign(
        &self,
        lease: &Lease,
        file: OutputFile,
        patience: Duration,
    ) -> Result<Presigned, LinkError> {
        let request = PresignOutputsRequest {
            lease: Some(lease.clone()),
            files: vec![file],
        };
        let answer = self
            .repeat(patience, |mut client| {
                let request = request.clone();
                async move { client.presign_outputs(request).await }
            })
            .await?;
        let first = answer.outputs.into_iter().next();
        first.ok_or_else(|| LinkError::Refused("no presigned output".to_owned()))
    }

    pub(crate) async fn publish(
        &self,
        request: PublishRequest,
        patience: Duration,
    ) -> Result<u32, LinkError> {
        let answer = self
            .repeat(patience, |mut client| {
                let request = request.clone();
                async move { client.publish(request).await }
            })
            .await?;
        Ok(answer.published)
    }

    pub(crate) async fn finish(
        &self,
        request: FinishRequest,
        patience: Duration,
    ) -> Result<(), LinkError> {
        self.repeat(patience, |mut client| {
            let request = request.clone();
            async move { client.finish(request).await }
        })
        .await
        .map(|_| ())
    }

    pub(crate) async fn fail(
        &self,
        lease: &Lease,
        failure: &Failure,
        patience: Duration,
    ) -> Result<(), LinkError> {
        let request = FailRequest {
            lease: Some(lease.clone()),
            code: failure.code.as_str().to_owned(),
            message: failure.message.clone(),
            source_fault: failure.code.is_source_fault(),
        };
        self.repeat(patience, |mut client| {
            let request = request.clone();
            async move { client.fail(request).await }
        })
        .await
        .map(|_| ())
    }

    /// Repeats a call while the conductor is away, until patience ends.
    async fn repeat<T, F>(
        &self,
        patience: Duration,
        call: impl Fn(Client) -> F,
    ) -> Result<T, LinkError>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let until = Instant::now() + patience;
        let mut pause = PAUSE_MIN;
        loop {
            let error = match self.conductors.call(CALL_WAIT_MAX, &call).await {
                Ok(answer) => return Ok(answer),
                Err(error @ LinkError::Away(_)) => error,
                Err(error) => return Err(error),
            };
            if Instant::now() + pause > until {
                return Err(error);
            }
            sleep(pause).await;
            pause = longer(pause);
        }
    }
}

/// The next pause between tries.
pub(crate) fn longer(pause: Duration) -> Duration {
    (pause * 2).min(PAUSE_MAX)
}

pub(crate) const fn first_pause() -> Duration {
    PAUSE_MIN
}

fn answered<T>(
    answer: Result<Result<tonic::Response<T>, Status>, tokio::time::error::Elapsed>,
) -> Result<T, LinkError> {
    match answer {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(LinkError::of(&status)),
        Err(_) => Err(LinkError::Away("no answer in time".to_owned())),
    }
}
