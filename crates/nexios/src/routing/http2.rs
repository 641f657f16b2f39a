//! What is different about an opening handshake over HTTP/2 (RFC 8441), so that handlers need not know.

use axum::response::Response;
use http::header::{CONNECTION, HOST, HeaderValue, UPGRADE};
use http::request::Parts;
use http::{StatusCode, Uri, Version};
use hyper::ext::Protocol;
use nexios_proto::handshake::server::{self, HandshakeError};

use crate::websocket::header_pairs;

/// Makes a request over HTTP/2 look like one over HTTP/1.1: `host` says what `:authority` says (RFC 9113 §8.3.1), and the
/// target is path and query alone. Does nothing to what is so already.
///
/// A `host` that says something else than `:authority` stays beside it: two of them make no valid handshake.
pub(crate) fn unify(parts: &mut Parts) {
    if parts.version != Version::HTTP_2 {
        return;
    }
    if let Some(authority) = parts.uri.authority() {
        let is_same = |host: &HeaderValue| host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes());
        if !parts.headers.get(HOST).is_some_and(is_same)
            && let Ok(host) = HeaderValue::from_str(authority.as_str())
        {
            parts.headers.append(HOST, host);
        }
    }
    if let Some(target) = parts.uri.path_and_query() {
        parts.uri = Uri::from(target.clone());
    }
}

/// Checks an opening handshake.
pub(super) fn validate(parts: &mut Parts) -> Result<(), HandshakeError> {
    // Taken out, so that nothing of it is kept for the connection's life.
    let protocol = parts.extensions.remove::<Protocol>();
    server::validate_connect(&server::ConnectRequest {
        method: parts.method.as_str(),
        protocol: protocol.as_ref().map(Protocol::as_str),
        headers: header_pairs(&parts.headers),
    })
}

/// Takes off a refusal what HTTP/2 does not have: headers of the connection (RFC 9113 §8.2.2), and with them the status
/// 426, which needs one (RFC 9110 §15.5.22).
pub(super) fn without_connection(mut response: Response) -> Response {
    response.headers_mut().remove(CONNECTION);
    response.headers_mut().remove(UPGRADE);
    if response.status() == StatusCode::UPGRADE_REQUIRED {
        *response.status_mut() = StatusCode::BAD_REQUEST;
    }
    response
}
