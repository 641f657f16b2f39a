//! Payloads of compressed messages (RFC 7692 §7.2.1).

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

/// The end of a flush, which senders take off each message.
const TAIL: &[u8] = b"\x00\x00\xff\xff";

/// A message that is compressed by itself.
pub(crate) fn deflated(bytes: &[u8]) -> Vec<u8> {
    without_tail(flushed(bytes, FlushCompress::Sync))
}

/// A message of 1 GiB of zeros: less than 1 MiB.
pub(crate) fn bomb() -> Vec<u8> {
    // After a full flush nothing refers back: the piece can stand any number of times.
    let piece = flushed(&vec![0; 4 << 20], FlushCompress::Full);
    let bomb = without_tail(piece.repeat(256));
    assert!(bomb.len() < 1 << 20, "{} bytes", bomb.len());
    bomb
}

/// Whether it inflates to a whole text, by flate2's word.
pub(crate) fn is_text(payload: &[u8]) -> bool {
    let input = [payload, TAIL].concat();
    let mut out = Vec::with_capacity(1 << 20);
    let mut inflater = Decompress::new(false);
    let outcome = inflater.decompress_vec(&input, &mut out, FlushDecompress::Sync);
    outcome.is_ok() && inflater.total_in() == input.len() as u64 && std::str::from_utf8(&out).is_ok()
}

fn without_tail(mut deflated: Vec<u8>) -> Vec<u8> {
    deflated.truncate(deflated.strip_suffix(TAIL).expect("a flush ends with its mark").len());
    deflated
}

fn flushed(bytes: &[u8], mode: FlushCompress) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 1024);
    Compress::new(Compression::new(6), false).compress_vec(bytes, &mut out, mode).unwrap();
    assert!(out.len() < out.capacity(), "there was room for the end");
    out
}
