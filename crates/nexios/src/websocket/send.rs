//! Sending.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use nexios_proto::{Message, Utf8Bytes};
use serde::Serialize;

use super::WebSocket;
use super::error::JsonError;
use crate::Result;
use crate::connection::Form;

/// # Sending
///
/// What a handler sends before it next waits leaves in one write; there is nothing to flush.
impl WebSocket {
    /// Sends a message.
    ///
    /// # Backpressure
    ///
    /// Waits while more than half of [`Config::outbound_queue`](crate::Config::outbound_queue) (1 MiB) is taken, so that
    /// a handler is as fast as its peer reads.
    ///
    /// # Cancel safety
    ///
    /// Safe: the message is queued when it returns, and not at all when it is dropped before.
    ///
    /// # Errors
    ///
    /// [`Error::Disconnect`](crate::Error::Disconnect) when the connection is closing or has ended;
    /// [`Error::State`](crate::Error::State) before `accept`.
    pub fn send(&mut self, message: impl Into<Message>) -> impl Future<Output = Result> + Send {
        Sending { websocket: self, message: Some(message.into()), form: Form::Any }
    }

    /// Sends a message that must not be compressed because it holds a secret: see [`Compression`](crate::Compression).
    /// Otherwise as [`send`](Self::send).
    pub fn send_uncompressed(&mut self, message: impl Into<Message>) -> impl Future<Output = Result> + Send {
        Sending { websocket: self, message: Some(message.into()), form: Form::Plain }
    }

    /// Sends a text message; see [`send`](Self::send).
    pub fn send_text(&mut self, text: impl Into<Utf8Bytes>) -> impl Future<Output = Result> + Send {
        self.send(Message::Text(text.into()))
    }

    /// Sends a binary message; see [`send`](Self::send).
    pub fn send_bytes(&mut self, bytes: impl Into<Bytes>) -> impl Future<Output = Result> + Send {
        self.send(Message::Binary(bytes.into()))
    }

    /// Sends a value as JSON in a text message; see [`send`](Self::send).
    ///
    /// # Errors
    ///
    /// [`Error::Json`](crate::Error::Json) when the value cannot be written as JSON.
    pub async fn send_json(&mut self, value: &(impl Serialize + ?Sized)) -> Result {
        self.send_text(JsonError::encode(value)?).await
    }
}

/// A message on its way to the queue. A type of its own, because an `async fn` makes room for its arguments twice, in a
/// handler's future that lives as long as the connection.
struct Sending<'a> {
    websocket: &'a mut WebSocket,
    /// Until it is queued.
    message: Option<Message>,
    form: Form,
}

impl Future for Sending<'_> {
    type Output = Result;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result> {
        let this = self.get_mut();
        match this.websocket.check_accepted() {
            Ok(()) => this.websocket.link().poll_send(cx, &mut this.message, this.form),
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}
