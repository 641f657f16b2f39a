//! Joins the nodes of a [Nexios](nexios) app through Redis.
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
mod commands;
mod engine;
mod facts;
mod failure;
mod link;
mod names;
mod publish;
mod read;
mod script;
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
use crate::engine::Engine;
use crate::link::Link;
use crate::names::Names;

/// A [`Backplane`] of one Redis server, a cluster, or a master that sentinels watch.
///
/// | setting | default |
/// |---|---|
/// | [`prefix`](Self::prefix) | `nexios` |
/// | [`subscriber_connections`](Self::subscriber_connections) | 4 |
/// | [`keepalive`](Self::keepalive) | 5 s |
///
/// # What holds when servers fail
///
/// Replication from a master to its replicas is asynchronous: the last messages before a failover may be on no server any
/// more. The streams of a server whose data has another identity than before (its replication id: after a failover, and also
/// after a restart, with its first replica, and after an hour without any) therefore begin again with a new epoch: whoever
/// was in the middle of one is told that it cannot be recovered instead of getting a stream with a hole. What is kept is kept
/// under the new epoch. What remains: while a master that was cut off from the others has not noticed it, nodes on its side of
/// the cut go on with it; what they publish in this time is lost with it, and they are told of the gap when they reach the new
/// master.
///
/// That a message is not appended twice when it is published again is known from the last message of a node in the stream. With
/// the stream, this knowledge may be lost, and of more than 64 nodes that publish to one channel, only of the last 64.
///
/// A message that is appended a second time when it is not kept any more has no place in the answer to it
/// (`Ok(None)`).
///
/// # Cancel safety
///
/// Every future may be dropped at any time. When answers are awaited then, the connection is closed and made again with the
/// next call: a server that is frozen, and thawed, finds nothing stuck.
pub struct Redis {
    url: String,
    prefix: Option<String>,
    subscriber_connections: usize,
    keepalive: Duration,
    engine: OnceLock<Engine>,
}

impl Redis {
    /// The servers at a URL. Nothing is done until the app starts, and a URL that is malformed has it not start.
    ///
    /// - `redis://[user:password@]host[:6379][/database]`: one server, or a member of a cluster, which tells the others.
    /// - `redis-cluster://[user:password@]host[:6379],host,…`: a cluster, of which any member may be away.
    /// - `redis-sentinel://[user:password@]host[:26379],host,…/master[/database]`: sentinels, and the name that they have for the
    ///   master. Their own password, if they have one, follows as `?sentinel_username=…&sentinel_password=…`.
    /// - `rediss`, `rediss-cluster` and `rediss-sentinel` are the same over TLS, with the feature `tls`.
    ///
    /// A user without a password is an error: it would be the default user, without a word. Apps on different databases never
    /// meet, though channels know none: another one than 0 stands in all names.
    ///
    /// A character of a user or password that has a meaning in URLs is written as `%` and two hexadecimal digits. IPv6
    /// addresses stand in brackets.
    pub fn connect(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            prefix: None,
            subscriber_connections: 4,
            keepalive: Duration::from_secs(5),
            engine: OnceLock::new(),
        }
    }

    /// What all names of the app begin with on the server: a [`Prefix`], 1 to 64 letters, digits, `-` and `_`. Apps with
    /// different ones never meet. With any other text the app does not start.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// Over how many connections channels are spread, at least 1; in a cluster with sharded channels (Redis 7) there is one for
    /// each master instead.
    pub fn subscriber_connections(mut self, count: usize) -> Self {
        self.subscriber_connections = count.clamp(1, 1024);
        self
    }

    /// After how long a connection with subscriptions is asked whether it is still alive, and for how long it may be silent
    /// then, at least 10 ms: one that died in silence is noticed after twice this time.
    pub fn keepalive(mut self, interval: Duration) -> Self {
        self.keepalive = interval.max(Duration::from_millis(10));
        self
    }

    fn link(&self) -> Result<Link, BackplaneError> {
        let address = Address::parse(&self.url).map_err(BackplaneError::settings)?;
        let prefix = match &self.prefix {
            Some(text) => text.parse().map_err(BackplaneError::settings)?,
            None => Prefix::default(),
        };
        let names = Names::new(&prefix, address.database);
        Ok(Link::new(address, names, self.keepalive))
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
            let link = self.link()?;
            #[cfg(feature = "tls")]
            if link.address.is_tls {
                choose_cryptography();
            }
            self.engine.get_or_init(|| Engine::start(link, self.subscriber_connections, events));
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

/// Without this, rustls panics in a program that has two providers of cryptography and has chosen none.
#[cfg(feature = "tls")]
fn choose_cryptography() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Somebody else may have chosen meanwhile.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

impl fmt::Debug for Redis {
    /// Without the URL, which may have a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("prefix", &self.prefix)
            .field("subscriber_connections", &self.subscriber_connections)
            .field("keepalive", &self.keepalive)
            .finish_non_exhaustive()
    }
}
