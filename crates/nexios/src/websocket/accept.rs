//! The answer to the opening handshake: accept, reject, close.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use nexios_proto::handshake::AcceptKey;
use nexios_proto::handshake::deflate::DeflateAnswer;
use nexios_proto::{CloseCode, CloseFrame, Utf8Bytes};

use super::error::{AcceptError, CloseCodeError, StateError};
use super::{Phase, WebSocket, is_reserved};
use crate::Result;
use crate::connection::Transport;
use crate::disconnect::{Cause, EndedBy, WebSocketDisconnect};
#[cfg(feature = "tls")]
use crate::server::StreamGuard;

/// A valid opening handshake that waits for its answer.
#[derive(Debug)]
pub(crate) struct Handshake {
    pub(crate) upgrade: OnUpgrade,
    pub(crate) opening: Opening,
    pub(crate) deflate: Option<DeflateAnswer>,
}

/// How a WebSocket begins.
#[derive(Debug)]
pub(crate) enum Opening {
    /// By an upgrade, which is answered with this key (RFC 6455 §4.2.2).
    Http1(AcceptKey),
    /// By an extended CONNECT (RFC 8441 §5).
    #[cfg(feature = "http2")]
    Http2 {
        /// Tells our own server that the stream is in use.
        #[cfg(feature = "tls")]
        guard: Option<StreamGuard>,
    },
}

/// An answered handshake whose socket is on its way.
struct Upgrade {
    socket: OnUpgrade,
    opening: Opening,
    handler_runs: bool,
}

/// What [`WebSocket::accept_with`] adds to the answer: a subprotocol, headers.
///
/// ```
/// # use nexios::prelude::*;
/// # async fn handler(mut websocket: WebSocket) -> nexios::Result {
/// websocket.accept_with(Accept::new().subprotocol("v1").header("x-server", "one")).await
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Accept {
    subprotocol: Option<String>,
    headers: HeaderMap,
    error: Option<AcceptError>,
}

impl Accept {
    /// Accepts without anything besides.
    pub fn new() -> Self {
        Self::default()
    }

    /// Chooses one of the subprotocols that the client offers. Any other, also one that is no token, makes `accept_with`
    /// fail.
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.subprotocol = Some(name.into());
        self
    }

    /// Adds a header, beside others of the same name. A value with CR, LF or NUL, a bad name, or a header of the handshake itself
    /// makes `accept_with` fail: `Upgrade`, `Connection`, all of `Sec-WebSocket-*`, and those about a body or a single hop
    /// (`Content-Length`, `Transfer-Encoding`, `TE`, `Trailer`, `Keep-Alive`, `Proxy-Connection`).
    pub fn header(mut self, name: impl AsRef<str>, value: impl AsRef<[u8]>) -> Self {
        match parse_header(name.as_ref(), value.as_ref()) {
            Ok((name, value)) => {
                self.headers.append(name, value);
            }
            Err(error) => {
                self.error.get_or_insert(error);
            }
        }
        self
    }
}

fn parse_header(name: &str, value: &[u8]) -> Result<(HeaderName, HeaderValue), AcceptError> {
    let parsed =
        HeaderName::from_bytes(name.as_bytes()).map_err(|_| AcceptError::InvalidHeaderName(name.to_owned()))?;
    if is_reserved(&parsed) {
        return Err(AcceptError::ReservedHeader(name.to_owned()));
    }
    let value = HeaderValue::from_bytes(value).map_err(|_| AcceptError::InvalidHeaderValue(name.to_owned()))?;
    Ok((parsed, value))
}

impl WebSocket {
    /// Accepts the connection: answers 101 (over HTTP/2, 200) and opens it.
    ///
    /// A client that leaves before that cancels the handler: its future, with the middleware around it, is dropped where it
    /// waits. So does [`Config::handshake_timeout`](crate::Config::handshake_timeout) (10 s), after which the client is
    /// answered 503. What has to be cleaned up then is cleaned up by `Drop`.
    ///
    /// # Cancel safety
    ///
    /// Not safe: dropped after its first poll, it leaves a connection that can only end.
    ///
    /// # Errors
    ///
    /// [`Error::State`](crate::Error::State) when it was accepted or refused before; [`Error::Disconnect`](crate::Error::Disconnect) when the client has left.
    pub async fn accept(&mut self) -> Result {
        let upgrade = self.answer_with_upgrade(Accept::new())?;
        self.open(upgrade).await
    }

    /// Accepts the connection with a subprotocol or headers.
    ///
    /// # Cancel safety
    ///
    /// As for [`accept`](Self::accept).
    ///
    /// # Errors
    ///
    /// [`Error::Accept`](crate::Error::Accept) for a subprotocol that was not offered or a header that must not be sent: the handshake is
    /// then still open. Otherwise as for [`accept`](Self::accept).
    pub async fn accept_with(&mut self, accept: Accept) -> Result {
        let upgrade = self.answer_with_upgrade(accept)?;
        self.open(upgrade).await
    }

