//! The `WebSocket` object: what a handler holds.

mod accept;
mod compact;
mod error;
mod head;
mod messages;
mod params;
mod receive;
mod request;
mod reserved;
mod send;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

pub use accept::Accept;
pub(crate) use accept::{Handshake, Opening};
use axum::extract::FromRequestParts;
pub use error::{AcceptError, CloseCodeError, JsonError, MessageType, MessageTypeError, StateError};
use http::request::Parts;
use http::{Extensions, HeaderMap, Uri};
pub use messages::Messages;
pub use params::Params;
use request::Request;
pub(crate) use reserved::is_reserved;

use crate::auth::Identity;
use crate::connection::Link;
use crate::groups::{Asker, Groups, GroupsConfig};
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
    Handshake {
        handshake: Box<Handshake>,
        /// The extractors are done.
        handler_runs: bool,
    },
    Accepted,
    Refused,
}

impl WebSocket {
    /// A connection whose handshake waits for an answer.
    pub(crate) fn new(link: Arc<Link>, groups: Groups, handshake: Handshake, parts: Parts) -> Self {
        let request = Request::received(parts);
        let phase = Phase::Handshake { handshake: Box::new(handshake), handler_runs: false };
        Self { inner: Box::new(Inner { link, groups, phase, request }) }
    }

    /// A client's connection, which is open already.
    pub(crate) fn connected(link: Arc<Link>, parts: Parts, peer: Option<SocketAddr>) -> Self {
        let request = Request::sent(parts, peer);
        let groups = Groups::new(Arc::default(), GroupsConfig::default());
        Self { inner: Box::new(Inner { link, groups, phase: Phase::Accepted, request }) }
    }

    /// The connection's number, unique in the process.
    pub fn id(&self) -> ConnectionId {
        self.inner.link.id()
    }

    /// A handle for sending to this connection from anywhere.
    pub fn sender(&self) -> Sender {
        Sender::new(Arc::clone(&self.inner.link))
    }

    /// The app's groups. What is done with this handle is done for this connection: the app's
    /// [`GroupPolicy`](crate::GroupPolicy) is asked.
    pub fn groups(&self) -> Groups {
        self.inner.groups.acting_for(|| self.asker())
    }

    /// The headers of the opening handshake. Their `Debug` shows neither `Authorization` nor `Cookie`.
    ///
    /// An accepted connection keeps its request packed, in 100 to 500 bytes. A call after [`accept`](Self::accept)
    /// unpacks it for the rest of the connection's life: 1.5 KiB with the five headers of a plain client, 2.5 KiB with a
    /// browser's twelve. So do [`extensions`](Self::extensions), [`extensions_mut`](Self::extensions_mut) and
    /// [`extract`](Self::extract). The other accessors read it as it is: [`uri`](Self::uri) keeps about 200 bytes,
    /// [`query_params`](Self::query_params) 100 and its text. Before `accept`, no call costs anything that stays.
    pub fn headers(&self) -> &HeaderMap {
        &self.inner.request.parts().headers
    }

    /// The request's target.
    pub fn uri(&self) -> &Uri {
        self.inner.request.uri()
    }

    /// The parameters behind the `?`, decoded at the first call.
    pub fn query_params(&self) -> &Params {
        self.inner.request.query()
    }

    /// The parameters of the route's path, decoded.
    pub fn path_params(&self) -> &Params {
        self.inner.request.path()
    }

    /// The subprotocols that the client offers, in its order.
    pub fn subprotocols(&self) -> impl Iterator<Item = &str> {
        nexios_proto::handshake::server::subprotocols(self.inner.request.header_pairs())
    }

