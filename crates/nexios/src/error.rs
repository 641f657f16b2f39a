//! What can go wrong, and what it means for the connection.

use std::error::Error as StdError;
use std::io;

use nexios_proto::CloseCode;

use crate::asking::RequestError;
use crate::backplane::BackplaneError;
use crate::client::ConnectError;
use crate::disconnect::{Cause, WebSocketDisconnect};
use crate::groups::GroupError;
use crate::sender::{ConnectionId, TrySendError};
use crate::websocket::{AcceptError, CloseCodeError, JsonError, MessageTypeError, StateError};

/// Any error, boxed: what a handler's error type must convert into.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// The result of everything in Nexios, and what a handler returns.
pub type Result<T = (), E = Error> = std::result::Result<T, E>;

/// What can go wrong with a connection or an app.
///
/// Each variant holds a value of its own type, which is also its [`source`](StdError::source): so an error keeps its
/// meaning inside `anyhow` or an error type of yours. Its text names the whole story, because most programs print only
/// that one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A connection ended, normally or not. A handler that lets out that of its own has ended normally.
    #[error("{0}")]
    Disconnect(#[from] WebSocketDisconnect),
    /// A call at the wrong time: before `accept`, a second `accept`, after a refusal.
    #[error("{0}")]
    State(#[from] StateError),
    /// A text message where binary was due, or the other way round. Closes 1003 unless the handler goes on receiving.
    #[error("{0}")]
    MessageType(#[from] MessageTypeError),
    /// A message is not the JSON that was expected. Closes 1007 when the handler lets it out.
    #[error("{0}")]
    Json(#[from] JsonError),
    /// `accept_with` was asked for something that must not be sent. The handshake is still open.
    #[error("{0}")]
    Accept(#[from] AcceptError),
    /// A close code that must not be sent. The connection is as it was.
    #[error("{0}")]
    CloseCode(#[from] CloseCodeError),
    /// `try_send` found no room, or no connection.
    #[error("{0}")]
    TrySend(#[from] TrySendError),
    /// A group did not take a member or a name.
    #[error("{0}")]
    Group(#[from] GroupError),
    /// The backplane did not take a message, or cannot be used.
    #[error("{0}")]
    Backplane(#[from] BackplaneError),
    /// The peer gave no answer to what it was asked. What this closes with is told at [`RequestError`].
    #[error("{0}")]
    Request(#[from] RequestError),
    /// A client could not connect, or was refused.
    #[error("{0}")]
    Connect(#[from] ConnectError),
    /// A certificate or its key cannot be used.
    #[cfg(feature = "tls")]
    #[error("{0}")]
    Tls(#[from] crate::TlsError),
    /// A handler or middleware panicked.
    #[error("{0}")]
    Panic(#[from] HandlerPanic),
    /// The operating system refused something: a bind, a socket, a file.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// An error of the application.
    #[error("{0}")]
    Other(#[source] BoxError),
}

/// A panic of a handler or middleware, with its message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("handler panicked: {message}")]
pub struct HandlerPanic {
    message: Box<str>,
}

impl HandlerPanic {
    pub(crate) fn new(payload: &(dyn std::any::Any + Send)) -> Self {
        let message = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).into())
            .or_else(|| payload.downcast_ref::<String>().map(|text| text.as_str().into()))
            .unwrap_or_else(|| "(a payload that is no text)".into());
        Self { message }
    }

    /// What the panic said.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl Error {
    /// Wraps an error of the application.
    pub fn other(error: impl Into<BoxError>) -> Self {
        error.into().into()
    }

    /// The ending inside this error, at any depth of its sources.
    pub fn disconnect(&self) -> Option<&WebSocketDisconnect> {
        sources(self).find_map(|error| error.downcast_ref())
    }

    /// The ending of this connection inside this error.
    pub(crate) fn disconnect_of(&self, connection: ConnectionId) -> Option<&WebSocketDisconnect> {
        sources(self)
            .filter_map(|error| error.downcast_ref())
            .find(|end: &&WebSocketDisconnect| end.concerns(connection))
    }

    /// How a handler that lets this error out ends its connection; `None`: the connection has ended already.
    pub(crate) fn verdict(&self, connection: ConnectionId) -> Option<(CloseCode, Cause)> {
        for error in sources(self) {
            if let Some(end) = error.downcast_ref::<WebSocketDisconnect>() {
                if end.concerns(connection) {
                    return None;
                }
                // The end of another connection: what was to be done there has failed.
            } else if error.is::<MessageTypeError>() {
                return Some((CloseCode::UNSUPPORTED_DATA, Cause::UnexpectedMessage));
            } else if matches!(error.downcast_ref(), Some(GroupError::Forbidden { .. })) {
                return Some((CloseCode::POLICY_VIOLATION, Cause::Forbidden));
            } else if matches!(error.downcast_ref(), Some(GroupError::Overloaded)) {
                return Some((CloseCode::TRY_AGAIN_LATER, Cause::Overloaded));
            } else if error.downcast_ref().is_some_and(JsonError::is_received) {
                return Some((CloseCode::INVALID_PAYLOAD, Cause::UnexpectedMessage));
            }
        }
        Some((CloseCode::INTERNAL_ERROR, Cause::HandlerFailed))
    }
}

fn sources<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    // Bounded: a chain that loops is a bug of the application, not a reason to hang.
    std::iter::successors(Some(error), |error| StdError::source(*error)).take(64)
}

impl From<BoxError> for Error {
    fn from(error: BoxError) -> Self {
        match error.downcast::<Error>() {
            Ok(own) => *own,
            Err(other) => Self::Other(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disconnect_is_found_inside_any_error() {
        let end = WebSocketDisconnect::lost();
        let error = Error::Disconnect(end.clone());
        assert_eq!(error.source().and_then(|source| source.downcast_ref()), Some(&end));
        let wrapped = Error::other(anyhow::Error::from(error).context("while reading"));
        assert_eq!(wrapped.disconnect(), Some(&end));
        assert_eq!(wrapped.verdict(ConnectionId::new(1)), None);
    }

    #[test]
    fn the_disconnect_of_another_connection_is_an_error_as_any_other() {
        let (own, other) = (ConnectionId::new(1), ConnectionId::new(2));
        let end = WebSocketDisconnect::lost();
        end.belongs_to(other);
        let error = Error::other(Error::Disconnect(end));
        assert_eq!(error.verdict(own), Some((CloseCode::INTERNAL_ERROR, Cause::HandlerFailed)));
        assert_eq!((error.verdict(other), error.disconnect_of(own)), (None, None));
    }

    #[test]
    fn an_error_of_the_application_closes_1011() {
        let error = Error::other("no such user");
        assert_eq!(error.verdict(ConnectionId::new(1)), Some((CloseCode::INTERNAL_ERROR, Cause::HandlerFailed)));
        assert_eq!(error.to_string(), "no such user");
    }

    #[test]
    fn an_error_stays_small() {
        assert!(size_of::<Error>() <= 56, "{}", size_of::<Error>());
    }
}
