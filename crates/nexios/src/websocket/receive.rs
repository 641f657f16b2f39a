//! Receiving.

use std::task::{Context, Poll};

use bytes::Bytes;
use nexios_proto::{CloseCode, Message, Utf8Bytes};
use serde::de::DeserializeOwned;

use super::error::JsonError;
use super::{Messages, WebSocket};
use crate::{Error, FromMessage, Result};

/// # Receiving
///
/// Control frames never reach the application: pings are answered by the connection's task, also while the handler waits
/// for something else (a database, a timer), as long as no more than 64 KiB of messages wait unread. Beyond that the
/// socket is not read until the handler receives, and the peer feels it (TCP's own backpressure).
///
/// After the peer's Close frame the messages before it can still be received; then every call returns
/// [`Error::Disconnect`](crate::Error::Disconnect).
impl WebSocket {
    /// Waits for the next message.
    ///
    /// # Cancel safety
    ///
    /// Safe: in `tokio::select!` a message is either returned or still there for the next call.
    ///
    /// # Errors
    ///
    /// [`Error::Disconnect`](crate::Error::Disconnect) when the connection has ended;
    /// [`Error::State`](crate::Error::State) before `accept` or after a refusal.
    pub fn receive(&mut self) -> impl Future<Output = Result<Message>> + Send {
        std::future::poll_fn(|cx| self.poll_receive(cx))
    }

    /// Waits for a text message.
    ///
    /// # Cancel safety
    ///
    /// Safe, as [`receive`](Self::receive) is.
    ///
    /// # Errors
    ///
    /// As for [`receive`](Self::receive), and [`Error::MessageType`](crate::Error::MessageType) for a binary message:
    /// unless the handler receives again, the connection closes with 1003.
    pub async fn receive_text(&mut self) -> Result<Utf8Bytes> {
        Utf8Bytes::from_message(self.receive().await?).map_err(|error| self.unexpected(error))
    }

    /// Waits for a binary message.
    ///
    /// # Cancel safety
    ///
    /// Safe, as [`receive`](Self::receive) is.
    ///
    /// # Errors
    ///
    /// As for [`receive`](Self::receive), and [`Error::MessageType`](crate::Error::MessageType) for a text message:
    /// unless the handler receives again, the connection closes with 1003.
    pub async fn receive_bytes(&mut self) -> Result<Bytes> {
        Bytes::from_message(self.receive().await?).map_err(|error| self.unexpected(error))
    }

    /// Waits for a text message and reads it as JSON.
    ///
    /// # Cancel safety
    ///
    /// Safe, as [`receive`](Self::receive) is.
    ///
    /// # Errors
    ///
    /// As for [`receive_text`](Self::receive_text), and [`Error::Json`](crate::Error::Json), which names line and
    /// column: a handler that lets it out closes the connection with 1007; one that goes on may answer.
    pub async fn receive_json<T: DeserializeOwned>(&mut self) -> Result<T> {
        Ok(JsonError::decode(&self.receive_text().await?)?)
    }

    /// The messages as a stream, which ends when the peer closes normally.
    ///
    /// ```
    /// # use nexios::prelude::*;
    /// async fn echo(mut websocket: WebSocket) -> nexios::Result {
    ///     websocket.accept().await?;
    ///     while let Some(message) = websocket.messages().next().await {
    ///         websocket.send(message?).await?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn messages(&mut self) -> Messages<'_> {
        Messages::new(self)
    }

    #[inline]
    pub(super) fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message>> {
        match self.check_accepted() {
            Ok(()) => self.link().poll_receive(cx),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Should the handler end now, its mistake is the peer's.
    fn unexpected(&self, error: Error) -> Error {
        self.link().received_unexpected(CloseCode::UNSUPPORTED_DATA);
        error
    }
}
