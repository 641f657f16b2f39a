//! The middle of something: a header of which a part is here, a frame, a message between its fragments.

use bytes::BufMut;

use crate::{
    Event, ProtocolError,
    assembly::Assembly,
    control,
    deflate::Context,
    frame::{Header, HeldHeader, Opcode},
    mask::MaskKey,
    rules::Rules,
};

/// Bytes of a data frame that must be missing for [`Connection::payload_buffer`](crate::Connection::payload_buffer)
/// to lend its buffer: 16 KiB. Below this, a copy costs less than a read of its own.
pub const DIRECT_READ_MIN: usize = 16 * 1024;

/// What a large frame's buffer grows by at least, when it is lent.
const DIRECT_READ_STEP: usize = 64 * 1024;

/// Everything that a connection keeps until it is finished.
#[derive(Default)]
pub(crate) struct Mid {
    stage: Stage,
    message: Assembly,
}

/// What the next byte belongs to.
enum Stage {
    /// A header, of which the first bytes may be here.
    Header(HeldHeader),
    /// The payload of a frame that was let pass.
    Payload(Frame),
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

impl Mid {
    /// Takes some bytes from the front of `input`, which is not empty.
    pub(crate) fn receive(
        &mut self,
        input: &[u8],
        rules: &Rules,
        context: &mut Context,
    ) -> Result<Step, ProtocolError> {
        match self.stage {
            Stage::Header(held) => self.receive_header(held, input, rules, context),
            Stage::Payload(frame) => self.receive_payload(frame, input, rules, context),
        }
    }

    pub(crate) fn payload_buffer(&mut self) -> Option<impl BufMut> {
        let Stage::Payload(frame) = self.stage else { return None };
        // A length beyond the address space is as good as one at its end: memory ends first.
        let missing = usize::try_from(frame.missing).unwrap_or(usize::MAX) - self.message.waiting();
        // A control frame never comes near it. What is compressed does not stay where it was read to.
        if missing < DIRECT_READ_MIN || self.message.is_compressed() {
            return None;
        }
        let room = match self.message.room() {
            room if room >= missing.min(DIRECT_READ_MIN) => 0,
            _ => missing.min(DIRECT_READ_STEP.max(self.message.size())),
        };
        Some(self.message.buffer_with_room(room).limit(missing))
    }

    pub(crate) fn payload_received(
        &mut self,
        n: usize,
        rules: &Rules,
        context: &mut Context,
    ) -> Result<Option<Event>, ProtocolError> {
        let Stage::Payload(frame) = self.stage else { return Ok(None) };
        debug_assert!(n <= self.message.waiting(), "more bytes are reported than were put into the buffer");
        self.receive_payload(frame, &[], rules, context).map(|(_, event)| event)
    }

    /// Whether a message has begun and is not finished.
    pub(crate) fn is_in_message(&self) -> bool {
        self.message.is_unfinished()
    }

    /// Whether nothing has begun.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Header(held) if held.is_empty()) && !self.is_in_message()
    }

    /// Bytes that are held.
    pub(crate) fn size(&self) -> usize {
        self.message.size()
    }

    /// The rest of a header, and the frame behind it as far as it is here.
    fn receive_header(
        &mut self,
        mut held: HeldHeader,
        input: &[u8],
        rules: &Rules,
        context: &mut Context,
    ) -> Result<Step, ProtocolError> {
        let before = held.len();
        held.fill(input);
        let Some((header, key)) = self.parse_header(held.as_slice(), rules)? else {
            self.stage = Stage::Header(held);
            return Ok((input.len(), None));
        };
        let consumed = header.size - before;
        if !header.opcode.is_control() {
            self.message.begin_frame(&header, rules);
        }
        let frame = Frame { opcode: header.opcode, fin: header.fin, key, missing: header.length };
        let (n, event) = self.receive_payload(frame, &input[consumed..], rules, context)?;
        Ok((consumed + n, event))
    }

    /// Reads and checks the header; `None` until all of it is there.
    fn parse_header(&self, bytes: &[u8], rules: &Rules) -> Result<Option<(Header, Option<MaskKey>)>, ProtocolError> {
        let Some(header) = Header::parse(bytes, rules)? else { return Ok(None) };
        self.message.admit(&header, rules)?;
        if bytes.len() < header.size {
            return Ok(None);
        }
        let key = header.key(bytes, rules.role);
        Ok(Some((header, key)))
    }

    /// Takes from `input` what the frame misses, after what may be waiting in the buffer.
    fn receive_payload(
        &mut self,
        mut frame: Frame,
        input: &[u8],
        rules: &Rules,
        context: &mut Context,
    ) -> Result<Step, ProtocolError> {
        let wanted = frame.missing - self.message.waiting() as u64;
        let mut n = usize::try_from(wanted).map_or(input.len(), |wanted| wanted.min(input.len()));
        if frame.opcode.is_control() {
            self.message.append(&input[..n]);
            return Ok((n, self.receive_control(frame)?));
        }
        n = n.min(self.message.appetite());
        self.message.append(&input[..n]);
        let waiting = self.message.waiting();
        self.message.take_payload(frame.key)?;
        frame.missing -= waiting as u64;
        frame.key = frame.key.map(|key| key.rotated(waiting));
        let is_frame_here = frame.missing == 0;
        self.message.inflate(is_frame_here && frame.fin, rules, context)?;
        self.stage = if is_frame_here { Stage::default() } else { Stage::Payload(frame) };
        let message = if is_frame_here && frame.fin { self.message.finish()? } else { None };
        Ok((n, message.map(Event::Message)))
    }

    /// A control frame, as far as it is in the buffer.
    fn receive_control(&mut self, frame: Frame) -> Result<Option<Event>, ProtocolError> {
        if (self.message.waiting() as u64) < frame.missing {
            self.stage = Stage::Payload(frame);
            return Ok(None);
        }
        self.stage = Stage::default();
        self.message.take_control(frame.key, |payload| control::event(frame.opcode, payload)).map(Some)
    }
}

impl Default for Stage {
    fn default() -> Self {
        Self::Header(HeldHeader::EMPTY)
    }
}
