//! Other nodes, and when they count as gone.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::NodeId;
use super::node::Node;

/// So many nodes that were taken for gone are remembered, in case they are not.
const REMEMBERED: usize = 256;

/// Who was heard of, and when.
#[derive(Debug, Default)]
pub(super) struct Peers(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    heard: HashMap<NodeId, Instant>,
    /// Those that have said that they go, and until when those who were there may come back elsewhere.
    leaving: HashMap<NodeId, Instant>,
    buried: VecDeque<NodeId>,
    /// Nobody can be heard of now.
    is_deaf: bool,
}

impl Peers {
    pub(super) fn len(&self) -> usize {
        self.known().heard.len()
    }

    pub(super) fn all(&self) -> Vec<NodeId> {
        self.known().heard.keys().copied().collect()
    }

    /// True when it had been taken for gone.
    fn heard_of(&self, node: NodeId) -> bool {
        let mut known = self.known();
        known.heard.insert(node, Instant::now());
        let buried = known.buried.iter().position(|buried| *buried == node);
        buried.is_some_and(|at| known.buried.remove(at).is_some())
    }

    fn forget(&self, node: NodeId) {
        let mut known = self.known();
        known.leaving.remove(&node);
        if known.heard.remove(&node).is_some() {
            known.buried.push_back(node);
            if known.buried.len() > REMEMBERED {
                known.buried.pop_front();
            }
        }
    }

    /// Those that were not heard of for so long, unless nobody could be.
    fn silent(&self, ttl: Duration) -> Vec<NodeId> {
        let known = self.known();
        let is_silent = |heard: &Instant| !known.is_deaf && heard.elapsed() > ttl;
        let left = known.leaving.iter().filter(|(_, until)| **until <= Instant::now()).map(|(node, _)| *node);
        known.heard.iter().filter(|(_, heard)| is_silent(heard)).map(|(node, _)| *node).chain(left).collect()
    }

    fn leaves(&self, node: NodeId, after: Duration) {
        self.known().leaving.insert(node, Instant::now() + after);
    }

    pub(super) fn pause(&self) {
        self.known().is_deaf = true;
    }

    /// Everybody has their time anew.
    pub(super) fn resume(&self) {
        let mut known = self.known();
        if std::mem::take(&mut known.is_deaf) {
            known.heard.values_mut().for_each(|heard| *heard = Instant::now());
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

    pub(super) fn bury_the_dead(&self) {
        for node in self.peers.silent(self.config.node_ttl) {
            tracing::info!(%node, ttl = self.config.node_ttl.as_secs_f32(), "a node was not heard of and counts as gone");
            self.bury(node);
        }
    }
}
