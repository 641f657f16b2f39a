//! The encoder: frames appended to a buffer.
//!
//! It is stateless, so that the members of a group can share a message that was encoded once. A message is one frame:
//! RFC 6455 §5.4 has fragments for messages whose length is not known when they begin.
//!
//! `key` is `Some`, and a new one for each frame, when a client sends; a server sends with `None` (RFC 6455 §5.1).
//!
//! ```
//! use nexios_proto::encode;
//!
//! let mut out = Vec::new();
//! encode::text("Hello", None, &mut out);
//! assert_eq!(out, b"\x81\x05Hello");
//! ```

use alloc::vec::Vec;

use crate::{
    CloseFrame, Message,
    frame::{COMPRESSED, CONTROL_MAX, HEADER_MAX, Opcode, write_header},
    mask::MaskKey,
};

/// No reserved bits.
const PLAIN: u8 = 0;

/// Appends a text message.
#[inline]
pub fn text(payload: &str, key: Option<MaskKey>, out: &mut Vec<u8>) {
    frame(Opcode::Text, PLAIN, payload.as_bytes(), key, out);
}

/// Appends a binary message.
#[inline]
pub fn binary(payload: &[u8], key: Option<MaskKey>, out: &mut Vec<u8>) {
    frame(Opcode::Binary, PLAIN, payload, key, out);
}

/// Appends a message of either kind.
#[inline]
pub fn message(message: &Message, key: Option<MaskKey>, out: &mut Vec<u8>) {
    frame(opcode(message), PLAIN, message.as_bytes(), key, out);
}

/// Appends the header of an unmasked message, for a payload that is sent without a copy.
pub fn message_header(message: &Message, out: &mut Vec<u8>) {
    write_header(opcode(message), PLAIN, message.len(), None, out);
}

/// Appends a message whose payload is already compressed, for a peer with which permessage-deflate was negotiated
/// (RFC 7692 §6.1).
#[inline]
pub fn compressed(is_text: bool, payload: &[u8], key: Option<MaskKey>, out: &mut Vec<u8>) {
    frame(data_opcode(is_text), COMPRESSED, payload, key, out);
}

/// Appends the header of an unmasked, compressed message, for `length` bytes that are sent without a copy.
pub fn compressed_header(is_text: bool, length: usize, out: &mut Vec<u8>) {
    write_header(data_opcode(is_text), COMPRESSED, length, None, out);
}

/// Appends a Ping; a payload of more than 125 bytes is cut (RFC 6455 §5.5).
pub fn ping(payload: &[u8], key: Option<MaskKey>, out: &mut Vec<u8>) {
    control(Opcode::Ping, payload, key, out);
}

/// Appends a Pong; a payload of more than 125 bytes is cut (RFC 6455 §5.5).
pub fn pong(payload: &[u8], key: Option<MaskKey>, out: &mut Vec<u8>) {
    control(Opcode::Pong, payload, key, out);
}

/// Appends a Close frame. For a [`Connection`](crate::Connection), use
/// [`Connection::send_close`](crate::Connection::send_close), which tracks the closing handshake.
///
/// The frame is empty without a [`CloseFrame`], and when its code [must not be sent](crate::CloseCode::is_sendable), as
/// [`CloseCode::NO_STATUS`](crate::CloseCode::NO_STATUS) (RFC 6455 §7.4.1).
pub fn close(close: Option<&CloseFrame>, key: Option<MaskKey>, out: &mut Vec<u8>) {
    let mut payload = [0; CONTROL_MAX];
    let mut length = 0;
    if let Some(close) = close.filter(|close| close.code().is_sendable()) {
        let (code, rest) = payload.split_at_mut(2);
        code.copy_from_slice(&u16::from(close.code()).to_be_bytes());
        // A reason is never longer than 123 bytes.
        for (byte, reason) in rest.iter_mut().zip(close.reason().bytes()) {
            *byte = reason;
        }
        length = 2 + close.reason().len();
    }
    control(Opcode::Close, &payload[..length], key, out);
}

fn control(opcode: Opcode, payload: &[u8], key: Option<MaskKey>, out: &mut Vec<u8>) {
    frame(opcode, PLAIN, &payload[..payload.len().min(CONTROL_MAX)], key, out);
}

fn opcode(message: &Message) -> Opcode {
    data_opcode(message.is_text())
}

fn data_opcode(is_text: bool) -> Opcode {
    if is_text { Opcode::Text } else { Opcode::Binary }
}

#[inline]
fn frame(opcode: Opcode, flags: u8, payload: &[u8], key: Option<MaskKey>, out: &mut Vec<u8>) {
    out.reserve(HEADER_MAX + payload.len());
    write_header(opcode, flags, payload.len(), key, out);
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(key) = key {
        key.apply(&mut out[start..], 0);
    }
}
