//! Groups by their names.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Arc, PoisonError, Weak};

use super::inner::GroupInner;
use crate::sync::{Mutex, MutexGuard};

/// Names are spread over this many locks.
pub(super) const SHARDS: usize = 64;

/// All groups that there are. Clients choose the names: a hash with a random key, so that nobody can make them collide.
///
/// A shard's lock may be taken under a group's, and no group is let go of under it: the last handle takes it, too.
#[derive(Debug)]
pub(super) struct Names {
    hasher: RandomState,
    shards: [Mutex<HashMap<Arc<str>, Place>>; SHARDS],
}

#[derive(Debug)]
struct Place {
    /// Its members keep it.
    group: Weak<GroupInner>,
    /// Or its history, and those who are waited for.
    kept: Option<Arc<GroupInner>>,
}

impl Names {
    pub(super) fn new() -> Self {
        Self { hasher: RandomState::new(), shards: std::array::from_fn(|_| Mutex::default()) }
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    pub(super) fn find(&self, name: &str) -> Option<Arc<GroupInner>> {
        self.shard(name).get(name).and_then(|place| place.group.upgrade())
    }

    pub(super) fn find_or_create(&self, name: &Arc<str>, create: impl FnOnce() -> Arc<GroupInner>) -> Arc<GroupInner> {
        if let Some(group) = self.find(name) {
            return group;
        }
        // It calls the app's code: under no lock.
        let new = create();
        let mut names = self.shard(name);
        let found = names.get(name).and_then(|place| place.group.upgrade());
        if found.is_none() {
            names.insert(Arc::clone(name), Place { group: Arc::downgrade(&new), kept: None });
        }
        drop(names);
        found.unwrap_or(new)
    }

    /// Keeps a group without members.
    pub(super) fn keep(&self, group: &Arc<GroupInner>) {
        let mut names = self.shard(group.name());
        if let Some(place) = names.get_mut(group.name()).filter(|place| place.is_of(group)) {
            place.kept = Some(Arc::clone(group));
        }
    }

    /// No longer keeps it; what this returns is to be dropped under no lock.
    pub(super) fn release(&self, group: &Arc<GroupInner>) -> Option<Arc<GroupInner>> {
        let mut names = self.shard(group.name());
        names.get_mut(group.name()).filter(|place| place.is_of(group))?.kept.take()
    }

    /// Forgets all groups; these are those that were kept.
    pub(super) fn release_all(&self) -> Vec<Arc<GroupInner>> {
        let places = self.shards.iter().flat_map(|shard| std::mem::take(&mut *lock(shard)).into_values());
        places.filter_map(|place| place.kept).collect()
    }

    /// A group is gone. Another one may have got its name meanwhile: that one stays.
    pub(super) fn forget(&self, name: &str) {
        let mut names = self.shard(name);
        if names.get(name).is_some_and(|place| place.group.strong_count() == 0) {
            names.remove(name);
        }
    }

    /// A part of all groups.
    pub(super) fn of_shard(&self, shard: usize) -> Vec<Arc<GroupInner>> {
        lock(&self.shards[shard % SHARDS]).values().filter_map(|place| place.group.upgrade()).collect()
    }

    fn shard(&self, name: &str) -> MutexGuard<'_, HashMap<Arc<str>, Place>> {
        let hash = self.hasher.hash_one(name);
        lock(&self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or(0)])
    }
}

impl Place {
    fn is_of(&self, group: &Arc<GroupInner>) -> bool {
        self.group.as_ptr() == Arc::as_ptr(group)
    }
}

fn lock<T>(shard: &Mutex<T>) -> MutexGuard<'_, T> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
