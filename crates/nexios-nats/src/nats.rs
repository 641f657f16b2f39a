//! The backplane itself: a builder until it starts, then the driver's front.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nexios::Position;
use nexios::backplane::{
    Backplane, BackplaneError, BoxFuture, Channel, Events, Keep, NodeId, Outgoing, Page, Place, Prefix,
};
use tokio::sync::{mpsc, oneshot};

use crate::doubles::Attempts;
use crate::driver::{Command, Current, Done, Driver};
use crate::link::Link;
use crate::seen::Seen;
use crate::settings::{self, Settings};
use crate::{history, publish, tls};

/// Joins the nodes of an app through NATS.
///
/// Nothing happens before the app starts; then it connects, and connects again after pauses of 100 ms to 5 s, with jitter,
/// whenever it has to. A server that cannot be reached is never an error of the start.
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

/// Where JetStream has the messages that it keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Storage {
    /// In files: they are there after a restart of the server.
    #[default]
    File,
    /// In memory: faster, and gone with the server, or with all that have a replica.
    Memory,
}

impl Nats {
    /// The servers to connect to, any of which will do: URLs with commas between them.
    ///
    /// - `nats://host:port`, where TLS is used if the server asks for it, or `tls://host:port`, where it must be; `host` alone
    ///   is `nats://host:4222`.
    /// - `nats://user:password@host` or `nats://token@host`, with `%40` for `@` and so on. The first login in the list is good
    ///   for all of its servers, and for those of their cluster, which are found by themselves.
    ///
    /// A URL that makes no sense is an error when the app starts.
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

    /// A file of credentials (JWT and seed, usually `.creds`), instead of a login in a URL. Read when the app starts, when it
    /// must be there, and again for each connection: it may be renewed.
    pub fn credentials(mut self, path: impl Into<PathBuf>) -> Self {
        self.credentials = Some(path.into());
        self
    }

    /// What all subjects and streams of the app begin with; apps with different ones do not meet. A
    /// [`Prefix`]: anything else is an error when the app starts.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// On how many servers of the cluster JetStream has each message, 1 to 5: with 3, one of them may fail. Applies to
    /// streams that are made from now on.
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    /// Where JetStream has messages. Applies to streams that are made from now on.
    pub fn storage(mut self, storage: Storage) -> Self {
        self.storage = storage;
        self
    }

    /// How often the server is asked whether it is there, and how long it may take to answer: a connection that died
    /// silently is noticed within twice this time. At least 10 ms.
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
            tls: tls::config()?,
            prefix: self.prefix.parse().map_err(BackplaneError::settings)?,
            replicas: self.replicas,
            storage: self.storage,
            keepalive: self.keepalive,
        })
    }

    fn running(&self) -> Result<&Running, BackplaneError> {
        self.running.get().ok_or_else(|| BackplaneError::unavailable("it has not been started"))
    }

    async fn command(&self, command: impl FnOnce(Done) -> Command) -> Result<(), BackplaneError> {
        let (done, waiting) = oneshot::channel();
        let stopped = || BackplaneError::unavailable("it was stopped");
        self.running()?.commands.send(command(done)).map_err(|_| stopped())?;
        waiting.await.map_err(|_| stopped())?
    }
}

/// What there is once it was started.
struct Running {
    settings: Arc<Settings>,
    commands: mpsc::UnboundedSender<Command>,
    current: Current,
    attempts: Attempts,
}

impl Running {
    fn link(&self) -> Result<Arc<Link>, BackplaneError> {
        self.current.link().ok_or_else(|| BackplaneError::unavailable("not connected to NATS"))
    }

    async fn publish(&self, messages: &[Outgoing]) -> Vec<Result<Option<Place>, BackplaneError>> {
        match self.link() {
            Ok(link) => publish::publish(&link, &self.settings, &self.attempts, messages).await,
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
            let driver = Driver::new(settings.clone(), events, current.clone(), Seen::default(), receiver);
            let running = Running { settings, commands, current, attempts: Attempts::default() };
            if self.running.set(running).is_err() {
                return Err(BackplaneError::settings("a backplane serves one app"));
            }
            tokio::spawn(driver.run());
            Ok(())
        })
    }

    fn subscribe<'a>(&'a self, channels: &'a [Channel]) -> BoxFuture<'a, Result<(), BackplaneError>> {
        Box::pin(self.command(|done| Command::Subscribe(channels.to_vec(), done)))
    }

    fn unsubscribe<'a>(&'a self, channels: &'a [Channel]) -> BoxFuture<'a, Result<(), BackplaneError>> {
        Box::pin(self.command(|done| Command::Unsubscribe(channels.to_vec(), done)))
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
        Box::pin(async move {
            let running = self.running()?;
            history::read(&*running.link()?, &running.settings, channel, keep, since).await
        })
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let Ok(running) = self.running() else { return };
            let (stopped, waiting) = oneshot::channel();
            if running.commands.send(Command::Stop(stopped)).is_ok() {
                // Fails when it has stopped before.
                let _ = waiting.await;
            }
        })
    }
}

impl fmt::Debug for Nats {
    /// Without the URLs, which may have a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nats")
            .field("prefix", &self.prefix)
            .field("replicas", &self.replicas)
            .field("storage", &self.storage)
            .field("keepalive", &self.keepalive)
            .finish_non_exhaustive()
    }
}
