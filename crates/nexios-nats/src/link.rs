//! One connection: it is opened, it breaks, another one takes its place.
//!
//! The client would reconnect by itself, and subscribe again, and bring messages of the new connection before anybody could
//! say that some are missing. So a connection that has broken is over: its client is dropped, and what it still brings is
//! not looked at.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use async_nats::{Client, ConnectErrorKind, Event, HeaderMap, Message, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use nexios::backplane::BackplaneError;
use tokio::sync::{Notify, oneshot};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::names;
use crate::seen::Seen;
use crate::settings::{Server, Settings};
use crate::streams::Streams;

/// How long a connection may take to stand.
const CONNECT: Duration = Duration::from_secs(5);

/// A connection to a server.
pub(crate) struct Link {
    client: Client,
    state: Arc<State>,
    inbox: String,
    questions: Arc<Questions>,
    /// The streams that are known to be there.
    pub(crate) streams: Streams,
    /// How far they have come, on all connections.
    pub(crate) seen: Seen,
}

/// Whether a connection stands.
#[derive(Default)]
pub(crate) struct State {
    over: CancellationToken,
    reason: OnceLock<String>,
    /// A subscription had no room for a message.
    overflow: Notify,
}

impl State {
    fn end(&self, reason: &str) {
        let _ = self.reason.set(reason.to_owned());
        self.over.cancel();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// Waits until it is over.
    pub(crate) async fn ended(&self) -> &str {
        self.over.cancelled().await;
        self.reason.get().map_or("", String::as_str)
    }

    /// Waits until messages were lost though the connection stands.
    pub(crate) async fn overflowed(&self) {
        self.overflow.notified().await;
    }
}

/// What was asked and not answered yet.
#[derive(Default)]
struct Questions {
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Message>>>,
}

impl Questions {
    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<u64, oneshot::Sender<Message>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer to a question that was sent. Dropped, it is not waited for.
pub(crate) struct Answer {
    number: u64,
    questions: Arc<Questions>,
    state: Arc<State>,
    message: oneshot::Receiver<Message>,
}

impl Answer {
    pub(crate) async fn wait(mut self) -> Result<Message, BackplaneError> {
        tokio::select! {
            answer = &mut self.message => answer.map_err(|_| lost(&self.state)),
            _ = self.state.ended() => Err(lost(&self.state)),
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.questions.waiting().remove(&self.number);
    }
}

fn lost(state: &State) -> BackplaneError {
    let reason = state.reason.get().map_or("closed", String::as_str);
    BackplaneError::unavailable(format!("the connection to NATS broke: {reason}"))
}

impl Link {
    /// Connects to a server, or says why not.
    pub(crate) async fn open(server: &Server, settings: &Settings, seen: Seen) -> Result<Self, String> {
        let state = Arc::new(State::default());
        let client = connect(server, settings, &state).await.map_err(|error| format!("{}: {error}", server.text))?;
        let inbox = names::inbox(&settings.prefix);
        let questions = Arc::new(Questions::default());
        let link = Self { client, state, inbox, questions, streams: Streams::default(), seen };
        let answers = link.subscribe(format!("{}.*", link.inbox)).await.map_err(|error| error.to_string())?;
        tokio::spawn(hand_out(answers, link.inbox.len() + 1, link.questions.clone(), link.state.clone()));
        Ok(link)
    }

    /// Ends the connection when the server does not answer within `period`, every `period`. That the kernel has sent
    /// something says nothing, and the client's own pings take three periods to notice.
    pub(crate) fn watch(self: &Arc<Self>, period: Duration) {
        let link = Arc::downgrade(self);
        let state = self.state.clone();
        let watching = async move {
            loop {
                sleep(period).await;
                let Some(link) = link.upgrade() else { return };
                if timeout(period, link.echo()).await.is_err() {
                    link.state.end(&format!("the server does not answer for {period:?}"));
                }
            }
        };
        tokio::spawn(async move {
            tokio::select! {
                () = watching => {}
                _ = state.ended() => {}
            }
        });
    }

    pub(crate) fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// What a message with all its headers may have, in bytes.
    pub(crate) fn max_payload(&self) -> usize {
        self.client.max_payload()
    }

    /// Whether this server has JetStream. Others of its cluster may.
    pub(crate) fn has_jetstream(&self) -> bool {
        self.client.server_info().jetstream
    }

