//! One connection that is subscribed to channels.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nexios::backplane::Channel;
use redis::aio::MultiplexedConnection;
use redis::{Pipeline, Value};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::time::MissedTickBehavior;

use super::hub::{LaneId, Request};
use super::inbox::Inbox;
use super::{Part, pause::Pause};
use crate::failure;
use crate::link::Link;

/// How long the server may take to confirm subscriptions.
const CONFIRMATION: Duration = Duration::from_secs(3);
/// How many channels are subscribed to at once.
const BATCH: usize = 500;
/// A connection that has lived for this long was a good one.
const STABLE: Duration = Duration::from_secs(5);

/// A connection, its channels, and what makes it again.
pub(crate) struct Lane {
    pub(crate) id: LaneId,
    pub(crate) link: Arc<Link>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) orders: UnboundedReceiver<Order>,
    pub(crate) hub: UnboundedSender<Request>,
    /// Whether its channels are subscribed to by slot.
    pub(crate) is_sharded: bool,
}

/// What the hub has a lane do.
pub(crate) enum Order {
    /// Messages may have been lost when `has_gap`.
    Add {
        channels: Vec<Channel>,
        has_gap: bool,
        part: Option<Part>,
    },
    Remove {
        channels: Vec<Channel>,
        part: Option<Part>,
    },
    /// Nobody has waited until these were subscribed to.
    Unanswered(Vec<Channel>),
}

impl Lane {
    /// Until the hub is gone.
    pub(crate) async fn run(mut self) {
        let mut pause = Pause::new();
        loop {
            let began = Instant::now();
            let reason = match self.link.open(&self.id.server, self.inbox.listen(), None).await {
                Ok((_, facts)) if !facts.is_master => format!("{}: the server is a replica", self.id.server),
                Ok((mut connection, _)) => self.serve(&mut connection).await,
                Err(reason) => reason,
            };
            if began.elapsed() >= STABLE {
                pause.reset();
            }
            self.inbox.disconnect();
            if self.hub.send(Request::Down(self.id.clone(), reason)).is_err() {
                return;
            }
            let pausing = tokio::time::sleep(pause.next());
            tokio::pin!(pausing);
            loop {
                tokio::select! {
                    () = &mut pausing => break,
                    order = self.orders.recv() => match order {
                        Some(order) => self.note(order),
                        None => return,
                    },
                }
            }
        }
    }

    /// An order while there is no connection.
    fn note(&self, order: Order) {
        match order {
            // Its part is dropped, and so it has failed.
            Order::Add { channels, .. } => {
                self.inbox.add(channels, true);
            }
            Order::Remove { channels, part } => {
                self.inbox.remove(channels);
                part.into_iter().for_each(Part::done);
            }
            Order::Unanswered(channels) => self.inbox.unanswered(&channels),
        }
    }

    /// Until the connection is no good any more, and why.
    async fn serve(&mut self, connection: &mut MultiplexedConnection) -> String {
        match self.serve_while_good(connection).await {
            Ok(()) => "stopped".to_owned(),
            Err(reason) => format!("{}: {reason}", self.id.server),
        }
    }

    async fn serve_while_good(&mut self, connection: &mut MultiplexedConnection) -> Result<(), String> {
        self.subscribe(connection, self.inbox.pending()).await?;
        // What was ordered while it connected.
        let waiting: Vec<_> = std::iter::from_fn(|| self.orders.try_recv().ok()).collect();
        self.follow(connection, waiting.into_iter()).await?;
        if self.hub.send(Request::Up(self.id.clone())).is_err() {
            return Ok(());
        }
        let mut orders = Vec::new();
        let mut ticks = tokio::time::interval(self.link.keepalive);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.reset();
        loop {
            tokio::select! {
                count = self.orders.recv_many(&mut orders, BATCH) => {
                    if count == 0 {
                        return Ok(());
                    }
                    self.follow(connection, orders.drain(..)).await?;
                }
                () = self.inbox.changed() => self.hand_over()?,
                _ = ticks.tick() => self.check(connection).await?,
            }
        }
    }

