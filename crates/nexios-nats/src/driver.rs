//! The task that keeps a node connected and its channels subscribed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::Subscriber;
use nexios::backplane::{BackplaneError, Channel, Events};
use rand::seq::SliceRandom;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, unconstrained};
use tokio::time::sleep;

use crate::backoff::Backoff;
use crate::connection::Connection;
use crate::high_watermark::HighWatermarks;
use crate::jetstream::Streams;
use crate::names;
use crate::settings::{Server, Settings};
use crate::subscription::deliver;

/// The sender of a command's result.
pub(crate) type Completion = oneshot::Sender<Result<(), BackplaneError>>;

/// A command to the driver.
pub(crate) enum Command {
    Subscribe(Vec<Channel>, Completion),
    Unsubscribe(Vec<Channel>, Completion),
    Stop(oneshot::Sender<()>),
}

/// The current connection with its streams, if the node is connected.
#[derive(Clone, Default)]
pub(crate) struct Current(Arc<Mutex<Option<Arc<Streams>>>>);

impl Current {
    pub(crate) fn streams(&self) -> Option<Arc<Streams>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, streams: Option<Arc<Streams>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = streams;
    }
}

/// The end of a connection.
enum Ending {
    Lost(String),
    /// With the confirmation that the caller of `stop` waits for.
    Stopped(Option<oneshot::Sender<()>>),
}

pub(crate) struct Driver {
    settings: Arc<Settings>,
    events: Events,
    current: Current,
    high_watermarks: HighWatermarks,
    commands: mpsc::UnboundedReceiver<Command>,
    /// The wanted channels, each with the task that delivers its messages while the node is connected.
    subscriptions: HashMap<Channel, Option<AbortHandle>>,
    /// Servers that other servers have announced.
    discovered: Vec<Server>,
    backoff: Backoff,
}

