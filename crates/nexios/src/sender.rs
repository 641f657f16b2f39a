//! A handle to a connection that anybody may hold.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;

use bytes::Bytes;
use nexios_proto::{CloseCode, CloseFrame, Message, Utf8Bytes};
use serde::Serialize;

use crate::connection::{Enqueued, Form, Key, Link, Unoffered};
use crate::disconnect::Cause;
use crate::websocket::{CloseCodeError, JsonError};
use crate::{Error, Result, WebSocketDisconnect};

/// A connection's number, unique in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(NonZeroU64);

impl ConnectionId {
    pub(crate) fn new(number: u64) -> Self {
        Self(NonZeroU64::new(number).unwrap_or(NonZeroU64::MIN))
    }

    /// The number itself, for logs and maps.
    pub fn as_u64(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Sends to a connection from anywhere: other handlers, other tasks, other threads.
///
/// A sender does not keep a connection open. It never waits for the peer, so that a loop over many senders is delayed
/// by none of them: see [`send`](Self::send) for what happens to a peer that does not read. To follow a peer's pace,
/// as a task that streams a file does, wait for [`ready`](Self::ready) before each message.
///
/// ```
/// # use nexios::prelude::*;
/// # use std::sync::{Arc, Mutex};
/// # type Everybody = Arc<Mutex<Vec<Sender>>>;
/// async fn broadcast(mut websocket: WebSocket, State(everybody): State<Everybody>) -> nexios::Result {
///     websocket.accept().await?;
///     everybody.lock().unwrap().push(websocket.sender());
///     loop {
///         let text = websocket.receive_text().await?;
///         let senders = everybody.lock().unwrap().clone();
///         for sender in senders {
///             // An error means that this one is gone: it concerns nobody else.
///             let _ = sender.send_text(text.clone()).await;
///         }
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Sender {
    link: Arc<Link>,
}

/// Why [`Sender::try_send`] did not send; the message is given back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrySendError {
    /// The connection's queue has no room for it.
    #[error("the outbound queue is full")]
    Full(Message),
    /// The connection is not accepted yet, is closing, or is over.
    #[error("the connection is not open")]
    NotOpen(Message),
}

impl Sender {
    pub(crate) fn new(link: Arc<Link>) -> Self {
        Self { link }
    }

    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    /// The connection's number.
    pub fn id(&self) -> ConnectionId {
        self.link.id()
    }

    /// True from `accept` until the connection closes.
    pub fn is_open(&self) -> bool {
        self.link.is_open()
    }

    /// How the connection ended, once it has.
    pub fn end(&self) -> Option<WebSocketDisconnect> {
        self.link.end_value()
    }

    /// Queues a message.
    ///
    /// # Backpressure
    ///
    /// The queue takes [`Config::outbound_queue`](crate::Config::outbound_queue) bytes (1 MiB). A message that finds no
    /// room closes the connection with 4430 and the cause [`SlowConsumer`](crate::Cause::SlowConsumer): a peer that
    /// does not read costs the others nothing and the server no more than that. With another
    /// [`Config::slow_consumer`](crate::Config::slow_consumer) it is dropped, or others are for it.
    ///
    /// # Cancel safety
    ///
    /// Safe: the message is queued at the first poll, or not at all.
    ///
    /// # Errors
    ///
    /// [`Error::Disconnect`] when the connection is closing or has ended; [`Error::State`] before it is accepted;
    /// [`Error::TrySend`] when the message was dropped.
    pub async fn send(&self, message: impl Into<Message>) -> Result {
        self.send_as(message.into(), Form::Any).await
    }

    /// Queues a message that must not be compressed because it holds a secret: see [`Compression`](crate::Compression).
    /// Otherwise as [`send`](Self::send).
    pub async fn send_uncompressed(&self, message: impl Into<Message>) -> Result {
        self.send_as(message.into(), Form::Plain).await
    }

    /// Queues a message that is the newest state of what `key` stands for: with
    /// [`SlowConsumer::Conflate`](crate::SlowConsumer::Conflate) it takes the place of one that still waits under the same key.
    /// Otherwise as [`send`](Self::send).
    pub async fn send_keyed(&self, key: impl AsRef<str>, message: impl Into<Message>) -> Result {
        let key = self.link.may_drop().then(|| key.as_ref().into());
        let sent = self.queue(message.into(), Form::Any, key)?;
        give_way(sent).await;
        Ok(())
    }

    async fn send_as(&self, message: Message, form: Form) -> Result {
        let sent = self.queue(message, form, None)?;
        give_way(sent).await;
        Ok(())
    }

