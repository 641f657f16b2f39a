//! What can go wrong with one call on a `WebSocket`.

use nexios_proto::CloseCode;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::Result;

/// A call that the connection's state does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// `accept` comes first.
    #[error("the connection is not accepted yet: call `accept` first")]
    NotAccepted,
    /// `accept` was called before.
    #[error("the connection is accepted already")]
    AlreadyAccepted,
    /// The handshake was refused, by `close` or `reject`.
    #[error("the connection was refused")]
    Refused,
}

/// A close code that must not stand in a Close frame: it is none of 1000–1003, 1007–1014 and 3000–4999 (RFC 6455 §7.4).
/// Nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} must not be sent")]
pub struct CloseCodeError(CloseCode);

impl CloseCodeError {
    /// The code itself.
    pub fn code(self) -> CloseCode {
        self.0
    }

    pub(crate) fn check(code: CloseCode) -> Result<CloseCode, Self> {
        if code.is_sendable() { Ok(code) } else { Err(Self(code)) }
    }
}

/// What `accept_with` must not send. Nothing was sent: the handshake is still open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// A subprotocol that the client did not offer (RFC 6455 §4.2.2).
    #[error("the client did not offer the subprotocol {0:?}")]
    SubprotocolNotOffered(String),
    /// No header has such a name.
    #[error("{0:?} is no name of a header")]
    InvalidHeaderName(String),
    /// A value with CR, LF, NUL or another control character (RFC 9110 §5.5).
    #[error("the value of the header {0:?} holds a character that is not allowed")]
    InvalidHeaderValue(String),
    /// A header that belongs to the handshake itself.
    #[error("the header {0:?} belongs to the handshake")]
    ReservedHeader(String),
}

/// A message of the other type than the one that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a {expected} message, received a {received} one")]
pub struct MessageTypeError {
    expected: MessageType,
    received: MessageType,
}

/// The two types of messages (RFC 6455 §5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageType {
    /// UTF-8.
    Text,
    /// Any bytes.
    Binary,
}

impl MessageTypeError {
    pub(crate) fn expected(expected: MessageType) -> Self {
        let received = match expected {
            MessageType::Text => MessageType::Binary,
            MessageType::Binary => MessageType::Text,
        };
        Self { expected, received }
    }

    /// What was asked for.
    pub fn wanted(&self) -> MessageType {
        self.expected
    }
}

impl std::fmt::Display for MessageType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            MessageType::Text => "text",
            MessageType::Binary => "binary",
        })
    }
}

/// A text that is no JSON, or not the JSON that was expected; or a value that has no JSON form.
#[derive(Debug, thiserror::Error)]
#[error("{} JSON: {error}", if error.is_data() { "unexpected" } else { "invalid" })]
pub struct JsonError {
    #[source]
    error: serde_json::Error,
    is_received: bool,
}

impl JsonError {
    pub(crate) fn decode<T: DeserializeOwned>(text: &str) -> Result<T, Self> {
        serde_json::from_str(text).map_err(|error| Self { error, is_received: true })
    }

    pub(crate) fn encode(value: &(impl Serialize + ?Sized)) -> Result<String, Self> {
        serde_json::to_string(value).map_err(|error| Self { error, is_received: false })
    }

    pub(crate) fn encode_raw(value: &(impl Serialize + ?Sized)) -> Result<Box<RawValue>, Self> {
        serde_json::value::to_raw_value(value).map_err(|error| Self { error, is_received: false })
    }

    /// True for a message of the peer's, false for a value of the application's that has no JSON form.
    pub fn is_received(&self) -> bool {
        self.is_received
    }

    /// The line of the message, from 1. 0 when there is none to name: a value could not be written, or serde had taken the
    /// text apart before it found the mistake (tagged enums).
    pub fn line(&self) -> usize {
        self.error.line()
    }

    /// The column in that line, from 1.
    pub fn column(&self) -> usize {
        self.error.column()
    }

    /// True for valid JSON of another shape than the one that was expected.
    pub fn is_data(&self) -> bool {
        self.error.is_data()
    }
}
