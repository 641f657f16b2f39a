//! A node whose engine goes on step by step, in models: whoever calls decides what happens next.
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::hub::{Happening, Hub};
use crate::History;
use crate::backplane::node::Node;
use crate::backplane::outbox::{Item, Sort};
use crate::backplane::wire::{Body, Frame, Posted, Unsent};
use crate::backplane::{
    Backplane, BackplaneConfig, BackplaneError, BoxFuture, Channel, Events, Keep, MessageId, NodeId, Outgoing, Page,
    Place, Prefix,
};
use crate::groups::{GroupInner, Groups, Position};
use crate::sync::Mutex;

/// The other node, and what the hub knows this one by.
const OTHER: NodeId = NodeId::new(2);
const HERE: u64 = 1;

/// What becomes of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    Taken,
    /// It is taken, and the answer does not come.
    AnswerLost,
    Failed,
}

/// An app's side of its backplane, and the engine's.
pub(crate) struct ModelNode {
    node: Arc<Node>,
    channel: Channel,
    keep: Keep,
    hub: Mutex<Hub>,
    heard: Mutex<UnboundedReceiver<Happening>>,
    /// What is being published, and whether the engine was away meanwhile.
    batch: Mutex<(Vec<Item>, bool)>,
    said: Mutex<u64>,
}

impl ModelNode {
    /// For one group, of this configuration.
    pub(crate) fn join(groups: &Groups, group: &str, history: &History) -> Self {
        let node = groups.join_nodes(Arc::new(Nothing), BackplaneConfig::new(), Arc::default());
        // Nobody waits for subscriptions.
        node.started.set(Err(BackplaneError::unavailable("a model"))).unwrap();
        let (tell, heard) = unbounded_channel();
        let channel = Channel::group(group);
        let mut hub = Hub::default();
        hub.add(HERE, Prefix::default(), tell, true);
        hub.want(HERE, std::slice::from_ref(&channel));
        hub.subscribe(HERE, std::slice::from_ref(&channel));
        let keep = history.keep();
        let (hub, heard) = (Mutex::new(hub), Mutex::new(heard));
        Self { node, channel, keep, hub, heard, batch: Mutex::default(), said: Mutex::new(0) }
    }

    /// A message of another node.
    pub(crate) fn other_says(&self, text: &str) {
        let number = {
            let mut said = self.said.lock().unwrap();
            *said += 1;
            *said
        };
        let id = MessageId { node: OTHER, number };
        let payload = Unsent::new(&Body::Group(Posted::new(text.into()))).numbered(id);
        self.hub.lock().unwrap().publish(&Prefix::default(), &self.outgoing(id, payload));
    }

    /// What waits is published, or what is left of it; as `publishing.rs` does it.
    pub(crate) fn publish(&self, fate: Fate) {
        let mut batch = self.batch.lock().unwrap();
        let (items, was_away) = &mut *batch;
        if items.is_empty() {
            *items = self.node.outbox.take(Sort::Kept);
        }
        if items.is_empty() {
            return;
        }
        let places: Vec<_> = match fate {
            Fate::Failed => Vec::new(),
            Fate::Taken | Fate::AnswerLost => {
                let mut hub = self.hub.lock().unwrap();
                items.iter().map(|item| hub.publish(&Prefix::default(), &item.message)).collect()
            }
        };
        if !matches!(fate, Fate::Taken) {
            *was_away = true;
            self.node.outbox.go_away(items, |message| self.node.deliver_here(message));
            return;
        }
        for (item, place) in items.drain(..).zip(places) {
            if let Some(place) = place {
                self.node.deliver_own(&item.message, place);
            }
            self.node.outbox.settle(item, Ok(()));
        }
        if std::mem::take(was_away) {
            if self.node.outbox.come_back() {
                self.synchronise();
            } else {
                *was_away = true;
            }
        }
    }

    /// The next message comes by the subscription. False when there is none.
    pub(crate) fn hear(&self) -> bool {
        let Ok(happening) = self.heard.lock().unwrap().try_recv() else { return false };
        if let Happening::Message(channel, payload, place) = happening {
            self.node.take(channel.as_str(), Frame::read(payload).unwrap(), place);
        }
        if self.group().is_some_and(|group| group.is_sync_owed()) {
            self.synchronise();
        }
        true
    }

    /// All of it is published, heard and read.
    pub(crate) fn finish(&self) {
        for _ in 0..4 {
            self.publish(Fate::Taken);
        }
        while self.hear() {}
        self.synchronise();
    }

    /// As `sync.rs` does it.
    fn synchronise(&self) {
        let Some(group) = self.group().filter(|_| !self.node.is_apart()) else { return };
        let mut page =
            self.hub.lock().unwrap().read(&Prefix::default(), &self.channel, self.keep, group.known_position());
        let missed = self.node.readable(std::mem::take(&mut page.messages));
        group.catch_up_with(&page, missed);
        if !self.node.is_apart() {
            group.has_seen_the_engine();
        }
    }

    fn group(&self) -> Option<Arc<GroupInner>> {
        self.node.channels.group(self.channel.as_str())
    }

    fn outgoing(&self, id: MessageId, payload: Bytes) -> Outgoing {
        Outgoing::new(self.channel.clone(), id, payload).kept(self.keep)
    }
}

/// Nobody asks it.
struct Nothing;

impl Backplane for Nothing {
    fn name(&self) -> &'static str {
        "model"
    }

    fn start(&self, _node: NodeId, _events: Events) -> BoxFuture<'_, Result<(), BackplaneError>> {
        Box::pin(std::future::pending())
    }

    fn subscribe<'a>(&'a self, _channels: &'a [Channel]) -> BoxFuture<'a, Result<(), BackplaneError>> {
        Box::pin(std::future::pending())
    }

    fn unsubscribe<'a>(&'a self, _channels: &'a [Channel]) -> BoxFuture<'a, Result<(), BackplaneError>> {
        Box::pin(std::future::pending())
    }

    fn publish<'a>(&'a self, _messages: &'a [Outgoing]) -> BoxFuture<'a, Vec<Result<Option<Place>, BackplaneError>>> {
        Box::pin(std::future::pending())
    }

    fn read<'a>(
        &'a self,
        _channel: &'a Channel,
        _keep: Keep,
        _since: Option<Position>,
    ) -> BoxFuture<'a, Result<Page, BackplaneError>> {
        Box::pin(std::future::pending())
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }
}