    /// Does all of it but giving way; returns the message's length.
    fn queue(&self, message: Message, form: Form, key: Option<Key>) -> Result<usize> {
        let may_drop = self.link.may_drop();
        let queued = if may_drop {
            self.link.enqueue_droppable(&message, form, key)
        } else {
            self.link.enqueue(&message, form, Unoffered::Take)
        };
        match queued {
            Enqueued::Queued => Ok(message.len()),
            Enqueued::NotOpen => Err(self.link.why_not_open()),
            Enqueued::Full | Enqueued::Dropped | Enqueued::Piecewise | Enqueued::Unenveloped if may_drop => {
                Err(TrySendError::Full(message).into())
            }
            Enqueued::Full | Enqueued::Dropped | Enqueued::Piecewise | Enqueued::Unenveloped => {
                self.link.close_slow_consumer();
                Err(self.link.why_not_open())
            }
        }
    }

    /// Queues a message of another node's: what becomes of it, nobody there waits for.
    pub(crate) fn offer(&self, message: Message) {
        let _ = self.queue(message, Form::Any, None);
    }

    /// Queues a text message; see [`send`](Self::send).
    pub async fn send_text(&self, text: impl Into<Utf8Bytes>) -> Result {
        self.send(Message::Text(text.into())).await
    }

    /// Queues a binary message; see [`send`](Self::send).
    pub async fn send_bytes(&self, bytes: impl Into<Bytes>) -> Result {
        self.send(Message::Binary(bytes.into())).await
    }

    /// Queues a value as JSON in a text message; see [`send`](Self::send).
    ///
    /// # Errors
    ///
    /// [`Error::Json`] when the value cannot be written as JSON.
    pub async fn send_json(&self, value: &(impl Serialize + ?Sized)) -> Result {
        self.send_text(JsonError::encode(value)?).await
    }

    /// Queues a message if there is room; whether to drop it, to keep it or to close is the caller's choice.
    ///
    /// # Errors
    ///
    /// [`TrySendError`], which gives the message back.
    pub fn try_send(&self, message: impl Into<Message>) -> Result<(), TrySendError> {
        let message = message.into();
        match self.link.enqueue(&message, Form::Any, Unoffered::Refuse) {
            Enqueued::Queued => Ok(()),
            Enqueued::Full | Enqueued::Dropped | Enqueued::Piecewise | Enqueued::Unenveloped => {
                Err(TrySendError::Full(message))
            }
            Enqueued::NotOpen => Err(TrySendError::NotOpen(message)),
        }
    }

    /// Waits until at most half of the connection's queue is taken, so that a task can send at the peer's pace.
    ///
    /// # Cancel safety
    ///
    /// Safe: it holds nothing.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send).
    pub async fn ready(&self) -> Result {
        std::future::poll_fn(|cx| self.link.poll_room(cx)).await
    }

    /// Asks the connection to close behind what is queued. It does not wait for the peer's answer.
    ///
    /// A reason longer than 123 bytes is cut at a character's end (RFC 6455 §5.5.1).
    ///
    /// # Cancel safety
    ///
    /// Safe: it does its work at the first poll.
    ///
    /// # Errors
    ///
    /// [`Error::CloseCode`] for a code that must not be sent (RFC 6455 §7.4): nothing happens, and the connection goes on.
    /// [`Error::Disconnect`] or [`Error::State`] when it is closing or over already.
    pub async fn close(&self, code: impl Into<CloseCode>, reason: impl Into<Utf8Bytes>) -> Result {
        let code = CloseCodeError::check(code.into())?;
        let error = self.link.why_not_open();
        if self.link.request_close(CloseFrame::new(code, reason), Cause::Closed) { Ok(()) } else { Err(error) }
    }

    /// Waits for the connection's end and says how it ended.
    ///
    /// # Cancel safety
    ///
    /// Safe: it holds nothing.
    pub async fn closed(&self) -> WebSocketDisconnect {
        std::future::poll_fn(|cx| self.link.poll_ended(cx)).await
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("id", &self.id()).finish_non_exhaustive()
    }
}

/// Two senders are equal when they lead to the same connection.
impl PartialEq for Sender {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl Eq for Sender {}

impl From<TrySendError> for Message {
    fn from(error: TrySendError) -> Self {
        match error {
            TrySendError::Full(message) | TrySendError::NotOpen(message) => message,
        }
    }
}

/// Lets the connections' tasks write, now and then: a loop that sends without ever waiting would otherwise fill the
/// queues of peers that read as fast as they can.
pub(crate) async fn give_way(sent: usize) {
    /// The runtime's budget of 128 steps times this stays below the smallest sensible queue.
    const SMALL: usize = 4096;
    if sent > SMALL {
        tokio::task::yield_now().await;
    } else {
        tokio::task::coop::consume_budget().await;
    }
}

const _: () = {
    const fn shared<T: Clone + Send + Sync + 'static>() {}
    shared::<Sender>();
    let _: fn(TrySendError) -> Error = Error::TrySend;
};
