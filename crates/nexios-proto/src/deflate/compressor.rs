use alloc::{boxed::Box, vec::Vec};
use core::fmt;

use flate2::{Compress, FlushCompress};

use super::{
    TAIL,
    pool::{self, Settings},
};

/// The payload of an empty message: the header of an empty stored block (RFC 7692 §7.2.3.6).
const EMPTY: u8 = 0;

/// Minimum spare capacity of the output in bytes: with less than seven, zlib repeats the end of a flush.
const ROOM_MIN: usize = 64;

/// Maximum size of a stored block in bytes (RFC 1951 §3.2.4).
const STORED_MAX: usize = 65_535;

/// A compressor of payloads (RFC 7692 §7.2.1), for [`encode::compressed`](crate::encode::compressed).
///
/// It keeps its window from message to message, until [`reset`](Self::reset): call that after each message if
/// `…_no_context_takeover` was negotiated for this end. It takes about 300 KiB of memory; a thread keeps a few dropped
/// ones for the next compressor with the same settings.
///
/// ```
/// use nexios_proto::Compressor;
///
/// let mut compressor = Compressor::new(6, 15);
/// let mut payload = Vec::new();
/// compressor.compress(b"Hello", &mut payload);
/// // The examples of RFC 7692 §7.2.3.1 and §7.2.3.2.
/// assert_eq!(payload, [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]);
/// payload.clear();
/// compressor.compress(b"Hello", &mut payload);
/// assert_eq!(payload, [0xf2, 0x00, 0x11, 0x00, 0x00]);
/// ```
pub struct Compressor {
    settings: Settings,
    /// True if nothing was compressed since the last reset.
    is_reset: bool,
    /// Always `Some` until the drop.
    state: Option<Box<Compress>>,
}

impl Compressor {
    /// A compressor with a level from 1 (fast) to 9 (small) and a window of 9 to 15 bits; other numbers count as the
    /// nearest of these.
    pub fn new(level: u8, window_bits: u8) -> Self {
        let settings = Settings { level: level.clamp(1, 9), window_bits: window_bits.clamp(9, 15) };
        Self { settings, is_reset: true, state: Some(pool::take_compressor(settings)) }
    }

    /// Appends the payload of the frame for a message with this payload.
    pub fn compress(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        if payload.is_empty() {
            return out.push(EMPTY);
        }
        self.is_reset = false;
        let start = out.len();
        if self.deflate(payload, out).is_none() {
            // zlib has no reason to fail. If it does, the peer's window is no longer in sync.
            debug_assert!(false, "zlib compresses everything");
            out.truncate(start);
            self.reset();
            store(payload, out);
        }
    }

    /// Forgets the messages so far: the next one is compressed by itself.
    pub fn reset(&mut self) {
        if !self.is_reset
            && let Some(state) = &mut self.state
        {
            state.reset();
            self.is_reset = true;
        }
    }

    fn deflate(&mut self, mut payload: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let state = self.state.as_mut()?;
        // An estimate; it grows below.
        out.reserve(payload.len() / 4 + ROOM_MIN);
        loop {
            let before = state.total_in();
            state.compress_vec(payload, out, FlushCompress::Sync).ok()?;
            payload = payload.get(usize::try_from(state.total_in() - before).ok()?..)?;
            if out.len() < out.capacity() {
                break;
            }
            out.reserve(payload.len().max(ROOM_MIN));
        }
        out.truncate(out.strip_suffix(TAIL)?.len());
        payload.is_empty().then_some(())
    }
}

impl Drop for Compressor {
    fn drop(&mut self) {
        self.reset();
        if let Some(state) = self.state.take() {
            pool::return_compressor(self.settings, state);
        }
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor")
            .field("level", &self.settings.level)
            .field("window_bits", &self.settings.window_bits)
            .finish_non_exhaustive()
    }
}

/// The payload in stored blocks (RFC 1951 §3.2.4), and the header of an empty one.
fn store(payload: &[u8], out: &mut Vec<u8>) {
    for block in payload.chunks(STORED_MAX) {
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        out.push(0);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(block);
    }
    out.push(EMPTY);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Connection, Event, Limits, Message, Role, encode, handshake::deflate::DeflateParams};

    #[test]
    fn what_is_stored_can_be_inflated() {
        for size in [1, 65_535, 65_536, 200_000] {
            let payload: Vec<u8> = (0..251).cycle().take(size).collect();
            let (mut stored, mut frame) = (Vec::new(), Vec::new());
            store(&payload, &mut stored);
            encode::compressed(false, &stored, None, &mut frame);
            let params = DeflateParams {
                server_no_context_takeover: true,
                client_no_context_takeover: true,
                server_max_window_bits: 15,
                client_max_window_bits: 15,
            };
            let mut connection = Connection::with_deflate(Role::Client, Limits::new(), params);
            let received = connection.receive(&mut frame).unwrap();
            assert_eq!(received.event, Some(Event::Message(Message::from(payload))));
        }
    }
}