    /// All of accepting that does not wait. What it takes is not part of a future: a handler's future is as large as the
    /// largest that it waits for, and stays so for the connection's life.
    fn answer_with_upgrade(&mut self, accept: Accept) -> Result<Upgrade> {
        let handler_runs = match self.inner.phase {
            Phase::Handshake { handler_runs, .. } => handler_runs,
            Phase::Accepted => return Err(StateError::AlreadyAccepted.into()),
            Phase::Refused => return Err(StateError::Refused.into()),
        };
        let Accept { subprotocol, mut headers, error } = accept;
        if let Some(error) = error {
            return Err(error.into());
        }
        if let Some(name) = subprotocol {
            let not_offered = || AcceptError::SubprotocolNotOffered(name.clone());
            if !self.subprotocols().any(|offered| offered == name) {
                return Err(not_offered().into());
            }
            let value = HeaderValue::from_str(&name).map_err(|_| not_offered())?;
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, value);
        }
        let Some(handshake) = self.answer() else {
            return Err(StateError::Refused.into());
        };
        let Some(response) = handshake.response(headers) else { return Err(StateError::Refused.into()) };
        if !self.inner.link.respond(response) {
            return Err(self.inner.link.lost());
        }
        if let Some(deflate) = handshake.deflate {
            self.inner.link.agree(deflate.params);
        }
        Ok(Upgrade { socket: handshake.upgrade, opening: handshake.opening, handler_runs })
    }

    async fn open(&mut self, Upgrade { socket, opening, handler_runs }: Upgrade) -> Result {
        let Ok(upgraded) = socket.await else { return Err(self.inner.link.lost()) };
        let (transport, read_ahead) = opening.transport(upgraded);
        self.inner.phase = Phase::Accepted;
        if handler_runs {
            self.compact_request();
        }
        self.inner.link.open(transport, read_ahead);
        Ok(())
    }

    /// Refuses the connection with a response of your own: a 401, a redirect, a page.
    ///
    /// # Cancel safety
    ///
    /// Safe: it does its work at the first poll.
    ///
    /// # Errors
    ///
    /// [`Error::State`](crate::Error::State) when it was accepted or refused before; [`Error::Disconnect`](crate::Error::Disconnect) when the client has left.
    pub async fn reject(&mut self, response: impl IntoResponse) -> Result {
        self.refuse(response.into_response())
    }

    pub(crate) fn refuse(&mut self, mut response: Response) -> Result {
        if matches!(self.inner.phase, Phase::Accepted) {
            return Err(StateError::AlreadyAccepted.into());
        }
        if self.link().config().refuse_after_accept {
            let status = response.status();
            let reason = status.canonical_reason().unwrap_or_default();
            return self.refuse_by_closing(CloseFrame::new(4000 + status.as_u16(), reason));
        }
        let Some(handshake) = self.answer() else {
            return Err(StateError::Refused.into());
        };
        if matches!(handshake.opening, Opening::Http1(_)) {
            // Whatever follows on this connection was meant for a socket, not for HTTP.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        } else {
            // RFC 9113 §8.2.2.
            response.headers_mut().remove(header::CONNECTION);
        }
        let is_sent = self.link().respond(response);
        let error = self.link().lost();
        if is_sent { Ok(()) } else { Err(error) }
    }

    /// Closes the connection: before `accept` it answers 403; after it, it sends a Close frame behind what was sent
    /// before and waits for the closing handshake, at most for
    /// [`Config::close_timeout`](crate::Config::close_timeout) (5 s).
    ///
    /// A reason longer than 123 bytes is cut at a character's end (RFC 6455 §5.5.1).
    ///
    /// # Cancel safety
    ///
    /// Safe: the Close frame is queued at the first poll.
    ///
    /// # Errors
    ///
    /// [`Error::CloseCode`](crate::Error::CloseCode) for a code that must not be sent (RFC 6455 §7.4): nothing happens, and the connection goes on.
    /// [`Error::Disconnect`](crate::Error::Disconnect) when the connection had ended before; [`Error::State`](crate::Error::State) when it was refused or closed
    /// before.
    pub async fn close(&mut self, code: impl Into<CloseCode>, reason: impl Into<Utf8Bytes>) -> Result {
        let code = CloseCodeError::check(code.into())?;
        if matches!(self.inner.phase, Phase::Handshake { .. }) {
            if self.link().config().refuse_after_accept {
                return self.refuse_by_closing(CloseFrame::new(code, reason));
            }
            return self.refuse(StatusCode::FORBIDDEN.into_response());
        }
        self.check_accepted()?;
        let link = self.link();
        let error = link.why_not_open();
        if !link.request_close(CloseFrame::new(code, reason), Cause::Closed) {
            return Err(error);
        }
        std::future::poll_fn(|cx| link.poll_ended(cx)).await;
        Ok(())
    }

    /// Refuses so that a page in a browser learns why: accepts, and closes at once with this code and reason. A refusal by
    /// [`close`](Self::close) or [`reject`](Self::reject) is 1006 there, without a reason.
    /// [`Config::refuse_after_accept`](crate::Config::refuse_after_accept) does it for all refusals of a route.
    ///
    /// # Cancel safety
    ///
    /// Safe: it does its work at the first poll, and waits for nothing.
    ///
    /// # Errors
    ///
    /// [`Error::CloseCode`](crate::Error::CloseCode) for a code that must not be sent (RFC 6455 §7.4);
    /// [`Error::State`](crate::Error::State) when it was accepted or refused before;
    /// [`Error::Disconnect`](crate::Error::Disconnect) when the client has left.
    pub async fn refuse_after_accept(&mut self, code: impl Into<CloseCode>, reason: impl Into<Utf8Bytes>) -> Result {
        let code = CloseCodeError::check(code.into())?;
        self.refuse_by_closing(CloseFrame::new(code, reason))
    }

    /// The 101 is sent, and the Close frame follows when the socket is there: in a task of its own, for the handler may be over
    /// before that.
    fn refuse_by_closing(&mut self, frame: CloseFrame) -> Result {
        let Upgrade { socket, opening, .. } = self.answer_with_upgrade(Accept::new())?;
        let link = Arc::clone(self.link());
        link.refuse_with(frame);
        tokio::spawn(async move {
            match socket.await {
                Ok(upgraded) => {
                    let (transport, read_ahead) = opening.transport(upgraded);
                    link.open(transport, read_ahead);
                }
                Err(_) => drop(link.lost()),
            }
        });
        Ok(())
    }

    /// The ending that goes with a handler's result, before the framework acts on it.
    pub(crate) fn expected_end(&self, result: &Result) -> WebSocketDisconnect {
        let found = self.link().end_value().or_else(|| result.as_ref().err()?.disconnect_of(self.id()).cloned());
        found.unwrap_or_else(|| {
            let verdict = result.as_ref().err().and_then(|error| error.verdict(self.id()));
            let (code, cause) = verdict.unwrap_or((CloseCode::NORMAL, Cause::Closed));
            WebSocketDisconnect::new(EndedBy::Local, cause, None, Some(CloseFrame::new(code, "")))
        })
    }

    /// Takes the handshake for its one answer.
    fn answer(&mut self) -> Option<Handshake> {
        match std::mem::replace(&mut self.inner.phase, Phase::Refused) {
            Phase::Handshake { handshake, .. } => Some(*handshake),
            other => {
                self.inner.phase = other;
                None
            }
        }
    }
}

