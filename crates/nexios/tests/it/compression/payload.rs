//! What is sent, and flate2's view of it.

use std::fmt::Write;

use flate2::{Compress, Decompress, FlushCompress, FlushDecompress};

/// The end of a flush, which senders take off each message (RFC 7692 §7.2.1).
const TAIL: &[u8] = b"\x00\x00\xff\xff";

/// Text of so many bytes that becomes much smaller.
pub(super) fn prose(len: usize) -> String {
    let mut text = String::with_capacity(len + 64);
    for line in 0.. {
        if text.len() >= len {
            break;
        }
        write!(text, r#"{{"id":{line},"name":"visitor {}","online":true}}"#, line * 7919 % 1000).unwrap();
    }
    text.truncate(len);
    text
}

/// Bytes that nothing makes smaller.
pub(super) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..len).map(|_| random.u8(..)).collect()
}

pub(super) fn compressor() -> Compress {
    Compress::new(flate2::Compression::new(6), false)
}

/// The payload of the frame for a message.
pub(super) fn deflate(compressor: &mut Compress, bytes: &[u8]) -> Vec<u8> {
    let mut out = flush(compressor, bytes, FlushCompress::Sync);
    out.truncate(out.strip_suffix(TAIL).expect("a flush ends with its mark").len());
    out
}

/// Compresses a message by itself.
pub(super) fn deflate_alone(bytes: &[u8]) -> Vec<u8> {
    deflate(&mut compressor(), bytes)
}

/// The payload of a message of a GiB of zeros: less than a MiB.
pub(super) fn bomb() -> Vec<u8> {
    // After a full flush nothing refers back: the piece can stand any number of times.
    let piece = flush(&mut compressor(), &vec![0; 4 << 20], FlushCompress::Full);
    let mut bomb = piece.repeat((1 << 30) / (4 << 20));
    bomb.truncate(bomb.len() - TAIL.len());
    assert!(bomb.len() < 1 << 20, "{} bytes", bomb.len());
    bomb
}

fn flush(compressor: &mut Compress, mut bytes: &[u8], mode: FlushCompress) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        out.reserve(bytes.len() + 1024);
        let before = compressor.total_in();
        compressor.compress_vec(bytes, &mut out, mode).unwrap();
        bytes = &bytes[(compressor.total_in() - before) as usize..];
        if bytes.is_empty() && out.len() < out.capacity() {
            return out;
        }
    }
}

/// What a message's payload inflates to with what came before it.
pub(super) fn inflate(inflater: &mut Decompress, payload: &[u8]) -> Result<Vec<u8>, String> {
    let input = [payload, TAIL].concat();
    let (mut input, mut out) = (&input[..], Vec::new());
    loop {
        // A little at a time: what a block refers to is then in the window, not in front of it.
        out.reserve_exact(256);
        let before = inflater.total_in();
        inflater.decompress_vec(input, &mut out, FlushDecompress::Sync).map_err(|error| error.to_string())?;
        input = &input[(inflater.total_in() - before) as usize..];
        if input.is_empty() && out.len() < out.capacity() {
            return Ok(out);
        }
    }
}

/// What a message's payload inflates to by itself.
pub(super) fn inflate_alone(payload: &[u8]) -> Result<Vec<u8>, String> {
    inflate(&mut Decompress::new(false), payload)
}