    /// Follows orders in turn; those to subscribe that stand together, together.
    async fn follow(
        &self,
        connection: &mut MultiplexedConnection,
        orders: impl Iterator<Item = Order>,
    ) -> Result<(), String> {
        let mut adding = Vec::new();
        let mut parts = Vec::new();
        for order in orders {
            match order {
                Order::Add { channels, has_gap, part } => {
                    adding.extend(self.inbox.add(channels, has_gap));
                    parts.extend(part);
                }
                Order::Remove { channels, part } => {
                    self.add(connection, &mut adding, &mut parts).await?;
                    self.unsubscribe(connection, self.inbox.remove(channels)).await?;
                    part.into_iter().for_each(Part::done);
                }
                Order::Unanswered(channels) => {
                    self.add(connection, &mut adding, &mut parts).await?;
                    self.inbox.unanswered(&channels);
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

    /// Subscribes, and says why not if one of the channels is another server's. With any other error, the user's missing permission
    /// included, not all that is wanted is subscribed to, and so there is no connection that is worth the name.
    async fn subscribe(
        &self,
        connection: &mut MultiplexedConnection,
        channels: Vec<Channel>,
    ) -> Result<Option<String>, String> {
        let command = if self.is_sharded { "SSUBSCRIBE" } else { "SUBSCRIBE" };
        let mut refusal = None;
        for batch in channels.chunks(BATCH) {
            let answers = self.request(connection, command, batch).await?;
            let mut moved = Vec::new();
            for (channel, answer) in batch.iter().zip(answers) {
                let Value::ServerError(error) = answer else { continue };
                let reason = failure::text(&error);
                if error.code() != "MOVED" {
                    return Err(reason);
                }
                moved.push(channel.clone());
                refusal = Some(reason);
            }
            self.give_back(moved);
        }
        Ok(refusal)
    }

    async fn unsubscribe(&self, connection: &mut MultiplexedConnection, channels: Vec<Channel>) -> Result<(), String> {
        let command = if self.is_sharded { "SUNSUBSCRIBE" } else { "UNSUBSCRIBE" };
        for batch in channels.chunks(BATCH) {
            // When a slot moves meanwhile, the end of its subscriptions is told unasked as well, and taken for an answer: nobody knows
            // what the next answers belong to.
            let answers = self.request(connection, command, batch).await?;
            let error = answers.iter().find_map(|answer| match answer {
                Value::ServerError(error) => Some(failure::text(error)),
                _ => None,
            });
            error.map_or(Ok(()), Err)?;
        }
        Ok(())
    }

    /// One command for each channel: those of different slots do not go into one.
    async fn request(
        &self,
        connection: &mut MultiplexedConnection,
        command: &str,
        channels: &[Channel],
    ) -> Result<Vec<Value>, String> {
        let mut pipeline = Pipeline::with_capacity(channels.len());
        for channel in channels {
            pipeline.cmd(command).arg(self.link.names.full(channel.as_str()));
        }
        self.inbox.set_asking(true);
        let asking = connection.send_packed_commands(&pipeline, 0, pipeline.len());
        let answers = self.answer(CONFIRMATION, asking).await;
        self.inbox.set_asking(false);
        match answers {
            Some(Ok(answers)) => Ok(answers),
            Some(Err(error)) => Err(failure::of_connection(&error)),
            None => Err("subscriptions are not confirmed within 3 s".to_owned()),
        }
    }

    async fn check(&self, connection: &mut MultiplexedConnection) -> Result<(), String> {
        self.inbox.set_asking(true);
        let checking = self.answer(self.link.keepalive, self.link.check(&self.id.server, connection)).await;
        self.inbox.set_asking(false);
        checking.unwrap_or_else(|| Err("no answer to a keepalive".to_owned()))
    }

    /// What the server answers, unless it is silent for too long. An answer stands behind all messages that the server has for the
    /// connection: while they come, it is only behind, and to make the connection again would lose them.
    async fn answer<T>(&self, patience: Duration, asking: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(asking);
        loop {
            let before = self.inbox.pushes();
            if let Ok(answer) = tokio::time::timeout(patience, &mut asking).await {
                return Some(answer);
            }
            if self.inbox.pushes() == before {
                return None;
            }
        }
    }

    fn hand_over(&self) -> Result<(), String> {
        if let Some(reason) = self.inbox.lost() {
            return Err(reason);
        }
        self.give_back(Vec::new());
        Ok(())
    }

    /// Gives channels whose slots are elsewhere back to the hub.
    fn give_back(&self, channels: Vec<Channel>) {
        let is_refused = !channels.is_empty();
        let mut moved = self.inbox.moved();
        if is_refused {
            moved.extend(self.inbox.remove(channels));
        }
        if !moved.is_empty() {
            // The hub is gone when everything ends.
            let _ = self.hub.send(Request::Moved { lane: self.id.clone(), channels: moved, is_refused });
        }
    }
}
