//! A frame's header (RFC 6455 §5.2): parsing, the checks that do not depend on earlier frames, and encoding.

use alloc::vec::Vec;

use crate::{ProtocolError, Role, decoder_config::DecoderConfig, mask::MaskKey};

/// Maximum size of a header in bytes: two bytes, a 64-bit length and a mask key.
pub(crate) const HEADER_MAX: usize = 14;
/// Maximum payload of a control frame in bytes (RFC 6455 §5.5).
pub(crate) const CONTROL_MAX: usize = 125;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
/// RSV1, "Per-Message Compressed" (RFC 7692 §6).
pub(crate) const COMPRESSED: u8 = 0x40;
const MASKED: u8 = 0x80;
/// Length field of a frame whose length follows in two bytes.
pub(crate) const LENGTH_16: u8 = 126;
/// Length field of a frame whose length follows in eight bytes.
pub(crate) const LENGTH_64: u8 = 127;
pub(crate) const KEY_SIZE: usize = 4;

/// The first byte of a text message in a single frame.
pub(crate) const UNFRAGMENTED_TEXT: u8 = FIN | Opcode::Text as u8;
/// The first byte of a binary message in a single frame.
pub(crate) const UNFRAGMENTED_BINARY: u8 = FIN | Opcode::Binary as u8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opcode {
    Continuation = 0x0,
    Text = 0x1,
    Binary = 0x2,
    Close = 0x8,
    Ping = 0x9,
    Pong = 0xA,
}

impl Opcode {
    fn parse(first: u8) -> Result<Self, ProtocolError> {
        Ok(match first & 0x0F {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            reserved => return Err(ProtocolError::ReservedOpcode(reserved)),
        })
    }

    #[inline]
    pub(crate) fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }
}

/// A parsed header. The mask key is read last, by [`Header::key`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) fin: bool,
    pub(crate) opcode: Opcode,
    /// True for the first frame of a compressed message.
    pub(crate) compressed: bool,
    /// Length of the payload in bytes.
    pub(crate) length: u64,
    /// Size of the header with its key, in bytes.
    pub(crate) size: usize,
}

impl Header {
    /// Parses the header at the front of `bytes`, and checks each field as soon as it is complete; `None` until the
    /// length is known.
    pub(crate) fn parse(bytes: &[u8], config: &DecoderConfig) -> Result<Option<Self>, ProtocolError> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        check_reserved_bits(first, config)?;
        let opcode = Opcode::parse(first)?;
        let fin = first & FIN != 0;
        if opcode.is_control() && !fin {
            return Err(ProtocolError::FragmentedControl);
        }
        let Some(&second) = bytes.get(1) else { return Ok(None) };
        let key_size = check_masking(second, config.role)?;
        let short = second & !MASKED;
        if opcode.is_control() && usize::from(short) > CONTROL_MAX {
            return Err(ProtocolError::ControlTooLong);
        }
        let (length, size) = match short {
            LENGTH_16 => (length_16(bytes)?, 4),
            LENGTH_64 => (length_64(bytes)?, 10),
            short => (Some(u64::from(short)), 2),
        };
        let compressed = first & COMPRESSED != 0;
        Ok(length.map(|length| Self { fin, opcode, compressed, length, size: size + key_size }))
    }

    /// The mask key of the complete header at the front of `bytes`; `None` for frames of a server.
    pub(crate) fn key(&self, bytes: &[u8], role: Role) -> Option<MaskKey> {
        match role {
            Role::Server => bytes[..self.size].last_chunk::<KEY_SIZE>().copied().map(MaskKey::from),
            Role::Client => None,
        }
    }
}

impl Role {
    /// The required mask bit of a received frame, and the size of its key in bytes.
    #[inline]
    pub(crate) fn incoming_mask(self) -> (u8, usize) {
        match self {
            Self::Server => (MASKED, KEY_SIZE),
            Self::Client => (0, 0),
        }
    }
}

