//! Shutting down: nobody is cut off.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection::Registry;

/// How long a drain waits for connections and handlers.
const DEADLINE: Duration = Duration::from_secs(10);

/// A running app, from outside: [`App::handle`](crate::App::handle).
#[derive(Clone)]
pub struct AppHandle {
    connections: Arc<Registry>,
    http: TaskTracker,
    shutdown: CancellationToken,
}

impl AppHandle {
    pub(crate) fn new(connections: Arc<Registry>) -> Self {
        Self { connections, http: TaskTracker::new(), shutdown: CancellationToken::new() }
    }

    /// Shuts the app down: no more connections are taken, and each open one is closed with 1001 behind what is queued
    /// for it. [`App::serve`](crate::App::serve) and [`App::run`](crate::App::run) return once all handlers have.
    pub fn shutdown(&self) {
        self.shutdown.cancel();
        self.connections.close_all(&Registry::going_away());
    }

    /// How many WebSocket connections there are, from their handshakes to the ends of their handlers.
    pub fn connection_count(&self) -> usize {
        self.connections.len()
    }

    pub(crate) fn connections(&self) -> Arc<Registry> {
        Arc::clone(&self.connections)
    }

    pub(crate) async fn shutting_down(&self) {
        self.shutdown.cancelled().await;
    }

    /// Waits until no connection is left: after [`shutdown`](Self::shutdown), for an app that is mounted in another.
    ///
    /// # Cancel safety
    ///
    /// Safe: it holds nothing.
    pub async fn drained(&self) {
        self.connections.wait_empty().await;
    }

    /// Speaks HTTP in a task that a drain waits for.
    pub(super) fn spawn_http(&self, connection: impl Future<Output = ()> + Send + 'static) {
        self.http.spawn(connection);
    }

    /// Closes what was accepted while the app shut down, and waits for the end of all.
    pub(super) async fn drain(&self) {
        self.connections.close_all(&Registry::going_away());
        self.http.close();
        let ended = async {
            self.http.wait().await;
            self.connections.wait_empty().await;
        };
        if tokio::time::timeout(DEADLINE, ended).await.is_err() {
            let left = self.connection_count();
            tracing::warn!(left, "handlers did not return within {} s of the shutdown", DEADLINE.as_secs());
        }
    }
}

impl fmt::Debug for AppHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppHandle")
            .field("connections", &self.connection_count())
            .field("shutting_down", &self.shutdown.is_cancelled())
            .finish_non_exhaustive()
    }
}
