//! The read buffer that all connections of a thread share.

use std::cell::Cell;

/// What one `read` may bring, in bytes. A connection that has more is read again in the same turn.
pub(super) const READ_SIZE: usize = 64 * 1024;

thread_local! {
    static SHARED: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// Bytes that were read and not parsed yet, in the thread's buffer or, between two polls, in one of their own.
#[derive(Debug, Default)]
pub(super) struct Input {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    shared: bool,
}

impl Input {
    /// Bytes that somebody else had read.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        Self { bytes: bytes.into(), start: 0, end: bytes.len(), shared: false }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    /// What is still to be parsed; the parser unmasks it in place.
    #[inline]
    pub(super) fn unread(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    #[inline]
    pub(super) fn consume(&mut self, bytes: usize) {
        self.start += bytes;
    }

    /// The thread's buffer, to read into.
    #[inline]
    pub(super) fn space(&mut self) -> &mut [u8] {
        if !self.shared {
            // Empty only if a handler of this very thread is being polled inside of another one's read.
            self.bytes = SHARED.take().unwrap_or_else(|| vec![0; READ_SIZE].into());
            self.shared = true;
        }
        &mut self.bytes
    }

    #[inline]
    pub(super) fn filled(&mut self, bytes: usize) {
        (self.start, self.end) = (0, bytes);
    }

    /// What is left, in a buffer that the connection may keep.
    #[inline]
    pub(super) fn into_rest(mut self) -> Option<Box<Self>> {
        if self.is_empty() {
            None
        } else if self.shared {
            Some(Box::new(Self::from_bytes(self.unread())))
        } else {
            Some(Box::new(std::mem::take(&mut self)))
        }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        if self.shared {
            SHARED.set(Some(std::mem::take(&mut self.bytes)));
        }
    }
}
