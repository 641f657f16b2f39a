//! What comes from other nodes, and to whom it goes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;

use super::lost::Loss;
use super::node::Node;
use super::status::{Way, count};
use super::wire::{Body, Control, Frame, Placed, Unreadable};
use super::{Channel, MessageId, Outgoing, Place, Sink};
use crate::connection::catch_up_everywhere;
use crate::groups::GroupInner;
use crate::sender::ConnectionId;

/// How much later a message may come by the subscription than a publisher has its answer.
const ON_ITS_WAY: Duration = Duration::from_millis(250);

/// What a backplane reports to: it does not keep the node.
pub(super) struct Listener(Weak<Node>);

impl Listener {
    pub(super) fn new(node: &Arc<Node>) -> Self {
        Self(Arc::downgrade(node))
    }
}

impl Sink for Listener {
    fn message(&self, channel: &str, payload: Bytes, place: Option<Place>) {
        let Some(node) = self.0.upgrade() else { return };
        count(&node.status.received);
        match Frame::read(payload) {
            Ok(frame) => node.take(channel, frame, place),
            Err(why) => complain(channel, why),
        }
    }

    fn connected(&self) {
        let Some(node) = self.0.upgrade() else { return };
        if node.reached.set(()).is_ok() {
            node.status.came_back(Way::Subscriptions);
            tracing::info!(engine = node.backplane.name(), node = %node.id, "the backplane is connected");
        } else {
            node.came_back(Way::Subscriptions);
        }
        node.peers.resume();
        node.sync_owed();
    }

    fn disconnected(&self, reason: &str) {
        let Some(node) = self.0.upgrade() else { return };
        node.peers.pause();
        node.went_away(Way::Subscriptions, reason);
    }

    fn interrupted(&self, channels: &[Channel]) {
        let Some(node) = self.0.upgrade() else { return };
        if channels.iter().any(|channel| channel.as_str() == Channel::ALL) {
            node.ask_for_revocations();
        }
        let groups = channels.iter().filter_map(|channel| node.channels.group(channel.as_str()));
        node.catch_up_on(groups.collect());
    }
}

/// Once: a node that is newer than this one may say much.
fn complain(channel: &str, why: Unreadable) {
    static HAS: AtomicBool = AtomicBool::new(false);
    if !HAS.swap(true, Ordering::Relaxed) {
        tracing::warn!(channel, ?why, "ignored a message of another node that this version cannot read");
    }
}

/// Once, for the first group: it is seldom the only one.
fn warn_of_settings(channel: &str) {
    static HAS: AtomicBool = AtomicBool::new(false);
    if !HAS.swap(true, Ordering::Relaxed) {
        tracing::error!(channel, "a group has a history on one node and none on another: they need the same settings");
    }
}

impl Node {
    pub(super) fn take(self: &Arc<Self>, channel: &str, frame: Frame, place: Option<Place>) {
        let Frame { id, body } = frame;
        if let Some(place) = place {
            let is_own = id.node == self.id;
            if let (Some(placed), Some(group)) = (body.placed(), self.channels.group(channel)) {
                if !group.has_history() {
                    Self::take_without_place(channel, &group, id, placed);
                } else if group.arrive(place, placed, is_own).is_gap() {
                    self.sync(group);
                } else if is_own {
                    self.has_arrived(id.number);
                }
            }
            return;
        }
        if id.node == self.id {
            return;
        }
        // Of a message to a group nobody looks at the time.
        if !matches!(body, Body::Group(_) | Body::Control(Control::Gone { .. })) {
            self.heard_of(id.node);
        }
        if self.is_double(&body, id, channel) {
            return;
        }
        match body {
            Body::Group(posted) => {
                if let Some(group) = self.channels.group(channel) {
                    if group.has_history() {
                        // It has no place among those that are kept.
                        warn_of_settings(channel);
                        group.lost(Loss::Kept);
                    } else {
                        group.receive(id, posted);
                    }
                }
            }
            Body::Everybody(posted) => {
                if let Some(groups) = self.groups.upgrade() {
                    groups.deliver_to_all(&posted.message, posted.is_json);
                }
            }
            Body::User(user, posted) => {
                catch_up_everywhere();
                for sender in self.users.of(&user) {
                    sender.offer(posted.message.clone());
                }
            }
            Body::Connection(connection, posted) => {
                if let Some(sender) = self.connections.find(ConnectionId::new(connection)) {
                    catch_up_everywhere();
                    sender.offer(posted.message);
                }
            }
            Body::Presence(presence) => {
                if let Some(group) = self.channels.group(channel) {
                    group.hear(id, presence);
                }
            }
            Body::Control(control) => self.obey(channel, id, control),
        }
    }

