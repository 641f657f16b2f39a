use bytes::Bytes;

use crate::{CloseFrame, Message};

/// What a peer has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A whole message, of one frame or many.
    Message(Message),
    /// A Ping: the peer waits for a Pong with the same payload (RFC 6455 §5.5.2).
    Ping(Bytes),
    /// A Pong, the answer to a Ping or of the peer's own accord (RFC 6455 §5.5.3).
    Pong(Bytes),
    /// A Close frame, the last thing that the peer says; `None` when it had no body, which counts as
    /// [`CloseCode::NO_STATUS`](crate::CloseCode::NO_STATUS) (RFC 6455 §5.5.1).
    Close(Option<CloseFrame>),
}

/// What [`Connection::receive`](crate::Connection::receive) did with its input.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Received {
    /// Bytes taken from the front of the input. Less than all of them only when there is an event.
    pub consumed: usize,
    /// The event that the last of these bytes completed.
    pub event: Option<Event>,
}
