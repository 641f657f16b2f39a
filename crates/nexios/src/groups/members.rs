//! Who is in a group.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;

use super::group::GroupInner;
use crate::connection::{Enqueued, Link};
use crate::sender::ConnectionId;

/// The members in a list, for sending in one sweep, with an index for leaving in constant time.
#[derive(Debug, Default)]
pub(super) struct Members {
    list: Vec<Arc<Link>>,
    index: HashMap<ConnectionId, usize>,
}

/// A connection's place in one group. It keeps the group alive.
#[derive(Debug)]
pub(crate) struct Membership {
    pub(super) group: Arc<GroupInner>,
}

impl Membership {
    /// The connection is closing.
    pub(crate) fn end(&self, id: ConnectionId) {
        self.group.remove(id);
    }
}

impl Members {
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn contains(&self, id: ConnectionId) -> bool {
        self.index.contains_key(&id)
    }

    pub(super) fn insert(&mut self, link: Arc<Link>) {
        self.index.insert(link.id(), self.list.len());
        self.list.push(link);
    }

    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Arc<Link>> {
        let at = self.index.remove(&id)?;
        let link = self.list.swap_remove(at);
        if let Some(moved) = self.list.get(at) {
            self.index.insert(moved.id(), at);
        }
        Some(link)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Link>> {
        self.list.iter()
    }

    /// Queues a frame for every member but one; what is left to do for them is the caller's, after its lock.
    pub(super) fn enqueue(&self, frame: &Bytes, except: Option<ConnectionId>) -> Enqueuing {
        let mut after = Enqueuing { wakers: Vec::with_capacity(self.list.len()), slow: Vec::new() };
        for link in &self.list {
            if Some(link.id()) != except && link.enqueue_shared(frame, &mut after.wakers) == Enqueued::Full {
                after.slow.push(Arc::clone(link));
            }
        }
        after
    }
}

/// What a sweep over the members leaves to do.
#[derive(Debug)]
pub(super) struct Enqueuing {
    wakers: Vec<Waker>,
    slow: Vec<Arc<Link>>,
}

impl Enqueuing {
    /// Wakes the tasks that have something to write, and closes those whose peers do not read.
    pub(super) fn finish(self) {
        for waker in self.wakers {
            waker.wake();
        }
        for link in self.slow {
            link.close_slow_consumer();
        }
    }
}
