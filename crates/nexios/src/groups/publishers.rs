//! Whose publications the histories keep: nobody spends another's share.
//!
//! What is kept is counted for its publisher, the user or else the connection, and for the address behind it. A publisher of
//! too much loses its own oldest, in those of its groups first that keep most of it; an address loses what those of its
//! publishers have that have most. Each publisher has counts of its own: there is no list that all publishers lock.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic;
use std::sync::{Arc, PoisonError, Weak};

use super::GroupsInner;
use super::config::GroupsConfig;
use super::inner::GroupInner;
use crate::sender::ConnectionId;
use crate::server::Address;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// Publishers are spread over this many locks.
const SHARDS: usize = 16;

/// All publishers of which something is kept.
#[derive(Debug, Default)]
pub(super) struct Publishers {
    hasher: RandomState,
    known: [Mutex<HashMap<Whose, Weak<Publisher>>>; SHARDS],
    addresses: [Mutex<HashMap<Address, Weak<Origin>>>; SHARDS],
}

/// By what a publisher is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Whose {
    User(Arc<str>),
    Connection(ConnectionId),
}

/// A user, or a connection of which no user is known.
#[derive(Debug)]
pub(super) struct Publisher {
    all: Arc<Publishers>,
    whose: Whose,
    kept: Kept,
    origin: Option<Arc<Origin>>,
    /// Where something of it is kept.
    places: Mutex<HashMap<u64, Place>>,
}

/// An address that publishers have come from.
#[derive(Debug)]
struct Origin {
    all: Arc<Publishers>,
    address: Address,
    kept: Kept,
    publishers: Mutex<HashMap<Whose, Weak<Publisher>>>,
}

/// Bytes that are kept, and how many may be.
#[derive(Debug)]
struct Kept {
    bytes: AtomicUsize,
    quota: usize,
    /// From this on the quota is enforced: beyond the quota itself where what is kept could not be let go.
    enforced: AtomicUsize,
}

/// What a group keeps of what one connection published.
#[derive(Debug)]
struct Place {
    group: Weak<GroupInner>,
    connection: ConnectionId,
    bytes: Arc<AtomicUsize>,
}

/// What a group keeps of a publisher's; dropping it takes it off the publisher's count.
#[derive(Debug)]
pub(super) struct Tally {
    number: u64,
    publisher: Arc<Publisher>,
    bytes: Arc<AtomicUsize>,
    messages: usize,
}

impl Kept {
    fn new(quota: usize) -> Self {
        Self { bytes: AtomicUsize::new(0), quota, enforced: AtomicUsize::new(quota) }
    }

    fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn is_over(&self) -> bool {
        self.bytes() > self.enforced.load(Ordering::Relaxed)
    }

    /// Lets go of an eighth of the quota, so that it is not done for each message.
    fn enforce(&self, keep: impl FnOnce(usize)) {
        let piece = self.quota / 8;
        keep(self.quota - piece);
        let kept = self.bytes();
        let enforced = if kept > self.quota { kept.saturating_add(piece) } else { self.quota };
        self.enforced.store(enforced, Ordering::Relaxed);
    }
}

impl Publishers {
    fn of(self: &Arc<Self>, whose: Whose, address: Address, config: &GroupsConfig) -> Arc<Publisher> {
        let origin = (address != Address::default()).then(|| self.origin(address, config));
        let mut shard = self.publishers(&whose);
        if let Some(publisher) = shard.get(&whose).and_then(Weak::upgrade) {
            drop(shard);
            return publisher;
        }
        let publisher = Arc::new(Publisher {
            all: Arc::clone(self),
            whose: whose.clone(),
            kept: Kept::new(config.publisher_quota()),
            origin,
            places: Mutex::default(),
        });
        shard.insert(whose.clone(), Arc::downgrade(&publisher));
        drop(shard);
        if let Some(origin) = &publisher.origin {
            lock(&origin.publishers).insert(whose, Arc::downgrade(&publisher));
        }
        publisher
    }

    fn origin(self: &Arc<Self>, address: Address, config: &GroupsConfig) -> Arc<Origin> {
        let mut shard = self.addresses(address);
        if let Some(origin) = shard.get(&address).and_then(Weak::upgrade) {
            drop(shard);
            return origin;
        }
        let kept = Kept::new(config.address_quota());
        let origin = Arc::new(Origin { all: Arc::clone(self), address, kept, publishers: Mutex::default() });
        shard.insert(address, Arc::downgrade(&origin));
        origin
    }

    fn publishers(&self, whose: &Whose) -> MutexGuard<'_, HashMap<Whose, Weak<Publisher>>> {
        lock(&self.known[self.shard(self.hasher.hash_one(whose))])
    }

    fn addresses(&self, address: Address) -> MutexGuard<'_, HashMap<Address, Weak<Origin>>> {
        lock(&self.addresses[self.shard(self.hasher.hash_one(address))])
    }

    #[expect(clippy::unused_self, reason = "it belongs to the two above")]
    fn shard(&self, hash: u64) -> usize {
        usize::try_from(hash % SHARDS as u64).unwrap_or(0)
    }
}