    /// A message that another node had kept, for a group that keeps nothing here.
    fn take_without_place(channel: &str, group: &Arc<GroupInner>, id: MessageId, placed: Placed) {
        warn_of_settings(channel);
        match placed {
            Placed::Message(posted) => group.receive(id, posted),
            Placed::Loss => group.lost(Loss::Placeless),
        }
    }

    /// Whether it came before, and is not to be done twice. Groups look for themselves, each in its own channel.
    fn is_double(&self, body: &Body, id: MessageId, channel: &str) -> bool {
        match body {
            Body::Group(_) | Body::Presence(_) | Body::Control(Control::Lost(_)) => false,
            Body::Everybody(_) | Body::User(..) | Body::Connection(..) | Body::Control(_) => {
                self.peers.is_double(id, channel == Channel::ALL)
            }
        }
    }

    fn obey(self: &Arc<Self>, channel: &str, id: MessageId, control: Control) {
        match control {
            Control::Here => {}
            Control::Gone { after } => self.leaves(id.node, Duration::from_millis(after)),
            Control::Lost(missing) => {
                let all = channel == Channel::ALL;
                let groups = if all { self.channels.groups() } else { Vec::from_iter(self.channels.group(channel)) };
                for group in groups {
                    if missing.goodbye {
                        // From which group is not known: whoever is there still is told anew.
                        group.bury(id.node);
                        group.ask_who_is_there();
                    }
                    group.lost(missing.messages);
                }
            }
            Control::CloseUser { user, code, reason, ago } => self.revoke(&user, code, &reason, ago),
            Control::Missed => self.tell_revocations(id.node),
            Control::Ask { question, group, list } => self.answer(id.node, question, &group, list),
            Control::Answer { question, members, present } => {
                self.questions.answered(question, id.node, members, present);
            }
        }
    }

    /// A message of this node's own has its place: members get it now, unless something before it is still on its way. That
    /// comes by the subscription; while that is broken, or silent although it seems to stand, it is read.
    pub(super) fn deliver_own(self: &Arc<Self>, message: &Outgoing, place: Place) {
        let Some(group) = self.channels.group(message.channel.as_str()) else { return };
        let Ok(Frame { body, .. }) = Frame::read(message.payload.clone()) else { return };
        let Some(placed) = body.placed() else { return };
        if !group.arrive(place, placed, true).is_gap() {
            return;
        }
        if self.is_away(Way::Subscriptions) {
            self.sync(group);
        } else if group.begin_to_wait() {
            let node = Arc::clone(self);
            self.spawn(async move {
                sleep(ON_ITS_WAY).await;
                if group.is_still_behind() {
                    node.sync(group);
                }
            });
        }
    }

    /// The engine is away: members of this node get the message in this node's own order.
    pub(super) fn deliver_here(&self, message: &Outgoing) {
        let Some(group) = self.channels.group(message.channel.as_str()) else { return };
        if let Ok(Frame { body: Body::Group(posted), .. }) = Frame::read(message.payload.clone()) {
            group.go_on_alone(posted);
        }
    }
}
