//! Assembly of a message from its frames, or from parts of a frame.

use core::mem;

use bytes::{Bytes, BytesMut};

use crate::{
    Message, ProtocolError, Utf8Bytes,
    decoder_config::DecoderConfig,
    deflate::{Compressed, Context, Incoming},
    frame::{Header, Opcode},
    mask::MaskKey,
    utf8::Utf8Progress,
};

/// An unfinished message in one contiguous buffer, so that a flood of tiny frames costs no more than their payload.
///
/// A control frame may arrive between the fragments, and in parts. Its payload waits in the same buffer, behind the
/// message, so that a connection needs no second one.
#[derive(Default)]
pub(crate) struct Assembly {
    buffer: BytesMut,
    /// Number of bytes at the front of the buffer that belong to the message: unmasked, and checked unless they are
    /// compressed.
    taken: usize,
    fragments: u32,
    kind: Option<Kind>,
    utf8: Utf8Progress,
    /// Present in a compressed message; the buffer then holds data that is not inflated yet.
    compressed: Option<Compressed>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Binary,
}

impl Assembly {
    #[inline]
    pub(crate) fn is_unfinished(&self) -> bool {
        self.kind.is_some()
    }

    pub(crate) fn is_compressed(&self) -> bool {
        self.compressed.is_some()
    }

    /// Number of bytes held, taken into the message or not.
    pub(crate) fn size(&self) -> usize {
        self.buffer.len() + self.compressed.as_ref().map_or(0, Compressed::size)
    }

    /// Number of bytes in the buffer that wait to be taken.
    pub(crate) fn waiting(&self) -> usize {
        self.buffer.len() - self.taken
    }

    /// Checks that a frame may follow its predecessors (RFC 6455 §5.4), and is within the limits (§10.4).
    ///
    /// It changes nothing: it is called as soon as the length is known, and again when the header is complete.
    pub(crate) fn admit(&self, header: &Header, config: &DecoderConfig) -> Result<(), ProtocolError> {
        match header.opcode {
            Opcode::Close | Opcode::Ping | Opcode::Pong => return Ok(()),
            Opcode::Continuation if self.kind.is_none() => return Err(ProtocolError::UnexpectedContinuation),
            Opcode::Text | Opcode::Binary if self.kind.is_some() => return Err(ProtocolError::InterruptedMessage),
            Opcode::Continuation | Opcode::Text | Opcode::Binary => {}
        }
        if header.length > config.frame_size as u64 {
            return Err(ProtocolError::FrameTooBig { size: header.length, limit: config.frame_size });
        }
        // No overflow: the top bit of the length was refused, and what is in memory is less than 2^63 bytes.
        let size = self.taken as u64 + self.compressed.as_ref().map_or(0, Compressed::arrived) + header.length;
        let is_compressed = header.compressed || self.is_compressed();
        let most = if is_compressed { config.compressed_size() } else { config.message_size };
        if size > most as u64 {
            return Err(ProtocolError::MessageTooBig { size, limit: config.message_size });
        }
        if self.fragments >= config.fragments {
            return Err(ProtocolError::TooManyFragments { limit: config.fragments as usize });
        }
        Ok(())
    }

    /// Begins a data frame that [`admit`](Self::admit) has accepted.
    pub(crate) fn begin_frame(&mut self, header: &Header, config: &DecoderConfig) {
        self.kind = match header.opcode {
            Opcode::Text => Some(Kind::Text),
            Opcode::Binary => Some(Kind::Binary),
            _ => self.kind,
        };
        if header.compressed {
            self.compressed = config.deflate.map(Incoming::begin);
        }
        // Stays below `u32::MAX`, which means unlimited.
        self.fragments = self.fragments.saturating_add(1).min(u32::MAX - 1);
    }

    /// Maximum number of bytes of a data frame that may be appended at once.
    pub(crate) fn append_limit(&self) -> usize {
        self.compressed.as_ref().map_or(usize::MAX, |compressed| compressed.append_limit(self.buffer.len()))
    }