impl Handshake {
    /// The answer that accepts (RFC 6455 §4.2.2, RFC 8441 §5.1).
    fn response(&self, headers: HeaderMap) -> Option<Response> {
        let mut response = Response::new(axum::body::Body::empty());
        *response.headers_mut() = headers;
        if let Some(accept_key) = self.opening.accept_key() {
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            let answer = response.headers_mut();
            answer.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            answer.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            answer.insert(header::SEC_WEBSOCKET_ACCEPT, HeaderValue::from_str(accept_key).ok()?);
        }
        let answer = response.headers_mut();
        if let Some(deflate) = &self.deflate {
            answer.insert(header::SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_str(&deflate.header).ok()?);
        }
        Some(response)
    }
}

impl Opening {
    /// What proves that the request was understood; over HTTP/2 nothing has to.
    #[cfg_attr(not(feature = "http2"), expect(clippy::unnecessary_wraps, reason = "everything has to, then"))]
    fn accept_key(&self) -> Option<&AcceptKey> {
        match self {
            Self::Http1(key) => Some(key),
            #[cfg(feature = "http2")]
            Self::Http2 { .. } => None,
        }
    }

    /// What the connection runs over, and what had been read of it.
    fn transport(self, upgraded: Upgraded) -> (Transport, Bytes) {
        match self {
            Self::Http1(_) => Transport::from_upgraded(upgraded),
            #[cfg(feature = "http2")]
            Self::Http2 {
                #[cfg(feature = "tls")]
                guard,
            } => {
                #[cfg(feature = "tls")]
                let on_read = move |bytes| {
                    if let Some(guard) = &guard {
                        guard.was_read(bytes);
                    }
                };
                #[cfg(not(feature = "tls"))]
                let on_read = |_| ();
                (Transport::over_http2(upgraded, on_read), Bytes::new())
            }
        }
    }
}
