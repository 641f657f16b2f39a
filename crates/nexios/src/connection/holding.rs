//! What a connection holds between two polls: counted for all connections together, and for how long.

use std::sync::Arc;

use nexios_proto::{CloseCode, CloseFrame};

use super::driver::Driver;
use super::link::Link;
use super::signals::{BACKLOG, INBOX};
use super::wheel::{Deadline, Purpose};
use crate::disconnect::Cause;
use crate::memory_budget::{Budget, CompressorPlace, Reservation};

/// One connection's part of the budget. Only those that hold something have it.
#[derive(Debug)]
pub(super) struct Holding {
    reservation: Reservation,
    /// Until when the message that was begun has to be complete.
    message: Option<Deadline>,
}

impl Holding {
    fn new(budget: &Arc<Budget>) -> Self {
        Self { reservation: budget.holder(), message: None }
    }
}

impl Link {
    /// `None`: there is no room for a compressor of this connection's own.
    pub(super) fn place_for_compressor(&self) -> Option<CompressorPlace> {
        self.budget().place_for_compressor()
    }
}

impl Driver {
    /// The end of a poll. `completed`: a message came to its end in it.
    #[inline]
    pub(super) fn account(&mut self, completed: bool) {
        let holds = self.unread.is_some()
            || !self.writing.is_empty()
            || self.protocol.unfinished_bytes() > 0
            || self.link.signals.any(INBOX | BACKLOG);
        if holds || self.holding.is_some() {
            self.account_for(holds, completed);
        }
    }

    #[cold]
    fn account_for(&mut self, holds: bool, completed: bool) {
        if !holds {
            self.holding = None;
            return;
        }
        let budget = self.link.budget();
        let (unread, unfinished) =
            (self.unread.as_ref().map_or(0, |input| input.len()), self.protocol.unfinished_bytes());
        let bytes = unread + unfinished + self.link.held();
        let holding = self.holding.get_or_insert_with(|| Box::new(Holding::new(budget)));
        holding.reservation.set(bytes);
        let is_exceeded = budget.is_exceeded_by(bytes);
        self.time_message(completed);
        let is_cut = self.closing.is_some() && self.writing.is_empty();
        if is_exceeded && !is_cut {
            let frame = CloseFrame::new(CloseCode::TRY_AGAIN_LATER, "server is overloaded");
            if self.writing.is_empty() {
                self.give_up(Cause::Overloaded, frame);
            } else {
                self.cut_off(Cause::Overloaded, frame);
            }
            // The end is written, and the deadline looked at, in the next poll.
            self.link.wake_task();
        }
    }

    /// A message that was begun has its time while the peer is listened to; that of a peer which is not is the server's.
    fn time_message(&mut self, completed: bool) {
        let is_due = self.protocol.is_mid_message() && self.closing.is_none() && self.listens();
        let Some(holding) = &mut self.holding else { return };
        if !is_due || completed {
            holding.message = None;
        }
        if is_due && holding.message.is_none() {
            let timeout = self.link.config().message_timeout;
            holding.message = timeout.map(|after| Deadline::new(&self.link, Purpose::Message, after));
        }
    }
}
