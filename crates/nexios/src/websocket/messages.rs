//! Messages as a stream.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use nexios_proto::Message;

use super::WebSocket;
use crate::{Error, Result};

/// The messages of a connection, from [`WebSocket::messages`]: ends when the peer closes normally (1000, 1001 or
/// without a code); any other ending is its last item.
#[derive(Debug)]
pub struct Messages<'a> {
    websocket: &'a mut WebSocket,
    done: bool,
}

impl<'a> Messages<'a> {
    pub(super) fn new(websocket: &'a mut WebSocket) -> Self {
        Self { websocket, done: false }
    }

    /// The next message, as `StreamExt::next` gives it, without that trait.
    ///
    /// # Cancel safety
    ///
    /// Safe: a message is either returned or still there for the next call.
    pub async fn next(&mut self) -> Option<Result<Message>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Stream for Messages<'_> {
    type Item = Result<Message>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.done {
            return Poll::Ready(None);
        }
        let result = std::task::ready!(self.websocket.poll_receive(cx));
        self.done = result.is_err();
        match result {
            Err(Error::Disconnect(end)) if end.is_normal() => Poll::Ready(None),
            result => Poll::Ready(Some(result)),
        }
    }
}
