//! How a connection ended: an ending is a value.

use std::fmt;
use std::sync::{Arc, OnceLock};

use nexios_proto::{CloseCode, CloseFrame, ProtocolError};

use crate::sender::ConnectionId;

/// The end of a connection: what was received, what was sent, who began it, and why.
///
/// [`receive`](crate::WebSocket::receive) and [`send`](crate::WebSocket::send) return it inside
/// [`Error::Disconnect`](crate::Error::Disconnect), and a handler may let it out with `?`: the framework finds it
/// anywhere in the chain of [`source`](std::error::Error::source)s and takes it for the normal end that it is. Only the
/// disconnect of the handler's own connection is one: that of another, from its [`Sender`](crate::Sender) or from a client's
/// connection, is an error like any other (1011).
///
/// ```
/// # use nexios::prelude::*;
/// async fn echo(mut websocket: WebSocket) -> nexios::Result {
///     websocket.accept().await?;
///     loop {
///         match websocket.receive().await {
///             Ok(message) => websocket.send(message).await?,
///             Err(Error::Disconnect(end)) => {
///                 println!("{} {}: {end}", u16::from(end.code()), end.reason());
///                 return Ok(());
///             }
///             Err(error) => return Err(error),
///         }
///     }
/// }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct WebSocketDisconnect(Arc<Ending>);

#[derive(Debug)]
struct Ending {
    received: Option<CloseFrame>,
    sent: Option<CloseFrame>,
    ended_by: EndedBy,
    cause: Cause,
    /// Whose end it is, once a connection has ended with it.
    connection: OnceLock<ConnectionId>,
}

/// Two endings are equal when the same happened, to whichever connections.
impl PartialEq for Ending {
    fn eq(&self, other: &Self) -> bool {
        (&self.received, &self.sent, self.ended_by, self.cause)
            == (&other.received, &other.sent, other.ended_by, other.cause)
    }
}

impl Eq for Ending {}

/// Which side ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndedBy {
    /// The other side: it closed, or it was lost.
    Peer,
    /// This side: the application, or a limit, deadline or check of the framework.
    Local,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// A Close frame began it: the peer's, or one that the application asked for.
    Closed,
    /// The connection broke without a Close frame (end of file or a reset): code 1006 (RFC 6455 §7.1.5).
    ConnectionLost,
    /// The peer did not answer a ping in time.
    KeepaliveTimeout,
    /// The peer broke the protocol or a limit on messages.
    ProtocolError(ProtocolError),
    /// The peer did not read what others sent to it, and its queue was full.
    SlowConsumer,
    /// The handler returned an error or panicked.
    HandlerFailed,
    /// The handler was given a message that it did not expect: a wrong type, or malformed JSON.
    UnexpectedMessage,
    /// The app's policy did not allow what the handler asked for.
    Forbidden,
    /// A message was begun and not completed within [`Config::message_timeout`](crate::Config::message_timeout).
    MessageTimeout,
    /// The peer sent more than [`Config::message_rate`](crate::Config::message_rate) or
    /// [`Config::byte_rate`](crate::Config::byte_rate) allows.
    RateExceeded,
    /// The app holds as many bytes for its connections as it may, and this one held more than its share:
    /// [`ServerConfig::buffered_bytes`](crate::ServerConfig::buffered_bytes).
    Overloaded,
    /// Nobody was authenticated on the connection in time.
    NotAuthenticated,
    /// What authenticated the connection's user has expired.
    Expired,
    /// The application has closed the connections of this user.
    Revoked,
    /// The server is going down.
    Shutdown,
}

impl WebSocketDisconnect {
    /// Notes whose end this is; the first connection stays.
    pub(crate) fn belongs_to(&self, connection: ConnectionId) {
        let _ = self.0.connection.set(connection);
    }

    /// Whether it may be the end of this connection. The end of a server's publishing is every connection's.
    pub(crate) fn concerns(&self, connection: ConnectionId) -> bool {
        self.0.cause == Cause::Shutdown || self.0.connection.get().is_none_or(|of| *of == connection)
    }

