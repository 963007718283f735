//! The client, and another one when it dies.
//!
//! A client whose first connect fails answers `ConnectionClosed` for ever after, so it is
//! replaced. One that lost its connection later finds the way back to the same node alone,
//! but never to another node of a cluster.
//!
//! # Invariants
//!
//! * Every attempt and every retry of a command has an end.
//! * A client is replaced once, however many of its users saw it die.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context;
use eventstore::{Client, ClientSettings, Error};
use tokio::time::Instant;

use crate::LogError;

/// How long one answer may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// How long a command is tried again before its caller hears that the log is unavailable.
const COMMAND_TIME_MAX: Duration = Duration::from_secs(15);
const BACK_OFF_MIN: Duration = Duration::from_millis(25);
const BACK_OFF_MAX: Duration = Duration::from_secs(1);
/// The client waits this long before its first connect too: its default is half a second.
const DISCOVERY_INTERVAL_MS: u32 = 20;

pub(crate) struct Connection {
    settings: ClientSettings,
    command_time_max: Duration,
    current: Mutex<Current>,
}

#[derive(Default)]
struct Current {
    generation: u64,
    client: Option<Client>,
}

/// A client, and which one of those that we had.
#[derive(Clone)]
pub(crate) struct Connected {
    pub client: Client,
    generation: u64,
}

impl Connection {
    pub(crate) fn new(url: &str) -> anyhow::Result<Self> {
        let settings = with_defaults(url)
            .parse()
            .context("the address of the event log is not valid")?;
        Ok(Self {
            settings,
            command_time_max: COMMAND_TIME_MAX,
            current: Mutex::default(),
        })
    }

    pub(crate) fn client(&self) -> eventstore::Result<Connected> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let client = match &current.client {
            Some(client) => client.clone(),
            None => {
                let client = Client::new(self.settings.clone())?;
                current.generation += 1;
                current.client = Some(client.clone());
                client
            }
        };
        Ok(Connected {
            client,
            generation: current.generation,
        })
    }

    /// Notes what `error` says about the client it came from.
    pub(crate) fn saw(&self, connected: &Connected, error: &Error) {
        let dead = match error {
            Error::ConnectionClosed
            | Error::GrpcConnectionError(_)
            | Error::DeadlineExceeded
            | Error::InternalClientError => true,
            Error::ServerError(_) => self.is_cluster(),
            _ => false,
        };
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if dead && current.generation == connected.generation {
            current.client = None;
        }
    }

    fn is_cluster(&self) -> bool {
        self.settings.is_dns_discovery_enabled() || self.settings.hosts().len() > 1
    }

    /// `attempt`, again and again until the log says yes or no, or the time is over.
    pub(crate) async fn retry<T, F, Fut>(&self, doing: &str, attempt: F) -> Result<T, Failure>
    where
        F: Fn(Client) -> Fut,
        Fut: Future<Output = eventstore::Result<T>>,
    {
        let began = Instant::now();
        let mut back_off = BackOff::default();
        loop {
            let error = match self.client() {
                Ok(connected) => match attempt(connected.client.clone()).await {
                    Ok(answer) => return Ok(answer),
                    Err(error) => {
                        self.saw(&connected, &error);
                        error
                    }
                },
                Err(error) => error,
            };
            if !passes(&error) {
                return Err(Failure::Refused(error));
            }
            let pause = back_off.next();
            if began.elapsed() + pause > self.command_time_max {
                return Err(Failure::Unavailable(error));
            }
            tracing::debug!(%error, "failed to {doing}, trying again");
            tokio::time::sleep(pause).await;
        }
    }

    /// `attempt`, once.
    pub(crate) async fn once<T, F, Fut>(&self, attempt: F) -> Result<T, Failure>
    where
        F: FnOnce(Client) -> Fut,
        Fut: Future<Output = eventstore::Result<T>>,
    {
        let connected = self.client().map_err(Failure::Refused)?;
        attempt(connected.client.clone()).await.map_err(|error| {
            self.saw(&connected, &error);
            if passes(&error) {
                Failure::Unavailable(error)
            } else {
                Failure::Refused(error)
            }
        })
    }
}

/// How an exchange with the log ended badly.
pub(crate) enum Failure {
    Unavailable(Error),
    Refused(Error),
}

impl Failure {
    pub(crate) fn of(self, doing: &str) -> LogError {
        let doing = doing.to_owned();
        match self {
            Self::Unavailable(error) => LogError::Unavailable {
                doing,
                cause: error.into(),
            },
            Self::Refused(error) => LogError::Refused {
                doing,
                cause: error.into(),
            },
        }
    }
}

