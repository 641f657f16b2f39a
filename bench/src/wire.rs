//! The bytes on the wire: frames built beforehand, the answers that must come back, and the opening handshake.

use crate::cell::Deflate;
use crate::{Result, deflate};

/// The kind of a data message (RFC 6455 §5.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// UTF-8 text.
    Text = 1,
    /// Bytes.
    Binary = 2,
}

/// Fixed: a server unmasks whatever key it gets, and a random one would cost the generator time for nothing.
const MASK_KEY: [u8; 4] = [0x12, 0x34, 0x56, 0x78];
/// The last fragment of a message.
const FIN: u8 = 0x80;
/// RSV1 marks a compressed message (RFC 7692 §6).
const RSV1: u8 = 0x40;

/// The client's frame: masked, FIN set, and compressed if asked.
pub fn request(opcode: Opcode, payload: &[u8], deflate: bool) -> Vec<u8> {
    let compressed = deflate.then(|| deflate::compress(payload));
    let first = FIN | if deflate { RSV1 } else { 0 } | opcode as u8;
    masked(first, compressed.as_deref().unwrap_or(payload))
}

/// A client's frame with its first byte as given: FIN, the reserved bits and the opcode.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(first, payload.len(), true);
    frame.extend_from_slice(&MASK_KEY);
    frame.extend(payload.iter().zip(MASK_KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// The server's frame with the same payload: unmasked, FIN set, not compressed.
pub fn answer(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(FIN | opcode as u8, payload.len(), false);
    frame.extend_from_slice(payload);
    frame
}

/// The shortest header for a length; RFC 6455 §5.2 allows no other.
fn header(first: u8, length: usize, masked: bool) -> Vec<u8> {
    let mask_bit: u8 = if masked { 0x80 } else { 0 };
    let mut header = vec![first];
    if let Ok(short) = u8::try_from(length)
        && short < 126
    {
        header.push(mask_bit + short);
    } else if let Ok(medium) = u16::try_from(length) {
        header.push(mask_bit + 126);
        header.extend_from_slice(&medium.to_be_bytes());
    } else {
        header.push(mask_bit + 127);
        header.extend_from_slice(&(length as u64).to_be_bytes());
    }
    header
}

/// Where a server's frame has its payload, and where it ends; `None` while its header is not whole.
pub fn extent(bytes: &[u8]) -> Option<(usize, usize)> {
    match *bytes.get(1)? {
        126 => {
            let length = u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]);
            Some((4, 4 + usize::from(length)))
        }
        // Longer messages are not compared frame by frame.
        127.. => Some((10, usize::MAX)),
        length => Some((2, 2 + usize::from(length))),
    }
}

/// Returns true if a server's frame is a complete compressed message with this opcode.
pub fn is_compressed(opcode: Opcode, frame: &[u8]) -> bool {
    frame.first() == Some(&(FIN | RSV1 | opcode as u8))
}

/// Returns true if a server's frame is a complete uncompressed message with this opcode.
pub fn is_plain(opcode: Opcode, frame: &[u8]) -> bool {
    frame.first() == Some(&(FIN | opcode as u8))
}

/// The example key of RFC 6455 §1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// Its answer, from the same section.
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The opening handshake's request. Without context takeover, equal messages are equal on the wire.
pub fn upgrade_request(path: &str, host: &str, deflate: Option<Deflate>) -> String {
    let offer = match deflate {
        None => "",
        Some(Deflate { takeover: true, .. }) => "Sec-WebSocket-Extensions: permessage-deflate\r\n",
        Some(_) => {
            "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n"
        }
    };
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{offer}\r\n"
    )
}

/// The compression that a server has accepted in its response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agreed {
    /// Plain messages.
    Plain,
    /// permessage-deflate, each message for itself.
    Deflate,
    /// permessage-deflate, and the server's messages refer to earlier ones.
    DeflateWithTakeover,
}

/// Reads a response head (RFC 6455 §4.1, RFC 7692 §7.1); an error if it does not complete the handshake as it was
/// asked for.
///
/// The other parameters need nothing here: each request is compressed for itself whatever the client may do, a window
/// of 15 bits inflates what was compressed with a smaller one, and a limit for the client's must be offered first.
pub fn agreed(head: &[u8], deflate: Option<Deflate>) -> Result<Agreed> {
    let head = String::from_utf8_lossy(head);
    if !head.starts_with("HTTP/1.1 101") || !head.contains(ACCEPT) {
        return Err(format!("no upgrade: {}", head.lines().next().unwrap_or_default()).into());
    }
    match (deflate.is_some(), head.contains("permessage-deflate")) {
        (false, false) => Ok(Agreed::Plain),
        (false, true) => Err("permessage-deflate was not asked for".into()),
        (true, false) => Err("the server does not agree to permessage-deflate".into()),
        (true, true) if head.contains("server_no_context_takeover") => Ok(Agreed::Deflate),
        (true, true) => Ok(Agreed::DeflateWithTakeover),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_the_shortest_header() {
        for (length, header_bytes) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let frame = answer(Opcode::Binary, &vec![0; length]);
            assert_eq!(frame.len(), header_bytes + length, "length {length}");
        }
    }

    #[test]
    fn a_frame_extends_from_its_header_to_its_length() {
        for length in [0, 64, 125, 126, 1024, 65_535] {
            let frame = answer(Opcode::Text, &vec![b'a'; length]);
            assert_eq!(extent(&frame), Some((frame.len() - length, frame.len())));
        }
        assert_eq!(extent(&[0x81]), None);
        assert_eq!(extent(&[0x81, 126, 1]), None);
    }

    #[test]
    fn a_response_says_whether_and_how_messages_are_compressed() {
        let offered = Some(Deflate { takeover: false, plain_answers: false });
        let response =
            |extensions: &str| format!("HTTP/1.1 101 Switching Protocols\r\nX: {ACCEPT}\r\n{extensions}\r\n");
        let agreed = |extensions: &str, asked| agreed(response(extensions).as_bytes(), asked).ok();
        let without_takeover = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n";
        assert_eq!(agreed("", None), Some(Agreed::Plain));
        assert_eq!(agreed(without_takeover, offered), Some(Agreed::Deflate));
        assert_eq!(
            agreed("sec-websocket-extensions: permessage-deflate\r\n", offered),
            Some(Agreed::DeflateWithTakeover)
        );
        assert_eq!(agreed("", offered), None);
        assert_eq!(agreed(without_takeover, None), None);
    }

    #[test]
    fn a_masked_frame_unmasks_to_its_payload() {
        let frame = request(Opcode::Text, b"hello", false);
        let keys = MASK_KEY.iter().cycle();
        let unmasked: Vec<u8> = frame[6..].iter().zip(keys).map(|(byte, key)| byte ^ key).collect();
        assert_eq!(unmasked, b"hello");
    }
}
