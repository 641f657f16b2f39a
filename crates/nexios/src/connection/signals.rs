//! What has happened to a connection while its task was not looking.

use crate::sync::atomic::{AtomicU8, Ordering};

/// Bits that tell the task what to look for, so that it takes the lock only when there is something behind it.
#[derive(Debug, Default)]
pub(super) struct Signals(AtomicU8);

/// Something waits in the outbound queue. Changed under the lock only.
pub(super) const OUTBOUND: u8 = 1;
/// A close was asked for, or the `WebSocket` was dropped. Changed under the lock only.
pub(super) const CLOSE: u8 = 1 << 1;
/// Somebody waits for room in the outbound queue. Changed under the lock only.
pub(super) const ROOM: u8 = 1 << 2;
/// Messages wait in the inbox. Changed under the lock only.
pub(super) const INBOX: u8 = 1 << 3;
/// The handler has to be polled.
pub(super) const HANDLER: u8 = 1 << 4;
/// The deadline that the task asked for has come.
pub(super) const TIMER: u8 = 1 << 5;
/// The peer was asked something, and its answers have to be looked for: kept until the end. Changed under the lock only.
pub(super) const ASKED: u8 = 1 << 6;
/// Messages wait one by one for a peer that does not keep up. Changed under the lock only.
pub(super) const BACKLOG: u8 = 1 << 7;

impl Signals {
    /// Any of these bits.
    #[inline]
    pub(super) fn any(&self, bits: u8) -> bool {
        self.0.load(Ordering::Acquire) & bits != 0
    }

    #[inline]
    pub(super) fn set(&self, bits: u8) {
        self.0.fetch_or(bits, Ordering::Release);
    }

    #[inline]
    pub(super) fn clear(&self, bits: u8) {
        self.0.fetch_and(!bits, Ordering::AcqRel);
    }

    /// Clears a bit, and tells whether it was set.
    #[inline]
    pub(super) fn take(&self, bit: u8) -> bool {
        // A plain load first: an atomic operation in every poll would cost more than all other looking.
        self.any(bit) && self.0.fetch_and(!bit, Ordering::AcqRel) & bit != 0
    }
}
