//! Who waits for something to happen to a connection.

use std::task::Waker;

/// Usually nobody: the handler in its own task waits without being noted here.
#[derive(Debug, Default)]
pub(super) struct Waiters(Option<Box<Wakers>>);

#[derive(Debug, Default)]
struct Wakers {
    /// The last who received; kept between messages, so that it need not be cloned for each.
    receiver: Option<Waker>,
    receiver_waits: bool,
    for_room: Vec<Waker>,
    for_end: Vec<Waker>,
}

impl Waiters {
    #[inline]
    pub(super) fn wait_for_message(&mut self, waker: &Waker) {
        let wakers = self.0.get_or_insert_default();
        wakers.receiver_waits = true;
        match &mut wakers.receiver {
            Some(receiver) => receiver.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    /// The receiver, if it waits; it then waits no more.
    #[inline]
    pub(super) fn take_receiver(&mut self) -> Option<&Waker> {
        let wakers = self.0.as_mut()?;
        std::mem::take(&mut wakers.receiver_waits).then_some(wakers.receiver.as_ref()).flatten()
    }

    pub(super) fn wait_for_room(&mut self, waker: &Waker) {
        add(&mut self.0.get_or_insert_default().for_room, waker);
    }

    pub(super) fn wait_for_end(&mut self, waker: &Waker) {
        add(&mut self.0.get_or_insert_default().for_end, waker);
    }

    /// Those who wait for room, to look again.
    pub(super) fn take_for_room(&mut self) -> Vec<Waker> {
        self.0.as_mut().map(|wakers| std::mem::take(&mut wakers.for_room)).unwrap_or_default()
    }

    /// Everybody: the connection has ended. No waker is kept, because each holds its task's memory.
    pub(super) fn take_all(&mut self) -> Vec<Waker> {
        let Some(wakers) = self.0.take() else { return Vec::new() };
        let Wakers { receiver, for_room, for_end, .. } = *wakers;
        for_room.into_iter().chain(for_end).chain(receiver).collect()
    }
}

/// Who polls again while it waits is still one waiter.
fn add(waiters: &mut Vec<Waker>, waker: &Waker) {
    if !waiters.iter().any(|other| other.will_wake(waker)) {
        waiters.push(waker.clone());
    }
}

/// Wakes, under no lock.
pub(super) fn wake_all(wakers: Vec<Waker>) {
    for waker in wakers {
        waker.wake();
    }
}
