//! Single compressed messages (RFC 7692 §7.2), without context takeover.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

/// What a sender leaves out at the end of a message, and a receiver appends (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// Compresses a message.
pub fn compress(message: &[u8]) -> Vec<u8> {
    let mut deflater = Compress::new(Compression::default(), false);
    // Incompressible input grows by five bytes for each 16 KiB at most, and the tail.
    let mut out = Vec::with_capacity(message.len() + message.len() / 1024 + 64);
    // Into enough room for everything, this cannot fail.
    let _ = deflater.compress_vec(message, &mut out, FlushCompress::Sync);
    out.truncate(out.len().saturating_sub(TAIL.len()));
    out
}

/// Inflates a message of a known length; `None` if it is none, or longer.
pub fn inflate(compressed: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut inflater = Decompress::new(false);
    let mut out = Vec::with_capacity(length + 1);
    let input = [compressed, &TAIL].concat();
    inflater.decompress_vec(&input, &mut out, FlushDecompress::Sync).ok()?;
    (out.len() <= length).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_back_whole() {
        let message = b"to be, or not to be, or to be both".repeat(20);
        let compressed = compress(&message);
        assert!(compressed.len() < message.len() / 4);
        assert_eq!(inflate(&compressed, message.len()), Some(message));
    }

    #[test]
    fn a_longer_message_and_noise_are_refused() {
        assert_eq!(inflate(&compress(&[b'a'; 100]), 99), None);
        assert_eq!(inflate(&[0xff; 8], 100), None);
    }
}
