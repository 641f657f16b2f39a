//! Shutting down: nobody is cut off, and not all come back at once.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, OnceLock, Weak};
use std::time::Duration;

use axum::extract::FromRequestParts;
use http::StatusCode;
use http::request::Parts;
use nexios_proto::CloseFrame;
use rand::RngExt;
use rand::seq::SliceRandom;
use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ServerConfig;
use crate::auth::Users;
use crate::backplane::{BackplaneStatus, Node};
use crate::connection::Registry;
use crate::deadline::deadline_after;
use crate::groups::Groups;
use crate::observe::LogSums;
use crate::{Error, Result};

/// Connections are closed in batches, so that neither this process nor the next one meets all their clients at once.
const PAUSE: Duration = Duration::from_millis(100);

/// The least that a batch has.
const BATCH: usize = 500;

/// A running app, from outside: [`App::handle`](crate::App::handle). In handlers of WebSocket routes and of
/// [`App::http`](crate::App::http) it is an argument, as [`Groups`](crate::Groups) is.
///
/// ```
/// # use nexios::prelude::*;
/// # use nexios::AppHandle;
/// async fn private(mut websocket: WebSocket, app: AppHandle) -> nexios::Result {
///     websocket.accept().await?;
///     loop {
///         let (to, text): (String, String) = websocket.receive_json().await?;
///         app.send_to_user(&to, text);
///     }
/// }
/// # App::new().websocket_route("/private", private);
/// ```
#[derive(Clone)]
pub struct AppHandle {
    inner: Arc<Inner>,
}

struct Inner {
    connections: Arc<Registry>,
    http: TaskTracker,
    config: OnceLock<ServerConfig>,
    groups: OnceLock<Groups>,
    /// A shutdown has begun: the server is not ready any more.
    shutdown: CancellationToken,
    /// No more connections are taken.
    closed: CancellationToken,
    /// Somebody closes the connections.
    closing: AtomicBool,
    users: Arc<Users>,
    /// The app's side of its backplane. Its groups own it.
    node: OnceLock<Weak<Node>>,
    log_sums: LogSums,
    /// A forwarding header of a peer that is not trusted was logged.
    is_forwarding_noted: AtomicBool,
    operator: OnceLock<SocketAddr>,
}

/// Keeps nothing.
pub(crate) struct WeakHandle(Weak<Inner>);

