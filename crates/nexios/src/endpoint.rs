//! Class-based endpoints: one value for each connection.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Json;
use bytes::Bytes;
use futures_util::FutureExt;
use nexios_proto::{Message, Utf8Bytes};
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;

use crate::disconnect::WebSocketDisconnect;
use crate::error::HandlerPanic;
use crate::routing::WebSocketRoute;
use crate::websocket::{JsonError, MessageType, MessageTypeError, WebSocket};
use crate::{Error, Result};

/// A connection's logic as a type: connect, receive, disconnect.
///
/// Each connection has a value of its own, so what a connection needs to remember is a field.
///
/// ```
/// # use nexios::prelude::*;
/// #[derive(Default)]
/// struct Counter {
///     messages: usize,
/// }
///
/// impl WebSocketEndpoint for Counter {
///     type Message = Utf8Bytes;
///
///     async fn on_receive(&mut self, websocket: &mut WebSocket, text: Utf8Bytes) -> nexios::Result {
///         self.messages += 1;
///         websocket.send_text(format!("{}: {text}", self.messages)).await
///     }
/// }
///
/// let app = App::new().add_ws_route(Counter::as_route("/count"));
/// ```
#[doc(alias = "WebSocketConsumer")]
#[doc(alias = "consumer")]
pub trait WebSocketEndpoint: Sized + Send + 'static {
    /// What arrives: [`Utf8Bytes`], [`Bytes`], [`Json<T>`] or [`Message`]. A message that is none closes the connection
    /// as it does for a handler (1003, 1007).
    type Message: FromMessage;

    /// Before the handshake is answered. The default accepts.
    fn on_connect(&mut self, websocket: &mut WebSocket) -> impl Future<Output = Result> + Send {
        websocket.accept()
    }

    /// For each message. An error ends the connection.
    fn on_receive(&mut self, websocket: &mut WebSocket, message: Self::Message) -> impl Future<Output = Result> + Send;

    /// When the connection has ended or is about to, however that came, if [`on_connect`](Self::on_connect) was `Ok` and accepted:
    /// after a close of either side, a lost connection, and an error or a panic of `on_receive`.
    ///
    /// It is called once. When a middleware drops [`Next::run`](crate::Next::run), as a timeout does, it runs in a task of
    /// its own, and the connection is closing by then. It does not run when the process ends, with its runtime.
    fn on_disconnect(
        &mut self,
        websocket: &mut WebSocket,
        disconnect: WebSocketDisconnect,
    ) -> impl Future<Output = ()> + Send {
        let _ = (websocket, disconnect);
        async {}
    }

    /// A route whose connections each begin with `Default`.
    fn as_route<S>(path: impl Into<String>) -> WebSocketRoute<S>
    where
        Self: Default,
        S: Clone + Send + Sync + 'static,
    {
        Self::as_route_with(path, Self::default)
    }

    /// A route whose connections each begin with what `factory` makes.
    fn as_route_with<S, F>(path: impl Into<String>, factory: F) -> WebSocketRoute<S>
    where
        F: Fn() -> Self + Send + Sync + 'static,
        S: Clone + Send + Sync + 'static,
    {
        let factory = Arc::new(factory);
        WebSocketRoute::new(path, move |websocket: WebSocket| run(factory(), websocket))
    }
}

/// What an endpoint can receive.
pub trait FromMessage: Sized + Send {
    /// Takes a message for what it is.
    ///
    /// # Errors
    ///
    /// It is something else: the connection closes, with 1003 for a [`MessageTypeError`] and 1007 for a [`JsonError`].
    fn from_message(message: Message) -> Result<Self>;
}

impl FromMessage for Message {
    fn from_message(message: Message) -> Result<Self> {
        Ok(message)
    }
}

impl FromMessage for Utf8Bytes {
    fn from_message(message: Message) -> Result<Self> {
        match message {
            Message::Text(text) => Ok(text),
            Message::Binary(_) => Err(MessageTypeError::expected(MessageType::Text).into()),
        }
    }
}

impl FromMessage for Bytes {
    fn from_message(message: Message) -> Result<Self> {
        match message {
            Message::Binary(bytes) => Ok(bytes),
            Message::Text(_) => Err(MessageTypeError::expected(MessageType::Binary).into()),
        }
    }
}

impl<T: DeserializeOwned + Send> FromMessage for Json<T> {
    fn from_message(message: Message) -> Result<Self> {
        Ok(Json(JsonError::decode(&Utf8Bytes::from_message(message)?)?))
    }
}

async fn run<E: WebSocketEndpoint>(mut endpoint: E, mut websocket: WebSocket) -> Result {
    endpoint.on_connect(&mut websocket).await?;
    if !websocket.is_accepted() {
        // Refused, on purpose: there is no connection to end.
        return Ok(());
    }
    let mut connected = Connected(Some((endpoint, websocket)));
    let Some((endpoint, websocket)) = &mut connected.0 else { return Ok(()) };
    let result = AssertUnwindSafe(receive_all(endpoint, websocket)).catch_unwind().await;
    let result = result.unwrap_or_else(|payload| Err(Error::Panic(HandlerPanic::new(&*payload))));
    if let Some((mut endpoint, mut websocket)) = connected.0.take() {
        let disconnect = websocket.expected_end(&result);
        endpoint.on_disconnect(&mut websocket, disconnect).await;
    }
    result
}

/// An endpoint that is owed its `on_disconnect`, also when a middleware drops the future that it runs in.
struct Connected<E: WebSocketEndpoint>(Option<(E, WebSocket)>);

impl<E: WebSocketEndpoint> Drop for Connected<E> {
    fn drop(&mut self) {
        let Some((mut endpoint, mut websocket)) = self.0.take() else { return };
        // The connection closes at once, as it does when a handler is dropped.
        websocket.link().websocket_dropped();
        // Without a runtime the process ends, and there is nothing to run it.
        let Ok(runtime) = Handle::try_current() else { return };
        runtime.spawn(async move {
            let disconnect = websocket.expected_end(&Ok(()));
            endpoint.on_disconnect(&mut websocket, disconnect).await;
        });
    }
}

async fn receive_all<E: WebSocketEndpoint>(endpoint: &mut E, websocket: &mut WebSocket) -> Result {
    loop {
        let message = E::Message::from_message(websocket.receive().await?)?;
        endpoint.on_receive(websocket, message).await?;
    }
}
