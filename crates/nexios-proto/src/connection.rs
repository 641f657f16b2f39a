use alloc::vec::Vec;
use core::fmt;

use bytes::BufMut;

use crate::{
    CloseFrame, Event, Limits, ProtocolError, Received, Role, decode::Decoder, decoder_config::DecoderConfig, encode,
    mask::MaskKey,
};
#[cfg(feature = "deflate")]
use crate::{deflate::Incoming, handshake::deflate::DeflateParams};

/// One end of a connection, after the opening handshake: it turns bytes into [`Event`]s, and tracks the closing
/// handshake.
///
/// It does no I/O, reads no clock and draws no random numbers. Between messages it holds no memory on the heap, unless
/// the peer compresses with context takeover.
///
/// Its methods are of three kinds:
///
/// - bytes from the peer: [`receive`](Self::receive), and for the middle of large frames
///   [`payload_buffer`](Self::payload_buffer) with [`payload_received`](Self::payload_received);
/// - the closing handshake: [`send_close`](Self::send_close), [`close_state`](Self::close_state). All other frames are
///   written by [`encode`], which needs no connection;
/// - unfinished input: [`is_mid_message`](Self::is_mid_message), [`unfinished_bytes`](Self::unfinished_bytes), for
///   deadlines and memory budgets.
pub struct Connection {
    decoder: Decoder,
    close_sent: bool,
}

/// The state of the closing handshake (RFC 6455 §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseState {
    /// No Close frame in either direction.
    Open,
    /// This end has sent its Close frame, and still receives until the peer's arrives.
    CloseSent,
    /// The peer has sent its Close frame, and waits for this end's.
    CloseReceived,
    /// Both have: a server now closes the TCP connection, a client waits for it to do so (RFC 6455 §7.1.1).
    Closed,
}

impl Connection {
    /// A connection after its opening handshake.
    pub fn new(role: Role, limits: Limits) -> Self {
        Self { decoder: Decoder::new(DecoderConfig::new(role, limits, None)), close_sent: false }
    }

    /// A connection for which permessage-deflate was negotiated (RFC 7692): it accepts compressed messages, and plain
    /// ones.
    ///
    /// [`Limits::message_size`] bounds the inflated message. With context takeover for the peer's messages, the
    /// connection holds about 40 KiB from the first compressed one on; without it, nothing between messages.
    ///
    /// To send compressed messages, use the [`Compressor`](crate::Compressor) and [`encode::compressed`].
    #[cfg(feature = "deflate")]
    pub fn with_deflate(role: Role, limits: Limits, params: DeflateParams) -> Self {
        let incoming = Incoming::new(role, params);
        Self { decoder: Decoder::new(DecoderConfig::new(role, limits, Some(incoming))), close_sent: false }
    }

    /// Consumes bytes from the socket, up to and including the first event, or all of them, or those of some dozens of
    /// fragments.
    ///
    /// Call it again with the rest while there is some. Consumed bytes are not needed again: an unfinished frame or
    /// message is kept. `input` may be unmasked in place: its content is unspecified afterwards.
    ///
    /// After the peer's Close frame, and after an error, everything is consumed and ignored.
    ///
    /// # Errors
    ///
    /// The first violation of the protocol, as soon as its bytes are received. The connection has then failed: send a
    /// Close frame with [`ProtocolError::close_code`], and close the socket.
    #[inline]
    pub fn receive(&mut self, input: &mut [u8]) -> Result<Received, ProtocolError> {
        self.decoder.receive(input)
    }

    /// The buffer to read the socket into during a large frame, which saves a copy of each byte.
    ///
    /// `Some` as long as at least [`DIRECT_READ_MIN`](crate::DIRECT_READ_MIN) bytes of a plain data frame are missing.
    /// The buffer accepts no more than the rest of this frame. It grows as bytes arrive, at most twofold and by 64 KiB,
    /// never by the length that the frame announced.
    ///
    /// Report the bytes that were read with [`payload_received`](Self::payload_received), before the next call of
    /// [`receive`](Self::receive).
    pub fn payload_buffer(&mut self) -> Option<impl BufMut> {
        self.decoder.payload_buffer()
    }

    /// Consumes the `n` bytes that were written to [`payload_buffer`](Self::payload_buffer).
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive).
    pub fn payload_received(&mut self, n: usize) -> Result<Option<Event>, ProtocolError> {
        self.decoder.payload_received(n)
    }

    /// Fails the connection: unfinished input is dropped, and all further input is consumed and ignored, as after an
    /// error.
    pub fn fail(&mut self) {
        self.decoder.fail();
    }

    /// Returns true if a message has begun and is not finished.
    pub fn is_mid_message(&self) -> bool {
        self.decoder.is_mid_message()
    }

    /// Number of bytes that are kept until their message or control frame is finished; for a compressed message, both
    /// the received and the inflated bytes.
    ///
    /// The state that inflates the peer's messages counts too, with about 40 KiB, also between messages.
    pub fn unfinished_bytes(&self) -> usize {
        self.decoder.unfinished_bytes()
    }

    /// Appends a Close frame to `out`, once: when one was sent before, it returns `false` and writes nothing
    /// (RFC 6455 §5.5.1). `key` is the mask key of a client; a server passes `None`.
    ///
    /// No frame may follow it. See [`encode::close`] for the content of the frame.
    pub fn send_close(&mut self, frame: Option<&CloseFrame>, key: Option<MaskKey>, out: &mut Vec<u8>) -> bool {
        if self.close_sent {
            return false;
        }
        self.close_sent = true;
        encode::close(frame, key, out);
        true
    }

    /// The state of the closing handshake.
    pub fn close_state(&self) -> CloseState {
        match (self.close_sent, self.decoder.is_closed()) {
            (false, false) => CloseState::Open,
            (true, false) => CloseState::CloseSent,
            (false, true) => CloseState::CloseReceived,
            (true, true) => CloseState::Closed,
        }
    }
}

/// Omits the bytes of the message, which belong to the user.
impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("close_state", &self.close_state())
            .field("unfinished_bytes", &self.unfinished_bytes())
            .finish_non_exhaustive()
    }
}