impl WeakHandle {
    pub(crate) fn upgrade(&self) -> Option<AppHandle> {
        self.0.upgrade().map(|inner| AppHandle { inner })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for AppHandle {
    type Rejection = StatusCode;

    /// That of the app that serves the request. Outside of a Nexios app there is none (500).
    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, StatusCode> {
        let groups = parts.extensions.get::<Groups>();
        groups.and_then(Groups::app).ok_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl AppHandle {
    pub(crate) fn downgrade(&self) -> WeakHandle {
        WeakHandle(Arc::downgrade(&self.inner))
    }

    pub(crate) fn new(connections: Arc<Registry>) -> Self {
        let inner = Inner {
            connections,
            http: TaskTracker::new(),
            config: OnceLock::new(),
            groups: OnceLock::new(),
            shutdown: CancellationToken::new(),
            closed: CancellationToken::new(),
            closing: AtomicBool::new(false),
            users: Arc::default(),
            node: OnceLock::new(),
            log_sums: LogSums::default(),
            is_forwarding_noted: AtomicBool::new(false),
            operator: OnceLock::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The app is built.
    pub(crate) fn configure(&self, config: ServerConfig, groups: Groups) {
        self.inner.connections.admission().configure(&config);
        // Nobody builds an app twice.
        groups.belong_to(self);
        let _ = self.inner.config.set(config);
        let _ = self.inner.groups.set(groups);
    }

    /// Shuts the app down. It is not ready any more from now on; after
    /// [`drain_delay`](ServerConfig::drain_delay) no more connections are taken, and those that are open are closed with
    /// [`drain_code`](ServerConfig::drain_code) behind what is queued for them, in batches with pauses: the first 500 at once, then
    /// 5,000 in a second, or faster when half of the deadline would not do. Each is told when to come back
    /// ([`reconnect_within`](ServerConfig::reconnect_within)).
    ///
    /// What was published to groups before the first of them is closed reaches all members; after that, publishing fails with
    /// [`Error::Disconnect`](crate::Error::Disconnect).
    ///
    /// [`App::serve`](crate::App::serve) and [`App::run`](crate::App::run) return once all handlers have, or at the
    /// [`drain_deadline`](ServerConfig::drain_deadline). Outside of a runtime there is neither delay nor pause.
    pub fn shutdown(&self) {
        self.inner.shutdown.cancel();
        if let Ok(runtime) = Handle::try_current() {
            self.begin_closing(&runtime);
        } else {
            self.stop_taking();
            self.close(usize::MAX);
        }
    }

    fn begin_closing(&self, runtime: &Handle) {
        if self.inner.closing.swap(true, Ordering::AcqRel) {
            return;
        }
        if self.config().drain_delay.is_zero() {
            // What is published after a shutdown comes too late for those who are closed at once.
            self.stop_taking();
            self.close(self.batch());
        }
        runtime.spawn(self.clone().close_in_batches());
    }

    /// Whether a shutdown has begun.
    pub fn is_shutting_down(&self) -> bool {
        self.inner.shutdown.is_cancelled()
    }

    /// How many WebSocket connections there are, from their handshakes to the ends of their sockets.
    pub fn connection_count(&self) -> usize {
        self.inner.connections.len()
    }

    /// How the app's backplane is, if it has one and is served.
    pub fn backplane(&self) -> Option<BackplaneStatus> {
        self.node().map(|node| node.status())
    }

    /// The address that the operator's pages are on ([`App::operator`](crate::App::operator)), once the app listens there.
    pub fn operator_addr(&self) -> Option<SocketAddr> {
        self.inner.operator.get().copied()
    }

    pub(super) fn operator_listens(&self, address: SocketAddr) {
        // Nobody serves an app twice.
        let _ = self.inner.operator.set(address);
    }

    /// Where what peers can cause at will is logged.
    pub(crate) fn log_sums(&self) -> &LogSums {
        &self.inner.log_sums
    }

    /// Logs, for the first of them, that a peer forwards for others and is not trusted. `names` are its headers'.
    pub(crate) fn note_forwarding<'a, I>(&self, peer: IpAddr, names: impl FnOnce() -> I)
    where
        I: Iterator<Item = &'a str>,
    {
        let noted = &self.inner.is_forwarding_noted;
        if noted.load(Ordering::Relaxed) || !self.config().proxies.is_unheeded(peer, names()) {
            return;
        }
        if !noted.swap(true, Ordering::Relaxed) {
            let peer = peer.to_canonical();
            tracing::warn!(
                %peer,
                "a forwarding header of a peer that is not trusted is ignored: if it is a proxy, \
                 ServerConfig::trusted_proxies([\"{peer}\"]) trusts it. This is logged once"
            );
        }
    }

    pub(crate) fn join_nodes(&self, node: &Arc<Node>) {
        // Nobody builds an app twice.
        let _ = self.inner.node.set(Arc::downgrade(node));
    }

    pub(crate) fn node(&self) -> Option<Arc<Node>> {
        self.inner.node.get()?.upgrade()
    }

    /// An error when the app has a backplane that cannot ever work.
    pub(crate) async fn check_backplane(&self) -> Result {
        match self.node() {
            Some(node) => node.started().await.map_err(Error::from),
            None => Ok(()),
        }
    }

    pub(crate) fn users(&self) -> &Arc<Users> {
        &self.inner.users
    }

    pub(crate) fn connections(&self) -> Arc<Registry> {
        Arc::clone(&self.inner.connections)
    }

    /// Waits for the time from which on no more connections are taken.
    pub(crate) async fn stops_accepting(&self) {
        self.inner.closed.cancelled().await;
    }

    /// Whether no more connections are taken.
    pub(crate) fn is_closed(&self) -> bool {
        self.inner.closed.is_cancelled()
    }

    /// Waits until no connection is left: after [`shutdown`](Self::shutdown), for an app that is mounted in another. A
    /// handler whose socket has closed may still run: this does not wait for it.
    ///
    /// # Cancel safety
    ///
    /// Safe: it holds nothing.
    pub async fn drained(&self) {
        self.inner.connections.wait_empty().await;
    }

    /// Speaks HTTP in a task that a drain waits for.
    pub(super) fn spawn_http(&self, connection: impl Future<Output = ()> + Send + 'static) {
        self.inner.http.spawn(connection);
    }

    /// Waits for the end of all connections, after no more are taken.
    pub(super) async fn drain(&self) {
        // Who called `shutdown` may have had no runtime: there may be some who were about to connect.
        self.begin_closing(&Handle::current());
        self.inner.http.close();
        let ended = async {
            self.inner.http.wait().await;
            self.inner.connections.wait_finished().await;
        };
        let deadline = self.config().drain_deadline.saturating_sub(self.config().drain_delay);
        if tokio::time::timeout(deadline, ended).await.is_err() {
            let left = self.inner.connections.running();
            tracing::warn!(left, "handlers did not return within {} s of the shutdown", deadline.as_secs_f32());
        }
        if let Some(node) = self.node() {
            // They were told to come back within this time, and need some more for it.
            node.leave(self.config().reconnect_within.saturating_mul(2)).await;
        }
    }

    async fn close_in_batches(self) {
        let config = self.config();
        tokio::time::sleep(config.drain_delay).await;
        self.stop_taking();
        let (end, batch) = (deadline_after(Instant::now(), self.time_to_close()), self.batch());
        // Those who were about to connect are found in a later round. Handlers may take longer to end.
        while self.close(batch) > 0 || Instant::now() < end {
            if self.connection_count() == 0 {
                return;
            }
            let share = rand::rng().random_range(0.5..1.5);
            tokio::time::sleep(PAUSE.mul_f64(share)).await;
        }
    }

    /// From now on neither connections nor publications are taken.
    fn stop_taking(&self) {
        self.inner.closed.cancel();
        if let Some(groups) = self.inner.groups.get() {
            groups.seal(CloseFrame::new(self.config().drain_code, "server is shutting down"));
        }
    }

    /// The other half of the deadline is for the handlers.
    fn time_to_close(&self) -> Duration {
        self.config().drain_deadline.saturating_sub(self.config().drain_delay) / 2
    }

    fn batch(&self) -> usize {
        let pauses = usize::try_from(self.time_to_close().as_millis() / PAUSE.as_millis()).unwrap_or(usize::MAX);
        self.connection_count().div_ceil(pauses.max(1)).max(BATCH)
    }

    /// Closes up to so many connections, and tells how many these were.
    fn close(&self, most: usize) -> usize {
        let mut open = self.inner.connections.not_closing();
        open.shuffle(&mut rand::rng());
        open.truncate(most);
        Registry::close(&open, || self.farewell());
        open.len()
    }

    /// The Close frame of a server that goes down (RFC 6455 §7.4.1), with a moment to come back.
    fn farewell(&self) -> CloseFrame {
        let config = self.config();
        let within = u64::try_from(config.reconnect_within.as_millis()).unwrap_or(u64::MAX);
        if within == 0 {
            return CloseFrame::new(config.drain_code, "server is shutting down");
        }
        let after = rand::rng().random_range(0..=within);
        CloseFrame::new(config.drain_code, format!("server is shutting down, reconnect in {after} ms"))
    }

    pub(crate) fn config(&self) -> &ServerConfig {
        static UNTIL_BUILT: LazyLock<ServerConfig> = LazyLock::new(ServerConfig::default);
        self.inner.config.get().unwrap_or(&UNTIL_BUILT)
    }
}

impl fmt::Debug for AppHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppHandle")
            .field("connections", &self.connection_count())
            .field("shutting_down", &self.is_shutting_down())
            .finish_non_exhaustive()
    }
}
