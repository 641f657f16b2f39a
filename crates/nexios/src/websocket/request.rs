//! The opening handshake's request: whole until the connection is accepted, compact from then on.

use std::net::SocketAddr;
use std::sync::OnceLock;

use axum::extract::{ConnectInfo, FromRequestParts, OriginalUri, RawPathParams};
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Extensions, Uri};

use super::compact::Compact;
use super::{Params, header_pairs};

/// What accessors and extractors read.
pub(super) enum Request {
    Whole(Box<Whole>),
    Compact(Compact),
}

/// A request as extractors need it: 1 to 2 KiB with its maps.
pub(super) struct Whole {
    pub(super) parts: Parts,
    pub(super) path: Params,
    pub(super) peer: Option<SocketAddr>,
    pub(super) query: OnceLock<Params>,
}

impl Request {
    /// Takes a request over from the HTTP connection.
    pub(super) fn received(mut parts: Parts) -> Self {
        let path = path_params(&mut parts).unwrap_or_default();
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
        detach(&mut parts);
        Self::Whole(Box::new(Whole { parts, path, peer, query: OnceLock::new() }))
    }

    /// What a client's `WebSocket` shows.
    pub(super) fn sent(parts: Parts, peer: Option<SocketAddr>) -> Self {
        let whole = Whole { parts, path: Params::default(), peer, query: OnceLock::new() };
        let mut request = Self::Whole(Box::new(whole));
        request.compact();
        request
    }

    /// Makes it small: from here on it is rarely asked for.
    pub(super) fn compact(&mut self) {
        if let Self::Whole(whole) = self
            && let Some(compact) = Compact::of(whole)
        {
            *self = Self::Compact(compact);
        }
    }

    pub(super) fn parts(&self) -> &Parts {
        match self {
            Self::Whole(whole) => &whole.parts,
            Self::Compact(compact) => compact.parts(),
        }
    }

    /// For what may change it: it is whole again until the next [`compact`](Self::compact).
    pub(super) fn parts_mut(&mut self) -> &mut Parts {
        if let Self::Compact(compact) = self {
            *self = Self::Whole(Box::new(compact.unpack()));
        }
        match self {
            Self::Whole(whole) => &mut whole.parts,
            Self::Compact(_) => unreachable!("it was made whole"),
        }
    }

    /// The extensions, as long as it is whole.
    pub(super) fn whole_extensions(&mut self) -> Option<&mut Extensions> {
        match self {
            Self::Whole(whole) => Some(&mut whole.parts.extensions),
            Self::Compact(_) => None,
        }
    }

    pub(super) fn uri(&self) -> &Uri {
        match self {
            Self::Whole(whole) => &whole.parts.uri,
            Self::Compact(compact) => compact.uri(),
        }
    }

    /// Reads the target without anything being kept for it.
    pub(super) fn with_target<R>(&self, read: impl FnOnce(&Uri) -> R) -> R {
        match self {
            Self::Whole(whole) => read(&whole.parts.uri),
            Self::Compact(compact) => read(&compact.target()),
        }
    }

    pub(super) fn query(&self) -> &Params {
        match self {
            Self::Whole(whole) => {
                whole.query.get_or_init(|| Params::from_query(whole.parts.uri.query().unwrap_or_default()))
            }
            Self::Compact(compact) => compact.query(),
        }
    }

    pub(super) fn path(&self) -> &Params {
        match self {
            Self::Whole(whole) => &whole.path,
            Self::Compact(compact) => compact.path(),
        }
    }

    /// What layers and middleware have put beside it.
    pub(super) fn clone_extensions(&self) -> Extensions {
        match self {
            Self::Whole(whole) => whole.parts.extensions.clone(),
            Self::Compact(compact) => compact.clone_extensions(),
        }
    }

    pub(super) fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Whole(whole) => whole.peer,
            Self::Compact(compact) => compact.peer(),
        }
    }

    /// The headers, as the protocol crate reads them.
    pub(super) fn header_pairs(&self) -> std::vec::IntoIter<(&str, &[u8])> {
        match self {
            Self::Whole(whole) => header_pairs(&whole.parts.headers),
            Self::Compact(compact) => compact.header_pairs().collect::<Vec<_>>().into_iter(),
        }
    }
}

/// The parameters of the path, if the router has left any word of them. A path that is no UTF-8 when decoded is refused
/// by the `Path` extractor; here it has none.
pub(super) fn path_params(parts: &mut Parts) -> Option<Params> {
    // This extractor never waits.
    let params = RawPathParams::from_request_parts(parts, &()).now_or_never()?.ok()?;
    Some(params.iter().collect())
}

/// Copies what lies in the HTTP connection's read buffer: a single value would hold all of its 8 KiB for as long as the
/// connection lives.
fn detach(parts: &mut Parts) {
    detach_values(&mut parts.headers);
    detach_uri(&mut parts.uri);
    if let Some(original) = parts.extensions.get_mut::<OriginalUri>() {
        detach_uri(&mut original.0);
    }
}

/// All values move into one allocation. `Debug` does not show those that are secrets.
fn detach_values(headers: &mut HeaderMap) {
    let mut copy = BytesMut::with_capacity(headers.values().map(HeaderValue::len).sum());
    for value in headers.values() {
        copy.extend_from_slice(value.as_bytes());
    }
    let mut copy = copy.freeze();
    for (name, value) in headers.iter_mut() {
        // It was a value before, so it is one now.
        if let Ok(mut detached) = HeaderValue::from_maybe_shared(copy.split_to(value.len())) {
            let is_secret = [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION].contains(name);
            detached.set_sensitive(is_secret || value.is_sensitive());
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
