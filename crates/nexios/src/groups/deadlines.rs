//! What groups have to do later: history that grows old, users who do not come back.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, Weak};

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::GroupsInner;
use super::inner::GroupInner;
use crate::sync::{Mutex, MutexGuard};

/// So many groups are looked after before the thread's other tasks have their turn.
const PIECE: usize = 256;

/// The deadlines of all groups of an app. A task sees to them while there are some.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    queue: Mutex<Queue>,
    sooner: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Queue {
    /// With each group's number, which tells those of one moment apart.
    groups: BTreeMap<(Instant, u64), Weak<GroupInner>>,
    is_served: bool,
    is_crowded: bool,
}

impl Deadlines {
    /// Looks after the group at that time. Without a runtime, nobody does before the next such call with one.
    pub(super) fn add(&self, at: Instant, number: u64, group: Weak<GroupInner>, groups: &Arc<GroupsInner>) {
        let mut queue = self.queue();
        queue.groups.insert((at, number), group);
        let is_first = queue.groups.first_key_value().is_some_and(|(first, _)| *first == (at, number));
        self.serve(queue, groups);
        if is_first {
            self.sooner.notify_one();
        }
    }

    /// Forgets the group: it has a sooner deadline, or is gone. Its memory is not free before that.
    pub(super) fn remove(&self, at: Instant, number: u64) {
        let removed = self.queue().groups.remove(&(at, number));
        drop(removed);
    }

    /// The histories take nearly all that they may.
    pub(super) fn crowded(&self, groups: &Arc<GroupsInner>) {
        let mut queue = self.queue();
        if !std::mem::replace(&mut queue.is_crowded, true) {
            self.serve(queue, groups);
            self.sooner.notify_one();
        }
    }

    fn serve(&self, mut queue: MutexGuard<'_, Queue>, groups: &Arc<GroupsInner>) {
        if !queue.is_served
            && let Ok(runtime) = Handle::try_current()
        {
            queue.is_served = true;
            drop(queue);
            let served = Served(Arc::downgrade(groups));
            let sooner = Arc::clone(&self.sooner);
            runtime.spawn(async move { served.serve(&sooner).await });
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of what is due now, a piece, and when the next is; or that nothing is left, and nobody serves.
    fn due(&self) -> (Vec<Weak<GroupInner>>, bool, Option<Instant>) {
        let mut queue = self.queue();
        let now = Instant::now();
        let mut due = Vec::new();
        while due.len() < PIECE
            && let Some(first) = queue.groups.first_entry()
            && first.key().0 <= now
        {
            due.push(first.remove());
        }
        let next = queue.groups.first_key_value().map(|((at, _), _)| *at);
        let is_crowded = std::mem::take(&mut queue.is_crowded);
        queue.is_served = next.is_some() || is_crowded || !due.is_empty();
        (due, is_crowded, next)
    }
}

/// The task's claim. A runtime that ends drops it: the next deadline starts another one.
struct Served(Weak<GroupsInner>);

impl Served {
    async fn serve(mut self, sooner: &Notify) {
        while let Some(groups) = self.0.upgrade() {
            let (due, is_crowded, next) = groups.deadlines.due();
            let is_idle = due.is_empty() && !is_crowded;
            if is_idle && next.is_none() {
                // Nobody serves from here on, which `due` noted under its lock.
                self.0 = Weak::new();
                return;
            }
            for group in due.iter().filter_map(Weak::upgrade) {
                group.deadline_has_come();
            }
            if is_crowded {
                groups.make_room().await;
            }
            drop(groups);
            match next {
                _ if !is_idle => tokio::task::yield_now().await,
                Some(at) => {
                    // Whichever comes first.
                    let _ = tokio::time::timeout_at(at, sooner.notified()).await;
                }
                None => {}
            }
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(groups) = self.0.upgrade() {
            groups.deadlines.queue().is_served = false;
        }
    }
}
