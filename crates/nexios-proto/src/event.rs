use bytes::Bytes;

use crate::{CloseFrame, Message};

/// An event that the peer's bytes have completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A complete message, of one frame or many.
    Message(Message),
    /// A Ping: the peer waits for a Pong with the same payload (RFC 6455 §5.5.2).
    Ping(Bytes),
    /// A Pong, in reply to a Ping or unsolicited (RFC 6455 §5.5.3).
    Pong(Bytes),
    /// A Close frame, the peer's last frame; `None` when it had no body, which counts as
    /// [`CloseCode::NO_STATUS`](crate::CloseCode::NO_STATUS) (RFC 6455 §5.5.1).
    Close(Option<CloseFrame>),
}

/// The result of [`Connection::receive`](crate::Connection::receive).
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Received {
    /// Number of bytes consumed from the front of the input.
    pub consumed: usize,
    /// The event that the last of these bytes completed.
    pub event: Option<Event>,
}
