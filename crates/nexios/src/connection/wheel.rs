//! Deadlines of all connections of a thread, in one timer.
//!
//! A connection has at most one deadline for each [`Purpose`], most of them only its next ping, and never asks for the time
//! while messages flow. A timer of the runtime for each connection would be a
//! larger part of an idle connection's memory than the connection itself.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::{self, Handle};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::link::Link;
use crate::sender::ConnectionId;

/// Deadlines are kept to this precision, and never come early.
const TICK: Duration = Duration::from_millis(50);

type Slot = HashMap<(ConnectionId, Purpose), Arc<Link>>;

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    /// The next ping, the answer to it, or the end of the closing handshake: the task's own.
    Timer,
    /// The peer may send again.
    Resume,
    /// A message that was begun has to be complete.
    Message,
    /// Somebody has to be authenticated.
    Authentication,
    /// What authenticated the user expires.
    Expiry,
    /// A handler whose connection has ended has to take notice.
    Handler,
}

#[derive(Debug)]
pub(crate) struct Wheel {
    start: Instant,
    slots: Mutex<BTreeMap<u64, Slot>>,
    /// An earlier deadline than all before was added.
    earlier: Notify,
}

/// A deadline that a connection holds; dropping it cancels it.
#[derive(Debug)]
pub(crate) struct Deadline {
    wheel: Arc<Wheel>,
    tick: u64,
    key: (ConnectionId, Purpose),
}

thread_local! {
    static WHEEL: RefCell<Option<(runtime::Id, Weak<Wheel>)>> = const { RefCell::new(None) };
}

impl Deadline {
    /// Tells the connection once `after` has gone by. One of the same purpose that it held has to be dropped before.
    pub(crate) fn new(link: &Arc<Link>, purpose: Purpose, after: Duration) -> Self {
        let wheel = Wheel::of_this_thread();
        let tick = wheel.tick_after(after);
        let key = (link.id(), purpose);
        let is_first = {
            let mut slots = wheel.slots();
            let is_first = slots.first_key_value().is_none_or(|(first, _)| tick < *first);
            slots.entry(tick).or_default().insert(key, Arc::clone(link));
            is_first
        };
        if is_first {
            wheel.earlier.notify_one();
        }
        Self { wheel, tick, key }
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        let mut slots = self.wheel.slots();
        let removed = slots.get_mut(&self.tick).and_then(|slot| slot.remove(&self.key));
        if slots.get(&self.tick).is_some_and(HashMap::is_empty) {
            slots.remove(&self.tick);
        }
        drop(slots);
        // The link may be the last of its kind: not under the lock.
        drop(removed);
    }
}

impl Wheel {
    fn of_this_thread() -> Arc<Self> {
        let runtime = Handle::current().id();
        WHEEL.with(|cell| {
            let mut current = cell.borrow_mut();
            // A runtime that has ended took its ticker along: a wheel serves the connections of one runtime only.
            if let Some((of, wheel)) = &*current
                && *of == runtime
                && let Some(wheel) = wheel.upgrade()
            {
                return wheel;
            }
            let wheel = Arc::new(Self { start: Instant::now(), slots: Mutex::default(), earlier: Notify::new() });
            *current = Some((runtime, Arc::downgrade(&wheel)));
            tokio::spawn(Self::run(Arc::clone(&wheel)));
            wheel
        })
    }

    fn slots(&self) -> MutexGuard<'_, BTreeMap<u64, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tick_after(&self, after: Duration) -> u64 {
        let deadline = self.start.elapsed().saturating_add(after);
        let ticks = deadline.as_nanos().div_ceil(TICK.as_nanos());
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }

    /// Runs as long as the runtime does: one task for each thread that has connections.
    async fn run(wheel: Arc<Self>) {
        loop {
            let next = wheel.slots().first_key_value().map(|(tick, _)| *tick);
            let Some(next) = next else {
                wheel.earlier.notified().await;
                continue;
            };
            let at = wheel.start + TICK.saturating_mul(u32::try_from(next).unwrap_or(u32::MAX));
            tokio::select! {
                () = tokio::time::sleep_until(at) => wheel.fire(next),
                () = wheel.earlier.notified() => {}
            }
        }
    }

    fn fire(&self, tick: u64) {
        let due = self.slots().remove(&tick);
        for ((_, purpose), link) in due.into_iter().flatten() {
            link.deadline_passed(purpose);
        }
    }
}
