//! GraphQL over WebSocket: the protocol `graphql-transport-ws`, with its close codes.
//!
//! # Invariants
//!
//! * Nothing is executed before the connection is acknowledged.
//! * An operation's id is used by one operation at a time; how many there are is bounded.
//! * A connection ends when its token does.

use async_graphql::{Request, Response as Answer};
use axum::{
    extract::{
        State,
        ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    response::{IntoResponse, Redirect, Response},
};
use futures::stream::{BoxStream, StreamExt};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio_stream::StreamMap;

use crate::{
    app::App,
    error::{ApiError, Code},
    graphql::{
        Client, Kinolog, execute_stream,
        http::{BODY_BYTES_MAX, Peer, client_of, refusal},
    },
    socket::{self, GOING_AWAY, Gone, Heard, Line},
    viewer::Viewer,
};

pub(crate) const PROTOCOL: &str = "graphql-transport-ws";
/// Operations under way on one connection.
const OPERATIONS_MAX: usize = 100;
const ID_BYTES_MAX: usize = 256;

/// Close codes of the protocol.
const BAD_REQUEST: u16 = 4400;
const UNAUTHORIZED: u16 = 4401;
const FORBIDDEN: u16 = 4403;
const SUBPROTOCOL_NOT_ACCEPTABLE: u16 = 4406;
const INITIALISATION_TIMEOUT: u16 = 4408;
const SUBSCRIBER_EXISTS: u16 = 4409;
const TOO_MANY_INITIALISATIONS: u16 = 4429;

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Said {
    ConnectionInit {
        #[serde(default)]
        payload: Option<Map<String, Value>>,
    },
    Ping {
        #[serde(default)]
        payload: Option<Value>,
    },
    Pong {},
    Subscribe {
        id: String,
        payload: Box<Request>,
    },
    Complete {
        id: String,
    },
}

/// Why we close, and with which code.
struct Closing(u16, String);

impl From<Gone> for Closing {
    fn from(_: Gone) -> Self {
        Self(GOING_AWAY, String::new())
    }
}

/// `GET /graphql`: a socket. Whoever opens it in a browser wants the console.
pub(crate) async fn get(
    State(app): State<App>,
    State(schema): State<Kinolog>,
    peer: Peer,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let Ok(upgrade) = upgrade else {
        return Redirect::to("/").into_response();
    };
    let viewer = match Viewer::of_headers(&app.config.token_secret, &headers) {
        Ok(viewer) => viewer,
        Err(error) => return refusal(&error),
    };
    let place = match socket::admit(&app) {
        Ok(place) => place,
        Err(error) => return error.into_response(),
    };
    let upgrade = socket::limited(upgrade, BODY_BYTES_MAX).protocols([PROTOCOL]);
    let speaks_it = upgrade.selected_protocol().is_some();
    let tasks = app.tasks.clone();
    upgrade.on_upgrade(move |socket| {
        tasks.track_future(async move {
            metrics::counter!("kinolog_sockets_total", "protocol" => "graphql").increment(1);
            let line = Line::new(socket, &app, place);
            if !speaks_it {
                let reason = "Subprotocol not acceptable";
                return line.close(SUBPROTOCOL_NOT_ACCEPTABLE, reason).await;
            }
            let connection = Connection {
                client: client_of(&viewer, &peer),
                peer,
                app,
                schema,
                viewer,
                line,
                acknowledged: false,
                operations: StreamMap::new(),
            };
            connection.run().await;
        })
    })
}

struct Connection {
    app: App,
    schema: Kinolog,
    peer: Peer,
    viewer: Viewer,
    client: Client,
    line: Line,
    acknowledged: bool,
    /// Their answers, and `None` at the end.
    operations: StreamMap<String, BoxStream<'static, Option<Answer>>>,
}

impl Connection {
    async fn run(mut self) {
        let hello = tokio::time::sleep(self.app.config.tuning.socket_hello);
        tokio::pin!(hello);
        let Closing(code, reason) = loop {
            let stop = self.app.stop.clone();
            let done = tokio::select! {
                () = stop.cancelled() => break Gone.into(),
                () = socket::token_ends(self.viewer.time_left()) => {
                    break Closing(FORBIDDEN, "UNAUTHENTICATED: the token expired".to_owned());
                }
                () = &mut hello, if !self.acknowledged => {
                    let reason = "Connection initialisation timeout";
                    break Closing(INITIALISATION_TIMEOUT, reason.to_owned());
                }
                heard = self.line.hear() => self.on_message(heard).await,
                Some((id, answer)) = self.operations.next() => self.on_answer(id, answer).await,
            };
            if let Err(closing) = done {
                break closing;
            }
        };
        self.line.close(code, &reason).await;
    }

    async fn on_message(&mut self, heard: Heard) -> Result<(), Closing> {
        let text = match heard {
            Heard::Text(text) => text,
            Heard::Binary => return Err(bad_request()),
            Heard::Gone => return Err(Gone.into()),
        };
        let said: Said = serde_json::from_str(&text).map_err(|_| bad_request())?;
        match said {
            Said::ConnectionInit { payload } => self.init(payload.unwrap_or_default()).await,
            Said::Ping { payload } => {
                let pong = match payload {
                    Some(payload) => json!({"type": "pong", "payload": payload}),
                    None => json!({"type": "pong"}),
                };
                Ok(self.line.say(&pong).await?)
            }
            Said::Pong {} => Ok(()),
            Said::Subscribe { id, payload } => self.subscribe(id, *payload).await,
            Said::Complete { id } => {
                self.operations.remove(&id);
                Ok(())
            }
        }
    }

    /// The token may stand in the payload, since browsers cannot set headers here.
    async fn init(&mut self, payload: Map<String, Value>) -> Result<(), Closing> {
        if self.acknowledged {
            let reason = "Too many initialisation requests";
            return Err(Closing(TOO_MANY_INITIALISATIONS, reason.to_owned()));
        }
        let secret = &self.app.config.token_secret;
        let authorization = payload
            .get("authorization")
            .or_else(|| payload.get("Authorization"));
        let viewer = match (payload.get("token"), authorization) {
            (None | Some(Value::Null), None | Some(Value::Null)) => None,
            (Some(Value::String(token)), _) => Some(Viewer::of_token(secret, token)),
            (_, Some(Value::String(text))) => Some(Viewer::of_authorization(secret, text)),
            (Some(_), _) | (None, Some(_)) => Some(Err(ApiError::bad_token())),
        };
        if let Some(viewer) = viewer {
            self.viewer = viewer.map_err(|error| {
                Closing(
                    FORBIDDEN,
                    format!("{}: {}", error.code.as_str(), error.message),
                )
            })?;
            self.client = client_of(&self.viewer, &self.peer);
        }
        self.acknowledged = true;
        Ok(self.line.say(&json!({"type": "connection_ack"})).await?)
    }

    async fn subscribe(&mut self, id: String, request: Request) -> Result<(), Closing> {
        if !self.acknowledged {
            return Err(Closing(UNAUTHORIZED, "Unauthorized".to_owned()));
        }
        if id.is_empty() || id.len() > ID_BYTES_MAX {
            return Err(bad_request());
        }
        if self.operations.contains_key(&id) {
            let reason = format!("Subscriber for {id} already exists");
            return Err(Closing(SUBSCRIBER_EXISTS, reason));
        }
        if self.operations.len() >= OPERATIONS_MAX {
            let error = ApiError::new(
                Code::LimitExceeded,
                format!("at most {OPERATIONS_MAX} operations on one connection"),
            );
            let errors = error.graphql()["errors"].clone();
            let refused = json!({"type": "error", "id": id, "payload": errors});
            return Ok(self.line.say(&refused).await?);
        }
        let (viewer, client) = (self.viewer.clone(), self.client.clone());
        let answers = execute_stream(&self.schema, request, viewer, client)
            .map(Some)
            .chain(futures::stream::iter([None]));
        self.operations.insert(id, answers.boxed());
        Ok(())
    }

    async fn on_answer(&mut self, id: String, answer: Option<Answer>) -> Result<(), Closing> {
        let Some(answer) = answer else {
            self.operations.remove(&id);
            let complete = json!({"type": "complete", "id": id});
            return Ok(self.line.say(&complete).await?);
        };
        // What was refused before anything ran is an `error`, which ends the operation.
        if answer.is_err() && answer.errors.iter().all(|error| error.path.is_empty()) {
            self.operations.remove(&id);
            let error = json!({"type": "error", "id": id, "payload": answer.errors});
            return Ok(self.line.say(&error).await?);
        }
        let next = json!({"type": "next", "id": id, "payload": answer});
        Ok(self.line.say(&next).await?)
    }
}

fn bad_request() -> Closing {
    Closing(BAD_REQUEST, "Invalid message received".to_owned())
}