    pub(crate) fn new(ended_by: EndedBy, cause: Cause, received: Option<CloseFrame>, sent: Option<CloseFrame>) -> Self {
        Self(Arc::new(Ending { received, sent, ended_by, cause, connection: OnceLock::new() }))
    }

    pub(crate) fn lost() -> Self {
        Self::new(EndedBy::Peer, Cause::ConnectionLost, None, None)
    }

    /// The close code: of the Close frame that began the end, or
    /// [`NO_STATUS`](CloseCode::NO_STATUS) (1005) when that frame carried none, or
    /// [`ABNORMAL`](CloseCode::ABNORMAL) (1006) when there was no Close frame at all (RFC 6455 §7.1.5).
    pub fn code(&self) -> CloseCode {
        self.decisive().map_or(CloseCode::ABNORMAL, CloseFrame::code)
    }

    /// The reason that stands beside [`code`](Self::code) in the Close frame; empty without one.
    pub fn reason(&self) -> &str {
        self.decisive().map_or("", |frame| frame.reason())
    }

    /// Which side began it.
    pub fn ended_by(&self) -> EndedBy {
        self.0.ended_by
    }

    /// Why it ended.
    pub fn cause(&self) -> Cause {
        self.0.cause
    }

    /// The peer's Close frame, when one arrived.
    pub fn received(&self) -> Option<&CloseFrame> {
        self.0.received.as_ref()
    }

    /// The Close frame that was sent, when one was.
    pub fn sent(&self) -> Option<&CloseFrame> {
        self.0.sent.as_ref()
    }

    /// The peer closed as peers do when all is well: 1000, 1001, or without a code.
    pub fn is_normal(&self) -> bool {
        self.0.cause == Cause::Closed
            && matches!(self.code(), CloseCode::NORMAL | CloseCode::GOING_AWAY | CloseCode::NO_STATUS)
    }

    fn decisive(&self) -> Option<&CloseFrame> {
        match self.0.ended_by {
            EndedBy::Peer => self.received(),
            EndedBy::Local => self.sent().or(self.received()),
        }
    }
}

impl fmt::Display for WebSocketDisconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.0.ended_by {
            EndedBy::Peer => "peer",
            EndedBy::Local => "this side",
        };
        match self.0.cause {
            Cause::Closed => write!(f, "closed by {side}")?,
            Cause::ConnectionLost => return f.write_str("connection lost"),
            Cause::ProtocolError(error) => write!(f, "protocol error of the peer: {error}")?,
            cause => f.write_str(cause.as_str())?,
        }
        write!(f, " ({}", self.code())?;
        if !self.reason().is_empty() {
            write!(f, ": {}", self.reason().escape_debug())?;
        }
        f.write_str(")")
    }
}

impl Cause {
    /// One or two words for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::Closed => "closed",
            Cause::ConnectionLost => "connection lost",
            Cause::KeepaliveTimeout => "keepalive timeout",
            Cause::ProtocolError(_) => "protocol error",
            Cause::SlowConsumer => "slow consumer",
            Cause::HandlerFailed => "handler failed",
            Cause::UnexpectedMessage => "unexpected message",
            Cause::Forbidden => "forbidden",
            Cause::MessageTimeout => "message timeout",
            Cause::RateExceeded => "rate exceeded",
            Cause::Overloaded => "overloaded",
            Cause::NotAuthenticated => "not authenticated",
            Cause::Expired => "expired",
            Cause::Revoked => "revoked",
            Cause::Shutdown => "shutdown",
        }
    }
}

impl fmt::Debug for WebSocketDisconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocketDisconnect")
            .field("code", &self.code())
            .field("reason", &self.reason())
            .field("ended_by", &self.0.ended_by)
            .field("cause", &self.0.cause)
            .finish_non_exhaustive()
    }
}

impl std::error::Error for WebSocketDisconnect {}
