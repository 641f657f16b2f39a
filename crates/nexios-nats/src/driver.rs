//! The task that keeps a node connected and its channels subscribed to.

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

use crate::delivery::deliver;
use crate::link::Link;
use crate::names;
use crate::pauses::Pauses;
use crate::seen::Seen;
use crate::settings::{Server, Settings};

/// What became of a request.
pub(crate) type Done = oneshot::Sender<Result<(), BackplaneError>>;

/// What the driver is asked for.
pub(crate) enum Command {
    Subscribe(Vec<Channel>, Done),
    Unsubscribe(Vec<Channel>, Done),
    Stop(oneshot::Sender<()>),
}

/// The connection that stands now, if one does.
#[derive(Clone, Default)]
pub(crate) struct Current(Arc<Mutex<Option<Arc<Link>>>>);

impl Current {
    pub(crate) fn link(&self) -> Option<Arc<Link>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, link: Option<Arc<Link>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = link;
    }
}

/// Why a connection is not used any more.
enum Ending {
    Lost(String),
    /// Whoever asked for it waits.
    Stopped(Option<oneshot::Sender<()>>),
}

pub(crate) struct Driver {
    settings: Arc<Settings>,
    events: Events,
    current: Current,
    seen: Seen,
    commands: mpsc::UnboundedReceiver<Command>,
    /// The channels that are wanted, with what delivers their messages while a connection stands.
    wanted: HashMap<Channel, Option<AbortHandle>>,
    /// Servers that others have told of.
    discovered: Vec<Server>,
    pauses: Pauses,
}

