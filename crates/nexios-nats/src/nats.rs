//! The public type: a builder until the app starts, then the front of the driver.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nexios::Position;
use nexios::backplane::{
    Backplane, BackplaneError, BoxFuture, Channel, Events, Keep, NodeId, Outgoing, Page, Place, Prefix,
};
use tokio::sync::{mpsc, oneshot};

use crate::driver::{Command, Completion, Current, Driver};
use crate::jetstream::{self, PublishDedup, Streams};
use crate::publish;
use crate::settings::{self, Settings, Storage};

/// A [`Backplane`] that connects the nodes of an app through NATS.
///
/// It connects when the app starts, and reconnects after each loss with an exponential backoff of 100 ms to 5 s, with
/// jitter. A server that cannot be reached does not prevent the start.
///
/// ```
/// use nexios::App;
/// use nexios_nats::Nats;
///
/// let app = App::new().backplane(Nats::connect("nats://app:secret@nats-1:4222,nats-2:4222").replicas(3));
/// ```
///
/// | setting | default |
/// |---|---|
/// | [`prefix`](Self::prefix) | `nexios` |
/// | [`credentials`](Self::credentials) | none |
/// | [`replicas`](Self::replicas) | 1 |
/// | [`storage`](Self::storage) | [`Storage::File`] |
/// | [`keepalive`](Self::keepalive) | 5 s |
pub struct Nats {
    urls: String,
    credentials: Option<PathBuf>,
    prefix: String,
    replicas: usize,
    storage: Storage,
    keepalive: Duration,
    running: OnceLock<Running>,
}

impl Nats {
    /// A backplane with the servers of a comma-separated list of URLs, one of which must be reachable.
    ///
    /// - `nats://host:port` uses TLS if the server requires it, `tls://host:port` always; `host` alone is
    ///   `nats://host:4222`.
    /// - `nats://user:password@host` or `nats://token@host`, with `%40` for `@` and so on. The first login in the list
    ///   applies to all its servers, and to the other servers of their cluster, which are discovered automatically.
    ///
    /// A malformed URL is an error when the app starts.
    pub fn connect(urls: impl Into<String>) -> Self {
        Self {
            urls: urls.into(),
            credentials: None,
            prefix: Prefix::default().as_str().to_owned(),
            replicas: 1,
            storage: Storage::default(),
            keepalive: Duration::from_secs(5),
            running: OnceLock::new(),
        }
    }

    /// A credentials file (JWT and seed, usually `.creds`), instead of a login in a URL. It must exist when the app
    /// starts, and is read again for each connection, so it may be renewed.
    pub fn credentials(mut self, path: impl Into<PathBuf>) -> Self {
        self.credentials = Some(path.into());
        self
    }

    /// Prefix of all subjects and streams of the app, which separates it from other apps. It must be a [`Prefix`]:
    /// anything else is an error when the app starts. Default: `nexios`.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Number of servers of the cluster that store each message, 1 to 5: with 3, one of them may fail. Applies to
    /// streams that are created from now on. Any other number is an error when the app starts. Default: 1.
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    /// Storage of the messages in JetStream. Applies to streams that are created from now on. Default:
    /// [`Storage::File`].
    pub fn storage(mut self, storage: Storage) -> Self {
        self.storage = storage;
        self
    }

    /// Heartbeat interval, which is also the timeout of each heartbeat: a connection that died silently is detected
    /// within twice this time. Lower values than 10 ms count as 10 ms. Default: 5 s.
    pub fn keepalive(mut self, period: Duration) -> Self {
        self.keepalive = period.max(Duration::from_millis(10));
        self
    }

    fn settings(&self) -> Result<Settings, BackplaneError> {
        let (servers, login) = settings::servers(&self.urls)?;
        let login = match &self.credentials {
            Some(path) => settings::credentials(path)?,
            None => login,
        };
        if !(1..=5).contains(&self.replicas) {
            return Err(BackplaneError::settings("NATS has 1 to 5 replicas of a stream"));
        }
        Ok(Settings {
            servers,
            login,
            tls: settings::tls()?,
            prefix: self.prefix.parse().map_err(BackplaneError::settings)?,
            replicas: self.replicas,
            storage: self.storage,
            keepalive: self.keepalive,
        })
    }

