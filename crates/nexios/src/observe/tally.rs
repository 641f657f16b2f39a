//! What a connection's task counts during one poll: plain numbers of the thread's, which the end of the poll adds to
//! those of the route.

use std::cell::Cell;

/// What was counted since the poll began.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Messages.
    pub(super) received: u32,
    /// Messages.
    pub(super) sent: u32,
    /// Bytes.
    pub(super) read: u64,
    /// Bytes.
    pub(super) written: u64,
}

// Separate cells, so that a count is one instruction.
thread_local! {
    static RECEIVED: Cell<u32> = const { Cell::new(0) };
    static SENT: Cell<u32> = const { Cell::new(0) };
    static READ: Cell<u64> = const { Cell::new(0) };
    static WRITTEN: Cell<u64> = const { Cell::new(0) };
    /// When the handler that is being polled asked for its next message, if nothing was read since; or 0.
    static CLOCK: Cell<u64> = const { Cell::new(0) };
}

impl Tally {
    /// A message was parsed.
    #[inline]
    pub(crate) fn received() {
        RECEIVED.set(RECEIVED.get().wrapping_add(1));
    }

    /// The handler sent a message that leaves at the end of its turn.
    #[inline]
    pub(crate) fn sent() {
        SENT.set(SENT.get().wrapping_add(1));
    }

    /// Bytes came from the socket.
    #[inline]
    pub(crate) fn read(bytes: usize) {
        READ.set(READ.get().wrapping_add(bytes as u64));
        CLOCK.set(0);
    }

    /// The socket took bytes.
    #[inline]
    pub(crate) fn written(bytes: usize) {
        WRITTEN.set(WRITTEN.get().wrapping_add(bytes as u64));
    }

    /// What was counted, and nothing from now on.
    #[inline]
    pub(crate) fn take() -> Self {
        CLOCK.set(0);
        Self { received: RECEIVED.take(), sent: SENT.take(), read: READ.take(), written: WRITTEN.take() }
    }

    /// Goes on counting from here.
    pub(crate) fn restore(self) {
        RECEIVED.set(self.received);
        SENT.set(self.sent);
        READ.set(self.read);
        WRITTEN.set(self.written);
    }
}

/// Keeps what the clock said, for a message that follows at once.
#[inline]
pub(super) fn keep_clock(now: u64) {
    CLOCK.set(now);
}

#[inline]
pub(super) fn take_clock() -> u64 {
    CLOCK.take()
}
