//! The threads of `App::run`, and how one of them wakes the connections of another: together, because each wake of a
//! runtime that runs elsewhere is a system call.

use std::cell::Cell;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::direct::Due;

/// So many threads have a place; connections of others are woken one by one.
const PLACES: usize = 128;

/// No place: a runtime that is not `App::run`'s.
pub(crate) const NOWHERE: u8 = 0;

/// Whom a thread is to wake.
struct Place(Mutex<Wakes>);

struct Wakes {
    is_taken: bool,
    list: Vec<Due>,
    /// The task that sees to the list, once it has been polled.
    runner: Option<Waker>,
}

static ALL: [Place; PLACES] =
    [const { Place(Mutex::new(Wakes { is_taken: false, list: Vec::new(), runner: None })) }; PLACES];

thread_local! {
    static HERE: Cell<u8> = const { Cell::new(NOWHERE) };
}

/// The place of this thread.
pub(super) fn here() -> u8 {
    HERE.try_with(Cell::get).unwrap_or(NOWHERE)
}

/// Whether this is the worker of this thread.
#[inline]
pub(super) fn is_here(worker: u8) -> bool {
    worker != NOWHERE && worker == here()
}

/// A thread's claim to a place, and the task that wakes whom others have noted there: it never ends, and its runtime's end
/// gives the place back.
#[derive(Debug)]
pub(crate) struct Worker(u8);

impl Worker {
    /// For the thread of a runtime that stays there; `None` when all places are taken.
    pub(crate) fn begin() -> Option<Self> {
        let (number, place) = (1..).zip(&ALL).find(|(_, place)| !mem::replace(&mut place.lock().is_taken, true))?;
        place.lock().list.clear();
        HERE.set(number);
        Some(Self(number))
    }
}

impl Future for Worker {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(place) = place(self.0) else { return Poll::Ready(()) };
        let mut wakes = place.lock();
        wakes.runner.get_or_insert_with(|| cx.waker().clone()).clone_from(cx.waker());
        let list = mem::take(&mut wakes.list);
        drop(wakes);
        write_some(self.0, list);
        Poll::Pending
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = HERE.try_with(|here| here.set(NOWHERE));
        let Some(place) = place(self.0) else { return };
        let mut wakes = place.lock();
        let (list, runner) = (mem::take(&mut wakes.list), wakes.runner.take());
        wakes.is_taken = false;
        drop(wakes);
        drop(runner);
        list.into_iter().for_each(Due::wake);
    }
}

/// So many connections are written in a row before the thread's other tasks have their turn.
const SWEEP: usize = 2048;

/// Wakes tasks, each of the runtime at this place, under no lock.
pub(super) fn wake_all(due: Vec<(u8, Due)>) {
    let here = here();
    hand_over(due, |at, due| {
        if is_here(at) && due.is_urgent() {
            due.write();
        } else if at == here || at == NOWHERE {
            due.wake();
        } else {
            return Some(due);
        }
        None
    });
}

/// The same at the end of a tick: connections of this thread are written.
pub(super) fn write_all(due: Vec<(u8, Due)>) {
    let here = here();
    let mut left = SWEEP;
    hand_over(due, |at, due| {
        if at == NOWHERE {
            due.wake();
        } else if left > 0 && at == here {
            left -= 1;
            due.write();
        } else {
            return Some(due);
        }
        None
    });
}

/// Gives what is left to the workers, each its own in one piece.
fn hand_over(due: Vec<(u8, Due)>, mut take: impl FnMut(u8, Due) -> Option<Due>) {
    let mut elsewhere: Vec<(u8, Vec<Due>)> = Vec::new();
    for (at, due) in due {
        let Some(due) = take(at, due) else { continue };
        if let Some((_, list)) = elsewhere.iter_mut().find(|(place, _)| *place == at) {
            list.push(due);
        } else {
            elsewhere.push((at, vec![due]));
        }
    }
    for (at, list) in elsewhere {
        match place(at) {
            Some(place) => place.note(list),
            None => list.into_iter().for_each(Due::wake),
        }
    }
}

/// Writes as many as may be in a row; the rest has its turn behind the tasks that are ready now.
fn write_some(here: u8, mut list: Vec<Due>) {
    let rest = list.split_off(list.len().min(SWEEP));
    list.into_iter().for_each(Due::write);
    if let Some(place) = place(here)
        && !rest.is_empty()
    {
        place.note(rest);
    }
}

fn place(number: u8) -> Option<&'static Place> {
    ALL.get(usize::from(number).checked_sub(1)?)
}

impl Place {
    fn lock(&self) -> MutexGuard<'_, Wakes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, list: Vec<Due>) {
        let mut wakes = self.lock();
        if !wakes.is_taken {
            // Its runtime is ending.
            drop(wakes);
            return list.into_iter().for_each(Due::wake);
        }
        let is_first = wakes.list.is_empty();
        wakes.list.extend(list);
        let runner = wakes.runner.clone().filter(|_| is_first);
        drop(wakes);
        if let Some(runner) = runner {
            runner.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::task::{ArcWake, waker};

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl ArcWake for Count {
        fn wake_by_ref(count: &Arc<Self>) {
            count.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn counted() -> (Arc<Count>, Waker) {
        let count = Arc::<Count>::default();
        (Arc::clone(&count), waker(count))
    }

    fn of(count: &Count) -> usize {
        count.0.load(Ordering::SeqCst)
    }

    #[test]
    fn those_of_another_worker_are_woken_there_by_one_wake_from_here() {
        let mut worker = std::thread::spawn(|| Worker::begin().unwrap()).join().unwrap();
        let ((runs, runner), (woken, sleeper)) = (counted(), counted());
        let mut cx = Context::from_waker(&runner);
        assert!(Pin::new(&mut worker).poll(&mut cx).is_pending());
        wake_all((0..3).map(|_| (worker.0, Due::Wake(sleeper.clone()))).collect());
        wake_all(vec![(worker.0, Due::Wake(sleeper.clone()))]);
        assert_eq!((of(&runs), of(&woken)), (1, 0));
        assert!(Pin::new(&mut worker).poll(&mut cx).is_pending());
        assert_eq!((of(&runs), of(&woken)), (1, 4));
        wake_all(vec![(worker.0, Due::Wake(sleeper.clone())), (NOWHERE, Due::Wake(sleeper))]);
        assert_eq!((of(&runs), of(&woken)), (2, 5));
    }

    #[test]
    fn nobody_sleeps_on_when_a_worker_ends() {
        let worker = std::thread::spawn(|| Worker::begin().unwrap()).join().unwrap();
        let (woken, sleeper) = counted();
        let at = worker.0;
        // It was never polled.
        wake_all(vec![(at, Due::Wake(sleeper.clone()))]);
        assert_eq!(of(&woken), 0);
        drop(worker);
        assert_eq!(of(&woken), 1);
        wake_all(vec![(at, Due::Wake(sleeper))]);
        assert!(of(&woken) == 2 || place(at).unwrap().lock().is_taken, "unless another test has the place now");
    }
}
