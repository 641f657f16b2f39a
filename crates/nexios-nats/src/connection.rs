//! One connection to a server: it is opened, it breaks, and the driver opens another one.
//!
//! The client library would reconnect and resubscribe by itself, and deliver messages of the new connection before the
//! node could report that some are missing. So a broken connection is final: its client is dropped, and whatever it
//! still delivers is ignored.

mod pending_requests;
mod server_error;
mod state;

use std::future::ready;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_nats::{Client, ConnectErrorKind, Event, HeaderMap, ReconnectToServer, ServerError, Subject, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use nexios::backplane::BackplaneError;
use tokio::time::{sleep, timeout};

use crate::names;
use crate::settings::{Server, Settings};
use pending_requests::PendingRequests;
use server_error::ServerErrorKind;

pub(crate) use pending_requests::PendingReply;
pub(crate) use state::ConnectionState;

/// Timeout of opening a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// An address without a server: no server can listen on port 0.
const UNREACHABLE: &str = "nats://127.0.0.1:0";

/// Maximum number of messages of a subscription that wait to be delivered. Memory is used only by those that do.
const QUEUE: usize = 1 << 19;

/// A connection to a server.
pub(crate) struct Connection {
    client: Client,
    state: Arc<ConnectionState>,
    requests: Arc<PendingRequests>,
}

impl Connection {
    /// Connects to a server, or returns the reason why not.
    pub(crate) async fn open(server: &Server, settings: &Settings) -> Result<Self, String> {
        let state = Arc::new(ConnectionState::default());
        let requests = Arc::new(PendingRequests::new(names::inbox(&settings.prefix)));
        let client = connect(server, settings, &state, &requests).await;
        let client = client.map_err(|error| format!("{}: {error}", server.text))?;
        let connection = Self { client, state, requests };
        let replies = connection.subscribe(connection.requests.inbox()).await.map_err(|error| error.to_string())?;
        tokio::spawn(resolve_replies(replies, connection.requests.clone(), connection.state.clone()));
        Ok(connection)
    }

    /// Sends a heartbeat every `period` and ends the connection when one is not answered within `period`. A successful
    /// write to the kernel proves nothing, and the client's own pings take three periods to notice a dead server.
    pub(crate) fn start_heartbeat(self: &Arc<Self>, period: Duration) {
        let connection = Arc::downgrade(self);
        let state = self.state.clone();
        let heartbeats = async move {
            let mut delay = period;
            loop {
                sleep(delay).await;
                let Some(connection) = connection.upgrade() else { return };
                delay = connection.heartbeat(period).await;
            }
        };
        tokio::spawn(async move {
            tokio::select! {
                () = heartbeats => {}
                _ = state.ended() => {}
            }
        });
    }

    /// Sends one heartbeat and ends the connection when it fails; returns the delay before the next one.
    async fn heartbeat(&self, period: Duration) -> Duration {
        let received = self.received();
        match timeout(period, self.echo()).await {
            Ok(Ok(())) => return period,
            // The client's task has ended; a more specific reason that was recorded before takes precedence.
            Ok(Err(error)) => self.state.end(&error.to_string()),
            // The reply may be queued behind other data that still arrives: then this node is only slow.
            Err(_) if self.received() != received => tracing::debug!("the NATS heartbeat is not answered yet"),
            Err(_) => self.state.end(&format!("the server does not answer for {period:?}")),
        }
        Duration::ZERO
    }

    /// Bytes received so far, of all kinds.
    fn received(&self) -> u64 {
        self.client.statistics().in_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn state(&self) -> &Arc<ConnectionState> {
        &self.state
    }

    /// Maximum size of a message with its headers, in bytes.
    pub(crate) fn max_payload(&self) -> usize {
        self.client.max_payload()
    }

    /// Returns true if JetStream is enabled on this server. Other servers of its cluster may have it.
    pub(crate) fn has_jetstream(&self) -> bool {
        self.client.server_info().jetstream
    }

    /// The other servers of the cluster, as announced by this one.
    pub(crate) fn discovered(&self) -> Vec<String> {
        self.client.server_info().connect_urls
    }

    /// Subscribes. The server has processed the subscription when the next [`echo`](Self::echo) returns.
    pub(crate) async fn subscribe(&self, subject: String) -> Result<Subscriber, BackplaneError> {
        self.until_ended(self.client.subscribe(subject)).await?.map_err(BackplaneError::unavailable)
    }

    /// Publishes. The server has received the message when the next [`echo`](Self::echo) returns.
    pub(crate) async fn publish(&self, subject: impl Into<Subject>, payload: Bytes) -> Result<(), BackplaneError> {
        self.until_ended(self.client.publish(subject.into(), payload)).await?.map_err(BackplaneError::unavailable)
    }

    /// Sends a request. Requests arrive in the order in which they are sent.
    pub(crate) async fn request(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<PendingReply, BackplaneError> {
        let subject = Subject::from(subject);
        let reply = self.requests.register(Some(&subject), &self.state);
        let sending = self.client.publish_with_reply_and_headers(subject, reply.subject(), headers, payload);
        self.until_ended(sending).await?.map_err(BackplaneError::unavailable)?;
        Ok(reply)
    }

    /// Waits until the server has processed everything that was sent before, by a message of the connection to itself,
    /// which returns behind it. (The client's own flush ends at the kernel.)
    pub(crate) async fn echo(&self) -> Result<(), BackplaneError> {
        let reply = self.requests.register(None, &self.state);
        self.publish(reply.subject(), Bytes::new()).await?;
        reply.wait().await.map(|_| ())
    }

    /// Runs an operation of the client, whose bounded queue stalls when the connection does, until the connection ends.
    async fn until_ended<T>(&self, operation: impl Future<Output = T>) -> Result<T, BackplaneError> {
        tokio::select! {
            done = operation => Ok(done),
            _ = self.state.ended() => Err(self.state.lost()),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.state.end("closed by this node");
    }
}

async fn connect(
    server: &Server,
    settings: &Settings,
    state: &Arc<ConnectionState>,
    requests: &Arc<PendingRequests>,
) -> Result<Client, String> {
    let (on_reconnect, on_event, pending) = (Arc::downgrade(state), Arc::downgrade(state), Arc::downgrade(requests));
    let is_first = AtomicBool::new(true);
    let options = settings.login.options()?;
    let options = options
        .name(settings.prefix.as_str())
        .connection_timeout(CONNECT)
        .tls_client_config(settings.tls.clone())
        .ping_interval(settings.keepalive)
        .subscription_capacity(QUEUE)
        .ignore_discovered_servers()
        // 0 would mean unlimited.
        .max_reconnects(1)
        // Called before each attempt, by the task that reads messages: none of a new connection is read before this.
        .reconnect_to_server_callback(move |servers, _| {
            if !is_first.swap(false, Ordering::Relaxed)
                && let Some(state) = on_reconnect.upgrade()
            {
                state.end("it broke");
            }
            let server = servers.into_iter().next();
            ready(server.map(|async_nats::Server { addr, .. }| ReconnectToServer { addr, delay: Some(Duration::ZERO) }))
        })
        .event_callback(move |event| {
            handle_event(&on_event, &pending, &event);
            ready(())
        });
    let client = options.connect(server.address.clone()).await.map_err(|error| match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            "the server does not accept the user and password, token or credentials".to_owned()
        }
        _ => error.to_string(),
    })?;
    // The client must not reconnect to the real server, which many nodes return to then. If this fails, the connection
    // is broken already.
    let _ = timeout(CONNECT, client.set_server_pool(UNREACHABLE)).await;
    Ok(client)
}

fn handle_event(state: &Weak<ConnectionState>, requests: &Weak<PendingRequests>, event: &Event) {
    let (Some(state), Some(requests)) = (state.upgrade(), requests.upgrade()) else { return };
    match event {
        // It concerns one channel, but a node that is too slow for one channel is overloaded: all channels are
        // resynced, with a growing backoff.
        Event::SlowConsumer(_) => state.end_with_backoff("messages were lost: this node is too slow"),
        Event::ServerError(error) => {
            tracing::error!(%error, "the NATS server reports an error");
            if let ServerError::Other(text) = error {
                handle_server_error(&state, &requests, text);
            }
        }
        Event::LameDuckMode => tracing::info!("the NATS server is about to shut down"),
        _ => {}
    }
}

fn handle_server_error(state: &ConnectionState, requests: &PendingRequests, text: &str) {
    match ServerErrorKind::of(text) {
        // The channel is not always named; without its subscription the node would miss messages unnoticed.
        ServerErrorKind::Subscription => {
            state.end_with_backoff(&format!("the server refuses a subscription: {text}"));
        }
        ServerErrorKind::Publication(subject) => requests.refuse(subject, text),
        ServerErrorKind::Other => {}
    }
}

/// Gives replies to the requests that wait for them. Stops at the end of the connection, because a subscription keeps
/// its client alive.
async fn resolve_replies(mut replies: Subscriber, requests: Arc<PendingRequests>, state: Arc<ConnectionState>) {
    loop {
        let reply = tokio::select! {
            biased;
            _ = state.ended() => return,
            reply = replies.next() => reply,
        };
        let Some(reply) = reply else { return };
        requests.resolve(reply);
    }
}

#[cfg(test)]
mod tests {
    use nexios_engines::Engine;

    use super::*;

    #[test]
    fn a_subscription_that_overflows_ends_the_connection_once() {
        let state = Arc::new(ConnectionState::default());
        let requests = Arc::new(PendingRequests::new("inbox".into()));
        for _ in 0..3 {
            handle_event(&Arc::downgrade(&state), &Arc::downgrade(&requests), &Event::SlowConsumer(7));
        }
        assert!(state.is_ended() && state.needs_backoff());
        assert!(state.lost().to_string().contains("too slow"), "{}", state.lost());
    }

    #[tokio::test]
    async fn a_connection_whose_client_has_ended_is_over() {
        let engine = Engine::nats();
        let settings = Settings::of(&engine.url());
        let connection = Connection::open(&settings.servers[0], &settings).await.expect("a connection");
        let connection = Arc::new(connection);
        connection.client.drain().await.expect("drained");
        connection.start_heartbeat(Duration::from_millis(50));
        timeout(Duration::from_secs(10), connection.state.ended()).await.expect("the end is noticed");
    }
}
