//! The connections for all commands but subscriptions: one for each server in use.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use redis::aio::MultiplexedConnection;
use redis::{Pipeline, PushInfo, PushKind, Value};

use crate::address::Server;
use crate::connector::{Connector, REPLY_TIMEOUT};
use crate::server_error;

/// Connections, opened on demand.
pub(crate) struct CommandConnections {
    connector: Arc<Connector>,
    servers: Mutex<HashMap<Server, Arc<Entry>>>,
    numbers: AtomicU64,
}

#[derive(Default)]
struct Entry {
    /// Held by the task that connects.
    connecting: tokio::sync::Mutex<()>,
    open: Mutex<Option<Open>>,
}

#[derive(Clone)]
struct Open {
    number: u64,
    connection: MultiplexedConnection,
}

impl CommandConnections {
    pub(crate) fn new(connector: Arc<Connector>) -> Self {
        Self { connector, servers: Mutex::default(), numbers: AtomicU64::new(0) }
    }

    /// Sends commands to a server and returns its replies, error replies included. A connection whose future is dropped
    /// before the replies arrive is closed: it is unknown how much is queued in it.
    pub(crate) async fn request(&self, server: &Server, pipeline: &Pipeline) -> Result<Vec<Value>, String> {
        let entry = self.entry(server);
        let mut open = self.open(server, &entry).await?;
        let mut guard = CloseUnlessReplied { entry: &entry, number: open.number, has_replied: false };
        let replies = open.connection.send_packed_commands(pipeline, 0, pipeline.len()).await;
        guard.has_replied = replies.is_ok();
        replies.map_err(|error| format!("{server}: {}", server_error::of_connection(&error)))
    }

    /// Connects to a server unless it is connected, which also reads its `INFO`.
    pub(crate) async fn connect(&self, server: &Server) -> Result<(), String> {
        let entry = self.entry(server);
        self.open(server, &entry).await.map(drop)
    }

    /// Closes the connection to a server; the next request opens another.
    pub(crate) fn close(&self, server: &Server) {
        self.entry(server).open.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Closes all connections.
    pub(crate) fn close_all(&self) {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn entry(&self, server: &Server) -> Arc<Entry> {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = servers.get(server) {
            return Arc::clone(entry);
        }
        Arc::clone(servers.entry(server.clone()).or_default())
    }

    async fn open(&self, server: &Server, entry: &Arc<Entry>) -> Result<Open, String> {
        if let Some(open) = entry.current() {
            return Ok(open);
        }
        let _connecting = entry.connecting.lock().await;
        if let Some(open) = entry.current() {
            return Ok(open);
        }
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (connection, info) = self.connector.open(server, entry.closer(number), Some(REPLY_TIMEOUT)).await?;
        // A replica accepts publishes, and delivers them to none of the master's subscribers. In a cluster it
        // redirects.
        if !info.is_master && info.is_cluster != Some(true) {
            return Err(format!("{server}: the server is a replica"));
        }
        let open = Open { number, connection };
        *entry.open.lock().unwrap_or_else(PoisonError::into_inner) = Some(open.clone());
        Ok(open)
    }
}

impl Entry {
    fn current(&self) -> Option<Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn close(&self, number: u64) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).take_if(|open| open.number == number);
    }

    /// A push receiver that closes a connection when it breaks, so that the next request does not use it.
    fn closer(self: &Arc<Self>, number: u64) -> impl Fn(PushInfo) -> Result<(), ()> + Send + Sync + 'static {
        let entry = Arc::downgrade(self);
        move |push| {
            if push.kind == PushKind::Disconnection
                && let Some(entry) = entry.upgrade()
            {
                entry.close(number);
            }
            Ok(())
        }
    }
}

/// Closes a connection whose replies have not arrived.
struct CloseUnlessReplied<'a> {
    entry: &'a Entry,
    number: u64,
    has_replied: bool,
}

impl Drop for CloseUnlessReplied<'_> {
    fn drop(&mut self) {
        if !self.has_replied {
            self.entry.close(self.number);
        }
    }
}