    fn running(&self) -> Result<&Running, BackplaneError> {
        self.running.get().ok_or_else(|| BackplaneError::unavailable("it has not been started"))
    }

    async fn command(&self, command: impl FnOnce(Completion) -> Command) -> Result<(), BackplaneError> {
        let (completion, completed) = oneshot::channel();
        let stopped = || BackplaneError::unavailable("it was stopped");
        self.running()?.commands.send(command(completion)).map_err(|_| stopped())?;
        completed.await.map_err(|_| stopped())?
    }
}

/// The state of a backplane that was started.
struct Running {
    commands: mpsc::UnboundedSender<Command>,
    current: Current,
    dedup: PublishDedup,
}

impl Running {
    fn streams(&self) -> Result<Arc<Streams>, BackplaneError> {
        self.current.streams().ok_or_else(|| BackplaneError::unavailable("not connected to NATS"))
    }

    async fn publish(&self, messages: &[Outgoing]) -> Vec<Result<Option<Place>, BackplaneError>> {
        match self.streams() {
            Ok(streams) => publish::publish(&streams, &self.dedup, messages).await,
            Err(error) => unavailable(messages, &error),
        }
    }
}

fn unavailable(messages: &[Outgoing], error: &BackplaneError) -> Vec<Result<Option<Place>, BackplaneError>> {
    messages.iter().map(|_| Err(BackplaneError::unavailable(error.to_string()))).collect()
}

impl Backplane for Nats {
    fn name(&self) -> &'static str {
        "nats"
    }

    fn start(&self, _node: NodeId, events: Events) -> BoxFuture<'_, Result<(), BackplaneError>> {
        Box::pin(async move {
            let settings = Arc::new(self.settings()?);
            let (commands, receiver) = mpsc::unbounded_channel();
            let current = Current::default();
            let driver = Driver::new(settings, events, current.clone(), receiver);
            let running = Running { commands, current, dedup: PublishDedup::default() };
            if self.running.set(running).is_err() {
                return Err(BackplaneError::settings("a backplane serves one app"));
            }
            tokio::spawn(driver.run());
            Ok(())
        })
    }

    fn subscribe<'a>(&'a self, channels: &'a [Channel]) -> BoxFuture<'a, Result<(), BackplaneError>> {
        Box::pin(self.command(|completion| Command::Subscribe(channels.to_vec(), completion)))
    }

    fn unsubscribe<'a>(&'a self, channels: &'a [Channel]) -> BoxFuture<'a, Result<(), BackplaneError>> {
        Box::pin(self.command(|completion| Command::Unsubscribe(channels.to_vec(), completion)))
    }

    fn publish<'a>(&'a self, messages: &'a [Outgoing]) -> BoxFuture<'a, Vec<Result<Option<Place>, BackplaneError>>> {
        Box::pin(async move {
            match self.running() {
                Ok(running) => running.publish(messages).await,
                Err(error) => unavailable(messages, &error),
            }
        })
    }

    fn read<'a>(
        &'a self,
        channel: &'a Channel,
        keep: Keep,
        since: Option<Position>,
    ) -> BoxFuture<'a, Result<Page, BackplaneError>> {
        Box::pin(async move { jetstream::read(&*self.running()?.streams()?, channel, keep, since).await })
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let Ok(running) = self.running() else { return };
            let (stopped, confirmation) = oneshot::channel();
            if running.commands.send(Command::Stop(stopped)).is_ok() {
                // Fails when the driver has stopped before.
                let _ = confirmation.await;
            }
        })
    }
}

impl fmt::Debug for Nats {
    /// Omits the URLs, which may contain a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nats")
            .field("prefix", &self.prefix)
            .field("replicas", &self.replicas)
            .field("storage", &self.storage)
            .field("keepalive", &self.keepalive)
            .finish_non_exhaustive()
    }
}
