//! GraphQL over HTTP: `POST /graphql`.

use std::net::SocketAddr;

use async_graphql::Request;
use axum::{
    Json,
    body::Bytes,
    extract::{ConnectInfo, State, rejection::BytesRejection},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value};

use crate::{
    app::App,
    error::{ApiError, Code},
    graphql::{Client, Kinolog, execute},
    viewer::Viewer,
};

pub(crate) const BODY_BYTES_MAX: usize = 256 * 1024;

/// Who connects, where the server says so.
pub(crate) type Peer = Option<axum::Extension<ConnectInfo<SocketAddr>>>;

pub(crate) async fn post(
    State(app): State<App>,
    State(schema): State<Kinolog>,
    peer: Peer,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let viewer = match Viewer::of_headers(&app.config.token_secret, &headers) {
        Ok(viewer) => viewer,
        Err(error) => return refusal(&error),
    };
    let Ok(body) = body else {
        let error = ApiError::too_large(BODY_BYTES_MAX);
        return (StatusCode::PAYLOAD_TOO_LARGE, Json(error.graphql())).into_response();
    };
    let Some(request) = parse(&body) else {
        return refusal(&ApiError::new(
            Code::Invalid,
            "the body is not a GraphQL request: {\"query\":\"…\",\"variables\":{…}}",
        ));
    };
    let client = client_of(&viewer, &peer);
    Json(execute(&schema, request, viewer, client).await).into_response()
}

/// One request. Several at once in a list would each have the maxima of one.
fn parse(body: &[u8]) -> Option<Request> {
    let fields: Map<String, Value> = serde_json::from_slice(body).ok()?;
    serde_json::from_value(Value::Object(fields)).ok()
}

pub(crate) fn refusal(error: &ApiError) -> Response {
    (error.status(), Json(error.graphql())).into_response()
}

/// A token's subject, or where the connection comes from.
pub(crate) fn client_of(viewer: &Viewer, peer: &Peer) -> Client {
    match (viewer, peer) {
        (Viewer::Person(person), _) => Client(format!("person {}", person.owner)),
        (Viewer::Anonymous, Some(axum::Extension(ConnectInfo(address)))) => {
            Client(format!("address {}", address.ip()))
        }
        (Viewer::Anonymous, None) => Client("unknown".to_owned()),
    }
}
