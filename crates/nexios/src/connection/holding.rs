//! What a connection holds between two polls: counted for all connections together, and for how long.

use std::sync::Arc;

use nexios_proto::{CloseCode, CloseFrame, Limit};

use super::driver::Driver;
use super::link::Link;
use super::signals::{BACKLOG, INBOX};
use super::wheel::{Deadline, Purpose};
use crate::disconnect::Cause;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// What a connection's own compressor takes: measured, 268 KiB of tables and the window among it.
const COMPRESSOR: usize = 370 * 1024;

/// The memory that all connections of an app hold for what is unfinished, not received or not sent yet, and for
/// compressors of their own.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: Limit,
    held: AtomicUsize,
    holders: AtomicUsize,
    compressors: AtomicUsize,
}

/// Room for a compressor of a connection's own.
#[derive(Debug)]
pub(super) struct CompressorPlace(Arc<Budget>);

/// Without a limit.
impl Default for Budget {
    fn default() -> Self {
        Self::new(Limit::Unlimited)
    }
}

impl Budget {
    pub(crate) fn new(limit: Limit) -> Self {
        Self { limit, held: AtomicUsize::new(0), holders: AtomicUsize::new(0), compressors: AtomicUsize::new(0) }
    }

    /// What is held now, in bytes.
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Room for one more compressor, as long as all of them take no more than half of the budget.
    fn place_for_compressor(self: &Arc<Self>) -> Option<CompressorPlace> {
        let place = CompressorPlace(Arc::clone(self));
        let compressors = self.compressors.fetch_add(1, Ordering::Relaxed) + 1;
        let half = match self.limit {
            Limit::At(limit) => limit / 2,
            Limit::Unlimited => usize::MAX,
        };
        (compressors.saturating_mul(COMPRESSOR) <= half).then_some(place)
    }

    /// Whether all hold too much, and one that holds this much is not among the modest.
    fn is_exceeded_by(&self, bytes: usize) -> bool {
        let held = self.held();
        !self.limit.allows(held) && bytes >= held / self.holders.load(Ordering::Relaxed).max(1)
    }
}

/// One connection's part of the budget. Only those that hold something have it.
#[derive(Debug)]
pub(super) struct Holding {
    budget: Arc<Budget>,
    bytes: usize,
    /// Until when the message that was begun has to be complete.
    message: Option<Deadline>,
}

impl Holding {
    fn new(budget: &Arc<Budget>) -> Self {
        budget.holders.fetch_add(1, Ordering::Relaxed);
        Self { budget: Arc::clone(budget), bytes: 0, message: None }
    }

    fn set(&mut self, bytes: usize) {
        self.budget.held.fetch_add(bytes, Ordering::Relaxed);
        self.budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = bytes;
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
        self.budget.holders.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for CompressorPlace {
    fn drop(&mut self) {
        self.0.compressors.fetch_sub(1, Ordering::Relaxed);
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
        holding.set(bytes);
        let is_exceeded = budget.is_exceeded_by(bytes);
        self.time_message(completed);
        if is_exceeded && self.closing.is_none() {
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