/// One answer, within its time. The client itself only tells the server about deadlines.
pub(crate) async fn answer<T>(
    asked: impl Future<Output = eventstore::Result<T>>,
) -> eventstore::Result<T> {
    tokio::time::timeout(ANSWER_TIME_MAX, asked)
        .await
        .unwrap_or(Err(Error::DeadlineExceeded))
}

/// Whether it may go better next time.
pub(crate) fn passes(error: &Error) -> bool {
    // gRPC's numbers of cancelled, resource exhausted and aborted.
    const PASSING: [i32; 3] = [1, 8, 10];
    match error {
        Error::ServerError(_)
        | Error::NotLeaderException(_)
        | Error::ConnectionClosed
        | Error::GrpcConnectionError(_)
        | Error::InternalClientError
        | Error::DeadlineExceeded => true,
        Error::Grpc { code, .. } => PASSING.contains(&(*code as i32)),
        Error::InternalParsingError(_)
        | Error::AccessDenied
        | Error::ResourceAlreadyExists
        | Error::ResourceNotFound
        | Error::ResourceDeleted
        | Error::UnsupportedFeature
        | Error::InitializationError(_)
        | Error::IllegalStateError(_)
        | Error::WrongExpectedVersion { .. } => false,
    }
}

/// Growing pauses between attempts, a little different for each process.
#[derive(Default)]
pub(crate) struct BackOff {
    attempts: u32,
}

impl BackOff {
    pub(crate) fn next(&mut self) -> Duration {
        let pause = BACK_OFF_MIN * 2u32.pow(self.attempts.min(8));
        self.attempts += 1;
        pause
            .min(BACK_OFF_MAX)
            .mul_f64(rand::random_range(0.5..1.0))
    }

    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }
}

/// Settings that the client would choose badly for us, unless the address names them.
fn with_defaults(url: &str) -> String {
    let lower = url.to_lowercase();
    let mut url = url.to_owned();
    let mut add = |setting: String| {
        url.push(if url.contains('?') { '&' } else { '?' });
        url.push_str(&setting);
    };
    if !lower.contains("discoveryinterval=") {
        add(format!("discoveryInterval={DISCOVERY_INTERVAL_MS}"));
    }
    // The client loads the host's certificates even where it uses none, and panics if there
    // are none. Naming a file spares it that; an empty one holds no certificate.
    if lower.contains("tls=false") && !lower.contains("tlscafile=") {
        add("tlsCaFile=/dev/null".to_owned());
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_maximum() {
        let mut back_off = BackOff::default();
        let pauses: Vec<Duration> = (0..40).map(|_| back_off.next()).collect();
        assert!(pauses[0] <= BACK_OFF_MIN);
        assert!(pauses.iter().all(|pause| *pause <= BACK_OFF_MAX));
        assert!(pauses[39] >= BACK_OFF_MAX / 2);
        back_off.reset();
        assert!(back_off.next() <= BACK_OFF_MIN);
    }

    #[test]
    fn what_the_address_names_is_kept() {
        let named = "esdb://a:1?tls=false&discoveryInterval=7&tlsCaFile=/x";
        assert_eq!(with_defaults(named), named);
        assert_eq!(
            with_defaults("esdb://a:1?tls=false"),
            "esdb://a:1?tls=false&discoveryInterval=20&tlsCaFile=/dev/null"
        );
        assert_eq!(
            with_defaults("esdb://a:1"),
            "esdb://a:1?discoveryInterval=20"
        );
    }

    #[tokio::test]
    async fn a_log_that_stays_away_is_unavailable_in_the_end() {
        // Bound and not listening: nobody else can have the port, and nobody answers.
        let silent = tokio::net::TcpSocket::new_v4().unwrap();
        silent.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = silent.local_addr().unwrap();
        let mut connection = Connection::new(&format!("esdb://{address}?tls=false")).unwrap();
        connection.command_time_max = Duration::from_millis(300);
        let asked = connection.retry("ask", async |client: Client| {
            answer(client.server_info()).await.map(drop)
        });
        assert!(matches!(asked.await, Err(Failure::Unavailable(_))));
        // Each attempt killed its client, and the next one had another.
        assert!(connection.client().unwrap().generation > 2);
    }

    #[test]
    fn an_address_that_is_none_is_refused() {
        assert!(Connection::new("http://127.0.0.1:2113").is_err());
    }
}
