//! Every connection of an app, so that it can be counted, closed and waited for.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use nexios_proto::CloseFrame;
use tokio::sync::Notify;

use super::link::Link;
use super::tick;
use crate::disconnect::Cause;
use crate::sender::{ConnectionId, Sender};
use crate::server::{Address, Admission, Seat};
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// Connections are spread over this many locks.
const SHARDS: usize = 16;

type Shard = HashMap<ConnectionId, Entry>;

#[derive(Debug)]
struct Entry {
    link: Arc<Link>,
    /// For which it is counted.
    address: Address,
}

#[derive(Debug, Default)]
pub(crate) struct Registry {
    admission: Arc<Admission>,
    shards: [Mutex<Shard>; SHARDS],
    count: AtomicUsize,
    /// Connection tasks: a handler may go on after its socket has closed.
    tasks: AtomicUsize,
    /// One of the two counts is 0.
    empty: Notify,
}

impl Registry {
    /// Who gets in.
    pub(crate) fn admission(&self) -> &Arc<Admission> {
        &self.admission
    }

    pub(super) fn insert(&self, link: &Arc<Link>, seat: Seat) {
        let id = link.id();
        self.count.fetch_add(1, Ordering::AcqRel);
        self.tasks.fetch_add(1, Ordering::AcqRel);
        let address = seat.into_address();
        self.shard(id).insert(id, Entry { link: Arc::clone(link), address });
    }

    /// The socket has closed: its seat and its address's share are free.
    pub(super) fn remove(&self, id: ConnectionId) {
        let entry = self.shard(id).remove(&id);
        if let Some(entry) = &entry {
            self.admission.leave(entry.address);
        }
        drop(entry);
        if self.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.empty.notify_waiters();
        }
    }

    /// Handlers that have not ended.
    pub(crate) fn running(&self) -> usize {
        self.tasks.load(Ordering::Acquire)
    }

    /// The handler has ended as well.
    pub(super) fn task_ended(&self) {
        if self.tasks.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.empty.notify_waiters();
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Asks these connections to close because the server goes down.
    pub(crate) fn close(links: &[Arc<Link>], frame: impl Fn() -> CloseFrame) {
        // What was published before arrives before.
        tick::catch_up_everywhere();
        for link in links {
            link.request_close(frame(), Cause::Shutdown);
        }
    }

    /// Those that nobody has asked to close.
    pub(crate) fn not_closing(&self) -> Vec<Arc<Link>> {
        let mut all = self.all();
        all.retain(|link| link.may_be_closed());
        all
    }

    /// Those that there are now.
    pub(crate) fn all(&self) -> Vec<Arc<Link>> {
        let mut all = Vec::with_capacity(self.len());
        for shard in &self.shards {
            all.extend(lock(shard).values().map(|entry| Arc::clone(&entry.link)));
        }
        all
    }

    /// The connection with this number.
    pub(crate) fn find(&self, id: ConnectionId) -> Option<Sender> {
        let link = self.shard(id).get(&id).map(|entry| Arc::clone(&entry.link))?;
        Some(Sender::new(link))
    }

    /// The same, and the address that it is counted for.
    pub(crate) fn find_with_address(&self, id: ConnectionId) -> Option<(Sender, Address)> {
        let (link, address) = self.shard(id).get(&id).map(|entry| (Arc::clone(&entry.link), entry.address))?;
        Some((Sender::new(link), address))
    }

    /// Waits until no socket is left; a handler may still run.
    pub(crate) async fn wait_empty(&self) {
        self.wait_for_none(&self.count).await;
    }

    /// Waits until no handler is left.
    pub(crate) async fn wait_finished(&self) {
        self.wait_for_none(&self.tasks).await;
    }

    async fn wait_for_none(&self, count: &AtomicUsize) {
        loop {
            let empty = self.empty.notified();
            if count.load(Ordering::Acquire) == 0 {
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