impl Driver {
    pub(crate) fn new(
        settings: Arc<Settings>,
        events: Events,
        current: Current,
        seen: Seen,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> Self {
        let (wanted, discovered) = (HashMap::new(), Vec::new());
        Self { settings, events, current, seen, commands, wanted, discovered, pauses: Pauses::default() }
    }

    /// Connects, again and again, until it is told to stop.
    pub(crate) async fn run(mut self) {
        let stopped = loop {
            let link = match self.reach().await {
                Ok(link) => Arc::new(link),
                Err(stopped) => break stopped,
            };
            link.watch(self.settings.keepalive);
            let since = Instant::now();
            let ending = match self.take_up(&link).await {
                Ok(()) => self.serve(&link).await,
                Err(error) => Ending::Lost(error.to_string()),
            };
            self.current.set(None);
            self.end_deliveries();
            match ending {
                Ending::Lost(reason) => {
                    tracing::warn!(%reason, "NATS is away");
                    self.events.disconnected(&reason);
                    let drawn = self.pauses.after(link.state().is_given_up(), since.elapsed());
                    if let Err(stopped) = self.meanwhile(sleep(drawn), &reason).await {
                        break stopped;
                    }
                }
                Ending::Stopped(stopped) => {
                    // What was published by calls that were dropped.
                    let _ = tokio::time::timeout(Duration::from_secs(1), link.echo()).await;
                    break stopped;
                }
            }
        };
        if let Some(stopped) = stopped {
            let _ = stopped.send(());
        }
    }

    /// Waits for a connection. What is asked for meanwhile is noted, and answered with what stands in the way.
    async fn reach(&mut self) -> Result<Link, Option<oneshot::Sender<()>>> {
        let mut reason = "not connected yet".to_owned();
        loop {
            let servers = self.servers();
            let (settings, seen) = (self.settings.clone(), self.seen.clone());
            let attempt = open_any(&servers, &settings, &seen);
            match self.meanwhile(attempt, &reason).await? {
                Ok(link) => return Ok(link),
                Err(error) => reason = error,
            }
            tracing::debug!(reason, "NATS cannot be reached");
            self.events.disconnected(&reason);
            let drawn = self.pauses.next();
            self.meanwhile(sleep(drawn), &reason).await?;
        }
    }

    async fn meanwhile<T>(
        &mut self,
        work: impl Future<Output = T>,
        reason: &str,
    ) -> Result<T, Option<oneshot::Sender<()>>> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                command = self.commands.recv() => self.note(command, reason)?,
            }
        }
    }

    fn note(&mut self, command: Option<Command>, reason: &str) -> Result<(), Option<oneshot::Sender<()>>> {
        let done = match command {
            Some(Command::Subscribe(channels, done)) => {
                self.wanted.extend(channels.into_iter().map(|channel| (channel, None)));
                done
            }
            Some(Command::Unsubscribe(channels, done)) => {
                self.forget(&channels);
                done
            }
            Some(Command::Stop(stopped)) => return Err(Some(stopped)),
            None => return Err(None),
        };
        let _ = done.send(Err(BackplaneError::unavailable(reason.to_owned())));
        Ok(())
    }

    /// The servers of the settings in any order, and behind them those that were discovered.
    fn servers(&self) -> Vec<Server> {
        let mut servers = self.settings.servers.clone();
        servers.shuffle(&mut rand::rng());
        servers.extend(self.discovered.iter().cloned());
        servers
    }

    /// Subscribes to all wanted channels on a new connection, and says that messages may have been lost before the first
    /// one comes.
    async fn take_up(&mut self, link: &Arc<Link>) -> Result<(), BackplaneError> {
        let mut subscriptions = Vec::with_capacity(self.wanted.len());
        for channel in self.wanted.keys() {
            let messages = link.subscribe(names::live(&self.settings.prefix, channel)).await?;
            subscriptions.push((channel.clone(), messages));
        }
        link.echo().await?;
        // What the server has refused is told by another task than the one that answers: by a second answer it has been.
        link.echo().await?;
        self.discover(link);
        let channels: Vec<_> = self.wanted.keys().cloned().collect();
        if !channels.is_empty() {
            self.events.interrupted(&channels);
        }
        for (channel, messages) in subscriptions {
            self.deliver(link, channel, messages);
        }
        self.current.set(Some(link.clone()));
        tracing::info!(channels = channels.len(), "connected to NATS");
        self.events.connected();
        Ok(())
    }

    fn discover(&mut self, link: &Link) {
        let scheme =
            if self.settings.servers.iter().all(|server| server.address.tls_required()) { "tls" } else { "nats" };
        let urls = link.discovered().into_iter().map(|url| format!("{scheme}://{url}"));
        let found = urls.filter_map(|url| crate::settings::servers(&url).ok()).flat_map(|(servers, _)| servers);
        let configured = &self.settings.servers;
        self.discovered = found.filter(|server| !configured.contains(server)).collect();
    }

    /// Does what is asked for until the connection is over.
    async fn serve(&mut self, link: &Arc<Link>) -> Ending {
        loop {
            let command = tokio::select! {
                reason = link.state().ended() => return Ending::Lost(reason.to_owned()),
                command = self.commands.recv() => command,
            };
            match command {
                Some(Command::Subscribe(channels, done)) => self.subscribe(link, channels, done).await,
                Some(Command::Unsubscribe(channels, done)) => {
                    self.forget(&channels);
                    confirm(link.clone(), done, |_| {});
                }
                Some(Command::Stop(stopped)) => return Ending::Stopped(Some(stopped)),
                None => return Ending::Stopped(None),
            }
        }
    }

    async fn subscribe(&mut self, link: &Arc<Link>, channels: Vec<Channel>, done: Done) {
        let mut failed = None;
        for channel in &channels {
            let entry = self.wanted.entry(channel.clone());
            if matches!(&entry, Entry::Occupied(entry) if entry.get().is_some()) {
                continue;
            }
            // Wanted also when this fails: the next connection has it.
            entry.or_insert(None);
            match link.subscribe(names::live(&self.settings.prefix, channel)).await {
                Ok(messages) => self.deliver(link, channel.clone(), messages),
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
            let _ = done.send(Err(error));
            return;
        }
        let events = self.events.clone();
        // Whoever asked may have given up: then this is how the node learns of it.
        confirm(link.clone(), done, move |link| {
            if !link.state().is_over() {
                events.interrupted(&channels);
            }
        });
    }

    fn deliver(&mut self, link: &Link, channel: Channel, messages: Subscriber) {
        let delivering =
            deliver(messages, channel.clone(), link.state().clone(), self.events.clone(), self.seen.clone());
        // It waits for nothing but messages: a budget would let them pile up behind those that are there.
        let task = tokio::spawn(unconstrained(delivering)).abort_handle();
        self.wanted.insert(channel, Some(task));
    }

    fn forget(&mut self, channels: &[Channel]) {
        for channel in channels {
            if let Some(Some(delivery)) = self.wanted.remove(channel) {
                delivery.abort();
            }
        }
    }

    fn end_deliveries(&mut self) {
        for delivery in self.wanted.values_mut().filter_map(Option::take) {
            delivery.abort();
        }
    }
}

/// Tells when the server has done what it was sent, or calls `unheard` when nobody waits for that any more.
fn confirm(link: Arc<Link>, done: Done, unheard: impl FnOnce(&Link) + Send + 'static) {
    tokio::spawn(async move {
        let confirmed = link.echo().await;
        if let Err(Ok(())) = done.send(confirmed) {
            unheard(&link);
        }
    });
}

/// Connects to the first server that lets it, or says what is wrong with the last one.
async fn open_any(servers: &[Server], settings: &Settings, seen: &Seen) -> Result<Link, String> {
    let mut reason = "no server".to_owned();
    for server in servers {
        match Link::open(server, settings, seen.clone()).await {
            Ok(link) => return Ok(link),
            Err(error) => reason = error,
        }
    }
    Err(reason)
}