    /// Appends bytes of a payload as they were received.
    pub(crate) fn append(&mut self, payload: &[u8]) {
        self.buffer.extend_from_slice(payload);
    }

    /// The buffer, to read into, with spare capacity for at least `room` bytes.
    pub(crate) fn buffer_with_room(&mut self, room: usize) -> &mut BytesMut {
        self.buffer.reserve(room);
        &mut self.buffer
    }

    /// Spare capacity of the buffer, in bytes.
    pub(crate) fn room(&self) -> usize {
        self.buffer.capacity() - self.buffer.len()
    }

    /// Takes all waiting bytes into the message. No other function does.
    pub(crate) fn take_payload(&mut self, key: Option<MaskKey>) -> Result<(), ProtocolError> {
        let from = self.taken;
        let is_ascii = key.is_some_and(|key| key.apply_checking_ascii(&mut self.buffer[from..]));
        self.taken = self.buffer.len();
        if self.kind == Some(Kind::Text) && !self.is_compressed() && !(is_ascii && self.utf8.is_complete()) {
            self.utf8.advance(&self.buffer, from)?;
        }
        Ok(())
    }

    /// Inflates the bytes that were taken, when they are enough or the message ends with them.
    pub(crate) fn inflate(
        &mut self,
        last: bool,
        config: &DecoderConfig,
        context: &mut Context,
    ) -> Result<(), ProtocolError> {
        let Some(compressed) = &mut self.compressed else { return Ok(()) };
        if !last && compressed.append_limit(self.taken) > 0 {
            return Ok(());
        }
        let from = compressed.output().len();
        compressed.inflate(&self.buffer[..self.taken], last, config.message_size, context)?;
        self.buffer.clear();
        self.taken = 0;
        if self.kind == Some(Kind::Text) {
            self.utf8.advance(compressed.output(), from)?;
        }
        Ok(())
    }

    /// Ends the message, which takes the buffer with it.
    pub(crate) fn finish(&mut self) -> Result<Option<Message>, ProtocolError> {
        let Self { mut buffer, taken, kind, utf8, compressed, .. } = mem::take(self);
        let bytes = if let Some(compressed) = compressed {
            Bytes::from(compressed.into_output())
        } else {
            buffer.truncate(taken);
            buffer.freeze()
        };
        Ok(match kind {
            None => None,
            Some(Kind::Binary) => Some(Message::Binary(bytes)),
            Some(Kind::Text) if !utf8.is_complete() => return Err(ProtocolError::InvalidUtf8),
            Some(Kind::Text) => {
                #[expect(unsafe_code, reason = "a second pass over every long text would cost more than its copy")]
                // SAFETY: no character is open, and all bytes were checked: `take_payload` has checked all that was
                // taken of a plain text, which is all that is left in the buffer, and the buffer is lent out only to
                // write behind its end; `inflate` has checked all that came of a compressed one.
                let text = unsafe { Utf8Bytes::from_checked(bytes) };
                Some(Message::Text(text))
            }
        })
    }

    /// Passes the waiting bytes, a control frame's complete payload, to `read`, and frees their memory.
    pub(crate) fn take_control<T>(&mut self, key: Option<MaskKey>, read: impl FnOnce(&[u8]) -> T) -> T {
        let payload = &mut self.buffer[self.taken..];
        if let Some(key) = key {
            key.apply(payload, 0);
        }
        let result = read(payload);
        self.buffer.truncate(self.taken);
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limit, Limits, Role};

    #[test]
    fn without_a_limit_the_count_of_fragments_never_refuses() {
        let config = DecoderConfig::new(Role::Server, Limits::new().fragments(Limit::Unlimited), None);
        let mut message = Assembly { fragments: u32::MAX - 2, kind: Some(Kind::Binary), ..Assembly::default() };
        for _ in 0..5 {
            let header = Header::parse(&[0x00, 0x80], &config).unwrap().unwrap();
            assert_eq!(message.admit(&header, &config), Ok(()));
            message.begin_frame(&header, &config);
        }
    }
}
