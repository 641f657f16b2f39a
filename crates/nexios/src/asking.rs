//! Asking a peer and waiting for its answer.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::sender::Sender;
use crate::websocket::{JsonError, StateError};
use crate::{Result, WebSocketDisconnect};

impl Sender {
    /// Asks the peer and waits for its answer.
    ///
    /// A question and its answer are text messages of two JSON fields. Ids are random numbers of 53 bits, which programs in
    /// JavaScript read without loss too, and cannot be guessed:
    ///
    /// | who | what | message |
    /// |---|---|---|
    /// | this side | asks | `{"request":7,"data":…}` |
    /// | the peer | answers | `{"answer":7,"data":…}` |
    /// | the peer | refuses | `{"refusal":7,"data":…}` |
    ///
    /// In what the peer sends the fields may come in any order, with any white space; a missing `data` is `null`, and
    /// further fields are ignored. The names `answer` and `refusal` are written as here, without escapes.
    ///
    /// An answer goes to the request that waits for it and to no handler: this works while the connection's handler waits
    /// here itself, or does something else, or receives. From the first request on, every text message of this peer with the
    /// id of a question that it was asked is taken for an answer; the second one, or one that comes too late, is dropped (the
    /// last 1,000 ids are remembered). Other messages go to the handler as always: those with an id that was never given, and
    /// an answer that comes from another connection than the one that was asked.
    ///
    /// # Questions that others make up
    ///
    /// Whoever publishes to a [`Group`](crate::Group) may write a text that reads like a question. So from its first question
    /// on a connection gets the texts of all its groups in [envelopes](crate::Join::enveloped),
    /// `{"group":"room","data":"the text"}`: what has a `request` at its outermost level is this side's word. A client that
    /// is asked is best joined with [`Join::enveloped`](crate::Join::enveloped) from the beginning, which also protects it
    /// before its first question. What the application passes on by other ways than groups is its own word.
    ///
    /// ```
    /// # use nexios::prelude::*;
    /// # use std::time::Duration;
    /// async fn greet(mut websocket: WebSocket) -> nexios::Result {
    ///     websocket.accept().await?;
    ///     let name: String = websocket.sender().request("your name?", Duration::from_secs(10)).await?;
    ///     websocket.send_text(format!("hello, {name}")).await
    /// }
    /// # use nexios::testing::TestClient;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> nexios::Result {
    /// # let mut websocket = TestClient::new(App::new().websocket_route("/", greet)).connect("/").await?;
    /// let question: serde_json::Value = websocket.receive_json().await?;
    /// assert_eq!(question["data"], "your name?");
    /// websocket.send_json(&serde_json::json!({"answer": question["request"], "data": "Ada"})).await?;
    /// assert_eq!(websocket.receive_text().await?, "hello, Ada");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Backpressure
    ///
    /// The question is queued as by [`send`](Self::send), and closes a connection whose queue has no room for it. At most
    /// 1,000 questions of a connection wait for their answers. A handler that does not receive has its messages read ahead
    /// up to 64 KiB: an answer behind more than that is not seen before the handler receives again, or not in time.
    /// An answer, which [`Config::message_size`](crate::Config::message_size) limits, is kept until its future is polled.
    ///
    /// # Cancel safety
    ///
    /// The question may have been sent. Its answer, should it come, is dropped.
    ///
    /// # Errors
    ///
    /// [`RequestError`]; it converts into [`Error::Request`](crate::Error::Request).
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, which keeps the time.
    pub async fn request<T: DeserializeOwned>(
        &self,
        data: &(impl Serialize + ?Sized),
        timeout: Duration,
    ) -> Result<T, RequestError> {
        let mut asking = self.link().ask()?;
        let question = JsonError::encode(&Question { request: asking.id(), data })?;
        if self.send_text(question).await.is_err() {
            return Err(self.link().why_not_asked());
        }
        match tokio::time::timeout(timeout, asking.answer()).await {
            Ok(answer) => Ok(JsonError::decode(&answer?)?),
            Err(_) => Err(RequestError::Timeout),
        }
    }
}

/// What goes over the wire; the answer's form is in `connection/asked.rs`.
#[derive(Serialize)]
struct Question<'a, T: ?Sized> {
    request: u64,
    data: &'a T,
}

/// Why [`Sender::request`] has no answer.
///
/// What a handler that lets it out comes to: after a disconnect it has ended normally; an answer that is not the JSON that
/// was expected closes with 1007; everything else closes with 1011.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The peer did not answer in time.
    #[error("the peer did not answer in time")]
    Timeout,
    /// The connection ended before the question was sent, or before it was answered.
    #[error("{0}")]
    Disconnect(#[from] WebSocketDisconnect),
    /// The connection is not accepted yet.
    #[error("{0}")]
    State(#[from] StateError),
    /// The peer said no.
    // A peer chooses how long it is, and a log line need not hold all of it.
    #[error("the peer refused: {0:.200}")]
    Refused(Refusal),
    /// As many questions as may be wait for their answers.
    #[error("{limit} requests are waiting for their answers")]
    TooMany {
        /// How many may wait on one connection.
        limit: usize,
    },
    /// The question cannot be written as JSON, or the answer is not the JSON that was expected:
    /// [`is_received`](JsonError::is_received) tells which. Line and column count from the beginning of the answer's `data`.
    #[error("{0}")]
    Json(#[from] JsonError),
}

/// What the peer said instead of an answer: JSON, which is also its [`Display`](fmt::Display).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    data: Box<str>,
}

impl Refusal {
    pub(crate) fn new(data: Box<str>) -> Self {
        Self { data }
    }

    /// The JSON text; `null` when the peer gave no reason.
    pub fn as_str(&self) -> &str {
        &self.data
    }

    /// Reads the JSON.
    ///
    /// # Errors
    ///
    /// [`JsonError`] when it is of another shape than `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, JsonError> {
        JsonError::decode(&self.data)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.data)
    }
}