impl Driver {
    pub(crate) fn new(
        settings: Arc<Settings>,
        events: Events,
        current: Current,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> Self {
        Self {
            settings,
            events,
            current,
            high_watermarks: HighWatermarks::default(),
            commands,
            subscriptions: HashMap::new(),
            discovered: Vec::new(),
            backoff: Backoff::default(),
        }
    }

    /// Connects, and reconnects after each loss, until the node stops.
    pub(crate) async fn run(mut self) {
        let stopped = loop {
            let connection = match self.connect().await {
                Ok(connection) => Arc::new(connection),
                Err(stopped) => break stopped,
            };
            connection.start_heartbeat(self.settings.keepalive);
            let since = Instant::now();
            let ending = match self.resubscribe(&connection).await {
                Ok(()) => self.handle_commands(&connection).await,
                Err(error) => Ending::Lost(error.to_string()),
            };
            self.current.set(None);
            self.abort_deliveries();
            match ending {
                Ending::Lost(reason) => {
                    tracing::warn!(%reason, "disconnected from NATS");
                    self.events.disconnected(&reason);
                    let delay = self.backoff.after_connection(connection.state().needs_backoff(), since.elapsed());
                    if let Err(stopped) = self.while_disconnected(sleep(delay), &reason).await {
                        break stopped;
                    }
                }
                Ending::Stopped(stopped) => {
                    // Flushes messages of publish calls that were dropped.
                    let _ = tokio::time::timeout(Duration::from_secs(1), connection.echo()).await;
                    break stopped;
                }
            }
        };
        if let Some(stopped) = stopped {
            let _ = stopped.send(());
        }
    }

    /// Connects to one of the servers, retrying until one accepts. Commands are handled meanwhile, and answered with
    /// the reason of the last failure.
    async fn connect(&mut self) -> Result<Connection, Option<oneshot::Sender<()>>> {
        let mut reason = "not connected yet".to_owned();
        loop {
            let servers = self.servers();
            let settings = self.settings.clone();
            let attempt = connect_to_any(&servers, &settings);
            match self.while_disconnected(attempt, &reason).await? {
                Ok(connection) => return Ok(connection),
                Err(error) => reason = error,
            }
            tracing::debug!(reason, "NATS cannot be reached");
            self.events.disconnected(&reason);
            let delay = self.backoff.next();
            self.while_disconnected(sleep(delay), &reason).await?;
        }
    }

    /// Handles commands until the work is done.
    async fn while_disconnected<T>(
        &mut self,
        work: impl Future<Output = T>,
        reason: &str,
    ) -> Result<T, Option<oneshot::Sender<()>>> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                command = self.commands.recv() => self.handle_disconnected(command, reason)?,
            }
        }
    }

    fn handle_disconnected(
        &mut self,
        command: Option<Command>,
        reason: &str,
    ) -> Result<(), Option<oneshot::Sender<()>>> {
        let completion = match command {
            Some(Command::Subscribe(channels, completion)) => {
                self.subscriptions.extend(channels.into_iter().map(|channel| (channel, None)));
                completion
            }
            Some(Command::Unsubscribe(channels, completion)) => {
                self.unsubscribe(&channels);
                completion
            }
            Some(Command::Stop(stopped)) => return Err(Some(stopped)),
            None => return Err(None),
        };
        let _ = completion.send(Err(BackplaneError::unavailable(reason.to_owned())));
        Ok(())
    }

    /// The configured servers in random order, followed by the discovered ones.
    fn servers(&self) -> Vec<Server> {
        let mut servers = self.settings.servers.clone();
        servers.shuffle(&mut rand::rng());
        servers.extend(self.discovered.iter().cloned());
        servers
    }

    /// Subscribes to all wanted channels on a new connection, and reports a gap on them before their first message.
    async fn resubscribe(&mut self, connection: &Arc<Connection>) -> Result<(), BackplaneError> {
        let mut subscriptions = Vec::with_capacity(self.subscriptions.len());
        for channel in self.subscriptions.keys() {
            let messages = connection.subscribe(names::live(&self.settings.prefix, channel)).await?;
            subscriptions.push((channel.clone(), messages));
        }
        connection.echo().await?;
        // The client reports a refused subscription on another task than replies: by the second reply it has done so.
        connection.echo().await?;
        self.discover(connection);
        let channels: Vec<_> = self.subscriptions.keys().cloned().collect();
        if !channels.is_empty() {
            self.events.interrupted(&channels);
        }
        for (channel, messages) in subscriptions {
            self.spawn_delivery(connection, channel, messages);
        }
        let streams = Streams::new(connection.clone(), self.settings.clone(), self.high_watermarks.clone());
        self.current.set(Some(Arc::new(streams)));
        tracing::info!(channels = channels.len(), "connected to NATS");
        self.events.connected();
        Ok(())
    }

    fn discover(&mut self, connection: &Connection) {
        let scheme =
            if self.settings.servers.iter().all(|server| server.address.tls_required()) { "tls" } else { "nats" };
        let urls = connection.discovered().into_iter().map(|url| format!("{scheme}://{url}"));
        let found = urls.filter_map(|url| crate::settings::servers(&url).ok()).flat_map(|(servers, _)| servers);
        let configured = &self.settings.servers;
        self.discovered = found.filter(|server| !configured.contains(server)).collect();
    }

    /// Handles commands until the connection ends.
    async fn handle_commands(&mut self, connection: &Arc<Connection>) -> Ending {
        loop {
            let command = tokio::select! {
                reason = connection.state().ended() => return Ending::Lost(reason.to_owned()),
                command = self.commands.recv() => command,
            };
            match command {
                Some(Command::Subscribe(channels, completion)) => {
                    self.subscribe(connection, channels, completion).await;
                }
                Some(Command::Unsubscribe(channels, completion)) => {
                    self.unsubscribe(&channels);
                    complete_after_echo(connection.clone(), completion, |_| {});
                }
                Some(Command::Stop(stopped)) => return Ending::Stopped(Some(stopped)),
                None => return Ending::Stopped(None),
            }
        }
    }

    async fn subscribe(&mut self, connection: &Arc<Connection>, channels: Vec<Channel>, completion: Completion) {
        let mut failed = None;
        for channel in &channels {
            let entry = self.subscriptions.entry(channel.clone());
            if matches!(&entry, Entry::Occupied(entry) if entry.get().is_some()) {
                continue;
            }
            // Kept when the subscription fails: the next connection retries it.
            entry.or_insert(None);
            match connection.subscribe(names::live(&self.settings.prefix, channel)).await {
                Ok(messages) => self.spawn_delivery(connection, channel.clone(), messages),
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
            let _ = completion.send(Err(error));
            return;
        }
        let events = self.events.clone();
        // The caller may have stopped waiting: then the gap notice tells the node about the subscription.
        complete_after_echo(connection.clone(), completion, move |connection| {
            if !connection.state().is_ended() {
                events.interrupted(&channels);
            }
        });
    }

    fn spawn_delivery(&mut self, connection: &Connection, channel: Channel, messages: Subscriber) {
        let (state, events) = (connection.state().clone(), self.events.clone());
        let delivery = deliver(messages, channel.clone(), state, events, self.high_watermarks.clone());
        // It waits for nothing but messages: with tokio's task budget, they would queue up behind those that are ready.
        let task = tokio::spawn(unconstrained(delivery)).abort_handle();
        self.subscriptions.insert(channel, Some(task));
    }

    fn unsubscribe(&mut self, channels: &[Channel]) {
        for channel in channels {
            if let Some(Some(delivery)) = self.subscriptions.remove(channel) {
                delivery.abort();
            }
        }
    }

    fn abort_deliveries(&mut self) {
        for delivery in self.subscriptions.values_mut().filter_map(Option::take) {
            delivery.abort();
        }
    }
}

/// Completes a command when the server has processed it, or calls `abandoned` when its caller no longer waits.
fn complete_after_echo(
    connection: Arc<Connection>,
    completion: Completion,
    abandoned: impl FnOnce(&Connection) + Send + 'static,
) {
    tokio::spawn(async move {
        let confirmed = connection.echo().await;
        if let Err(Ok(())) = completion.send(confirmed) {
            abandoned(&connection);
        }
    });
}

/// Connects to the first server that accepts, or returns the reason of the last failure.
async fn connect_to_any(servers: &[Server], settings: &Settings) -> Result<Connection, String> {
    let mut reason = "no server".to_owned();
    for server in servers {
        match Connection::open(server, settings).await {
            Ok(connection) => return Ok(connection),
            Err(error) => reason = error,
        }
    }
    Err(reason)
}
