//! From bytes to events: the half of a connection that listens.

use bytes::{BufMut, Bytes};

use crate::{
    CloseFrame, Event, Limits, ProtocolError, Received, Role,
    assembly::Assembly,
    caps::Caps,
    frame::{Header, HeldHeader, Opcode},
    mask::MaskKey,
    whole::WholeMessage,
};

/// Bytes of a data frame that must be missing for [`Connection::payload_buffer`](crate::Connection::payload_buffer)
/// to lend its buffer: 16 KiB. Below this, a copy costs less than a read of its own.
pub const DIRECT_READ_MIN: usize = 16 * 1024;

/// What a large frame's buffer grows by at least, when it is lent.
const DIRECT_READ_STEP: usize = 64 * 1024;

pub(crate) struct Decoder {
    role: Role,
    stage: Stage,
    caps: Caps,
    message: Assembly,
}

/// What the next byte belongs to.
enum Stage {
    /// A header, of which the first bytes may be here.
    Header(HeldHeader),
    /// The payload of a frame that was let pass.
    Payload(Frame),
    /// Nothing: the peer has sent its Close frame, the last that counts (RFC 6455 §5.5.1).
    Closed,
    /// Nothing: the peer broke a rule, and is no longer listened to (RFC 6455 §7.1.7).
    Failed,
}

/// A frame whose payload is not all here.
#[derive(Clone, Copy)]
struct Frame {
    opcode: Opcode,
    fin: bool,
    /// As it stands at the next byte to take.
    key: Option<MaskKey>,
    /// Bytes not yet in the buffer, or in it and not yet taken.
    missing: u64,
}

/// Bytes consumed, and the event that they completed.
type Step = (usize, Option<Event>);

impl Decoder {
    pub(crate) fn new(role: Role, limits: Limits) -> Self {
        Self { role, stage: Stage::Header(HeldHeader::EMPTY), caps: limits.into(), message: Assembly::default() }
    }

    /// Consumes up to and including the first event. An error is the last thing that comes.
    pub(crate) fn receive(&mut self, input: &mut [u8]) -> Result<Received, ProtocolError> {
        if self.is_between_messages()
            && let Some(whole) = WholeMessage::find(input, self.role, &self.caps)
        {
            return match whole.read(input, self.role) {
                Some(message) => Ok(Received { consumed: whole.end, event: Some(Event::Message(message)) }),
                None => self.or_fail(Err(ProtocolError::InvalidUtf8)),
            };
        }
        self.receive_pieces(input)
    }

    /// The general path, through the buffer. Kept apart, so that the hot path's frame on the stack stays small.
    #[inline(never)]
    fn receive_pieces(&mut self, input: &[u8]) -> Result<Received, ProtocolError> {
        let mut consumed = 0;
        while consumed < input.len() {
            let rest = &input[consumed..];
            let step = match self.stage {
                Stage::Header(held) => self.receive_header(held, rest),
                Stage::Payload(frame) => self.receive_payload(frame, rest),
                Stage::Closed | Stage::Failed => return Ok(Received { consumed: input.len(), event: None }),
            };
            let (n, event) = self.or_fail(step)?;
            consumed += n;
            if event.is_some() {
                return Ok(Received { consumed, event });
            }
        }
        Ok(Received { consumed, event: None })
    }

    /// The type says no more than that bytes can be added: who could change those before them could make a text that is
    /// not UTF-8 of one that was checked.
    pub(crate) fn payload_buffer(&mut self) -> Option<impl BufMut> {
        let Stage::Payload(frame) = self.stage else { return None };
        // A length beyond the address space is as good as one at its end: memory ends first.
        let missing = usize::try_from(frame.missing).unwrap_or(usize::MAX) - self.message.waiting();
        // A control frame never comes near it.
        if missing < DIRECT_READ_MIN {
            return None;
        }
        let room = match self.message.room() {
            room if room >= missing.min(DIRECT_READ_MIN) => 0,
            _ => missing.min(DIRECT_READ_STEP.max(self.message.len())),
        };
        Some(self.message.buffer_with_room(room).limit(missing))
    }

