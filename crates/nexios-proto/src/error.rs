use thiserror::Error;

use crate::CloseCode;

/// A violation of RFC 6455, or of a limit of this end, by the peer.
///
/// It is final: the connection fails (RFC 6455 §7.1.7), with a Close frame that carries
/// [`close_code`](Self::close_code).
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A reserved bit is set, and no extension that gives it a meaning was negotiated (RFC 6455 §5.2).
    #[error("reserved bits {0:#05b} are set without an extension that uses them")]
    ReservedBits(u8),
    /// The opcode is reserved for later versions of the protocol (RFC 6455 §5.2).
    #[error("opcode {0:#x} is reserved")]
    ReservedOpcode(u8),
    /// A client sent a frame without masking it (RFC 6455 §5.1).
    #[error("the client sent a frame that is not masked")]
    UnmaskedFrame,
    /// A server sent a masked frame (RFC 6455 §5.1).
    #[error("the server sent a masked frame")]
    MaskedFrame,
    /// A control frame without its FIN bit (RFC 6455 §5.5).
    #[error("a control frame is fragmented")]
    FragmentedControl,
    /// A control frame announces more than 125 bytes (RFC 6455 §5.5).
    #[error("a control frame is longer than 125 bytes")]
    ControlTooLong,
    /// The most significant bit of a 64-bit length is set (RFC 6455 §5.2).
    #[error("a frame's length has its most significant bit set")]
    LengthTopBit,
    /// A length is written in more bytes than it needs (RFC 6455 §5.2).
    #[error("a frame's length of {0} bytes is not in its shortest form")]
    LengthNotMinimal(u64),
    /// A continuation frame while no message is unfinished (RFC 6455 §5.4).
    #[error("a continuation frame came without a message to continue")]
    UnexpectedContinuation,
    /// A new message began before the last one was finished (RFC 6455 §5.4).
    #[error("a new message began inside an unfinished one")]
    InterruptedMessage,
    /// The bytes of a text message are not UTF-8, or can no longer become it (RFC 6455 §8.1).
    #[error("a text message is not UTF-8")]
    InvalidUtf8,
    /// The bytes of a compressed message are not valid DEFLATE data, or end in the middle of a block (RFC 7692 §7.2.2).
    #[error("a compressed message cannot be inflated")]
    InvalidDeflate,
    /// The body of a Close frame is a single byte: too short for a close code (RFC 6455 §5.5.1).
    #[error("a close frame's body is one byte long")]
    TruncatedCloseCode,
    /// A close code that no endpoint may send (RFC 6455 §7.4).
    #[error("close code {0} must not be sent")]
    InvalidCloseCode(u16),
    /// The reason in a Close frame is not UTF-8 (RFC 6455 §5.5.1).
    #[error("a close reason is not UTF-8")]
    InvalidCloseReason,
    /// A data frame announces more than [`Limits::frame_size`](crate::Limits::frame_size) (RFC 6455 §10.4).
    #[error("a frame of {size} bytes is over the limit of {limit}")]
    FrameTooBig {
        /// Length in the frame's header, in bytes.
        size: u64,
        /// The limit in bytes.
        limit: usize,
    },
    /// A message would exceed [`Limits::message_size`](crate::Limits::message_size) (RFC 6455 §10.4).
    #[error("a message of at least {size} bytes is over the limit of {limit}")]
    MessageTooBig {
        /// Size of the message so far with the next frame, in bytes; for a compressed message, the bytes inflated
        /// before it was rejected.
        size: u64,
        /// The limit in bytes.
        limit: usize,
    },
    /// A message has more frames than [`Limits::fragments`](crate::Limits::fragments) (RFC 6455 §10.4).
    #[error("a message has more than {limit} fragments")]
    TooManyFragments {
        /// The limit in frames.
        limit: usize,
    },
}

impl ProtocolError {
    /// The close code that reports the violation to the peer (RFC 6455 §7.4.1).
    pub const fn close_code(&self) -> CloseCode {
        match self {
            Self::ReservedBits(_)
            | Self::ReservedOpcode(_)
            | Self::UnmaskedFrame
            | Self::MaskedFrame
            | Self::FragmentedControl
            | Self::ControlTooLong
            | Self::LengthTopBit
            | Self::LengthNotMinimal(_)
            | Self::UnexpectedContinuation
            | Self::InterruptedMessage
            | Self::TruncatedCloseCode
            | Self::InvalidCloseCode(_) => CloseCode::PROTOCOL_ERROR,
            Self::InvalidUtf8 | Self::InvalidDeflate | Self::InvalidCloseReason => CloseCode::INVALID_PAYLOAD,
            Self::FrameTooBig { .. } | Self::MessageTooBig { .. } => CloseCode::MESSAGE_TOO_BIG,
            Self::TooManyFragments { .. } => CloseCode::POLICY_VIOLATION,
        }
    }
}
