//! Control frames (RFC 6455 §5.5).

use bytes::Bytes;

use crate::{
    CloseFrame, Event, ProtocolError,
    frame::{CONTROL_MAX, Header, Opcode},
    rules::Rules,
};

/// What a frame with this payload says.
pub(crate) fn event(opcode: Opcode, payload: &[u8]) -> Result<Event, ProtocolError> {
    Ok(match opcode {
        Opcode::Close => Event::Close(CloseFrame::parse(payload)?),
        Opcode::Ping => Event::Ping(Bytes::copy_from_slice(payload)),
        _ => Event::Pong(Bytes::copy_from_slice(payload)),
    })
}

/// Reads a frame that is all at the front of the input, and so needs no buffer. Returns the bytes that it takes.
///
/// What is not recognised here is for the general path to take, or to refuse with its reason.
pub(crate) fn whole(input: &[u8], rules: &Rules) -> Option<(usize, Result<Event, ProtocolError>)> {
    let header = Header::parse(input, rules).ok()?.filter(|header| header.opcode.is_control())?;
    let size = header.size + usize::try_from(header.length).ok()?;
    let payload = input.get(header.size..size)?;
    let mut copy = [0; CONTROL_MAX];
    let copy = copy.get_mut(..payload.len())?;
    copy.copy_from_slice(payload);
    if let Some(key) = header.key(input, rules.role) {
        key.apply(copy, 0);
    }
    Some((size, event(header.opcode, copy)))
}
