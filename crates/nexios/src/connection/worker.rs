//! The threads of `App::run`, and how one of them wakes the connections of another: together, because each wake of a
//! runtime that runs elsewhere is a system call.

use std::cell::Cell;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// So many threads have a place; connections of others are woken one by one.
const PLACES: usize = 128;

/// No place: a runtime that is not `App::run`'s.
pub(crate) const NOWHERE: u8 = 0;

/// Whom a thread is to wake.
struct Place(Mutex<Wakes>);

struct Wakes {
    is_taken: bool,
    list: Vec<Waker>,
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
        list.into_iter().for_each(Waker::wake);
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
        list.into_iter().for_each(Waker::wake);
    }
}

/// Wakes tasks, each of the runtime at this place, under no lock.
pub(super) fn wake_all(wakers: Vec<(u8, Waker)>) {
    let here = here();
    let mut elsewhere: Vec<(u8, Vec<Waker>)> = Vec::new();
    for (at, waker) in wakers {
        if at == here || at == NOWHERE {
            waker.wake();
        } else if let Some((_, list)) = elsewhere.iter_mut().find(|(place, _)| *place == at) {
            list.push(waker);
        } else {
            elsewhere.push((at, vec![waker]));
        }
    }
    for (at, list) in elsewhere {
        match place(at) {
            Some(place) => place.note(list),
            None => list.into_iter().for_each(Waker::wake),
        }
    }
}

fn place(number: u8) -> Option<&'static Place> {
    ALL.get(usize::from(number).checked_sub(1)?)
}

impl Place {
    fn lock(&self) -> MutexGuard<'_, Wakes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, list: Vec<Waker>) {
        let mut wakes = self.lock();
        if !wakes.is_taken {
            // Its runtime is ending.
            drop(wakes);
            return list.into_iter().for_each(Waker::wake);
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
        wake_all((0..3).map(|_| (worker.0, sleeper.clone())).collect());
        wake_all(vec![(worker.0, sleeper.clone())]);
        assert_eq!((of(&runs), of(&woken)), (1, 0));
        assert!(Pin::new(&mut worker).poll(&mut cx).is_pending());
        assert_eq!((of(&runs), of(&woken)), (1, 4));
        wake_all(vec![(worker.0, sleeper.clone()), (NOWHERE, sleeper)]);
        assert_eq!((of(&runs), of(&woken)), (2, 5));
    }

    #[test]
    fn nobody_sleeps_on_when_a_worker_ends() {
        let worker = std::thread::spawn(|| Worker::begin().unwrap()).join().unwrap();
        let (woken, sleeper) = counted();
        let at = worker.0;
        // It was never polled.
        wake_all(vec![(at, sleeper.clone())]);
        assert_eq!(of(&woken), 0);
        drop(worker);
        assert_eq!(of(&woken), 1);
        wake_all(vec![(at, sleeper)]);
        assert!(of(&woken) == 2 || place(at).unwrap().lock().is_taken, "unless another test has the place now");
    }
}
