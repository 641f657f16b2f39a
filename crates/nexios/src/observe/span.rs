//! A span around each connection, so that what the application logs says whose it is.

use tracing::Span;
use tracing::field::{Empty, display};
use tracing::span::Entered;

use crate::WebSocket;
use crate::disconnect::WebSocketDisconnect;

/// `connection{route, id, peer, client, cause, code}` at the level INFO, from the handshake to the end of the connection's task;
/// nothing, where nobody wants it.
///
/// It has no parent: it outlives the request's span, which it follows from.
#[derive(Debug, Default)]
pub(crate) struct ConnectionSpan(Option<Box<Span>>);

impl ConnectionSpan {
    /// What it tells is the program's own or the kernel's: nothing that a client wrote.
    pub(crate) fn new(route: &str, websocket: &WebSocket) -> Self {
        let id = websocket.id();
        let span = tracing::info_span!(
            parent: None, "connection", route, %id, peer = Empty, client = Empty, cause = Empty, code = Empty
        );
        if span.is_disabled() {
            return Self(None);
        }
        let (peer, client) = (websocket.peer_addr(), websocket.client_ip());
        if let Some(peer) = peer {
            span.record("peer", display(peer));
        }
        if let Some(client) = client.filter(|client| peer.is_none_or(|peer| peer.ip() != *client)) {
            span.record("client", display(client));
        }
        span.follows_from(Span::current());
        Self(Some(Box::new(span)))
    }

    #[inline]
    pub(crate) fn is_none(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn enter(&self) -> Option<Entered<'_>> {
        self.0.as_deref().map(Span::enter)
    }

    /// How the connection ended.
    pub(crate) fn record(&self, end: &WebSocketDisconnect) {
        if let Some(span) = &self.0 {
            span.record("cause", end.cause().as_str());
            span.record("code", u16::from(end.code()));
        }
    }
}
