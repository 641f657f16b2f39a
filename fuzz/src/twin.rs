//! A naive decoder, by the letter of RFC 6455, to compare with: all bytes at once, everything copied.

use nexios_proto::{CloseCode, CloseFrame, Event, Limits, Message, Role};

/// Decodes bytes as a connection without compression must, with the close code of a violation.
pub fn decode(role: Role, limits: Limits, bytes: &[u8]) -> (Vec<Event>, Option<CloseCode>) {
    let mut twin = Twin { role, limits, message: None, events: Vec::new() };
    let mut rest = bytes;
    let error = loop {
        match twin.frame(rest) {
            Step::On(size) => rest = &rest[size..],
            Step::Wait | Step::Closed => break None,
            Step::Failed(code) => break Some(code),
        }
    };
    (twin.events, error)
}

struct Twin {
    role: Role,
    limits: Limits,
    message: Option<Unfinished>,
    events: Vec<Event>,
}

struct Unfinished {
    is_text: bool,
    fragments: usize,
    payload: Vec<u8>,
}

enum Step {
    /// A frame of so many bytes is done.
    On(usize),
    /// The rest of a frame is not here.
    Wait,
    Closed,
    Failed(CloseCode),
}

const BROKEN: Step = Step::Failed(CloseCode::PROTOCOL_ERROR);

impl Twin {
    /// A frame at the front of the bytes. What can be refused is refused with the first byte that allows it.
    fn frame(&mut self, bytes: &[u8]) -> Step {
        let Some(&first) = bytes.first() else { return Step::Wait };
        let (fin, opcode) = (first & 0x80 != 0, first & 0x0f);
        let is_control = opcode >= 8;
        if first & 0x70 != 0 || matches!(opcode, 3..=7 | 11..=15) || is_control && !fin {
            return BROKEN;
        }
        let Some(&second) = bytes.get(1) else { return Step::Wait };
        let is_masked = second & 0x80 != 0;
        if is_masked != (self.role == Role::Server) || is_control && second & 0x7f > 125 {
            return BROKEN;
        }
        let (length, start) = match second & 0x7f {
            126 => match bytes.get(2..4) {
                Some(length) => (number(length), 4),
                None => return Step::Wait,
            },
            127 => match bytes.get(2..10) {
                Some(length) => (number(length), 10),
                None => return Step::Wait,
            },
            short => (u64::from(short), 2),
        };
        if start == 4 && length < 126 || start == 10 && length < 65_536 || length >> 63 != 0 {
            return BROKEN;
        }
        if !is_control && let Some(code) = self.refusal(opcode, length) {
            return Step::Failed(code);
        }
        let key_size = if is_masked { 4 } else { 0 };
        let Some(key) = bytes.get(start..start + key_size) else { return Step::Wait };
        let rest = &bytes[start + key_size..];
        let here = usize::try_from(length).map_or(rest.len(), |length| length.min(rest.len()));
        let unmasked = |(index, byte): (usize, &u8)| byte ^ key.get(index % 4).unwrap_or(&0);
        let payload: Vec<u8> = rest[..here].iter().enumerate().map(unmasked).collect();
        let is_here = here as u64 == length;
        let outcome = if is_control {
            self.control(opcode, &payload, is_here)
        } else {
            self.data(opcode, fin, &payload, is_here)
        };
        outcome.unwrap_or(Step::On(start + key_size + here))
    }

    /// Why a data frame must not come now.
    fn refusal(&self, opcode: u8, length: u64) -> Option<CloseCode> {
        if (opcode == 0) != self.message.is_some() {
            return Some(CloseCode::PROTOCOL_ERROR);
        }
        let (size, fragments) =
            self.message.as_ref().map_or((0, 0), |message| (message.payload.len(), message.fragments));
        let allows = |limit: nexios_proto::Limit, n: u64| usize::try_from(n).is_ok_and(|n| limit.allows(n));
        if !allows(self.limits.frame_size, length) || !allows(self.limits.message_size, size as u64 + length) {
            return Some(CloseCode::MESSAGE_TOO_BIG);
        }
        (!self.limits.fragments.allows(fragments + 1)).then_some(CloseCode::POLICY_VIOLATION)
    }

    /// `None` when the next frame may come.
    fn control(&mut self, opcode: u8, payload: &[u8], is_here: bool) -> Option<Step> {
        if !is_here {
            return Some(Step::Wait);
        }
        match opcode {
            9 => self.events.push(Event::Ping(payload.to_vec().into())),
            10 => self.events.push(Event::Pong(payload.to_vec().into())),
            _ => return Some(self.close(payload)),
        }
        None
    }

    fn close(&mut self, payload: &[u8]) -> Step {
        let frame = match payload {
            [] => None,
            [_] => return BROKEN,
            [high, low, reason @ ..] => {
                let code = u16::from_be_bytes([*high, *low]);
                if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                    return BROKEN;
                }
                let Ok(reason) = std::str::from_utf8(reason) else { return Step::Failed(CloseCode::INVALID_PAYLOAD) };
                Some(CloseFrame::new(code, reason))
            }
        };
        self.events.push(Event::Close(frame));
        Step::Closed
    }

    fn data(&mut self, opcode: u8, fin: bool, payload: &[u8], is_here: bool) -> Option<Step> {
        let begin = || Unfinished { is_text: opcode == 1, fragments: 0, payload: Vec::new() };
        let mut message = self.message.take().unwrap_or_else(begin);
        message.fragments += 1;
        message.payload.extend(payload);
        let is_last = fin && is_here;
        if message.is_text
            && let Err(error) = std::str::from_utf8(&message.payload)
            && (is_last || error.error_len().is_some())
        {
            return Some(Step::Failed(CloseCode::INVALID_PAYLOAD));
        }
        if !is_last {
            self.message = Some(message);
            return (!is_here).then_some(Step::Wait);
        }
        let Unfinished { is_text, payload, .. } = message;
        let text = if is_text { String::from_utf8(payload.clone()).ok() } else { None };
        self.events.push(Event::Message(text.map_or_else(|| Message::from(payload), Message::from)));
        None
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte))
}
