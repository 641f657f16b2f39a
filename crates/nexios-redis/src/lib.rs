//! A backplane that connects the nodes of a [Nexios](nexios) app through Redis.
//!
//! ```no_run
//! use nexios::App;
//! use nexios_redis::Redis;
//!
//! let app = App::new().backplane(Redis::connect("redis://127.0.0.1:6379"));
//! ```
//!
#![doc = include_str!("../README.md")]

mod address;
mod command_connections;
mod connector;
mod engine;
mod names;
mod publish;
mod read;
mod script;
mod server_error;
mod server_info;
mod slots;
mod subscriptions;
mod topology;

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use nexios::Position;
use nexios::backplane::{
    Backplane, BackplaneError, BoxFuture, Channel, Events, Keep, NodeId, Outgoing, Page, Place, Prefix,
};

use crate::address::Address;
use crate::connector::Connector;
use crate::engine::Engine;
use crate::names::Names;

/// A [`Backplane`] with one Redis server, a cluster, or a master that sentinels monitor.
///
/// | setting | default |
/// |---|---|
/// | [`prefix`](Self::prefix) | `nexios` |
/// | [`subscriber_connections`](Self::subscriber_connections) | 4 |
/// | [`keepalive`](Self::keepalive) | 5 s |
///
/// # Guarantees when servers fail
///
/// Replication from a master to its replicas is asynchronous: the last messages before a failover may be lost. So the
/// streams of a server whose replication id has changed get a new epoch, and a client that resumes in the middle of one
/// is reported as not recovered, instead of getting a stream with a hole. The id changes with a failover, and also with
/// a restart, with the first replica, and after an hour without any. The messages of the stream are kept, under the new
/// epoch.
///
/// One loss remains: until a master that was partitioned from the others notices it, nodes on its side of the partition
/// continue to use it. Messages that they publish in this time are lost with it, and these nodes get a gap notice when
/// they reach the new master.
///
/// A message that is published again is recognised by the last message of its node, which the stream stores. This is
/// lost with the stream, and it is stored for the last 64 nodes only that have published to a channel. A duplicate of a
/// message that is no longer kept has no place (`Ok(None)`).
///
/// # Cancel safety
///
/// Every future may be dropped at any time. If its replies have not arrived, the connection is closed, and the next
/// call opens another: a server that freezes and resumes blocks nothing.
pub struct Redis {
    url: String,
    prefix: Option<String>,
    subscriber_connections: usize,
    keepalive: Duration,
    engine: OnceLock<Engine>,
}

impl Redis {
    /// A backplane with the servers of a URL. It connects when the app starts; a malformed URL is an error of the
    /// start.
    ///
    /// - `redis://[user:password@]host[:6379][/database]`: one server, or a member of a cluster, which lists the
    ///   others.
    /// - `redis-cluster://[user:password@]host[:6379],host,…`: a cluster, of which at least one member must be
    ///   reachable.
    /// - `redis-sentinel://[user:password@]host[:26379],host,…/master[/database]`: sentinels, and their name for the
    ///   master. Their own password, if they have one, follows as `?sentinel_username=…&sentinel_password=…`.
    /// - `rediss`, `rediss-cluster` and `rediss-sentinel` are the same over TLS, with the feature `tls`.
    ///
    /// A user without a password is an error: it would silently be the default user. Apps on different databases are
    /// separate, although channels do not belong to databases: a database other than 0 is part of all names.
    ///
    /// A character of a user or password that has a meaning in URLs is written as `%` and two hexadecimal digits. IPv6
    /// addresses are written in brackets.
    pub fn connect(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            prefix: None,
            subscriber_connections: 4,
            keepalive: Duration::from_secs(5),
            engine: OnceLock::new(),
        }
    }

    /// Prefix of all names of the app on the server, which separates it from other apps: a [`Prefix`] of 1 to 64
    /// letters, digits, `-` and `_`. Any other text is an error when the app starts. Default: `nexios`.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// Number of connections over which subscriptions are spread, 1 to 1024; other values count as the nearest of
    /// these. A cluster with sharded channels (Redis 7) has one for each master instead. Default: 4.
    pub fn subscriber_connections(mut self, count: usize) -> Self {
        self.subscriber_connections = count.clamp(1, 1024);
        self
    }

    /// Heartbeat interval of connections with subscriptions, which is also the timeout of each heartbeat: a connection
    /// that died silently is detected within twice this time. Lower values than 10 ms count as 10 ms. Default: 5 s.
    pub fn keepalive(mut self, interval: Duration) -> Self {
        self.keepalive = interval.max(Duration::from_millis(10));
        self
    }

    fn connector(&self) -> Result<Connector, BackplaneError> {
        let address = Address::parse(&self.url).map_err(BackplaneError::settings)?;
        let prefix = match &self.prefix {
            Some(text) => text.parse().map_err(BackplaneError::settings)?,
            None => Prefix::default(),
        };
        let names = Names::new(&prefix, address.database);
        Ok(Connector::new(address, names, self.keepalive))
    }

    fn engine(&self) -> Result<&Engine, BackplaneError> {
        self.engine.get().ok_or_else(|| BackplaneError::unavailable("the backplane has not started"))
    }
}

impl Backplane for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn start(&self, _node: NodeId, events: Events) -> BoxFuture<'_, Result<(), BackplaneError>> {
        Box::pin(async move {
            let connector = self.connector()?;
            #[cfg(feature = "tls")]
            if connector.address.is_tls {
                install_crypto_provider();
            }
            self.engine.get_or_init(|| Engine::start(connector, self.subscriber_connections, events));
            Ok(())
        })
    }

    fn subscribe<'a>(&'a self, channels: &'a [Channel]) -> BoxFuture<'a, Result<(), BackplaneError>> {
        Box::pin(async move { self.engine()?.subscribe(channels).await })
    }

    fn unsubscribe<'a>(&'a self, channels: &'a [Channel]) -> BoxFuture<'a, Result<(), BackplaneError>> {
        Box::pin(async move { self.engine()?.unsubscribe(channels).await })
    }

    fn publish<'a>(&'a self, messages: &'a [Outgoing]) -> BoxFuture<'a, Vec<Result<Option<Place>, BackplaneError>>> {
        Box::pin(async move {
            match self.engine.get() {
                Some(engine) => publish::publish(engine, messages).await,
                None => messages.iter().map(|_| self.engine().map(|_| None)).collect(),
            }
        })
    }

    fn read<'a>(
        &'a self,
        channel: &'a Channel,
        keep: Keep,
        since: Option<Position>,
    ) -> BoxFuture<'a, Result<Page, BackplaneError>> {
        Box::pin(async move { read::read(self.engine()?, channel, keep, since).await })
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Some(engine) = self.engine.get() {
                engine.stop();
            }
        })
    }
}

/// Installs a cryptography provider unless the process has one: rustls panics in a program that has two and has
/// selected none.
#[cfg(feature = "tls")]
fn install_crypto_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Fails when another thread has installed one meanwhile.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

impl fmt::Debug for Redis {
    /// Omits the URL, which may contain a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("prefix", &self.prefix)
            .field("subscriber_connections", &self.subscriber_connections)
            .field("keepalive", &self.keepalive)
            .finish_non_exhaustive()
    }
}
