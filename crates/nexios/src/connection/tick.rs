//! Work that is put off to the end of the runtime's tick, so that it is done once for all that asked for it.
//!
//! What was put off precedes everything that the same thread sends, joins or closes afterwards: whoever does so catches
//! up first.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::runtime::Handle;

use super::exchange;

/// Something that can be caught up on, any number of times.
pub(crate) trait PutOff: Send + Sync {
    fn catch_up(&self);
}

type Work = Weak<dyn PutOff>;

/// What a thread has put off.
#[derive(Default)]
struct Tick {
    work: Mutex<Vec<Work>>,
}

thread_local! {
    static TICK: RefCell<Option<Arc<Tick>>> = const { RefCell::new(None) };
}

/// The ticks of all threads.
static ALL: Mutex<Vec<Weak<Tick>>> = Mutex::new(Vec::new());

/// Puts work off; false without a runtime that would do it later. Once is enough until it was caught up on.
pub(crate) fn put_off(work: Work) -> bool {
    let Ok(runtime) = Handle::try_current() else { return false };
    let tick = Tick::of_this_thread();
    let is_first = {
        let mut list = tick.work();
        list.push(work);
        list.len() == 1
    };
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
        self.0.catch_up();
    }
}

/// Does what this thread has put off.
#[inline]
pub(crate) fn catch_up() {
    if exchange::is_put_off() {
        exchange::set_put_off(false);
        Tick::of_this_thread().catch_up();
    }
}

/// As [`catch_up`], but for this work, if there is no other: more of the same may join it.
pub(crate) fn catch_up_on_others(work: &Work) {
    if exchange::is_put_off() && Tick::of_this_thread().work().iter().any(|other| !other.ptr_eq(work)) {
        catch_up();
    }
}

/// Does what all threads have put off.
pub(crate) fn catch_up_everywhere() {
    let ticks: Vec<_> = lock(&ALL).iter().filter_map(Weak::upgrade).collect();
    for tick in ticks {
        tick.catch_up();
    }
}

impl Tick {
    fn of_this_thread() -> Arc<Self> {
        TICK.with_borrow_mut(|this| {
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

    fn work(&self) -> MutexGuard<'_, Vec<Work>> {
        lock(&self.work)
    }

    fn catch_up(&self) {
        let work = std::mem::take(&mut *self.work());
        for work in work.iter().filter_map(Weak::upgrade) {
            work.catch_up();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