    /// The address at the other end of the socket; none in a [`TestClient`](crate::testing::TestClient)'s connection,
    /// nor under a server that does not tell (axum's tells with `into_make_service_with_connect_info`).
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.inner.request.peer()
    }

    /// The address of the client: that of the socket, or, behind a proxy of
    /// [`ServerConfig::trusted_proxies`](crate::ServerConfig::trusted_proxies), the rightmost address in its header that is not
    /// a trusted proxy's. When there is an entry that is no address on the way to it (`unknown`, `_hidden`, garbage), it is the
    /// last trusted proxy before that. None where [`peer_addr`](Self::peer_addr) has none.
    ///
    /// It is worked out at each call and kept nowhere.
    pub fn client_ip(&self) -> Option<IpAddr> {
        let peer = self.peer_addr()?.ip();
        Some(self.inner.link.proxies().client_ip(peer, || self.inner.request.header_pairs()))
    }

    /// Says whose connection this is, before `accept` or after it. Said again, it is so from then on: with a later
    /// [`expires_at`](Identity::expires_at), for a token that the client has refreshed over the connection.
    ///
    /// When the identity expires, the connection is closed with 3000 and the cause [`Expired`](crate::Cause::Expired). Until
    /// the connection ends, [`AppHandle::close_user`](crate::AppHandle::close_user) and
    /// [`connections_of`](crate::AppHandle::connections_of) find it.
    ///
    /// # Errors
    ///
    /// [`Error::Disconnect`] when the connection is closing or has ended; [`Error::Other`] for an identity that expires,
    /// outside of a tokio runtime.
    pub fn authenticate(&mut self, identity: Identity) -> Result {
        self.inner.link.authenticate(identity.clone())?;
        if let Some(extensions) = self.inner.request.whole_extensions() {
            extensions.insert(identity);
        }
        Ok(())
    }

    /// Whose connection this is, if [`authenticate`](Self::authenticate) was called; also after its end.
    pub fn identity(&self) -> Option<Identity> {
        self.inner.link.identity()
    }

    /// What layers and middleware have put beside the request. See [`headers`](Self::headers) for what a call after
    /// `accept` costs.
    pub fn extensions(&self) -> &Extensions {
        &self.inner.request.parts().extensions
    }

    /// A place for middleware to leave things for the handler: the `Extension<T>` extractor finds them.
    pub fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.inner.request.parts_mut().extensions
    }

    /// Runs an axum extractor on the opening handshake's request. See [`headers`](Self::headers) for what a call after
    /// `accept` costs.
    ///
    /// # Errors
    ///
    /// The extractor's rejection.
    pub async fn extract<T, S>(&mut self, state: &S) -> Result<T, T::Rejection>
    where
        T: FromRequestParts<S>,
        S: Sync,
    {
        let parts = self.inner.request.parts_mut();
        if let Some(identity) = self.inner.link.identity() {
            parts.extensions.insert(identity);
        }
        T::from_request_parts(parts, state).await
    }

    /// What a policy sees of it.
    pub(crate) fn asker(&self) -> Asker {
        let mut extensions = self.inner.request.clone_extensions();
        if let Some(identity) = self.identity() {
            extensions.insert(identity);
        }
        Asker::new(self.id(), self.peer_addr(), extensions)
    }

    #[inline]
    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.inner.link
    }

    pub(crate) fn is_accepted(&self) -> bool {
        matches!(self.inner.phase, Phase::Accepted)
    }

    /// The extractors are done. From here on an accepted connection is rarely asked for its request.
    pub(crate) fn handler_begins(&mut self) {
        match &mut self.inner.phase {
            Phase::Handshake { handler_runs, .. } => *handler_runs = true,
            Phase::Accepted => self.compact_request(),
            Phase::Refused => {}
        }
    }

    /// What the link knows is not kept twice.
    fn compact_request(&mut self) {
        let inner = &mut *self.inner;
        if let Some(extensions) = inner.request.whole_extensions()
            && inner.link.identity().is_some()
        {
            extensions.remove::<Identity>();
        }
        inner.request.compact();
    }

    /// For a token that is taken off the request.
    pub(crate) fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.inner.request.parts_mut().headers
    }

    #[inline]
    fn check_accepted(&self) -> Result {
        match self.inner.phase {
            Phase::Accepted => Ok(()),
            Phase::Handshake { .. } => Err(StateError::NotAccepted.into()),
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
            Phase::Handshake { .. } => drop(self.inner.link.lost()),
            Phase::Refused => {}
        }
    }
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("WebSocket");
        debug.field("id", &self.id());
        self.inner.request.with_target(|uri| debug.field("path", &uri.path()).finish_non_exhaustive())
    }
}
