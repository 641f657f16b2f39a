//! One connection that is subscribed to channels.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nexios::backplane::Channel;
use redis::aio::MultiplexedConnection;
use redis::{Pipeline, Value};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::time::MissedTickBehavior;

use super::backoff::Backoff;
use super::commands::{Command, Request, SubscriberId};
use super::completion::Part;
use super::inbox::Inbox;
use crate::connector::Connector;
use crate::server_error;

/// Timeout of the confirmation of subscriptions.
const CONFIRMATION: Duration = Duration::from_secs(3);
/// Maximum number of channels in one request.
const BATCH: usize = 500;
/// Minimum lifetime of a connection that resets the backoff.
const STABLE: Duration = Duration::from_secs(5);

/// A subscriber: its channels, and the connection that it keeps open.
pub(super) struct Subscriber {
    pub(super) id: SubscriberId,
    pub(super) connector: Arc<Connector>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) commands: UnboundedReceiver<Command>,
    /// The hub.
    pub(super) reports: UnboundedSender<Request>,
    /// True if it uses sharded channels.
    pub(super) is_sharded: bool,
}

impl Subscriber {
    /// Runs until the hub ends.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new();
        loop {
            let began = Instant::now();
            let reason = match self.connector.open(&self.id.server, self.inbox.listen(), None).await {
                Ok((_, info)) if !info.is_master => format!("{}: the server is a replica", self.id.server),
                Ok((mut connection, _)) => self.serve(&mut connection).await,
                Err(reason) => reason,
            };
            if began.elapsed() >= STABLE {
                backoff.reset();
            }
            self.inbox.disconnect();
            if self.reports.send(Request::Down(self.id.clone(), reason)).is_err() {
                return;
            }
            let delay = tokio::time::sleep(backoff.next());
            tokio::pin!(delay);
            loop {
                tokio::select! {
                    () = &mut delay => break,
                    command = self.commands.recv() => match command {
                        Some(command) => self.handle_disconnected(command),
                        None => return,
                    },
                }
            }
        }
    }

    fn handle_disconnected(&self, command: Command) {
        match command {
            // Dropping its part fails it.
            Command::Add { channels, .. } => {
                self.inbox.add(channels, true);
            }
            Command::Remove { channels, part } => {
                self.inbox.remove(channels);
                part.into_iter().for_each(Part::done);
            }
            Command::Abandoned(channels) => self.inbox.abandoned(&channels),
        }
    }

    /// Uses a connection until it fails, and returns the reason.
    async fn serve(&mut self, connection: &mut MultiplexedConnection) -> String {
        match self.serve_until_failure(connection).await {
            Ok(()) => "stopped".to_owned(),
            Err(reason) => format!("{}: {reason}", self.id.server),
        }
    }

    async fn serve_until_failure(&mut self, connection: &mut MultiplexedConnection) -> Result<(), String> {
        self.subscribe(connection, self.inbox.pending()).await?;
        // Commands that arrived during the connect.
        let waiting: Vec<_> = std::iter::from_fn(|| self.commands.try_recv().ok()).collect();
        self.handle_batch(connection, waiting.into_iter()).await?;
        if self.reports.send(Request::Up(self.id.clone())).is_err() {
            return Ok(());
        }
        let mut commands = Vec::new();
        let mut heartbeats = tokio::time::interval(self.connector.keepalive);
        heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        heartbeats.reset();
        loop {
            tokio::select! {
                count = self.commands.recv_many(&mut commands, BATCH) => {
                    if count == 0 {
                        return Ok(());
                    }
                    self.handle_batch(connection, commands.drain(..)).await?;
                }
                () = self.inbox.changed() => self.handle_inbox()?,
                _ = heartbeats.tick() => self.heartbeat(connection).await?,
            }
        }
    }

    /// Handles commands in their order; adjacent ones that add channels are combined.
    async fn handle_batch(
        &self,
        connection: &mut MultiplexedConnection,
        commands: impl Iterator<Item = Command>,
    ) -> Result<(), String> {
        let mut adding = Vec::new();
        let mut parts = Vec::new();
        for command in commands {
            match command {
                Command::Add { channels, has_gap, part } => {
                    adding.extend(self.inbox.add(channels, has_gap));
                    parts.extend(part);
                }
                Command::Remove { channels, part } => {
                    self.add(connection, &mut adding, &mut parts).await?;
                    self.unsubscribe(connection, self.inbox.remove(channels)).await?;
                    part.into_iter().for_each(Part::done);
                }
                Command::Abandoned(channels) => {
                    self.add(connection, &mut adding, &mut parts).await?;
                    self.inbox.abandoned(&channels);
                }
            }
        }
        self.add(connection, &mut adding, &mut parts).await
    }

    async fn add(
        &self,
        connection: &mut MultiplexedConnection,
        channels: &mut Vec<Channel>,
        parts: &mut Vec<Part>,
    ) -> Result<(), String> {
        let done = self.subscribe(connection, std::mem::take(channels)).await;
        let refusal = match &done {
            Ok(refusal) => refusal.as_ref(),
            Err(reason) => Some(reason),
        };
        for part in parts.drain(..) {
            match refusal {
                None => part.done(),
                Some(reason) => part.fail(reason),
            }
        }
        done.map(drop)
    }

    /// Subscribes; `Some` is the error if one of the channels belongs to another server. Any other error, a missing
    /// permission included, ends the connection, because not all wanted channels are subscribed.
    async fn subscribe(
        &self,
        connection: &mut MultiplexedConnection,
        channels: Vec<Channel>,
    ) -> Result<Option<String>, String> {
        let command = if self.is_sharded { "SSUBSCRIBE" } else { "SUBSCRIBE" };
        let mut refusal = None;
        for batch in channels.chunks(BATCH) {
            let replies = self.request(connection, command, batch).await?;
            let mut moved = Vec::new();
            for (channel, reply) in batch.iter().zip(replies) {
                let Value::ServerError(error) = reply else { continue };
                let reason = server_error::text(&error);
                if error.code() != "MOVED" {
                    return Err(reason);
                }
                moved.push(channel.clone());
                refusal = Some(reason);
            }
            self.return_moved(moved);
        }
        Ok(refusal)
    }

    async fn unsubscribe(&self, connection: &mut MultiplexedConnection, channels: Vec<Channel>) -> Result<(), String> {
        let command = if self.is_sharded { "SUNSUBSCRIBE" } else { "UNSUBSCRIBE" };
        for batch in channels.chunks(BATCH) {
            // When a slot moves meanwhile, the server announces the end of its subscriptions as well, and the client
            // takes that for a reply: later replies cannot be matched with their requests.
            let replies = self.request(connection, command, batch).await?;
            let error = replies.iter().find_map(|reply| match reply {
                Value::ServerError(error) => Some(server_error::text(error)),
                _ => None,
            });
            error.map_or(Ok(()), Err)?;
        }
        Ok(())
    }

    /// Sends one command for each channel: those of different slots must not share one.
    async fn request(
        &self,
        connection: &mut MultiplexedConnection,
        command: &str,
        channels: &[Channel],
    ) -> Result<Vec<Value>, String> {
        let mut pipeline = Pipeline::with_capacity(channels.len());
        for channel in channels {
            pipeline.cmd(command).arg(self.connector.names.full(channel.as_str()));
        }
        self.inbox.set_requesting(true);
        let request = connection.send_packed_commands(&pipeline, 0, pipeline.len());
        let replies = self.reply_within(CONFIRMATION, request).await;
        self.inbox.set_requesting(false);
        match replies {
            Some(Ok(replies)) => Ok(replies),
            Some(Err(error)) => Err(server_error::of_connection(&error)),
            None => Err("subscriptions are not confirmed within 3 s".to_owned()),
        }
    }

    async fn heartbeat(&self, connection: &mut MultiplexedConnection) -> Result<(), String> {
        self.inbox.set_requesting(true);
        let heartbeat = self.connector.heartbeat(&self.id.server, connection);
        let result = self.reply_within(self.connector.keepalive, heartbeat).await;
        self.inbox.set_requesting(false);
        result.unwrap_or_else(|| Err("no reply to a heartbeat".to_owned()))
    }

    /// The reply to a request; `None` if the server is silent for `timeout`. A reply is queued behind all messages for
    /// the connection: while messages arrive, the connection is only slow, and a reconnect would lose them.
    async fn reply_within<T>(&self, timeout: Duration, request: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(request);
        loop {
            let before = self.inbox.pushes();
            if let Ok(reply) = tokio::time::timeout(timeout, &mut request).await {
                return Some(reply);
            }
            if self.inbox.pushes() == before {
                return None;
            }
        }
    }

    fn handle_inbox(&self) -> Result<(), String> {
        if let Some(reason) = self.inbox.lost() {
            return Err(reason);
        }
        self.return_moved(Vec::new());
        Ok(())
    }

    /// Returns channels whose slots have moved to the hub, with those that the server has `refused`.
    fn return_moved(&self, refused: Vec<Channel>) {
        let is_refused = !refused.is_empty();
        let mut channels = self.inbox.moved();
        if is_refused {
            channels.extend(self.inbox.remove(refused));
        }
        if !channels.is_empty() {
            // Fails only while the hub is being stopped.
            let _ = self.reports.send(Request::Moved { subscriber: self.id.clone(), channels, is_refused });
        }
    }
}
