//! Who waits for something to happen to a connection.

use std::task::Waker;

#[derive(Debug, Default)]
pub(super) struct Waiters {
    /// The last who received; kept between messages, so that it need not be cloned for each.
    receiver: Option<Waker>,
    receiver_waits: bool,
    for_room: Vec<Waker>,
    for_end: Vec<Waker>,
}

impl Waiters {
    #[inline]
    pub(super) fn wait_for_message(&mut self, waker: &Waker) {
        self.receiver_waits = true;
        match &mut self.receiver {
            Some(receiver) => receiver.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    /// The receiver, if it waits; it then waits no more.
    #[inline]
    pub(super) fn take_receiver(&mut self) -> Option<&Waker> {
        std::mem::take(&mut self.receiver_waits).then_some(self.receiver.as_ref()).flatten()
    }

    pub(super) fn wait_for_room(&mut self, waker: &Waker) {
        add(&mut self.for_room, waker);
    }

    pub(super) fn wait_for_end(&mut self, waker: &Waker) {
        add(&mut self.for_end, waker);
    }

    #[inline]
    pub(super) fn anybody_for_room(&self) -> bool {
        !self.for_room.is_empty()
    }

    /// Those who wait for room, to look again.
    pub(super) fn take_for_room(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.for_room)
    }

    /// Everybody: the connection has ended. No waker is kept, because each holds its task's memory.
    pub(super) fn take_all(&mut self) -> Vec<Waker> {
        let mut wakers = self.take_for_room();
        wakers.append(&mut self.for_end);
        wakers.extend(self.receiver.take());
        wakers
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
