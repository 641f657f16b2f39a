//! The connections that everything but subscriptions goes through: one to each server that is asked.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use redis::aio::MultiplexedConnection;
use redis::{Pipeline, PushInfo, PushKind, Value};

use crate::address::Server;
use crate::failure;
use crate::link::{ANSWER, Link};

/// Connections, made when they are needed.
pub(crate) struct Commands {
    link: Arc<Link>,
    servers: Mutex<HashMap<Server, Arc<Entry>>>,
    numbers: AtomicU64,
}

#[derive(Default)]
struct Entry {
    /// Held by the one who connects.
    connecting: tokio::sync::Mutex<()>,
    open: Mutex<Option<Open>>,
}

#[derive(Clone)]
struct Open {
    number: u64,
    connection: MultiplexedConnection,
}

impl Commands {
    pub(crate) fn new(link: Arc<Link>) -> Self {
        Self { link, servers: Mutex::default(), numbers: AtomicU64::new(0) }
    }

    /// The answers of a server to some commands, an error that it answers with included. When the future is dropped before
    /// the answers are there, so is the connection: nobody knows how much is waiting in it.
    pub(crate) async fn ask(&self, server: &Server, pipeline: &Pipeline) -> Result<Vec<Value>, String> {
        let entry = self.entry(server);
        let mut open = self.open(server, &entry).await?;
        let mut doubt = Doubt { entry: &entry, number: open.number, is_over: false };
        let answers = open.connection.send_packed_commands(pipeline, 0, pipeline.len()).await;
        doubt.is_over = answers.is_ok();
        answers.map_err(|error| format!("{server}: {}", failure::of_connection(&error)))
    }

    /// Connects to a server, if there is no connection, and so learns what it says of itself.
    pub(crate) async fn connect(&self, server: &Server) -> Result<(), String> {
        let entry = self.entry(server);
        self.open(server, &entry).await.map(drop)
    }

    /// Ends the connection to a server; the next who needs one opens another.
    pub(crate) fn close(&self, server: &Server) {
        self.entry(server).open.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Ends all connections.
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
        let (connection, facts) = self.link.open(server, entry.closer(number), Some(ANSWER)).await?;
        // It would take what is published, and give it to nobody. In a cluster it knows its master.
        if !facts.is_master && facts.is_cluster != Some(true) {
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

    /// Closes a connection when it breaks, so that the next who needs one does not meet a broken one.
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

/// Closes a connection whose answers nobody has waited for.
struct Doubt<'a> {
    entry: &'a Entry,
    number: u64,
    is_over: bool,
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.entry.close(self.number);
        }
    }
}
