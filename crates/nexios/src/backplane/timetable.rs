//! Groups for which something is to be done later.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::groups::GroupInner;

/// So many have their turn before others have.
const PIECE: usize = 256;

/// Groups in the order of their times. It keeps none of them.
#[derive(Debug, Default)]
pub(super) struct Timetable {
    entries: Mutex<Entries>,
    sooner: Notify,
}

#[derive(Debug, Default)]
struct Entries {
    by_time: BTreeMap<(Instant, u64), Weak<GroupInner>>,
    /// Tells those of one moment apart.
    next: u64,
}

/// Where a group stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entered((Instant, u64));

impl Timetable {
    pub(super) fn add(&self, at: Instant, group: &Arc<GroupInner>) -> Entered {
        let mut entries = self.entries();
        let key = (at, entries.next);
        entries.next += 1;
        entries.by_time.insert(key, Arc::downgrade(group));
        let is_first = entries.by_time.first_key_value().is_some_and(|(first, _)| *first == key);
        drop(entries);
        if is_first {
            self.sooner.notify_one();
        }
        Entered(key)
    }

    /// Forgets a group that is gone: its memory is not free before that.
    pub(super) fn remove(&self, entry: Entered) {
        let removed = self.entries().by_time.remove(&entry.0);
        drop(removed);
    }

    /// Waits until the time of some has come.
    pub(super) async fn due(&self) -> Vec<Arc<GroupInner>> {
        loop {
            let (due, next) = self.take();
            if !due.is_empty() {
                return due.iter().filter_map(Weak::upgrade).collect();
            }
            match next {
                // Whichever comes first.
                Some(next) => drop(timeout_at(next, self.sooner.notified()).await),
                None => self.sooner.notified().await,
            }
        }
    }

    /// Those whose time has come, a piece, and when the next one's comes.
    fn take(&self) -> (Vec<Weak<GroupInner>>, Option<Instant>) {
        let mut entries = self.entries();
        let now = Instant::now();
        let mut due = Vec::new();
        while due.len() < PIECE
            && let Some(first) = entries.by_time.first_entry()
            && first.key().0 <= now
        {
            due.push(first.remove());
        }
        let next = entries.by_time.first_key_value().map(|((at, _), _)| *at);
        drop(entries);
        (due, next)
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
