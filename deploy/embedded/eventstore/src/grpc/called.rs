//! How a caller names this node.
//!
//! A client that looks for a leader goes on to the address that gossip tells it. Whoever came by a
//! name, or through a forwarded port, gets there by that and perhaps by nothing else.

use tonic::Request;
use tonic::codegen::http::Request as HttpRequest;
use tonic::codegen::http::header::HOST;
use tonic::codegen::http::uri::Authority;

/// The authority of a request: the host and, if it was said, the port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Called {
    pub(super) host: String,
    pub(super) port: Option<u16>,
}

/// Keeps with the request how the node was called, which the services do not see otherwise.
pub(crate) fn noted<B>(mut request: HttpRequest<B>) -> HttpRequest<B> {
    // HTTP/1 says it in a header.
    let header = request.headers().get(HOST);
    let header = header.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let authority = request.uri().authority().or(header.as_ref());
    let called = authority.map(|authority| Called {
        host: authority.host().trim_matches(['[', ']']).to_owned(),
        port: authority.port_u16(),
    });
    if let Some(called) = called.filter(|it| !it.host.is_empty()) {
        request.extensions_mut().insert(called);
    }
    request
}

pub(super) fn of<T>(request: &Request<T>) -> Option<&Called> {
    request.extensions().get()
}
