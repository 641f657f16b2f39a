//! What waits to be written to one connection.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// Frames up to this size are copied behind each other and leave in one buffer; a larger payload is sent from where it
/// is. Copying 4 KiB costs less than a further entry of a gathered write.
pub(super) const COPY_MAX: usize = 4096;

/// A buffer with more capacity than this is given back to the allocator, not kept for the thread's next connection.
const SPARE_MAX: usize = 256 * 1024;

/// Encoded frames in the order of sending, without a buffer while there are none.
#[derive(Debug, Default)]
pub(crate) struct Outbound {
    /// What comes before `tail`.
    #[expect(clippy::box_collection, reason = "most connections never have any: 8 bytes instead of 32")]
    chunks: Option<Box<VecDeque<Bytes>>>,
    /// Frames that are copied together.
    tail: Vec<u8>,
    len: usize,
}

impl Outbound {
    pub(super) const EMPTY: Self = Self { chunks: None, tail: Vec::new(), len: 0 };

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Lets `encode` append whole frames.
    #[inline]
    pub(crate) fn append_with(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        if self.tail.capacity() == 0 {
            self.tail = spare();
        }
        let before = self.tail.len();
        encode(&mut self.tail);
        self.len += self.tail.len() - before;
    }

    /// Appends bytes that many connections may share: a few are copied, more are only counted once more.
    #[inline]
    pub(crate) fn append_shared(&mut self, bytes: &Bytes) {
        if bytes.len() <= COPY_MAX {
            self.append_with(|tail| tail.extend_from_slice(bytes));
        } else {
            self.append_owned(bytes.clone());
        }
    }

    /// Appends bytes without copying them.
    pub(crate) fn append_owned(&mut self, bytes: Bytes) {
        self.close_tail();
        self.len += bytes.len();
        self.chunks.get_or_insert_default().push_back(bytes);
    }

    /// Appends all that `other` holds, and leaves it empty.
    #[inline]
    pub(super) fn append_all(&mut self, other: &mut Self) {
        if other.is_empty() {
            return;
        }
        if self.is_empty() {
            std::mem::swap(self, other);
            return;
        }
        self.close_tail();
        if let Some(mut chunks) = other.chunks.take() {
            self.chunks.get_or_insert_default().append(&mut chunks);
        }
        self.tail = std::mem::take(&mut other.tail);
        self.len += std::mem::take(&mut other.len);
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.chunks.get_or_insert_default().push_back(std::mem::take(&mut self.tail).into());
        }
    }

    /// Removes bytes that were written.
    #[inline]
    pub(super) fn advance(&mut self, written: usize) {
        if self.chunks.is_none() && written == self.tail.len() {
            self.len = 0;
            return keep_spare(std::mem::take(&mut self.tail));
        }
        self.advance_chunks(written);
    }

    fn advance_chunks(&mut self, mut written: usize) {
        self.len -= written;
        if let Some(chunks) = &mut self.chunks {
            while let Some(chunk) = chunks.front_mut() {
                if written < chunk.len() {
                    return chunk.advance(written);
                }
                written -= chunk.len();
                chunks.pop_front();
            }
        }
        if written == self.tail.len() {
            keep_spare(std::mem::take(&mut self.tail));
            self.chunks = None;
        } else if written > 0 {
            // A socket that is full: the rest waits as a chunk, so that it is not moved again.
            let mut rest = Bytes::from(std::mem::take(&mut self.tail));
            rest.advance(written);
            self.chunks.get_or_insert_default().push_back(rest);
        }
    }

    /// The only buffer, when there is just one.
    #[inline]
    pub(super) fn as_single(&self) -> Option<&[u8]> {
        let Some(chunks) = &self.chunks else { return Some(&self.tail) };
        match (chunks.front(), chunks.len()) {
            (None, _) => Some(&self.tail),
            (Some(chunk), 1) if self.tail.is_empty() => Some(chunk),
            _ => None,
        }
    }

    /// Fills `slices` with the buffers in order and returns how many there are.
    pub(super) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let chunks = self.chunks.iter().flat_map(|chunks| chunks.iter());
        let buffers = chunks.map(|chunk| &chunk[..]).chain(std::iter::once(&self.tail[..]));
        let mut count = 0;
        for (slot, buffer) in slices.iter_mut().zip(buffers.filter(|buffer| !buffer.is_empty())) {
            *slot = IoSlice::new(buffer);
            count += 1;
        }
        count
    }
}

thread_local! {
    // One buffer goes from connection to connection of a thread: each is filled and written within one poll.
    static SPARE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

#[inline]
fn spare() -> Vec<u8> {
    SPARE.with(|spare| std::mem::take(&mut *spare.borrow_mut()))
}

#[inline]
fn keep_spare(mut buffer: Vec<u8>) {
    if buffer.capacity() > 0 && buffer.capacity() <= SPARE_MAX {
        buffer.clear();
        SPARE.with(|spare| *spare.borrow_mut() = buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(outbound: &mut Outbound, step: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while !outbound.is_empty() {
            let mut slices = [IoSlice::new(&[]); 4];
            let count = outbound.slices(&mut slices);
            let bytes: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
            let n = step.min(bytes.len());
            all.extend_from_slice(&bytes[..n]);
            outbound.advance(n);
        }
        all
    }

    #[test]
    fn bytes_leave_in_order_however_little_is_written_at_once() {
        for step in [1, 3, 100, 5_000, 100_000] {
            let mut outbound = Outbound::default();
            let mut expected = Vec::new();
            for (i, len) in [10, COPY_MAX + 1, 5, 0, COPY_MAX, 2 * COPY_MAX].into_iter().enumerate() {
                let bytes = Bytes::from(vec![u8::try_from(i).unwrap(); len]);
                expected.extend_from_slice(&bytes);
                outbound.append_shared(&bytes);
            }
            assert_eq!(outbound.len(), expected.len());
            assert_eq!(written(&mut outbound, step), expected, "step {step}");
        }
    }

    #[test]
    fn what_has_been_written_holds_no_buffer() {
        let mut outbound = Outbound::default();
        outbound.append_with(|tail| tail.extend_from_slice(b"hello"));
        outbound.append_owned(Bytes::from(vec![1; COPY_MAX + 1]));
        let len = outbound.len();
        outbound.advance(len);
        assert_eq!((outbound.tail.capacity(), outbound.chunks.is_none(), outbound.len()), (0, true, 0));
    }
}
