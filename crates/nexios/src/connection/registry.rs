//! Every connection of an app, so that it can be counted, closed and waited for.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use nexios_proto::{CloseCode, CloseFrame};
use tokio::sync::Notify;

use super::link::Link;
use super::tick;
use crate::disconnect::Cause;
use crate::sender::ConnectionId;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// Connections are spread over this many locks.
const SHARDS: usize = 16;

type Shard = HashMap<ConnectionId, Arc<Link>>;

#[derive(Debug, Default)]
pub(crate) struct Registry {
    shards: [Mutex<Shard>; SHARDS],
    count: AtomicUsize,
    empty: Notify,
}

impl Registry {
    pub(super) fn insert(&self, link: &Arc<Link>) {
        let id = link.id();
        self.count.fetch_add(1, Ordering::AcqRel);
        self.shard(id).insert(id, Arc::clone(link));
    }

    pub(super) fn remove(&self, id: ConnectionId) {
        let link = self.shard(id).remove(&id);
        drop(link);
        if self.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.empty.notify_waiters();
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Asks every connection to close because the server goes down.
    pub(crate) fn close_all(&self, frame: &CloseFrame) {
        // What was published before arrives before.
        tick::catch_up_everywhere();
        for link in self.all() {
            link.request_close(frame.clone(), Cause::Shutdown);
        }
    }

    /// Those that there are now.
    pub(crate) fn all(&self) -> Vec<Arc<Link>> {
        let mut all = Vec::with_capacity(self.len());
        for shard in &self.shards {
            all.extend(lock(shard).values().cloned());
        }
        all
    }

    /// The Close frame of a server that goes down (RFC 6455 §7.4.1).
    pub(crate) fn going_away() -> CloseFrame {
        CloseFrame::new(CloseCode::GOING_AWAY, "server is shutting down")
    }

    /// Waits until no connection is left.
    pub(crate) async fn wait_empty(&self) {
        loop {
            let empty = self.empty.notified();
            if self.len() == 0 {
                return;
            }
            empty.await;
        }
    }

    fn shard(&self, id: ConnectionId) -> MutexGuard<'_, Shard> {
        lock(&self.shards[usize::try_from(id.as_u64() % SHARDS as u64).unwrap_or(0)])
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
