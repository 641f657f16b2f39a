//! One connection: it is opened, it breaks, another one takes its place.
//!
//! The client would reconnect by itself, and subscribe again, and bring messages of the new connection before anybody could
//! say that some are missing. So a connection that has broken is over: its client is dropped, and what it still brings is
//! not looked at.

use std::future::ready;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_nats::{Client, ConnectErrorKind, Event, HeaderMap, ReconnectToServer, ServerError, Subject, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use nexios::backplane::BackplaneError;
use tokio::time::{sleep, timeout};

use crate::complaint::Complaint;
use crate::names;
use crate::questions::{Answer, Questions};
use crate::seen::Seen;
use crate::settings::{Server, Settings};
use crate::state::State;
use crate::streams::Streams;

/// How long a connection may take to stand.
const CONNECT: Duration = Duration::from_secs(5);

/// Where nobody is: a port that none can have.
const NOWHERE: &str = "nats://127.0.0.1:0";

/// How many messages of a subscription may wait to be delivered. Room is taken by those that do.
const QUEUE: usize = 1 << 19;

/// A connection to a server.
pub(crate) struct Link {
    client: Client,
    state: Arc<State>,
    questions: Arc<Questions>,
    /// The streams that are known to be there.
    pub(crate) streams: Streams,
    /// How far they have come, on all connections.
    pub(crate) seen: Seen,
}

impl Link {
    /// Connects to a server, or says why not.
    pub(crate) async fn open(server: &Server, settings: &Settings, seen: Seen) -> Result<Self, String> {
        let state = Arc::new(State::default());
        let questions = Arc::new(Questions::new(names::inbox(&settings.prefix)));
        let client = connect(server, settings, &state, &questions).await;
        let client = client.map_err(|error| format!("{}: {error}", server.text))?;
        let link = Self { client, state, questions, streams: Streams::default(), seen };
        let answers = link.subscribe(link.questions.inbox()).await.map_err(|error| error.to_string())?;
        tokio::spawn(hand_out(answers, link.questions.clone(), link.state.clone()));
        Ok(link)
    }

    /// Ends the connection when the server does not answer within `period`, every `period`. That the kernel has sent
    /// something says nothing, and the client's own pings take three periods to notice.
    pub(crate) fn watch(self: &Arc<Self>, period: Duration) {
        let link = Arc::downgrade(self);
        let state = self.state.clone();
        let watching = async move {
            let mut pause = period;
            loop {
                sleep(pause).await;
                let Some(link) = link.upgrade() else { return };
                pause = link.ask_whether_it_stands(period).await;
            }
        };
        tokio::spawn(async move {
            tokio::select! {
                () = watching => {}
                _ = state.ended() => {}
            }
        });
    }

    /// Ends it if it does not; returns how long to wait before it is asked again.
    async fn ask_whether_it_stands(&self, period: Duration) -> Duration {
        let received = self.received();
        match timeout(period, self.echo()).await {
            Ok(Ok(())) => return period,
            // The client's task has ended, if it is not known why.
            Ok(Err(error)) => self.state.end(&error.to_string()),
            // The answer may stand behind much else that comes: then this node is only behind.
            Err(_) if self.received() != received => tracing::debug!("NATS has not answered yet"),
            Err(_) => self.state.end(&format!("the server does not answer for {period:?}")),
        }
        Duration::ZERO
    }

    /// How many bytes have come, of whatever kind.
    fn received(&self) -> u64 {
        self.client.statistics().in_bytes.load(Ordering::Relaxed)
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
    pub(crate) async fn publish(&self, subject: impl Into<Subject>, payload: Bytes) -> Result<(), BackplaneError> {
        self.while_it_stands(self.client.publish(subject.into(), payload)).await?.map_err(BackplaneError::unavailable)
    }

    /// Sends a question. What is sent first arrives first.
    pub(crate) async fn ask(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<Answer, BackplaneError> {
        let subject = Subject::from(subject);
        let answer = self.questions.ask(Some(&subject), &self.state);
        let sending = self.client.publish_with_reply_and_headers(subject, answer.reply(), headers, payload);
        self.while_it_stands(sending).await?.map_err(BackplaneError::unavailable)?;
        Ok(answer)
    }

    /// Waits until the server has handled all that was sent before: something that the node sends to itself comes back
    /// behind it. (The client's own flush ends at the kernel.)
    pub(crate) async fn echo(&self) -> Result<(), BackplaneError> {
        let answer = self.questions.ask(None, &self.state);
        self.publish(answer.reply(), Bytes::new()).await?;
        answer.wait().await.map(|_| ())
    }

    /// The client's own queue is bounded, and stands still with the connection.
    async fn while_it_stands<T>(&self, work: impl Future<Output = T>) -> Result<T, BackplaneError> {
        tokio::select! {
            done = work => Ok(done),
            _ = self.state.ended() => Err(self.state.lost()),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.state.end("closed by this node");
    }
}

async fn connect(
    server: &Server,
    settings: &Settings,
    state: &Arc<State>,
    questions: &Arc<Questions>,
) -> Result<Client, String> {
    let (breaks, happens, asked) = (Arc::downgrade(state), Arc::downgrade(state), Arc::downgrade(questions));
    let is_first = AtomicBool::new(true);
    let options = settings.login.options()?;
    let options = options
        .name(settings.prefix.as_str())
        .connection_timeout(CONNECT)
        .tls_client_config(settings.tls.clone())
        .ping_interval(settings.keepalive)
        .subscription_capacity(QUEUE)
        .ignore_discovered_servers()
        // There is no "none".
        .max_reconnects(1)
        // Called before each attempt, by what reads the messages: none of a new connection comes before this.
        .reconnect_to_server_callback(move |servers, _| {
            if !is_first.swap(false, Ordering::Relaxed)
                && let Some(state) = breaks.upgrade()
            {
                state.end("it broke");
            }
            let server = servers.into_iter().next();
            ready(server.map(|async_nats::Server { addr, .. }| ReconnectToServer { addr, delay: Some(Duration::ZERO) }))
        })
        .event_callback(move |event| {
            happened(&happens, &asked, &event);
            ready(())
        });
    let client = options.connect(server.address.clone()).await.map_err(|error| match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            "the server does not accept the user and password, token or credentials".to_owned()
        }
        _ => error.to_string(),
    })?;
    // What it may try after a break must not be the server, which has many nodes coming back then. If this fails, the
    // connection has broken already.
    let _ = timeout(CONNECT, client.set_server_pool(NOWHERE)).await;
    Ok(client)
}

fn happened(state: &Weak<State>, questions: &Weak<Questions>, event: &Event) {
    let (Some(state), Some(questions)) = (state.upgrade(), questions.upgrade()) else { return };
    match event {
        // Of one channel, but a node that is too slow for one is too slow: all are read again, and later each time.
        Event::SlowConsumer(_) => state.give_up("messages were lost: this node is too slow"),
        Event::ServerError(error) => {
            // Nobody else will say so.
            tracing::error!(%error, "the NATS server");
            if let ServerError::Other(text) = error {
                complained(&state, &questions, text);
            }
        }
        Event::LameDuckMode => tracing::info!("the NATS server is about to stop"),
        _ => {}
    }
}

fn complained(state: &State, questions: &Questions, text: &str) {
    match Complaint::of(text) {
        // Which channel's is not always told; without it the node would miss messages and not know.
        Complaint::Subscription => state.give_up(&format!("the server refuses a subscription: {text}")),
        Complaint::Publication(subject) => questions.refuse(subject, text),
        Complaint::Other => {}
    }
}

/// Gives answers to those who wait for them, until the connection is over: a subscription keeps its client alive.
async fn hand_out(mut answers: Subscriber, questions: Arc<Questions>, state: Arc<State>) {
    loop {
        let answer = tokio::select! {
            biased;
            _ = state.ended() => return,
            answer = answers.next() => answer,
        };
        let Some(answer) = answer else { return };
        questions.answer(answer);
    }
}

#[cfg(test)]
mod tests {
    use nexios_engines::Engine;

    use super::*;

    #[test]
    fn a_subscription_that_overflows_ends_the_connection_once() {
        let (state, questions) = (Arc::new(State::default()), Arc::new(Questions::new("inbox".into())));
        for _ in 0..3 {
            happened(&Arc::downgrade(&state), &Arc::downgrade(&questions), &Event::SlowConsumer(7));
        }
        assert!(state.is_over() && state.is_given_up());
        assert!(state.lost().to_string().contains("too slow"), "{}", state.lost());
    }

    #[tokio::test]
    async fn a_connection_whose_client_has_ended_is_over() {
        let engine = Engine::nats();
        let settings = Settings::of(&engine.url());
        let link = Link::open(&settings.servers[0], &settings, Seen::default()).await.expect("a connection");
        let link = Arc::new(link);
        link.client.drain().await.expect("its end");
        link.watch(Duration::from_millis(50));
        timeout(Duration::from_secs(10), link.state.ended()).await.expect("it is noticed");
    }
}
