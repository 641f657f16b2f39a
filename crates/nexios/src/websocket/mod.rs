//! The `WebSocket` object: what a handler holds.

mod accept;
mod error;
mod messages;
mod params;
mod receive;
mod request;
mod send;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

pub use accept::Accept;
pub(crate) use accept::Handshake;
use axum::extract::FromRequestParts;
pub use error::{AcceptError, JsonError, MessageType, MessageTypeError, StateError};
use http::request::Parts;
use http::{Extensions, HeaderMap, Uri};
pub use messages::Messages;
pub use params::Params;
use request::Request;

use crate::connection::Link;
use crate::groups::Groups;
use crate::sender::{ConnectionId, Sender};
use crate::{Error, Result};

/// A connection, from before its handshake is answered to its end.
///
/// A handler receives it before anything was answered: it looks at the request, then calls [`accept`](Self::accept),
/// or refuses with [`close`](Self::close) (403) or [`reject`](Self::reject) (any response).
///
/// Dropping it, or returning from the handler, closes the connection: with 1000 after `Ok`, 1011 after an error or a
/// panic, 1003 after a message of the wrong type, 1007 after malformed JSON. What was sent before still arrives.
pub struct WebSocket {
    inner: Box<Inner>,
}

struct Inner {
    link: Arc<Link>,
    groups: Groups,
    phase: Phase,
    request: Request,
}

enum Phase {
    Handshake(Box<Handshake>),
    Accepted,
    Refused,
}

impl WebSocket {
    /// A connection whose handshake waits for an answer.
    pub(crate) fn new(link: Arc<Link>, groups: Groups, handshake: Handshake, parts: Parts) -> Self {
        let request = Request::received(parts);
        Self { inner: Box::new(Inner { link, groups, phase: Phase::Handshake(Box::new(handshake)), request }) }
    }

    /// A client's connection, which is open already.
    pub(crate) fn connected(link: Arc<Link>, parts: Parts, peer: Option<SocketAddr>) -> Self {
        let request = Request::sent(parts, peer);
        Self { inner: Box::new(Inner { link, groups: Groups::new(), phase: Phase::Accepted, request }) }
    }

    /// The connection's number, unique in the process.
    pub fn id(&self) -> ConnectionId {
        self.inner.link.id()
    }

    /// A handle for sending to this connection from anywhere.
    pub fn sender(&self) -> Sender {
        Sender::new(Arc::clone(&self.inner.link))
    }

    /// The app's groups.
    pub fn groups(&self) -> Groups {
        self.inner.groups.clone()
    }

    /// The headers of the opening handshake.
    pub fn headers(&self) -> &HeaderMap {
        &self.inner.request.parts.headers
    }

    /// The request's target.
    pub fn uri(&self) -> &Uri {
        &self.inner.request.parts.uri
    }

    /// The parameters behind the `?`, decoded at the first call.
    pub fn query_params(&self) -> &Params {
        self.inner.request.query()
    }

    /// The parameters of the route's path, decoded.
    pub fn path_params(&self) -> &Params {
        &self.inner.request.path
    }

    /// The subprotocols that the client offers, in its order.
    pub fn subprotocols(&self) -> impl Iterator<Item = &str> {
        nexios_proto::handshake::server::subprotocols(header_pairs(self.headers()))
    }

    /// The address at the other end of the socket; none in a [`TestClient`](crate::testing::TestClient)'s connection,
    /// nor under a server that does not tell (axum's tells with `into_make_service_with_connect_info`).
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.inner.request.peer
    }

    /// What layers and middleware have put beside the request.
    pub fn extensions(&self) -> &Extensions {
        &self.inner.request.parts.extensions
    }

    /// A place for middleware to leave things for the handler: the `Extension<T>` extractor finds them.
    pub fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.inner.request.parts.extensions
    }

    /// Runs an axum extractor on the opening handshake's request.
    ///
    /// # Errors
    ///
    /// The extractor's rejection.
    pub async fn extract<T, S>(&mut self, state: &S) -> Result<T, T::Rejection>
    where
        T: FromRequestParts<S>,
        S: Sync,
    {
        T::from_request_parts(&mut self.inner.request.parts, state).await
    }

    #[inline]
    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.inner.link
    }

    pub(crate) fn is_accepted(&self) -> bool {
        matches!(self.inner.phase, Phase::Accepted)
    }

    #[inline]
    fn check_accepted(&self) -> Result {
        match self.inner.phase {
            Phase::Accepted => Ok(()),
            Phase::Handshake(_) => Err(StateError::NotAccepted.into()),
            Phase::Refused => Err(Error::State(StateError::Refused)),
        }
    }
}

/// A map of headers as the protocol crate reads them.
pub(crate) fn header_pairs(headers: &HeaderMap) -> std::vec::IntoIter<(&str, &[u8])> {
    headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect::<Vec<_>>().into_iter()
}

impl Drop for WebSocket {
    fn drop(&mut self) {
        match self.inner.phase {
            Phase::Accepted => self.inner.link.websocket_dropped(),
            // Nobody is left to answer: that refuses.
            Phase::Handshake(_) => drop(self.inner.link.lost()),
            Phase::Refused => {}
        }
    }
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket").field("id", &self.id()).field("path", &self.uri().path()).finish_non_exhaustive()
    }
}
