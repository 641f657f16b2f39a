//! What the handler and its task pass to each other without a lock.
//!
//! While a task polls its handler, both are in one call stack: a message that was parsed for the handler, and what the
//! handler sends, lie in a place of the thread's. A `WebSocket` that is used elsewhere, by another task or under another
//! waker, does not find itself here and goes through the [`Link`](super::link::Link).

use std::cell::{Cell, RefCell};

use nexios_proto::Message;

use super::outbound::Outbound;
use crate::observe::Tally;
use crate::sender::ConnectionId;
use crate::sync::thread_local;

/// What a handler sends before it is written goes through the link beyond this, where everybody's bytes are counted
/// together.
const SENT_MAX: usize = 64 * 1024;

/// Separate cells, so that what is not used in a turn is not moved in it.
struct Exchange {
    /// Whose handler is being polled.
    turn_of: Cell<Option<ConnectionId>>,
    is_open: Cell<bool>,
    may_send: Cell<bool>,
    /// The handler waits for a message.
    waits: Cell<bool>,
    /// The thread has put something off that precedes what is sent now.
    is_put_off: Cell<bool>,
    /// For the handler, which waits for it.
    message: RefCell<Option<Message>>,
    /// What the handler sent, until the task writes it. It precedes all that is in the link's queue: nothing is put here
    /// while there is something.
    sent: RefCell<Outbound>,
}

thread_local! {
    static EXCHANGE: Exchange = const {
        Exchange {
            turn_of: Cell::new(None),
            is_open: Cell::new(false),
            may_send: Cell::new(false),
            waits: Cell::new(false),
            is_put_off: Cell::new(false),
            message: RefCell::new(None),
            sent: RefCell::new(Outbound::EMPTY),
        }
    };
}

impl Exchange {
    #[inline]
    fn clear(&self) {
        if self.message.borrow().is_some() || !self.sent.borrow().is_empty() {
            drop((self.message.take(), self.sent.take()));
        }
    }
}

/// What lies here of a connection whose handler polls another connection's task.
#[derive(Debug)]
pub(super) struct Outer {
    turn_of: ConnectionId,
    is_open: bool,
    may_send: bool,
    waits: bool,
    message: Option<Message>,
    sent: Outbound,
    tally: Tally,
}

/// What `poll_receive` finds.
#[derive(Debug)]
pub(super) enum Received {
    Message(Message),
    /// The task knows that the handler waits.
    Waiting,
    /// The link knows more.
    Elsewhere,
}

// ---- the task's side

/// Makes room for a connection whose task is polled inside of another one's handler. To be restored with
/// [`end_poll`].
#[inline]
pub(super) fn begin_poll() -> Option<Box<Outer>> {
    EXCHANGE.with(|exchange| {
        let Some(turn_of) = exchange.turn_of.take() else {
            // Nothing lies here, unless a task has panicked: no connection is sent what was meant for another.
            exchange.clear();
            return None;
        };
        Some(Box::new(Outer {
            turn_of,
            is_open: exchange.is_open.take(),
            may_send: exchange.may_send.take(),
            waits: exchange.waits.take(),
            message: exchange.message.take(),
            sent: exchange.sent.take(),
            tally: Tally::take(),
        }))
    })
}

/// The task has nothing more to do: what it did not take goes.
#[inline]
pub(super) fn end_poll(outer: Option<Box<Outer>>) {
    EXCHANGE.with(|exchange| {
        exchange.clear();
        if let Some(outer) = outer {
            exchange.turn_of.set(Some(outer.turn_of));
            exchange.is_open.set(outer.is_open);
            exchange.may_send.set(outer.may_send);
            exchange.waits.set(outer.waits);
            exchange.message.replace(outer.message);
            exchange.sent.replace(outer.sent);
            outer.tally.restore();
        }
    });
}

/// Puts a message where the handler finds it in its turn.
#[inline]
pub(super) fn hand_over(message: Message) {
    EXCHANGE.with(|exchange| *exchange.message.borrow_mut() = Some(message));
}

/// A handler's turn begins. `is_open`: its connection has not begun to end. `may_send`: nor is its socket full.
#[inline]
pub(super) fn begin_turn(id: ConnectionId, is_open: bool, may_send: bool) {
    EXCHANGE.with(|exchange| {
        exchange.turn_of.set(Some(id));
        exchange.is_open.set(is_open);
        exchange.may_send.set(may_send);
        exchange.waits.set(false);
    });
}

/// A handler's turn has ended: whether it waits for a message, and the one that it left.
#[inline]
pub(super) fn end_turn() -> (bool, Option<Message>) {
    EXCHANGE.with(|exchange| {
        exchange.turn_of.set(None);
        let mut message = exchange.message.borrow_mut();
        let left = if message.is_some() { message.take() } else { None };
        (exchange.waits.get(), left)
    })
}

