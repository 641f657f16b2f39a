//! An endless stream of messages, as a ring of bytes: what a connection sends, or must receive.

/// A few messages that follow each other again and again.
///
/// The bytes lie in memory twice in a row, so that every stretch of up to one turn is one slice.
#[derive(Debug)]
pub struct Ring {
    doubled: Vec<u8>,
    lengths: Vec<usize>,
}

impl Ring {
    /// Joins the messages.
    pub fn new(messages: &[Vec<u8>]) -> Self {
        let once = messages.concat();
        Ring { doubled: once.repeat(2), lengths: messages.iter().map(Vec::len).collect() }
    }

    /// Bytes of one turn.
    pub fn turn(&self) -> usize {
        self.doubled.len() / 2
    }

    /// Bytes of one message.
    pub fn length(&self, message: usize) -> usize {
        self.lengths[message % self.lengths.len()]
    }

    /// The bytes from `position` on, at most `length` and at most one turn.
    pub fn slice(&self, position: usize, length: usize) -> &[u8] {
        let start = position % self.turn();
        &self.doubled[start..start + length.min(self.turn())]
    }

    /// Returns true if `bytes` are at `position`.
    pub fn matches(&self, mut position: usize, bytes: &[u8]) -> bool {
        bytes.chunks(self.turn()).all(|chunk| {
            let same = self.slice(position, chunk.len()) == chunk;
            position += chunk.len();
            same
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_matches_across_its_end_and_sees_a_wrong_byte() {
        let ring = Ring::new(&[b"abc".to_vec(), b"def".to_vec()]);
        assert!(ring.matches(4, b"efabcdefabcd"));
        assert!(!ring.matches(4, b"efabcdefabcx"));
    }
}
