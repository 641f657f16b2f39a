use alloc::vec::Vec;

use crate::ProtocolError;

/// Size of every inflater's window in bytes: 15 bits, the largest that can be negotiated.
pub(super) const WINDOW: usize = 32 * 1024;

/// The output of an inflater: first the thread's scratch memory, so that a small message takes one allocation of its
/// size; a larger message goes to its own memory, which doubles, and never exceeds the limit by more than one byte.
pub(super) struct Output<'a> {
    scratch: &'a mut Vec<u8>,
    message: &'a mut Vec<u8>,
    limit: usize,
}

impl<'a> Output<'a> {
    /// An output with `scratch`, which is empty and has capacity, and `message`, the output of the message's earlier
    /// parts.
    pub(super) fn new(scratch: &'a mut Vec<u8>, message: &'a mut Vec<u8>, limit: usize) -> Self {
        Self { scratch, message, limit }
    }

    /// The memory to write to, with spare capacity for at least one byte.
    pub(super) fn room(&mut self) -> &mut Vec<u8> {
        if self.message.is_empty() && self.scratch.len() < self.scratch.capacity() {
            return self.scratch;
        }
        let len = self.len();
        if self.message.capacity() <= len {
            let cap = self.limit.saturating_add(1);
            // Each step may copy everything, so the last one is not small either.
            let size = if len > cap / 3 { cap } else { 2 * len };
            self.message.reserve_exact(size.max(len + 1) - self.message.len());
        }
        self.message.append(self.scratch);
        self.message
    }

    /// Size of the message so far, in bytes.
    pub(super) fn len(&self) -> usize {
        self.message.len() + self.scratch.len()
    }

    /// Fails as soon as the message exceeds the limit.
    pub(super) fn check(&self) -> Result<(), ProtocolError> {
        let size = self.len();
        if size > self.limit {
            return Err(ProtocolError::MessageTooBig { size: size as u64, limit: self.limit });
        }
        Ok(())
    }

    /// The last bytes of the message so far, at most as many as a window holds.
    pub(super) fn window(&self) -> &[u8] {
        let written = if self.message.is_empty() { &self.scratch } else { &self.message };
        &written[written.len().saturating_sub(WINDOW)..]
    }

    /// Moves the content of the scratch memory to the message.
    pub(super) fn settle(self) {
        self.message.reserve_exact(self.scratch.len());
        self.message.append(self.scratch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fills the output until it exceeds the limit, and returns the maximum memory that was held, with both copies
    /// while it grew.
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
        // Where memory grows without a copy, as large allocations do.
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
