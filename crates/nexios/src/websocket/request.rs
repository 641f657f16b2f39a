//! The opening handshake's request, as it is kept for the connection's life.

use std::net::SocketAddr;
use std::sync::OnceLock;

use axum::extract::{ConnectInfo, FromRequestParts, OriginalUri, RawPathParams};
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::header::{HeaderMap, HeaderValue};
use http::{Uri, request};

use super::Params;

/// What accessors and extractors read.
pub(super) struct Request {
    pub(super) parts: request::Parts,
    pub(super) path: Params,
    pub(super) peer: Option<SocketAddr>,
    query: OnceLock<Params>,
}

impl Request {
    /// Takes a request over from the HTTP connection.
    pub(super) fn received(mut parts: request::Parts) -> Self {
        let path = path_params(&mut parts);
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
        detach(&mut parts);
        Self { parts, path, peer, query: OnceLock::new() }
    }

    /// What a client's `WebSocket` shows.
    pub(super) fn sent(parts: request::Parts, peer: Option<SocketAddr>) -> Self {
        Self { parts, path: Params::default(), peer, query: OnceLock::new() }
    }

    pub(super) fn query(&self) -> &Params {
        self.query.get_or_init(|| Params::from_query(self.parts.uri.query().unwrap_or_default()))
    }
}

fn path_params(parts: &mut request::Parts) -> Params {
    // This extractor never waits. A path that is no UTF-8 when decoded is refused by the `Path` extractor; here it has
    // no parameters.
    match RawPathParams::from_request_parts(parts, &()).now_or_never() {
        Some(Ok(params)) => params.iter().collect(),
        _ => Params::default(),
    }
}

/// Copies what lies in the HTTP connection's read buffer: a single value would hold all of its 8 KiB for as long as the
/// connection lives.
fn detach(parts: &mut request::Parts) {
    detach_values(&mut parts.headers);
    detach_uri(&mut parts.uri);
    if let Some(original) = parts.extensions.get_mut::<OriginalUri>() {
        detach_uri(&mut original.0);
    }
}

/// All values move into one allocation.
fn detach_values(headers: &mut HeaderMap) {
    let mut copy = BytesMut::with_capacity(headers.values().map(HeaderValue::len).sum());
    for value in headers.values() {
        copy.extend_from_slice(value.as_bytes());
    }
    let mut copy = copy.freeze();
    for value in headers.values_mut() {
        // It was a value before, so it is one now.
        if let Ok(mut detached) = HeaderValue::from_maybe_shared(copy.split_to(value.len())) {
            detached.set_sensitive(value.is_sensitive());
            *value = detached;
        }
    }
}

fn detach_uri(uri: &mut Uri) {
    if let Ok(detached) = Uri::from_maybe_shared(Bytes::from(uri.to_string())) {
        *uri = detached;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detached_request_says_the_same() {
        let request = http::Request::get("/chat/a%20b?x=1&x=2")
            .header("host", "example.org")
            .header("cookie", "a=b")
            .header("x-empty", "")
            .header("cookie", "c=d");
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        parts.extensions.insert(OriginalUri("/app/chat".parse().unwrap()));
        let (uri, headers) = (parts.uri.clone(), parts.headers.clone());
        detach(&mut parts);
        assert_eq!((parts.uri, parts.headers), (uri, headers));
        assert_eq!(parts.extensions.get::<OriginalUri>().unwrap().0, "/app/chat");
    }
}
