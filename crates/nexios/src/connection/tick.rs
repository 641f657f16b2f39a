//! Work that is put off to the end of the runtime's tick, so that it is done once for all that asked for it.
//!
//! What was put off precedes everything that the same thread sends, joins or closes afterwards: whoever does so catches
//! up first.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, Weak};

use tokio::runtime::Handle;

use super::exchange;
use crate::sync::{Mutex, MutexGuard, shared_static, thread_local};

/// Something that can be caught up on, any number of times.
pub(crate) trait PutOff: Send + Sync {
    fn catch_up(&self);

    /// The same at the end of the tick, when nothing else is about to be added.
    fn end_tick(&self) {
        self.catch_up();
    }
}

type Work = Weak<dyn PutOff>;

/// What a thread has put off.
#[derive(Default)]
struct Tick {
    list: Mutex<List>,
}

/// What is on this list is done, at the latest, when it is off it: another thread that catches up meanwhile does not
/// hide from this one what is still to be done.
#[derive(Default)]
struct List {
    /// By their numbers, which count up.
    work: VecDeque<(u64, Work)>,
    next: u64,
    /// What has a lower number is being caught up on.
    begun: u64,
    /// The end of the tick is still to come.
    has_end: bool,
}

thread_local! {
    static TICK: RefCell<Option<Arc<Tick>>> = const { RefCell::new(None) };
}

shared_static! {
    /// The ticks of all threads.
    static ALL: Mutex<Vec<Weak<Tick>>> = Mutex::new(Vec::new());
}

/// Puts work off, or notes that more has joined it; false without a runtime that would do it later.
///
/// `is_new`: nobody else has put it off and would do it.
pub(crate) fn put_off(work: Work, is_new: bool) -> bool {
    let Ok(runtime) = Handle::try_current() else { return false };
    let tick = Tick::of_this_thread();
    let mut list = tick.list();
    if !is_new && list.awaits(&work) {
        return true;
    }
    list.push(work);
    let is_first = !std::mem::replace(&mut list.has_end, true);
    drop(list);
    exchange::set_put_off(true);
    if is_first {
        // Behind all tasks that are ready now: those that publish as well.
        let end = EndOfTick(tick);
        runtime.spawn(async move { drop(end) });
    }
    true
}

/// Catches up when it is dropped: at its turn, or with a runtime that ends.
struct EndOfTick(Arc<Tick>);

impl Drop for EndOfTick {
    fn drop(&mut self) {
        // It may have come to another thread, which has nothing to do with this.
        self.0.list().has_end = false;
        self.0.catch_up(|work| work.end_tick());
    }
}

/// Does what this thread has put off.
#[inline]
pub(crate) fn catch_up() {
    if exchange::is_put_off() {
        exchange::set_put_off(false);
        Tick::of_this_thread().catch_up(|work| work.catch_up());
    }
}

/// As [`catch_up`], but for this work, if there is no other: more of the same may join it.
pub(crate) fn catch_up_on_others(work: &Work) {
    if exchange::is_put_off() && Tick::of_this_thread().list().has_other_than(work) {
        catch_up();
    }
}

/// Does what all threads have put off.
pub(crate) fn catch_up_everywhere() {
    let ticks: Vec<_> = lock(&ALL).iter().filter_map(Weak::upgrade).collect();
    for tick in ticks {
        tick.catch_up(|work| work.catch_up());
    }
}

impl Tick {
    fn of_this_thread() -> Arc<Self> {
        TICK.with(|this| {
            let mut this = this.borrow_mut();
            let tick = this.get_or_insert_with(|| {
                let tick = Arc::<Self>::default();
                let mut all = lock(&ALL);
                all.retain(|other| other.strong_count() > 0);
                all.push(Arc::downgrade(&tick));
                tick
            });
            Arc::clone(tick)
        })
    }

    fn list(&self) -> MutexGuard<'_, List> {
        lock(&self.list)
    }

    fn catch_up(&self, how: impl Fn(&dyn PutOff)) {
        let (work, end) = self.list().begin();
        for work in work.iter().filter_map(Weak::upgrade) {
            how(&*work);
        }
        self.list().finish(end);
    }
}

impl List {
    fn push(&mut self, work: Work) {
        self.work.push_back((self.next, work));
        self.next += 1;
    }

    /// Whether this work is listed, and will be looked at after now.
    fn awaits(&self, work: &Work) -> bool {
        self.work.iter().any(|(number, other)| *number >= self.begun && other.ptr_eq(work))
    }

    fn has_other_than(&self, work: &Work) -> bool {
        self.work.iter().any(|(_, other)| !other.ptr_eq(work))
    }

    /// All of it, and the number behind it.
    fn begin(&mut self) -> (Vec<Work>, u64) {
        self.begun = self.next;
        (self.work.iter().map(|(_, work)| work.clone()).collect(), self.next)
    }

    /// What has a lower number is done.
    fn finish(&mut self, end: u64) {
        let done = self.work.partition_point(|(number, _)| *number < end);
        self.work.drain(..done);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
