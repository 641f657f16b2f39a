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

/// What the first copied frames find room for, when there is no buffer at hand.
const FIRST_ROOM: usize = 512;

/// Encoded frames in the order of sending, without a buffer while there are none.
#[derive(Debug, Default)]
pub(crate) struct Outbound {
    /// What comes before `tail`; most connections never have any.
    chunks: Option<Box<Chunks>>,
    tail: Tail,
}

#[derive(Debug, Default)]
struct Chunks {
    list: VecDeque<Bytes>,
    len: usize,
}

#[derive(Debug)]
enum Tail {
    /// Frames that are copied together.
    Copied(Vec<u8>),
    /// A single frame, which many connections share.
    Shared(Bytes),
}

impl Outbound {
    pub(super) const EMPTY: Self = Self { chunks: None, tail: Tail::EMPTY };

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.chunks.as_ref().map_or(0, |chunks| chunks.len) + self.tail.as_slice().len()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lets `encode` append whole frames.
    #[inline]
    pub(crate) fn append_with(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        encode(self.tail.make_copied());
    }

    /// Appends bytes that many connections may share: alone they are not copied, nor are many; a few are copied behind
    /// others.
    #[inline]
    pub(crate) fn append_shared(&mut self, bytes: &Bytes) {
        if self.is_empty() {
            self.tail = Tail::Shared(bytes.clone());
        } else if bytes.len() <= COPY_MAX {
            self.append_with(|tail| tail.extend_from_slice(bytes));
        } else {
            self.append_owned(bytes.clone());
        }
    }

    /// Appends bytes without copying them.
    pub(crate) fn append_owned(&mut self, bytes: Bytes) {
        self.close_tail();
        self.push_chunk(bytes);
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
        if let Some(chunks) = other.chunks.take() {
            for chunk in chunks.list {
                self.push_chunk(chunk);
            }
        }
        self.tail = std::mem::take(&mut other.tail);
    }

    /// All of it, in order.
    pub(super) fn into_frames(self) -> impl Iterator<Item = Bytes> {
        let chunks = self.chunks.map(|chunks| chunks.list).unwrap_or_default();
        let tail = self.tail.into_bytes();
        chunks.into_iter().chain(std::iter::once(tail)).filter(|bytes| !bytes.is_empty())
    }

    fn close_tail(&mut self) {
        if !self.tail.as_slice().is_empty() {
            let tail = std::mem::take(&mut self.tail).into_bytes();
            self.push_chunk(tail);
        }
    }

    fn push_chunk(&mut self, bytes: Bytes) {
        let chunks = self.chunks.get_or_insert_default();
        chunks.len += bytes.len();
        chunks.list.push_back(bytes);
    }

    /// Removes bytes that were written.
    #[inline]
    pub(super) fn advance(&mut self, written: usize) {
        if self.chunks.is_none() && written == self.tail.as_slice().len() {
            return std::mem::take(&mut self.tail).end();
        }
        self.advance_chunks(written);
    }

    fn advance_chunks(&mut self, mut written: usize) {
        if let Some(chunks) = &mut self.chunks {
            while let Some(chunk) = chunks.list.front_mut() {
                if written < chunk.len() {
                    chunks.len -= written;
                    return chunk.advance(written);
                }
                chunks.len -= chunk.len();
                written -= chunk.len();
                chunks.list.pop_front();
            }
        }
        if written == self.tail.as_slice().len() {
            std::mem::take(&mut self.tail).end();
            self.chunks = None;
        } else if written > 0 {
            // A socket that is full: the rest waits as a chunk, so that it is not moved again.
            let mut rest = std::mem::take(&mut self.tail).into_bytes();
            rest.advance(written);
            self.push_chunk(rest);
        }
    }

    /// The only buffer, when there is just one.
    #[inline]
    pub(super) fn as_single(&self) -> Option<&[u8]> {
        let tail = self.tail.as_slice();
        let Some(chunks) = &self.chunks else { return Some(tail) };
        match (chunks.list.front(), chunks.list.len()) {
            (None, _) => Some(tail),
            (Some(chunk), 1) if tail.is_empty() => Some(chunk),
            _ => None,
        }
    }

    /// Fills `slices` with the buffers in order and returns how many there are.
    pub(super) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let chunks = self.chunks.iter().flat_map(|chunks| chunks.list.iter());
        let buffers = chunks.map(|chunk| &chunk[..]).chain(std::iter::once(self.tail.as_slice()));
        let mut count = 0;
        for (slot, buffer) in slices.iter_mut().zip(buffers.filter(|buffer| !buffer.is_empty())) {
            *slot = IoSlice::new(buffer);
            count += 1;
        }
        count
    }
}

impl Tail {
    const EMPTY: Self = Self::Copied(Vec::new());

    #[inline]
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Copied(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }

    /// The buffer to copy frames to; what was shared is copied there first.
    #[inline]
    fn make_copied(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Copied(bytes) if bytes.capacity() == 0 => *bytes = spare(),
            Self::Copied(_) => {}
            Self::Shared(shared) => {
                let mut copied = spare();
                copied.reserve(shared.len().max(FIRST_ROOM));
                copied.extend_from_slice(shared);
                *self = Self::Copied(copied);
            }
        }
        match self {
            Self::Copied(bytes) => bytes,
            Self::Shared(_) => unreachable!("it was made a copy above"),
        }
    }

    fn into_bytes(self) -> Bytes {
        match self {
            Self::Copied(bytes) => bytes.into(),
            Self::Shared(bytes) => bytes,
        }
    }

    /// All of it was written.
    #[inline]
    fn end(self) {
        if let Self::Copied(bytes) = self {
            keep_spare(bytes);
        }
    }
}

impl Default for Tail {
    fn default() -> Self {
        Self::EMPTY
    }
}

thread_local! {
    // One buffer goes from connection to connection of a thread: each is filled and written within one poll.
    static SPARE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

#[inline]
fn spare() -> Vec<u8> {
    SPARE.try_with(|spare| std::mem::take(&mut *spare.borrow_mut())).unwrap_or_default()
}

#[inline]
fn keep_spare(mut buffer: Vec<u8>) {
    if buffer.capacity() > 0 && buffer.capacity() <= SPARE_MAX {
        buffer.clear();
        let _ = SPARE.try_with(|spare| *spare.borrow_mut() = buffer);
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
        let holds_buffer = matches!(&outbound.tail, Tail::Copied(bytes) if bytes.capacity() > 0);
        assert_eq!((holds_buffer, outbound.chunks.is_none(), outbound.len()), (false, true, 0));
    }
}