impl GroupsInner {
    /// Who publishes when this connection does, if it is one of the app's.
    pub(super) fn publisher(&self, connection: ConnectionId) -> Option<Arc<Publisher>> {
        let (sender, address) = self.connections.find_with_address(connection)?;
        let user = sender.link().identity().map(|identity| identity.shared_user());
        Some(self.publishers.of(user.map_or(Whose::Connection(connection), Whose::User), address, &self.config))
    }
}

impl Tally {
    pub(super) fn new(publisher: Arc<Publisher>, group: &Arc<GroupInner>, connection: ConnectionId) -> Self {
        static NEXT: atomic::AtomicU64 = atomic::AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let bytes = Arc::new(AtomicUsize::new(0));
        let place = Place { group: Arc::downgrade(group), connection, bytes: Arc::clone(&bytes) };
        lock(&publisher.places).insert(number, place);
        Self { number, publisher, bytes, messages: 0 }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn messages(&self) -> usize {
        self.messages
    }

    /// One more message is kept; returns the publisher if that is too much.
    pub(super) fn add(&mut self, bytes: usize) -> Option<Arc<Publisher>> {
        self.messages += 1;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let counts = self.publisher.counts();
        counts.for_each(|kept| {
            kept.bytes.fetch_add(bytes, Ordering::Relaxed);
        });
        self.publisher.counts().any(Kept::is_over).then(|| Arc::clone(&self.publisher))
    }

    /// One message less.
    pub(super) fn remove(&mut self, bytes: usize) {
        self.messages -= 1;
        self.forget(bytes);
    }

    fn forget(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.publisher.counts().for_each(|kept| {
            kept.bytes.fetch_sub(bytes, Ordering::Relaxed);
        });
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.forget(self.bytes());
        let place = lock(&self.publisher.places).remove(&self.number);
        drop(place);
    }
}

impl Publisher {
    /// Its own count and its address's.
    fn counts(&self) -> impl Iterator<Item = &Kept> {
        std::iter::once(&self.kept).chain(self.origin.iter().map(|origin| &origin.kept))
    }

    /// Lets go of what is too much: under no lock of a group's members.
    pub(super) fn thin(&self) {
        if self.kept.is_over() {
            self.kept.enforce(|most| self.keep(most));
        }
        if let Some(origin) = &self.origin
            && origin.kept.is_over()
        {
            origin.kept.enforce(|most| origin.keep(most));
        }
    }

    /// Keeps so many bytes: in its largest places as much as in others that have enough.
    fn keep(&self, most: usize) {
        let place = |place: &Place| (place.bytes.load(Ordering::Relaxed), place.group.clone(), place.connection);
        let places: Vec<_> = lock(&self.places).values().map(place).collect();
        let level = level(places.iter().map(|(bytes, ..)| *bytes), most);
        for (_, group, connection) in places.into_iter().filter(|(bytes, ..)| *bytes > level) {
            if let Some(group) = group.upgrade() {
                group.keep_of(connection, level);
            }
        }
    }
}

impl Origin {
    fn keep(&self, most: usize) {
        let publishers: Vec<_> = lock(&self.publishers).values().filter_map(Weak::upgrade).collect();
        let level = level(publishers.iter().map(|publisher| publisher.kept.bytes()), most);
        for publisher in publishers.iter().filter(|publisher| publisher.kept.bytes() > level) {
            publisher.keep(level);
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let mut shard = self.all.publishers(&self.whose);
        if shard.get(&self.whose).is_some_and(|known| known.strong_count() == 0) {
            shard.remove(&self.whose);
        }
        drop(shard);
        if let Some(origin) = &self.origin {
            let mut publishers = lock(&origin.publishers);
            if publishers.get(&self.whose).is_some_and(|known| known.strong_count() == 0) {
                publishers.remove(&self.whose);
            }
        }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        let mut shard = self.all.addresses(self.address);
        if shard.get(&self.address).is_some_and(|known| known.strong_count() == 0) {
            shard.remove(&self.address);
        }
    }
}

/// The most that each of these may have, so that together they have no more than that: who has less is not touched.
fn level(sizes: impl Iterator<Item = usize>, most: usize) -> usize {
    let mut sizes: Vec<_> = sizes.collect();
    sizes.sort_unstable();
    let mut left = most;
    for (at, size) in sizes.iter().enumerate() {
        let share = left / (sizes.len() - at);
        if *size > share {
            return share;
        }
        left -= size;
    }
    usize::MAX
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_give_and_who_has_less_than_its_share_keeps_it() {
        let level = |sizes: &[usize], most| level(sizes.iter().copied(), most);
        assert_eq!(level(&[], 10), usize::MAX);
        assert_eq!(level(&[10, 20], 30), usize::MAX);
        assert_eq!(level(&[100, 10, 20], 60), 30);
        assert_eq!(level(&[50, 50, 50], 60), 20);
        assert_eq!(level(&[5, 400, 400, 5], 10), 2);
        assert_eq!(level(&[7], 0), 0);
    }
}
