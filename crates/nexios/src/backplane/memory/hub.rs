//! What stands between the nodes: who has subscribed to what, and the streams.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use super::stream::Stream;
use crate::backplane::{Channel, Keep, Outgoing, Page, Place, Prefix};
use crate::groups::Position;

/// All of it stands under one lock, so that whatever happens has one order.
#[derive(Default)]
pub(super) struct Hub {
    nodes: BTreeMap<u64, Node>,
    streams: HashMap<(Prefix, Channel), Stream>,
    /// How many streams there must be before those whose time is over are looked for.
    crowded: usize,
}

/// What a node is told.
#[derive(Debug)]
pub(super) enum Happening {
    Message(Channel, Bytes, Option<Place>),
    Connected,
    Disconnected(&'static str),
    Interrupted(Vec<Channel>),
}

struct Node {
    prefix: Prefix,
    tell: UnboundedSender<Happening>,
    is_connected: bool,
    wanted: HashSet<Channel>,
    /// Those of the wanted that it gets messages of.
    subscribed: HashSet<Channel>,
}

impl Hub {
    pub(super) fn add(&mut self, number: u64, prefix: Prefix, tell: UnboundedSender<Happening>, is_connected: bool) {
        let node = Node { prefix, tell, is_connected, wanted: HashSet::new(), subscribed: HashSet::new() };
        if is_connected {
            node.tell(Happening::Connected);
        }
        self.nodes.insert(number, node);
    }

    pub(super) fn remove(&mut self, number: u64) {
        self.nodes.remove(&number);
    }

    pub(super) fn disconnect(&mut self, number: u64, reason: &'static str) {
        if let Some(node) = self.nodes.get_mut(&number).filter(|node| node.is_connected) {
            node.disconnect(reason);
        }
    }

    pub(super) fn reconnect(&mut self, number: u64) {
        if let Some(node) = self.nodes.get_mut(&number).filter(|node| !node.is_connected) {
            node.reconnect();
        }
    }

    pub(super) fn restart_empty(&mut self) {
        self.streams.clear();
        for node in self.nodes.values_mut().filter(|node| node.is_connected) {
            node.disconnect("restarted");
            node.reconnect();
        }
    }

    pub(super) fn want(&mut self, number: u64, channels: &[Channel]) {
        if let Some(node) = self.nodes.get_mut(&number) {
            node.wanted.extend(channels.iter().cloned());
        }
    }

    /// Whether that can be now.
    pub(super) fn subscribe(&mut self, number: u64, channels: &[Channel]) -> bool {
        let Some(node) = self.nodes.get_mut(&number).filter(|node| node.is_connected) else { return false };
        // Somebody may have ended the subscription while the call was held up.
        let wanted = channels.iter().filter(|channel| node.wanted.contains(*channel));
        node.subscribed.extend(wanted.cloned());
        true
    }

    pub(super) fn unsubscribe(&mut self, number: u64, channels: &[Channel]) {
        if let Some(node) = self.nodes.get_mut(&number) {
            for channel in channels {
                node.wanted.remove(channel);
                node.subscribed.remove(channel);
            }
        }
    }

    /// The place that the message has, or had before; `None` for one that is not kept, or is a double of one that is no
    /// longer kept.
    pub(super) fn publish(&mut self, prefix: &Prefix, message: &Outgoing) -> Option<Place> {
        let Some(keep) = message.keep else {
            self.deliver(prefix, message, None);
            return None;
        };
        let stream = self.stream(prefix, &message.channel, keep);
        if stream.has_seen(message.id) {
            return stream.place_of(message.id);
        }
        let place = stream.append(message.id, message.payload.clone(), keep);
        self.deliver(prefix, message, Some(place));
        Some(place)
    }

    pub(super) fn read(&mut self, prefix: &Prefix, channel: &Channel, keep: Keep, since: Option<Position>) -> Page {
        self.stream(prefix, channel, keep).read(since)
    }

    fn deliver(&mut self, prefix: &Prefix, message: &Outgoing, place: Option<Place>) {
        for node in self.nodes.values() {
            if node.prefix == *prefix && node.subscribed.contains(&message.channel) {
                node.tell(Happening::Message(message.channel.clone(), message.payload.clone(), place));
            }
        }
    }

    /// The channel's stream, without what is too much or too old; a new one when there is none, or its time is over.
    fn stream(&mut self, prefix: &Prefix, channel: &Channel, keep: Keep) -> &mut Stream {
        let now = Instant::now();
        if self.streams.len() > self.crowded {
            self.streams.retain(|_, stream| !stream.is_over(now));
            self.crowded = 64.max(2 * self.streams.len());
        }
        let stream = self.streams.entry((prefix.clone(), channel.clone())).or_insert_with(|| Stream::begin(now));
        if stream.is_over(now) {
            *stream = Stream::begin(now);
        }
        stream.trim(keep, now);
        stream
    }
}

impl Node {
    fn tell(&self, happening: Happening) {
        // Fails when the node's runtime has ended without a word; then there is nobody to tell.
        let _ = self.tell.send(happening);
    }

    fn disconnect(&mut self, reason: &'static str) {
        self.is_connected = false;
        self.subscribed.clear();
        self.tell(Happening::Disconnected(reason));
    }

    fn reconnect(&mut self) {
        self.is_connected = true;
        self.subscribed.clone_from(&self.wanted);
        self.tell(Happening::Interrupted(self.wanted.iter().cloned().collect()));
        self.tell(Happening::Connected);
    }
}
