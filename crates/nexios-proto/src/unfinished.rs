//! Unfinished input: a partial header, a partial frame, or a message between its fragments.

use bytes::BufMut;

use crate::{
    Event, ProtocolError,
    assembly::Assembly,
    control,
    decoder_config::DecoderConfig,
    deflate::Context,
    frame::{Header, Opcode, PartialHeader},
    mask::MaskKey,
};

/// Bytes of a data frame that must be missing for [`Connection::payload_buffer`](crate::Connection::payload_buffer)
/// to lend its buffer: 16 KiB. Below this, a copy costs less than a read of its own.
pub const DIRECT_READ_MIN: usize = 16 * 1024;

/// Minimum growth of a large frame's buffer when it is lent, in bytes.
const DIRECT_READ_STEP: usize = 64 * 1024;

/// The unfinished input of a connection.
#[derive(Default)]
pub(crate) struct Unfinished {
    stage: Stage,
    message: Assembly,
}

/// The element to which the next byte belongs.
enum Stage {
    /// A header, with the bytes received so far.
    Header(PartialHeader),
    /// The payload of a frame whose header was accepted.
    Payload(Frame),
}

/// A frame whose payload is incomplete.
#[derive(Clone, Copy)]
struct Frame {
    opcode: Opcode,
    fin: bool,
    /// The mask key, rotated to the next byte.
    key: Option<MaskKey>,
    /// Payload bytes that are not received yet, or are in the buffer and not yet taken.
    missing: u64,
}

/// Bytes consumed, and the event that they completed.
type Step = (usize, Option<Event>);

impl Unfinished {
    /// Consumes bytes from the front of `input`, which is not empty.
    pub(crate) fn receive(
        &mut self,
        input: &[u8],
        config: &DecoderConfig,
        context: &mut Context,
    ) -> Result<Step, ProtocolError> {
        match self.stage {
            Stage::Header(partial) => self.receive_header(partial, input, config, context),
            Stage::Payload(frame) => self.receive_payload(frame, input, config, context),
        }
    }

    pub(crate) fn payload_buffer(&mut self) -> Option<impl BufMut> {
        let Stage::Payload(frame) = self.stage else { return None };
        // A length beyond the address space is clamped: memory ends first.
        let missing = usize::try_from(frame.missing).unwrap_or(usize::MAX) - self.message.waiting();
        // A control frame is always shorter. A compressed payload does not stay in the buffer.
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
        config: &DecoderConfig,
        context: &mut Context,
    ) -> Result<Option<Event>, ProtocolError> {
        let Stage::Payload(frame) = self.stage else { return Ok(None) };
        debug_assert!(n <= self.message.waiting(), "more bytes are reported than were put into the buffer");
        self.receive_payload(frame, &[], config, context).map(|(_, event)| event)
    }

    /// Returns true if a message has begun and is not finished.
    pub(crate) fn is_in_message(&self) -> bool {
        self.message.is_unfinished()
    }

    /// Returns true if no frame and no message has begun.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Header(partial) if partial.is_empty()) && !self.is_in_message()
    }

    /// Number of bytes that are held.
    pub(crate) fn size(&self) -> usize {
        self.message.size()
    }

    /// Consumes the rest of a header, and the available part of its frame.
    fn receive_header(
        &mut self,
        mut partial: PartialHeader,
        input: &[u8],
        config: &DecoderConfig,
        context: &mut Context,
    ) -> Result<Step, ProtocolError> {
        let before = partial.len();
        partial.fill(input);
        let Some((header, key)) = self.parse_header(partial.as_slice(), config)? else {
            self.stage = Stage::Header(partial);
            return Ok((input.len(), None));
        };
        let consumed = header.size - before;
        if !header.opcode.is_control() {
            self.message.begin_frame(&header, config);
        }
        let frame = Frame { opcode: header.opcode, fin: header.fin, key, missing: header.length };
        let (n, event) = self.receive_payload(frame, &input[consumed..], config, context)?;
        Ok((consumed + n, event))
    }

    /// Parses and checks the header; `None` until it is complete.
    fn parse_header(
        &self,
        bytes: &[u8],
        config: &DecoderConfig,
    ) -> Result<Option<(Header, Option<MaskKey>)>, ProtocolError> {
        let Some(header) = Header::parse(bytes, config)? else { return Ok(None) };
        self.message.admit(&header, config)?;
        if bytes.len() < header.size {
            return Ok(None);
        }
        let key = header.key(bytes, config.role);
        Ok(Some((header, key)))
    }

    /// Consumes the frame's missing bytes from `input`, behind those that wait in the buffer.
    fn receive_payload(
        &mut self,
        mut frame: Frame,
        input: &[u8],
        config: &DecoderConfig,
        context: &mut Context,
    ) -> Result<Step, ProtocolError> {
        let wanted = frame.missing - self.message.waiting() as u64;
        let mut n = usize::try_from(wanted).map_or(input.len(), |wanted| wanted.min(input.len()));
        if frame.opcode.is_control() {
            self.message.append(&input[..n]);
            return Ok((n, self.receive_control(frame)?));
        }
        n = n.min(self.message.append_limit());
        self.message.append(&input[..n]);
        let waiting = self.message.waiting();
        self.message.take_payload(frame.key)?;
        frame.missing -= waiting as u64;
        frame.key = frame.key.map(|key| key.rotated(waiting));
        let is_frame_complete = frame.missing == 0;
        self.message.inflate(is_frame_complete && frame.fin, config, context)?;
        self.stage = if is_frame_complete { Stage::default() } else { Stage::Payload(frame) };
        let message = if is_frame_complete && frame.fin { self.message.finish()? } else { None };
        Ok((n, message.map(Event::Message)))
    }

    /// Handles a control frame when all of it is in the buffer.
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
        Self::Header(PartialHeader::EMPTY)
    }
}
