//! From bytes to events: the half of a connection that listens.

use alloc::boxed::Box;
use core::mem;

use bytes::BufMut;

use crate::{Event, ProtocolError, Received, control, deflate::Context, mid::Mid, rules::Rules, whole::WholeMessage};

pub(crate) struct Decoder {
    rules: Rules,
    /// What the peer's compression goes on from.
    context: Context,
    stage: Stage,
}

/// What the next byte belongs to.
enum Stage {
    /// A new frame; no message is unfinished.
    Between,
    /// Whatever has begun. In a box of its own, so that a connection that says nothing stays small.
    Mid(Box<Mid>),
    /// Nothing: the peer has sent its Close frame, the last that counts (RFC 6455 §5.5.1).
    Closed,
    /// Nothing: the peer broke a rule, and is no longer listened to (RFC 6455 §7.1.7).
    Failed,
}

/// After so many headers and pieces of payloads a call returns, event or not: a flood of tiny fragments costs time for
/// each of them, and whoever calls may have something else to do.
const STEPS: usize = 64;

impl Decoder {
    pub(crate) fn new(rules: Rules) -> Self {
        Self { rules, context: Context::default(), stage: Stage::Between }
    }

    /// Consumes up to and including the first event. An error is the last thing that comes.
    pub(crate) fn receive(&mut self, input: &mut [u8]) -> Result<Received, ProtocolError> {
        if matches!(self.stage, Stage::Between)
            && let Some(whole) = WholeMessage::find(input, &self.rules)
        {
            let Some(message) = whole.read(input, self.rules.role) else {
                self.end(Stage::Failed);
                return Err(ProtocolError::InvalidUtf8);
            };
            return Ok(Received { consumed: whole.end, event: Some(Event::Message(message)) });
        }
        self.receive_pieces(input)
    }

    /// The general path, through the buffer. Kept apart, so that the hot path's frame on the stack stays small.
    #[inline(never)]
    fn receive_pieces(&mut self, input: &[u8]) -> Result<Received, ProtocolError> {
        let mut mid = match mem::replace(&mut self.stage, Stage::Between) {
            Stage::Between if input.is_empty() => return Ok(Received { consumed: 0, event: None }),
            Stage::Between => match control::whole(input, &self.rules) {
                Some((consumed, event)) => return self.whole_control(consumed, event),
                None => Box::default(),
            },
            Stage::Mid(mid) => mid,
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
            let step = mid.receive(&input[consumed..], &self.rules, &mut self.context);
            let (n, event) = step.inspect_err(|_| self.end(Stage::Failed))?;
            consumed += n;
            if event.is_some() {
                self.go_on(mid, event.as_ref());
                return Ok(Received { consumed, event });
            }
        }
        self.go_on(mid, None);
        Ok(Received { consumed, event: None })
    }

    fn whole_control(
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

    /// The type says no more than that bytes can be added: who could change those before them could make a text that is
    /// not UTF-8 of one that was checked.
    pub(crate) fn payload_buffer(&mut self) -> Option<impl BufMut> {
        match &mut self.stage {
            Stage::Mid(mid) => mid.payload_buffer(),
            _ => None,
        }
    }

    pub(crate) fn payload_received(&mut self, n: usize) -> Result<Option<Event>, ProtocolError> {
        let Stage::Mid(mut mid) = mem::replace(&mut self.stage, Stage::Between) else { return Ok(None) };
        let event = mid.payload_received(n, &self.rules, &mut self.context).inspect_err(|_| self.end(Stage::Failed))?;
        self.go_on(mid, event.as_ref());
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
        matches!(&self.stage, Stage::Mid(mid) if mid.is_in_message())
    }

    pub(crate) fn unfinished_bytes(&self) -> usize {
        let begun = match &self.stage {
            Stage::Mid(mid) => mid.size(),
            _ => 0,
        };
        begun + self.context.size()
    }

    /// Keeps what has begun, if anything has, until more bytes come.
    fn go_on(&mut self, mid: Box<Mid>, event: Option<&Event>) {
        match event {
            Some(Event::Close(_)) => self.end(Stage::Closed),
            _ if mid.is_idle() => self.stage = Stage::Between,
            _ => self.stage = Stage::Mid(mid),
        }
    }

    /// Nothing is kept beyond the last byte that counts.
    fn end(&mut self, stage: Stage) {
        self.stage = stage;
        self.context = Context::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, Role};

    /// Gives `pieces` to a server's end, and returns whether it holds memory afterwards.
    fn holds_memory_after(pieces: &[&[u8]]) -> bool {
        let mut decoder = Decoder::new(Rules::new(Role::Server, Limits::new(), None));
        for piece in pieces {
            let mut consumed = 0;
            while consumed < piece.len() {
                match decoder.receive(&mut piece[consumed..].to_vec()) {
                    Ok(received) => consumed += received.consumed,
                    Err(_) => break,
                }
            }
        }
        matches!(decoder.stage, Stage::Mid(_))
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