    pub(crate) fn payload_received(&mut self, n: usize) -> Result<Option<Event>, ProtocolError> {
        let Stage::Payload(frame) = self.stage else { return Ok(None) };
        debug_assert!(n <= self.message.waiting(), "more bytes are reported than were put into the buffer");
        let step = self.receive_payload(frame, &[]);
        self.or_fail(step).map(|(_, event)| event)
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.stage, Stage::Closed)
    }

    pub(crate) fn is_mid_message(&self) -> bool {
        self.message.is_unfinished()
    }

    pub(crate) fn unfinished_bytes(&self) -> usize {
        self.message.len()
    }

    #[inline]
    fn is_between_messages(&self) -> bool {
        matches!(self.stage, Stage::Header(held) if held.is_empty()) && !self.message.is_unfinished()
    }

    /// The rest of a header, and the frame behind it as far as it is here.
    fn receive_header(&mut self, mut held: HeldHeader, input: &[u8]) -> Result<Step, ProtocolError> {
        let before = held.len();
        held.fill(input);
        let Some((header, key)) = self.parse_header(held.as_slice())? else {
            self.stage = Stage::Header(held);
            return Ok((input.len(), None));
        };
        let consumed = header.size - before;
        let frame = self.begin_frame(&header, key);
        let (n, event) = self.receive_payload(frame, &input[consumed..])?;
        Ok((consumed + n, event))
    }

    /// Reads and checks the header; `None` until all of it is there.
    fn parse_header(&self, bytes: &[u8]) -> Result<Option<(Header, Option<MaskKey>)>, ProtocolError> {
        let Some(header) = Header::parse(bytes, self.role)? else { return Ok(None) };
        self.message.admit(&header, &self.caps)?;
        if bytes.len() < header.size {
            return Ok(None);
        }
        let key = header.key(bytes, self.role);
        Ok(Some((header, key)))
    }

    /// Begins a frame that was let pass.
    fn begin_frame(&mut self, header: &Header, key: Option<MaskKey>) -> Frame {
        if !header.opcode.is_control() {
            self.message.begin_frame(header.opcode);
        }
        Frame { opcode: header.opcode, fin: header.fin, key, missing: header.length }
    }

    /// Takes from `input` what the frame misses, after what may be waiting in the buffer.
    fn receive_payload(&mut self, mut frame: Frame, input: &[u8]) -> Result<Step, ProtocolError> {
        let wanted = frame.missing - self.message.waiting() as u64;
        let n = usize::try_from(wanted).map_or(input.len(), |wanted| wanted.min(input.len()));
        self.message.append(&input[..n]);
        let waiting = self.message.waiting();
        if frame.opcode.is_control() {
            let event = if waiting as u64 == frame.missing { Some(self.finish_control(frame)?) } else { None };
            if event.is_none() {
                self.stage = Stage::Payload(frame);
            }
            return Ok((n, event));
        }
        self.message.take_payload(frame.key)?;
        frame.missing -= waiting as u64;
        frame.key = frame.key.map(|key| key.rotated(waiting));
        if frame.missing > 0 {
            self.stage = Stage::Payload(frame);
            return Ok((n, None));
        }
        self.stage = Stage::Header(HeldHeader::EMPTY);
        let message = if frame.fin { self.message.finish()? } else { None };
        Ok((n, message.map(Event::Message)))
    }

    /// A control frame of which the last byte has come into the buffer.
    fn finish_control(&mut self, frame: Frame) -> Result<Event, ProtocolError> {
        let event = self.message.take_control(frame.key, |payload| control_event(frame.opcode, payload))?;
        match event {
            Event::Close(_) => self.end(Stage::Closed),
            _ => self.stage = Stage::Header(HeldHeader::EMPTY),
        }
        Ok(event)
    }

    /// Passes a result on, and ends all listening at an error.
    fn or_fail<T>(&mut self, result: Result<T, ProtocolError>) -> Result<T, ProtocolError> {
        if result.is_err() {
            self.end(Stage::Failed);
        }
        result
    }

    fn end(&mut self, stage: Stage) {
        self.stage = stage;
        self.message = Assembly::default();
    }
}

fn control_event(opcode: Opcode, payload: &[u8]) -> Result<Event, ProtocolError> {
    Ok(match opcode {
        Opcode::Close => Event::Close(CloseFrame::parse(payload)?),
        Opcode::Ping => Event::Ping(Bytes::copy_from_slice(payload)),
        _ => Event::Pong(Bytes::copy_from_slice(payload)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives `pieces` to a server's end, and returns the memory that it holds afterwards.
    fn memory_after(pieces: &[&[u8]]) -> usize {
        let mut decoder = Decoder::new(Role::Server, Limits::new());
        for piece in pieces {
            let mut consumed = 0;
            while consumed < piece.len() {
                match decoder.receive(&mut piece[consumed..].to_vec()) {
                    Ok(received) => consumed += received.consumed,
                    Err(_) => break,
                }
            }
        }
        decoder.message.len() + decoder.message.room()
    }

    #[test]
    fn between_messages_no_memory_is_held() {
        let whole: &[u8] = b"\x81\x85\0\0\0\0Hello";
        let fragments: &[u8] = b"\x01\x83\0\0\0\0Hel\x80\x82\0\0\0\0lo";
        assert_eq!(memory_after(&[whole, whole]), 0);
        assert_eq!(memory_after(&[fragments]), 0);
        assert_eq!(memory_after(&[&whole[..1], &whole[1..8], &whole[8..]]), 0, "a message in pieces");
        assert_eq!(memory_after(&[b"\x89\x84\0\0\0\0pi", b"ng"]), 0, "a control frame in pieces");
        assert_eq!(memory_after(&[b"\x89\x84\0\0"]), 0, "a part of a header");
    }

    #[test]
    fn after_the_end_no_memory_is_held() {
        assert_eq!(memory_after(&[b"\x01\x83\0\0\0\0Hel\x88\x80\0\0\0\0"]), 0, "a close frame in a message");
        assert_eq!(memory_after(&[b"\x01\x83\0\0\0\0Hel\x83"]), 0, "an error in a message");
        assert_ne!(memory_after(&[b"\x01\x83\0\0\0\0Hel"]), 0, "an unfinished message is held");
    }
}
