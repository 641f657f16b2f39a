//! Other nodes, and when they count as gone.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::node::Node;
use super::{MessageId, NodeId};
use crate::deadline::deadline_after;
use crate::groups::GroupInner;

/// So many nodes that were taken for gone are remembered, in case they are not.
const REMEMBERED: usize = 256;

/// How much longer than the engine nodes may take to tell who is there.
const PATIENCE: Duration = Duration::from_secs(1);

/// Who was heard of, and when.
#[derive(Debug, Default)]
pub(super) struct Peers(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    heard: HashMap<NodeId, Peer>,
    /// Those that have said that they go, and until when those who were there may come back elsewhere.
    leaving: HashMap<NodeId, Instant>,
    buried: VecDeque<(NodeId, Last)>,
    /// Nobody can be heard of now.
    is_deaf: bool,
}

#[derive(Debug)]
struct Peer {
    /// From when on its silence counts.
    at: Instant,
    said_something: Instant,
    last: Last,
}

/// The last numbers that came on the channel of all nodes, and on this node's: what is published again is no news.
#[derive(Clone, Copy, Debug, Default)]
struct Last {
    to_all: u64,
    to_one: u64,
}

impl Peers {
    pub(super) fn len(&self) -> usize {
        self.known().heard.len()
    }

    /// Who can be asked: those that go do not answer any more.
    pub(super) fn all(&self) -> Vec<NodeId> {
        let known = self.known();
        known.heard.keys().filter(|node| !known.leaving.contains_key(node)).copied().collect()
    }

    fn who_said_something(&self, since: Instant) -> HashSet<NodeId> {
        let known = self.known();
        known.heard.iter().filter(|(_, peer)| peer.said_something > since).map(|(node, _)| *node).collect()
    }

    pub(super) fn knows(&self, node: NodeId) -> bool {
        self.known().heard.contains_key(&node)
    }

    /// True when it had been taken for gone.
    fn heard_of(&self, node: NodeId) -> bool {
        let mut known = self.known();
        let now = Instant::now();
        if let Some(peer) = known.heard.get_mut(&node) {
            (peer.at, peer.said_something) = (now, now);
            return false;
        }
        let buried = known.buried.iter().position(|(buried, _)| *buried == node);
        let last = buried.and_then(|at| known.buried.remove(at)).map(|(_, last)| last);
        known.heard.insert(node, Peer { at: now, said_something: now, last: last.unwrap_or_default() });
        last.is_some()
    }

    /// Whether a message of a node that was heard of came before, on the channel of all nodes or on this node's.
    pub(super) fn is_double(&self, id: MessageId, is_to_all: bool) -> bool {
        let mut known = self.known();
        let Some(Peer { last, .. }) = known.heard.get_mut(&id.node) else { return false };
        let last = if is_to_all { &mut last.to_all } else { &mut last.to_one };
        id.number <= std::mem::replace(last, id.number.max(*last))
    }

    fn forget(&self, node: NodeId) {
        let mut known = self.known();
        known.leaving.remove(&node);
        if let Some(peer) = known.heard.remove(&node) {
            known.buried.push_back((node, peer.last));
            if known.buried.len() > REMEMBERED {
                known.buried.pop_front();
            }
        }
    }

    /// Those that were not heard of for so long, unless nobody could be.
    fn silent(&self, ttl: Duration) -> Vec<NodeId> {
        let known = self.known();
        let is_silent = |heard: &Peer| !known.is_deaf && heard.at.elapsed() > ttl;
        let left = known.leaving.iter().filter(|(_, until)| **until <= Instant::now()).map(|(node, _)| *node);
        known.heard.iter().filter(|(_, heard)| is_silent(heard)).map(|(node, _)| *node).chain(left).collect()
    }

    fn leaves(&self, node: NodeId, after: Duration) {
        self.known().leaving.insert(node, deadline_after(Instant::now(), after));
    }

    pub(super) fn pause(&self) {
        self.known().is_deaf = true;
    }

    /// Everybody has their time anew.
    pub(super) fn resume(&self) {
        let mut known = self.known();
        if std::mem::take(&mut known.is_deaf) {
            known.heard.values_mut().for_each(|heard| heard.at = Instant::now());
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    pub(super) fn heard_of(&self, node: NodeId) {
        if self.peers.heard_of(node) {
            tracing::info!(%node, "a node that had counted as gone is there");
            // What it told was forgotten, and it does not know that.
            for group in self.channels.groups() {
                group.ask_who_is_there();
            }
        }
    }

    /// A node goes in order: its clients are about to come back elsewhere.
    pub(super) fn leaves(&self, node: NodeId, after: Duration) {
        if after.is_zero() {
            self.bury(node);
        } else {
            // Nobody waits for its answers.
            self.questions.gone(node);
            // Not longer than for one that says nothing.
            self.peers.leaves(node, after.min(self.config.node_ttl));
        }
    }

    /// A node is gone, and with it whoever was there.
    pub(super) fn bury(&self, node: NodeId) {
        self.peers.forget(node);
        self.questions.gone(node);
        for group in self.channels.groups() {
            group.bury(node);
        }
    }

    /// Whose subscriptions broke does not know who has left meanwhile. Nodes that have anybody in these groups tell it when
    /// they are asked, or when they are back themselves; what is known of others that are there is forgotten.
    pub(super) fn bury_those_who_do_not_answer(self: &Arc<Self>, groups: Vec<Weak<GroupInner>>) {
        if groups.is_empty() {
            return;
        }
        let (node, asked, patience) = (Arc::downgrade(self), Instant::now(), self.config.timeout + PATIENCE);
        self.spawn(async move {
            // Only a time in which everybody could be heard says something.
            let could_hear = |node: &Self| (!node.is_silent()).then(|| node.status.outages());
            let mut is_over = false;
            while !is_over {
                let Some((there, before)) =
                    node.upgrade().map(|node| (node.peers.who_said_something(asked), could_hear(&node)))
                else {
                    return;
                };
                sleep(patience).await;
                let Some(node) = node.upgrade() else { return };
                if before.is_some() && before == could_hear(&node) {
                    let groups = groups.iter().filter_map(Weak::upgrade);
                    is_over = groups.filter(|group| group.bury_doubted(&there)).count() == 0;
                }
            }
        });
    }

    pub(super) fn bury_the_dead(&self) {
        for node in self.peers.silent(self.config.node_ttl) {
            tracing::info!(%node, ttl = self.config.node_ttl.as_secs_f32(), "a node was not heard of and counts as gone");
            self.bury(node);
        }
    }
}
