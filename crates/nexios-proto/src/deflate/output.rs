use alloc::vec::Vec;

use super::inflater::WINDOW;
use crate::ProtocolError;

/// Where a message is inflated to: first to the thread's scratch memory, so that a small one takes one allocation of its
/// size; what is larger goes to the message's own memory, which grows twofold, and never beyond the limit and one byte.
pub(super) struct Output<'a> {
    scratch: &'a mut Vec<u8>,
    message: &'a mut Vec<u8>,
    limit: usize,
}

impl<'a> Output<'a> {
    /// `scratch` is empty, and has room. `message` is what came of the message's earlier parts.
    pub(super) fn new(scratch: &'a mut Vec<u8>, message: &'a mut Vec<u8>, limit: usize) -> Self {
        Self { scratch, message, limit }
    }

    /// The memory to write to, with room for one byte at least.
    pub(super) fn room(&mut self) -> &mut Vec<u8> {
        if self.message.is_empty() && self.scratch.len() < self.scratch.capacity() {
            return self.scratch;
        }
        let len = self.len();
        if self.message.capacity() <= len {
            let cap = self.limit.saturating_add(1);
            // Each step may cost a copy of everything: there is no small last one.
            let size = if len > cap / 3 { cap } else { 2 * len };
            self.message.reserve_exact(size.max(len + 1) - self.message.len());
        }
        self.message.append(self.scratch);
        self.message
    }

    /// Bytes of the message so far.
    pub(super) fn len(&self) -> usize {
        self.message.len() + self.scratch.len()
    }

    /// Fails as soon as there is one byte too many.
    pub(super) fn check(&self) -> Result<(), ProtocolError> {
        let size = self.len();
        if size > self.limit {
            return Err(ProtocolError::MessageTooBig { size: size as u64, limit: self.limit });
        }
        Ok(())
    }

    /// The last bytes of the message so far, as many as a window holds.
    pub(super) fn window(&self) -> &[u8] {
        let written = if self.message.is_empty() { &self.scratch } else { &self.message };
        &written[written.len().saturating_sub(WINDOW)..]
    }

    /// Moves what is in the scratch memory to the message.
    pub(super) fn settle(self) {
        self.message.reserve_exact(self.scratch.len());
        self.message.append(self.scratch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fills the room until there is too much, and returns the most memory that was held at once, with both copies where
    /// it grew.
    fn most_memory(limit: usize) -> usize {
        let (mut scratch, mut message) = (Vec::with_capacity(64 * 1024), Vec::new());
        let mut most = 0;
        for _ in 0..100 {
            let before = message.capacity();
            let mut output = Output::new(&mut scratch, &mut message, limit);
            let room = output.room();
            assert!(room.len() < room.capacity());
            room.resize(room.capacity(), 0);
            let has_failed = output.check().is_err();
            let copied = if message.capacity() == before { 0 } else { before };
            most = most.max(scratch.capacity() + message.capacity() + copied);
            if has_failed {
                return most;
            }
        }
        panic!("there is no end");
    }

    #[test]
    fn memory_ends_soon_behind_the_limit() {
        const MIB: usize = 1024 * 1024;
        for limit in [0, 1, 1000, 65_535, 65_536, 65_537, 100_000, MIB - 1, MIB, MIB + 1] {
            assert!(most_memory(limit) < limit + MIB * 7 / 8, "{limit}: {}", most_memory(limit));
        }
        // Where memory grows without a copy, as large pieces of it do.
        assert!(most_memory(64 * MIB) < 64 * MIB * 5 / 3 + MIB);
    }

    #[test]
    fn a_small_message_takes_memory_of_its_size() {
        let (mut scratch, mut message) = (Vec::with_capacity(64 * 1024), Vec::new());
        let mut output = Output::new(&mut scratch, &mut message, 1 << 20);
        output.room().extend_from_slice(b"Hello");
        output.settle();
        assert_eq!((&message[..], message.capacity()), (&b"Hello"[..], 5));
    }
}