/// Moves what the handler sent behind what is to be written.
#[inline]
pub(super) fn take_sent(writing: &mut Outbound) {
    EXCHANGE.with(|exchange| {
        let mut sent = exchange.sent.borrow_mut();
        if !sent.is_empty() {
            writing.append_all(&mut sent);
        }
    });
}

// ---- what a thread has put off

// A thread that ends may drop a runtime with connections in it when its own values are gone: then nothing is put off.

#[inline]
pub(super) fn is_put_off() -> bool {
    EXCHANGE.try_with(|exchange| exchange.is_put_off.get()).unwrap_or(false)
}

pub(super) fn set_put_off(is_put_off: bool) {
    let _ = EXCHANGE.try_with(|exchange| exchange.is_put_off.set(is_put_off));
}

// ---- the handler's side

/// Whether it is this connection's handler that is being polled: its task looks around afterwards, and need not be woken.
pub(super) fn is_turn_of(id: ConnectionId) -> bool {
    EXCHANGE.try_with(|exchange| exchange.turn_of.get() == Some(id)).unwrap_or(false)
}

/// The connection whose handler is being polled on this thread.
pub(crate) fn connection_of_this_turn() -> Option<ConnectionId> {
    EXCHANGE.try_with(|exchange| exchange.turn_of.get()).ok().flatten()
}

/// The message for the handler of this connection. `knows_more`: the link has messages.
#[inline]
pub(super) fn receive(id: ConnectionId, knows_more: impl FnOnce() -> bool) -> Received {
    EXCHANGE.with(|exchange| {
        if exchange.turn_of.get() != Some(id) {
            return Received::Elsewhere;
        }
        if let Some(message) = exchange.message.borrow_mut().take() {
            return Received::Message(message);
        }
        if exchange.is_open.get() && !knows_more() {
            exchange.waits.set(true);
            return Received::Waiting;
        }
        Received::Elsewhere
    })
}

/// Lets the handler of this connection append a message of `len` bytes to what is written after its turn; false when
/// the link must take it.
#[inline]
pub(super) fn send(id: ConnectionId, len: usize, append: impl FnOnce(&mut Outbound)) -> bool {
    EXCHANGE.with(|exchange| {
        if exchange.turn_of.get() != Some(id) || !exchange.may_send.get() || exchange.is_put_off.get() {
            return false;
        }
        let mut sent = exchange.sent.borrow_mut();
        let fits = sent.len() + len <= SENT_MAX;
        if fits {
            append(&mut sent);
        }
        fits
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> ConnectionId {
        ConnectionId::new(number)
    }

    fn append(text: &'static str) -> impl FnOnce(&mut Outbound) {
        move |sent| sent.append_with(|tail| tail.extend_from_slice(text.as_bytes()))
    }

    fn sent() -> Vec<u8> {
        let mut writing = Outbound::default();
        take_sent(&mut writing);
        writing.as_single().unwrap().to_vec()
    }

    #[test]
    fn a_connection_that_is_polled_inside_of_anothers_turn_has_a_place_of_its_own() {
        assert!(begin_poll().is_none());
        begin_turn(id(1), true, true);
        hand_over(Message::from("for the first"));
        assert!(send(id(1), 5, append("first")));

        let outer = begin_poll();
        begin_turn(id(2), true, true);
        assert!(matches!(receive(id(1), || false), Received::Elsewhere), "the first has no turn now");
        assert!(!send(id(1), 5, append("wrong")));
        assert!(send(id(2), 6, append("second")));
        assert!(matches!(receive(id(2), || false), Received::Waiting));
        assert!(end_turn().0, "the second waits");
        assert_eq!(sent(), b"second");
        end_poll(outer);

        assert!(
            matches!(receive(id(1), || false), Received::Message(message) if message.as_text() == Some("for the first"))
        );
        assert!(!end_turn().0, "the first does not wait");
        assert_eq!(sent(), b"first");
        end_poll(None);
    }

    #[test]
    fn what_a_panic_left_is_not_sent_to_the_next_connection() {
        begin_turn(id(3), true, true);
        assert!(send(id(3), 6, append("secret")));
        let _ = end_turn();
        // Its task has panicked here, and never wrote.
        assert!(begin_poll().is_none());
        assert_eq!(sent(), b"");
    }

    #[test]
    fn a_full_socket_and_an_end_that_has_begun_leave_it_to_the_link() {
        begin_turn(id(4), true, false);
        assert!(!send(id(4), 1, append("x")));
        begin_turn(id(4), false, false);
        assert!(matches!(receive(id(4), || false), Received::Elsewhere));
        begin_turn(id(4), true, true);
        assert!(matches!(receive(id(4), || true), Received::Elsewhere), "the inbox comes first");
        assert!(!send(id(4), SENT_MAX + 1, append("x")));
        let _ = end_turn();
    }
}
