//! The message that is being put together from frames, or from pieces of one.

use core::mem;

use bytes::BytesMut;

use crate::{
    Message, ProtocolError, Utf8Bytes,
    caps::Caps,
    frame::{Header, Opcode},
    mask::MaskKey,
    utf8::Utf8Progress,
};

/// An unfinished message in one contiguous buffer, so that a flood of tiny frames costs no more than their payload.
///
/// A control frame may come between the fragments, and in pieces. Its payload waits in the same buffer, behind the
/// message, so that a connection needs no second one.
#[derive(Default)]
pub(crate) struct Assembly {
    buffer: BytesMut,
    /// Bytes at the front of the buffer that are payload of the message, unmasked and checked.
    taken: usize,
    fragments: u32,
    kind: Option<Kind>,
    utf8: Utf8Progress,
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

    /// Bytes held, be they taken into the message or not.
    pub(crate) fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Bytes in the buffer that wait to be taken.
    pub(crate) fn waiting(&self) -> usize {
        self.buffer.len() - self.taken
    }

    /// Whether a frame may follow what came before it (RFC 6455 §5.4), and is within the limits (§10.4).
    ///
    /// Changes nothing: it is asked as soon as the length is known, and again when the header is complete.
    pub(crate) fn admit(&self, header: &Header, caps: &Caps) -> Result<(), ProtocolError> {
        match header.opcode {
            Opcode::Close | Opcode::Ping | Opcode::Pong => return Ok(()),
            Opcode::Continuation if self.kind.is_none() => return Err(ProtocolError::UnexpectedContinuation),
            Opcode::Text | Opcode::Binary if self.kind.is_some() => return Err(ProtocolError::InterruptedMessage),
            Opcode::Continuation | Opcode::Text | Opcode::Binary => {}
        }
        if header.length > caps.frame_size as u64 {
            return Err(ProtocolError::FrameTooBig { size: header.length, limit: caps.frame_size });
        }
        // No overflow: the top bit of the length was refused, and what is in memory is less than 2^63 bytes.
        let size = self.taken as u64 + header.length;
        if size > caps.message_size as u64 {
            return Err(ProtocolError::MessageTooBig { size, limit: caps.message_size });
        }
        if self.fragments >= caps.fragments {
            return Err(ProtocolError::TooManyFragments { limit: caps.fragments as usize });
        }
        Ok(())
    }

    /// Begins a data frame that [`admit`](Self::admit) has let pass.
    pub(crate) fn begin_frame(&mut self, opcode: Opcode) {
        self.kind = match opcode {
            Opcode::Text => Some(Kind::Text),
            Opcode::Binary => Some(Kind::Binary),
            _ => self.kind,
        };
        // Stays below `u32::MAX`, which is no limit.
        self.fragments = self.fragments.saturating_add(1).min(u32::MAX - 1);
    }

    /// Puts bytes of a payload behind the others, as they came.
    pub(crate) fn append(&mut self, payload: &[u8]) {
        self.buffer.extend_from_slice(payload);
    }

    /// The buffer itself, to read into, with room for at least `room` bytes.
    pub(crate) fn buffer_with_room(&mut self, room: usize) -> &mut BytesMut {
        self.buffer.reserve(room);
        &mut self.buffer
    }

    /// Room that the buffer has without growing.
    pub(crate) fn room(&self) -> usize {
        self.buffer.capacity() - self.buffer.len()
    }

    /// Takes all waiting bytes into the message: the one place where a payload's bytes become a message's.
    pub(crate) fn take_payload(&mut self, key: Option<MaskKey>) -> Result<(), ProtocolError> {
        let from = self.taken;
        let is_ascii = key.is_some_and(|key| key.apply_noting(&mut self.buffer[from..]));
        if self.kind == Some(Kind::Text) && !(is_ascii && self.utf8.is_whole()) {
            self.utf8.advance(&self.buffer, from)?;
        }
        self.taken = self.buffer.len();
        Ok(())
    }

    /// Ends the message; the buffer leaves with it.
    pub(crate) fn finish(&mut self) -> Result<Option<Message>, ProtocolError> {
        let Self { mut buffer, taken, kind, utf8, .. } = mem::take(self);
        buffer.truncate(taken);
        Ok(match kind {
            None => None,
            Some(Kind::Binary) => Some(Message::Binary(buffer.freeze())),
            Some(Kind::Text) if !utf8.is_whole() => return Err(ProtocolError::InvalidUtf8),
            Some(Kind::Text) => {
                #[expect(unsafe_code, reason = "a second pass over every long text would cost more than its copy")]
                // SAFETY: `take_payload` has checked all that was taken of a text, which is all that is left in the
                // buffer; no character is open; and the buffer is lent out only to write behind its end.
                let text = unsafe { Utf8Bytes::from_checked(buffer.freeze()) };
                Some(Message::Text(text))
            }
        })
    }

    /// Hands the waiting bytes over, which are a control frame's whole payload, and frees what they took.
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
        let caps = Caps::from(Limits::new().fragments(Limit::Unlimited));
        let mut message = Assembly { fragments: u32::MAX - 2, kind: Some(Kind::Binary), ..Assembly::default() };
        for _ in 0..5 {
            let header = Header::parse(&[0x00, 0x80], Role::Server).unwrap().unwrap();
            assert_eq!(message.admit(&header, &caps), Ok(()));
            message.begin_frame(header.opcode);
        }
    }
}
