//! Who is in a group.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::Waker;

use super::batch::Batch;
use super::group::GroupInner;
use crate::connection::{Coding, Enqueued, Link, Publication};
use crate::sender::ConnectionId;

/// The members in a list, for sending in one sweep, with an index for leaving in constant time.
#[derive(Debug, Default)]
pub(super) struct Members {
    list: Vec<Arc<Link>>,
    index: HashMap<ConnectionId, usize>,
    /// How members compress, and how many do so.
    codings: Vec<(Coding, usize)>,
    batch: Batch,
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
        if let Some(coding) = link.any_coding() {
            match self.codings.iter_mut().find(|(of, _)| *of == coding) {
                Some((_, count)) => *count += 1,
                None => self.codings.push((coding, 1)),
            }
        }
        self.index.insert(link.id(), self.list.len());
        self.list.push(link);
    }

    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Arc<Link>> {
        let at = self.index.remove(&id)?;
        let link = self.list.swap_remove(at);
        if let Some(moved) = self.list.get(at) {
            self.index.insert(moved.id(), at);
        }
        if let Some(coding) = link.any_coding()
            && let Some(at) = self.codings.iter().position(|(of, _)| *of == coding)
        {
            self.codings[at].1 -= 1;
            if self.codings[at].1 == 0 {
                self.codings.swap_remove(at);
            }
        }
        Some(link)
    }

    /// How the members compress; few groups have more than one way.
    pub(super) fn codings(&self) -> Vec<Coding> {
        self.codings.iter().map(|(coding, _)| *coding).collect()
    }

    pub(super) fn find(&self, id: ConnectionId) -> Option<&Arc<Link>> {
        self.index.get(&id).and_then(|&at| self.list.get(at))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Link>> {
        self.list.iter()
    }

    /// Takes a message for every member but one. What is left to do is the caller's, after its lock.
    pub(super) fn publish(&mut self, publication: Publication, except: Option<ConnectionId>) -> Published {
        let is_first = self.batch.is_empty();
        self.batch.push(publication, except);
        if self.batch.is_full() || !Batch::is_worth(self.list.len()) {
            return Published::Distributed(self.distribute());
        }
        if is_first { Published::PutOff } else { Published::Joined }
    }

    /// Queues what was put off for every member.
    pub(super) fn distribute(&mut self) -> Distributed {
        let mut after = Distributed::default();
        if self.batch.is_empty() {
            return after;
        }
        let parts = std::mem::take(&mut self.batch).into_parts();
        after.wakers.reserve(self.list.len());
        for link in &self.list {
            // One that has no room for a part is closed, and needs no more of them.
            let _ = parts.of(link.id()).all(|publication| after.enqueue(link, publication));
        }
        after
    }
}

/// What became of a message to a group.
#[derive(Debug)]
pub(super) enum Published {
    /// It is the first that waits for the end of the tick.
    PutOff,
    /// It waits with others.
    Joined,
    Distributed(Distributed),
}

/// What a sweep over the members leaves to do.
#[derive(Debug, Default)]
#[must_use]
pub(super) struct Distributed {
    wakers: Vec<Waker>,
    slow: Vec<Arc<Link>>,
}

impl Distributed {
    /// Queues a message for a member; false when that has no room for it.
    #[inline]
    pub(super) fn enqueue(&mut self, link: &Arc<Link>, publication: &Publication) -> bool {
        let has_room = link.enqueue_shared(publication, &mut self.wakers) != Enqueued::Full;
        if !has_room {
            self.slow.push(Arc::clone(link));
        }
        has_room
    }

    pub(super) fn append(&mut self, other: Self) {
        self.wakers.extend(other.wakers);
        self.slow.extend(other.slow);
    }

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
