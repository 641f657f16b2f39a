//! A backplane that has started.

use std::sync::Arc;
use std::time::Duration;

use nexios::backplane::{BackplaneError, Channel, Events, Keep};
use redis::Cmd;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::address::Server;
use crate::command_connections::CommandConnections;
use crate::connector::Connector;
use crate::subscriptions::{Completion, Discovery, Hub, Part, Request};
use crate::topology::Topology;

/// Maximum time to live of a key: ten years, within the range of the server's arithmetic.
const MAX_AGE: Duration = Duration::from_hours(10 * 365 * 24);

/// The connections and tasks of a node.
pub(crate) struct Engine {
    pub(crate) connector: Arc<Connector>,
    pub(crate) commands: Arc<CommandConnections>,
    hub: UnboundedSender<Request>,
    discovery: watch::Receiver<Discovery>,
    task: AbortHandle,
}

impl Engine {
    /// Starts to connect.
    pub(crate) fn start(connector: Connector, spread: usize, events: Events) -> Self {
        let connector = Arc::new(connector);
        let commands = Arc::new(CommandConnections::new(Arc::clone(&connector)));
        let (hub, requests) = unbounded_channel();
        let (sender, discovery) = watch::channel(Discovery::Pending);
        let task = Hub {
            connector: Arc::clone(&connector),
            commands: Arc::clone(&commands),
            events,
            spread,
            discovery: sender,
            requests,
            reports: hub.clone(),
        };
        let task = tokio::spawn(task.run()).abort_handle();
        Self { connector, commands, hub, discovery, task }
    }

    /// The current topology. Waits for the end of the first discovery.
    pub(crate) async fn topology(&self) -> Result<Arc<Topology>, String> {
        let mut discovery = self.discovery.clone();
        let discovery = discovery.wait_for(|discovery| !matches!(discovery, Discovery::Pending)).await;
        match discovery.as_deref() {
            Ok(Discovery::Servers(topology)) => Ok(Arc::clone(topology)),
            Ok(Discovery::Failed(reason)) => Err(reason.to_string()),
            Ok(Discovery::Pending) | Err(_) => Err("the backplane has stopped".to_owned()),
        }
    }

    /// Requests a discovery, because the topology may have changed.
    pub(crate) fn rediscover(&self) {
        // Fails only when the hub has stopped.
        let _ = self.hub.send(Request::Rediscover);
    }

    /// Subscribes; a caller that is dropped before the confirmation gets a gap notice for the channels.
    pub(crate) async fn subscribe(&self, channels: &[Channel]) -> Result<(), BackplaneError> {
        let mut abandoned = AbandonedOnDrop { hub: &self.hub, channels };
        let done = self.request(|part| Request::Subscribe(channels.to_vec(), part)).await;
        if done.is_ok() {
            abandoned.channels = &[];
        }
        done
    }

    pub(crate) async fn unsubscribe(&self, channels: &[Channel]) -> Result<(), BackplaneError> {
        self.request(|part| Request::Unsubscribe(channels.to_vec(), part)).await
    }

    /// Adds the first arguments of both scripts.
    pub(crate) fn stream_arguments(&self, command: &mut Cmd, server: &Server, keep: Keep) {
        let age = keep.age.clamp(Duration::from_millis(1), MAX_AGE).as_millis();
        command.arg(format!("{:016x}", fastrand::u64(..)));
        command.arg(&*self.connector.replication_id(server));
        command.arg(keep.messages).arg(keep.bytes).arg(age.to_string());
    }

    /// Stops all tasks and closes all connections.
    pub(crate) fn stop(&self) {
        self.task.abort();
        self.commands.close_all();
    }

    async fn request(&self, request: impl FnOnce(Part) -> Request) -> Result<(), BackplaneError> {
        let (completion, part) = Completion::new();
        // When the hub has stopped, the request is dropped, and its part fails.
        let _ = self.hub.send(request(part));
        completion.wait().await.map_err(BackplaneError::unavailable)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Reports to the hub that a subscription's caller was dropped.
struct AbandonedOnDrop<'a> {
    hub: &'a UnboundedSender<Request>,
    channels: &'a [Channel],
}

impl Drop for AbandonedOnDrop<'_> {
    fn drop(&mut self) {
        if !self.channels.is_empty() {
            let _ = self.hub.send(Request::Abandoned(self.channels.to_vec()));
        }
    }
}