    /// The other servers that this one has told of.
    pub(crate) fn discovered(&self) -> Vec<String> {
        self.client.server_info().connect_urls
    }

    /// Subscribes; the server knows of it when the next [`echo`](Self::echo) is back.
    pub(crate) async fn subscribe(&self, subject: String) -> Result<Subscriber, BackplaneError> {
        self.while_it_stands(self.client.subscribe(subject)).await?.map_err(BackplaneError::unavailable)
    }

    /// Publishes; the server has it when the next [`echo`](Self::echo) is back.
    pub(crate) async fn publish(&self, subject: String, payload: Bytes) -> Result<(), BackplaneError> {
        self.while_it_stands(self.client.publish(subject, payload)).await?.map_err(BackplaneError::unavailable)
    }

    /// Sends a question. What is sent first arrives first.
    pub(crate) async fn ask(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<Answer, BackplaneError> {
        let (reply, answer) = self.question();
        let sending = self.client.publish_with_reply_and_headers(subject, reply, headers, payload);
        self.while_it_stands(sending).await?.map_err(BackplaneError::unavailable)?;
        Ok(answer)
    }

    /// Waits until the server has handled all that was sent before: something that the node sends to itself comes back
    /// behind it. (The client's own flush ends at the kernel.)
    pub(crate) async fn echo(&self) -> Result<(), BackplaneError> {
        let (reply, answer) = self.question();
        self.publish(reply, Bytes::new()).await?;
        answer.wait().await.map(|_| ())
    }

    fn question(&self) -> (String, Answer) {
        let number = self.questions.next.fetch_add(1, Ordering::Relaxed);
        let (sender, message) = oneshot::channel();
        self.questions.waiting().insert(number, sender);
        let reply = format!("{}.{number}", self.inbox);
        (reply, Answer { number, questions: self.questions.clone(), state: self.state.clone(), message })
    }

    /// The client's own queue is bounded, and stands still with the connection.
    async fn while_it_stands<T>(&self, work: impl Future<Output = T>) -> Result<T, BackplaneError> {
        tokio::select! {
            done = work => Ok(done),
            _ = self.state.ended() => Err(lost(&self.state)),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.state.end("closed by this node");
    }
}

async fn connect(server: &Server, settings: &Settings, state: &Arc<State>) -> Result<Client, String> {
    let (breaks, happens) = (Arc::downgrade(state), Arc::downgrade(state));
    let is_first = std::sync::atomic::AtomicBool::new(true);
    let options = settings.login.options()?;
    let options = options
        .name(settings.prefix.as_str())
        .connection_timeout(CONNECT)
        .tls_client_config(settings.tls.clone())
        .ping_interval(settings.keepalive)
        .ignore_discovered_servers()
        // There is no "none": the client tries once, finds that it was dropped meanwhile, and ends.
        .max_reconnects(1)
        // Called before each attempt, by what reads the messages: none of a new connection comes before this.
        .reconnect_delay_callback(move |_| {
            if !is_first.swap(false, Ordering::Relaxed)
                && let Some(state) = breaks.upgrade()
            {
                state.end("it broke");
            }
            Duration::ZERO
        })
        .event_callback(move |event| {
            happened(&happens, &event);
            std::future::ready(())
        });
    options.connect(server.address.clone()).await.map_err(|error| match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            "the server does not accept the user and password, token or credentials".to_owned()
        }
        _ => error.to_string(),
    })
}

fn happened(state: &Weak<State>, event: &Event) {
    let Some(state) = state.upgrade() else { return };
    match event {
        Event::SlowConsumer(_) => state.overflow.notify_one(),
        // As a rule that something is not permitted: nobody else will say so.
        Event::ServerError(error) => tracing::error!(%error, "the NATS server"),
        Event::LameDuckMode => tracing::info!("the NATS server is about to stop"),
        _ => {}
    }
}

/// Gives answers to those who wait for them, until the connection is over: a subscription keeps its client alive.
async fn hand_out(mut answers: Subscriber, prefix: usize, questions: Arc<Questions>, state: Arc<State>) {
    loop {
        let answer = tokio::select! {
            biased;
            _ = state.ended() => return,
            answer = answers.next() => answer,
        };
        let Some(answer) = answer else { return };
        let number = answer.subject.get(prefix..).and_then(|number| number.parse().ok());
        if let Some(waiting) = number.and_then(|number: u64| questions.waiting().remove(&number)) {
            let _ = waiting.send(answer);
        }
    }
}
