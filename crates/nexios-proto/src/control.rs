//! Control frames (RFC 6455 §5.5).

use bytes::Bytes;

use crate::{
    CloseFrame, Event, ProtocolError,
    decoder_config::DecoderConfig,
    frame::{CONTROL_MAX, Header, Opcode},
};

/// The event of a control frame with this payload.
pub(crate) fn event(opcode: Opcode, payload: &[u8]) -> Result<Event, ProtocolError> {
    Ok(match opcode {
        Opcode::Close => Event::Close(CloseFrame::parse(payload)?),
        Opcode::Ping => Event::Ping(Bytes::copy_from_slice(payload)),
        _ => Event::Pong(Bytes::copy_from_slice(payload)),
    })
}

/// Parses a control frame that is completely at the front of the input, and so needs no buffer. Returns its size in
/// bytes.
///
/// `None` leaves the input to the general path, which accepts it or returns the error.
pub(crate) fn parse_complete(input: &[u8], config: &DecoderConfig) -> Option<(usize, Result<Event, ProtocolError>)> {
    let header = Header::parse(input, config).ok()?.filter(|header| header.opcode.is_control())?;
    let size = header.size + usize::try_from(header.length).ok()?;
    let payload = input.get(header.size..size)?;
    let mut copy = [0; CONTROL_MAX];
    let copy = copy.get_mut(..payload.len())?;
    copy.copy_from_slice(payload);
    if let Some(key) = header.key(input, config.role) {
        key.apply(copy, 0);
    }
    Some((size, event(header.opcode, copy)))
}
