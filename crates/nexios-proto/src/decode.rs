//! The decoder, the receiving half of a connection: from bytes to events.

use alloc::boxed::Box;
use core::mem;

use bytes::BufMut;

use crate::{
    Event, ProtocolError, Received, control, decoder_config::DecoderConfig, deflate::Context,
    single_frame::SingleFrameMessage, unfinished::Unfinished,
};

pub(crate) struct Decoder {
    config: DecoderConfig,
    /// The state of the peer's compression between messages.
    context: Context,
    stage: Stage,
}

/// The element to which the next byte belongs.
enum Stage {
    /// A new frame, while no message is unfinished.
    Idle,
    /// Unfinished input, boxed so that an idle connection stays small.
    Unfinished(Box<Unfinished>),
    /// None: the peer has sent its Close frame, after which all data is ignored (RFC 6455 §5.5.1).
    Closed,
    /// None: the peer violated the protocol, after which all data is ignored (RFC 6455 §7.1.7).
    Failed,
}

/// Maximum number of headers and partial payloads in one call, which then returns without an event: a flood of tiny
/// fragments must not keep the caller from its other work.
const STEPS: usize = 64;

impl Decoder {
    pub(crate) fn new(config: DecoderConfig) -> Self {
        Self { config, context: Context::default(), stage: Stage::Idle }
    }

    /// Consumes input up to and including the first event. After an error, all input is ignored.
    pub(crate) fn receive(&mut self, input: &mut [u8]) -> Result<Received, ProtocolError> {
        if matches!(self.stage, Stage::Idle)
            && let Some(found) = SingleFrameMessage::find(input, &self.config)
        {
            let Some(message) = found.read(input, self.config.role) else {
                self.end(Stage::Failed);
                return Err(ProtocolError::InvalidUtf8);
            };
            return Ok(Received { consumed: found.end, event: Some(Event::Message(message)) });
        }
        self.receive_unfinished(input)
    }

    /// The general path, through the buffer. Not inlined, so that the hot path's stack frame stays small.
    #[inline(never)]
    fn receive_unfinished(&mut self, input: &[u8]) -> Result<Received, ProtocolError> {
        let mut unfinished = match mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Idle if input.is_empty() => return Ok(Received { consumed: 0, event: None }),
            Stage::Idle => match control::parse_complete(input, &self.config) {
                Some((consumed, event)) => return self.complete_control(consumed, event),
                None => Box::default(),
            },
            Stage::Unfinished(unfinished) => unfinished,
            ended @ (Stage::Closed | Stage::Failed) => {
                self.stage = ended;
                return Ok(Received { consumed: input.len(), event: None });
            }
        };
        let mut consumed = 0;
        for _ in 0..STEPS {
            if consumed == input.len() {
                break;
            }
            let step = unfinished.receive(&input[consumed..], &self.config, &mut self.context);
            let (n, event) = step.inspect_err(|_| self.end(Stage::Failed))?;
            consumed += n;
            if event.is_some() {
                self.keep_unfinished(unfinished, event.as_ref());
                return Ok(Received { consumed, event });
            }
        }
        self.keep_unfinished(unfinished, None);
        Ok(Received { consumed, event: None })
    }

    fn complete_control(
        &mut self,
        consumed: usize,
        event: Result<Event, ProtocolError>,
    ) -> Result<Received, ProtocolError> {
        match &event {
            Ok(Event::Close(_)) => self.end(Stage::Closed),
            Ok(_) => {}
            Err(_) => self.end(Stage::Failed),
        }
        event.map(|event| Received { consumed, event: Some(event) })
    }

    /// The return type only lets bytes be appended: a caller that could change earlier bytes could invalidate a text
    /// that was checked.
    pub(crate) fn payload_buffer(&mut self) -> Option<impl BufMut> {
        match &mut self.stage {
            Stage::Unfinished(unfinished) => unfinished.payload_buffer(),
            _ => None,
        }
    }

    pub(crate) fn payload_received(&mut self, n: usize) -> Result<Option<Event>, ProtocolError> {
        let Stage::Unfinished(mut unfinished) = mem::replace(&mut self.stage, Stage::Idle) else { return Ok(None) };
        let event =
            unfinished.payload_received(n, &self.config, &mut self.context).inspect_err(|_| self.end(Stage::Failed))?;
        self.keep_unfinished(unfinished, event.as_ref());
        Ok(event)
    }

    pub(crate) fn fail(&mut self) {
        if !self.is_closed() {
            self.end(Stage::Failed);
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.stage, Stage::Closed)
    }

    pub(crate) fn is_mid_message(&self) -> bool {
        matches!(&self.stage, Stage::Unfinished(unfinished) if unfinished.is_in_message())
    }

    pub(crate) fn unfinished_bytes(&self) -> usize {
        let begun = match &self.stage {
            Stage::Unfinished(unfinished) => unfinished.size(),
            _ => 0,
        };
        begun + self.context.size()
    }

    /// Keeps unfinished input until more bytes arrive.
    fn keep_unfinished(&mut self, unfinished: Box<Unfinished>, event: Option<&Event>) {
        match event {
            Some(Event::Close(_)) => self.end(Stage::Closed),
            _ if unfinished.is_idle() => self.stage = Stage::Idle,
            _ => self.stage = Stage::Unfinished(unfinished),
        }
    }

    /// Ends the decoding and frees all memory.
    fn end(&mut self, stage: Stage) {
        self.stage = stage;
        self.context = Context::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, Role};

    /// Feeds `pieces` to a server's decoder, and returns true if it holds memory afterwards.
    fn holds_memory_after(pieces: &[&[u8]]) -> bool {
        let mut decoder = Decoder::new(DecoderConfig::new(Role::Server, Limits::new(), None));
        for piece in pieces {
            let mut consumed = 0;
            while consumed < piece.len() {
                match decoder.receive(&mut piece[consumed..].to_vec()) {
                    Ok(received) => consumed += received.consumed,
                    Err(_) => break,
                }
            }
        }
        matches!(decoder.stage, Stage::Unfinished(_))
    }

    #[test]
    fn between_messages_no_memory_is_held() {
        let whole: &[u8] = b"\x81\x85\0\0\0\0Hello";
        let fragments: &[u8] = b"\x01\x83\0\0\0\0Hel\x80\x82\0\0\0\0lo";
        assert!(!holds_memory_after(&[whole, whole]));
        assert!(!holds_memory_after(&[fragments]));
        assert!(!holds_memory_after(&[&whole[..1], &whole[1..8], &whole[8..]]), "a message in pieces");
        assert!(!holds_memory_after(&[b"\x89\x84\0\0\0\0pi", b"ng"]), "a control frame in pieces");
    }

    #[test]
    fn after_the_end_no_memory_is_held() {
        assert!(!holds_memory_after(&[b"\x01\x83\0\0\0\0Hel\x88\x80\0\0\0\0"]), "a close frame in a message");
        assert!(!holds_memory_after(&[b"\x01\x83\0\0\0\0Hel\x83"]), "an error in a message");
        assert!(holds_memory_after(&[b"\x01\x83\0\0\0\0Hel"]), "an unfinished message is held");
    }
}
