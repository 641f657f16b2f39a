use alloc::vec::Vec;
use core::fmt;

use bytes::BufMut;

use crate::{
    CloseFrame, Event, Limits, ProtocolError, Received, Role, decode::Decoder, encode, mask::MaskKey, rules::Rules,
};
#[cfg(feature = "deflate")]
use crate::{deflate::Incoming, handshake::deflate::DeflateParams};

/// One end of a connection, after the opening handshake: it turns bytes into [`Event`]s, and knows how far the closing
/// handshake is.
///
/// It does no I/O, reads no clock and draws no random numbers. Between messages it owns no memory but itself, unless the
/// peer compresses with a context that it takes over from message to message.
///
/// Its methods are of three kinds:
///
/// - bytes that came from the peer: [`receive`](Self::receive), and for the middle of large frames
///   [`payload_buffer`](Self::payload_buffer) with [`payload_received`](Self::payload_received);
/// - the closing handshake: [`send_close`](Self::send_close), [`close_state`](Self::close_state). All other frames are
///   written by [`encode`], which needs no connection;
/// - what is unfinished: [`is_mid_message`](Self::is_mid_message), [`unfinished_bytes`](Self::unfinished_bytes), for
///   deadlines and budgets of memory.
pub struct Connection {
    decoder: Decoder,
    close_sent: bool,
}

/// How far the closing handshake is (RFC 6455 §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseState {
    /// No Close frame in either direction.
    Open,
    /// This end has sent its Close frame, and listens until the peer's comes.
    CloseSent,
    /// The peer has sent its Close frame, and waits for this end's.
    CloseReceived,
    /// Both have: a server now closes the TCP connection, a client waits for it to do so (RFC 6455 §7.1.1).
    Closed,
}

impl Connection {
    /// A connection whose opening handshake is done.
    pub fn new(role: Role, limits: Limits) -> Self {
        Self { decoder: Decoder::new(Rules::new(role, limits, None)), close_sent: false }
    }

    /// A connection for which permessage-deflate was agreed on (RFC 7692): it takes compressed messages, and plain ones.
    ///
    /// [`Limits::message_size`] bounds what is inflated. With context takeover for the peer's messages, the connection
    /// holds about 40 KiB from the first compressed one on; without it, nothing between messages.
    ///
    /// To send, there are the [`Compressor`](crate::Compressor) and [`encode::compressed`].
    #[cfg(feature = "deflate")]
    pub fn with_deflate(role: Role, limits: Limits, params: DeflateParams) -> Self {
        let incoming = Incoming::new(role, params);
        Self { decoder: Decoder::new(Rules::new(role, limits, Some(incoming))), close_sent: false }
    }

    /// Takes bytes as they came from the socket, up to and including the first event, or all of them, or those of some
    /// dozens of fragments.
    ///
    /// Call it again with the rest while there is some. The same bytes are never needed twice: what is left of a frame or
    /// message is kept. `input` may be unmasked in place: it means nothing afterwards.
    ///
    /// After the peer's Close frame, and after an error, everything is consumed and ignored.
    ///
    /// # Errors
    ///
    /// The first rule that the peer broke, as soon as the bytes that break it are there. The connection has then failed:
    /// send a Close frame with [`ProtocolError::close_code`], and close the socket.
    #[inline]
    pub fn receive(&mut self, input: &mut [u8]) -> Result<Received, ProtocolError> {
        self.decoder.receive(input)
    }

    /// The place to read the socket into, when the middle of a large frame is due: it saves a copy of each byte.
    ///
    /// `Some` as long as at least [`DIRECT_READ_MIN`](crate::DIRECT_READ_MIN) bytes of a plain data frame are missing. The
    /// buffer takes no more than the rest of this frame. It grows as bytes arrive, at most twofold and by 64 KiB, never
    /// by the length that the frame announced.
    ///
    /// Report what was read by [`payload_received`](Self::payload_received), before the next call of
    /// [`receive`](Self::receive).
    pub fn payload_buffer(&mut self) -> Option<impl BufMut> {
        self.decoder.payload_buffer()
    }

    /// Takes the `n` bytes that were put into [`payload_buffer`](Self::payload_buffer).
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive).
    pub fn payload_received(&mut self, n: usize) -> Result<Option<Event>, ProtocolError> {
        self.decoder.payload_received(n)
    }

    /// Gives the peer up: what is unfinished is let go, and everything from now on is consumed and ignored, as after an
    /// error.
    pub fn fail(&mut self) {
        self.decoder.fail();
    }

    /// Whether a message has begun and is not finished.
    pub fn is_mid_message(&self) -> bool {
        self.decoder.is_mid_message()
    }

    /// Bytes that are kept until their message, or their control frame, is finished; of a compressed one, both what came
    /// and what was inflated.
    ///
    /// What is held to inflate the peer's messages counts too, with about 40 KiB, also between messages.
    pub fn unfinished_bytes(&self) -> usize {
        self.decoder.unfinished_bytes()
    }

    /// Appends a Close frame to `out`, once: `false`, and nothing is written, when one was sent before
    /// (RFC 6455 §5.5.1). `key` is for the client's role.
    ///
    /// No frame may follow it. See [`encode::close`] for what stands in the frame.
    pub fn send_close(&mut self, frame: Option<&CloseFrame>, key: Option<MaskKey>, out: &mut Vec<u8>) -> bool {
        if self.close_sent {
            return false;
        }
        self.close_sent = true;
        encode::close(frame, key, out);
        true
    }

    /// How far the closing handshake is.
    pub fn close_state(&self) -> CloseState {
        match (self.close_sent, self.decoder.is_closed()) {
            (false, false) => CloseState::Open,
            (true, false) => CloseState::CloseSent,
            (false, true) => CloseState::CloseReceived,
            (true, true) => CloseState::Closed,
        }
    }
}

/// Without the bytes of the message, which are the user's.
impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("close_state", &self.close_state())
            .field("unfinished_bytes", &self.unfinished_bytes())
            .finish_non_exhaustive()
    }
}