/// Checks the reserved bits: one is an error unless an extension that uses it was negotiated (RFC 6455 §5.2, §9).
/// Permessage-deflate uses RSV1, on the first frame of a message only (RFC 7692 §6.1).
fn check_reserved_bits(first: u8, config: &DecoderConfig) -> Result<(), ProtocolError> {
    let begins_message = matches!(first & 0x0F, 0x1 | 0x2);
    let used = if begins_message && config.deflate.is_some() { COMPRESSED } else { 0 };
    match first & RESERVED & !used {
        0 => Ok(()),
        bits => Err(ProtocolError::ReservedBits(bits >> 4)),
    }
}

/// Checks the mask bit: a client masks all frames, a server none (RFC 6455 §5.1). Returns the size of the key in bytes.
fn check_masking(second: u8, role: Role) -> Result<usize, ProtocolError> {
    let (mask_bit, key_size) = role.incoming_mask();
    match role {
        _ if second & MASKED == mask_bit => Ok(key_size),
        Role::Server => Err(ProtocolError::UnmaskedFrame),
        Role::Client => Err(ProtocolError::MaskedFrame),
    }
}

/// "The minimal number of bytes MUST be used to encode the length" (RFC 6455 §5.2). `None` until it is there.
#[inline]
pub(crate) fn length_16(bytes: &[u8]) -> Result<Option<u64>, ProtocolError> {
    let Some([_, _, high, low]) = bytes.first_chunk() else { return Ok(None) };
    match u64::from(u16::from_be_bytes([*high, *low])) {
        length if length < u64::from(LENGTH_16) => Err(ProtocolError::LengthNotMinimal(length)),
        length => Ok(Some(length)),
    }
}

/// As [`length_16`], for eight bytes.
pub(crate) fn length_64(bytes: &[u8]) -> Result<Option<u64>, ProtocolError> {
    let Some([_, _, length @ ..]) = bytes.first_chunk::<10>() else { return Ok(None) };
    let length: [u8; 8] = *length;
    match u64::from_be_bytes(length) {
        length if length >> 63 != 0 => Err(ProtocolError::LengthTopBit),
        length if u16::try_from(length).is_ok() => Err(ProtocolError::LengthNotMinimal(length)),
        length => Ok(Some(length)),
    }
}

/// The first bytes of a header that is received in parts.
#[derive(Clone, Copy)]
pub(crate) struct PartialHeader {
    bytes: [u8; HEADER_MAX],
    len: u8,
}

impl PartialHeader {
    pub(crate) const EMPTY: Self = Self { bytes: [0; HEADER_MAX], len: 0 };

    #[inline]
    pub(crate) fn is_empty(self) -> bool {
        self.len == 0
    }

    pub(crate) fn len(self) -> usize {
        usize::from(self.len)
    }

    /// Appends bytes up to the maximum size of a header.
    pub(crate) fn fill(&mut self, input: &[u8]) {
        let partial = self.len();
        for (place, &byte) in self.bytes[partial..].iter_mut().zip(input) {
            *place = byte;
            self.len += 1;
        }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len()]
    }
}

/// Appends the header of an unfragmented frame, with the shortest form of its length. `flags` are reserved bits to set.
#[inline]
pub(crate) fn write_header(opcode: Opcode, flags: u8, length: usize, key: Option<MaskKey>, out: &mut Vec<u8>) {
    let first = FIN | flags | opcode as u8;
    let masked = if key.is_some() { MASKED } else { 0 };
    if let Ok(short) = u8::try_from(length)
        && short < LENGTH_16
    {
        out.extend_from_slice(&[first, masked | short]);
    } else if let Ok(length) = u16::try_from(length) {
        let [high, low] = length.to_be_bytes();
        out.extend_from_slice(&[first, masked | LENGTH_16, high, low]);
    } else {
        out.extend_from_slice(&[first, masked | LENGTH_64]);
        out.extend_from_slice(&(length as u64).to_be_bytes());
    }
    if let Some(key) = key {
        out.extend_from_slice(&key.to_bytes());
    }
}
