//! Compressed messages (RFC 7692 §7.2).

use std::fmt;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

/// The tail that a sender removes from each message, and a receiver appends (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// Compresses a message for itself.
pub fn compress(message: &[u8]) -> Vec<u8> {
    let mut deflater = Compress::new(Compression::default(), false);
    // Incompressible input grows by five bytes for each 16 KiB at most, and the tail.
    let mut out = Vec::with_capacity(message.len() + message.len() / 1024 + 64);
    // Into enough room for everything, this cannot fail.
    let _ = deflater.compress_vec(message, &mut out, FlushCompress::Sync);
    out.truncate(out.len().saturating_sub(TAIL.len()));
    out
}

/// Inflates the messages of one sender.
pub struct Inflater {
    state: Decompress,
    keeps_window: bool,
}

impl Inflater {
    /// For a sender whose messages stand each for itself.
    pub fn without_takeover() -> Self {
        Inflater { state: Decompress::new(false), keeps_window: false }
    }

    /// For a sender whose messages refer to earlier ones.
    pub fn with_takeover() -> Self {
        Inflater { state: Decompress::new(false), keeps_window: true }
    }

    /// Inflates the next message; `None` if it is none, or longer than `longest`.
    pub fn inflate(&mut self, compressed: &[u8], longest: usize) -> Option<Vec<u8>> {
        if !self.keeps_window {
            self.state.reset(false);
        }
        let mut out = Vec::with_capacity(longest + 1);
        for part in [compressed, &TAIL] {
            let before = self.state.total_in();
            self.state.decompress_vec(part, &mut out, FlushDecompress::Sync).ok()?;
            // Without room for more it stops, with some of the input left.
            if self.state.total_in() - before != part.len() as u64 {
                return None;
            }
        }
        (out.len() <= longest).then_some(out)
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Inflater").field("keeps_window", &self.keeps_window).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_whole() {
        let message = b"to be, or not to be, or to be both".repeat(20);
        let compressed = compress(&message);
        assert!(compressed.len() < message.len() / 4);
        for mut inflater in [Inflater::without_takeover(), Inflater::with_takeover()] {
            for _ in 0..3 {
                assert_eq!(inflater.inflate(&compressed, message.len()).as_ref(), Some(&message));
            }
        }
    }

    #[test]
    fn with_takeover_a_message_may_refer_to_the_one_before() {
        // RFC 7692 §7.2.3.2: the second "Hello" is a reference to the first.
        let (first, second) = ([0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], [0xf2, 0x00, 0x11, 0x00, 0x00]);
        let hello = Some(b"Hello".to_vec());
        let mut keeping = Inflater::with_takeover();
        assert_eq!([keeping.inflate(&first, 5), keeping.inflate(&second, 5)], [hello.clone(), hello.clone()]);
        let mut forgetting = Inflater::without_takeover();
        assert_eq!([forgetting.inflate(&first, 5), forgetting.inflate(&second, 5)], [hello, None]);
    }

    #[test]
    fn a_longer_message_and_noise_are_refused() {
        assert_eq!(Inflater::without_takeover().inflate(&compress(&[b'a'; 100]), 99), None);
        assert_eq!(Inflater::without_takeover().inflate(&compress(&[b'a'; 10_000]), 99), None);
        assert_eq!(Inflater::without_takeover().inflate(&[0xff; 8], 100), None);
    }
}
