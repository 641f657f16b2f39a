use core::fmt;

use crate::{ProtocolError, Utf8Bytes};

/// Bytes that a reason may have: a control frame's 125 less the two of the code (RFC 6455 §5.5).
const REASON_MAX: usize = 123;

/// Why a connection was closed, as a number (RFC 6455 §7.4).
///
/// Any `u16` makes one, as an application may receive what it would never send; [`is_sendable`](Self::is_sendable)
/// tells those that may go on the wire.
///
/// ```
/// use nexios_proto::CloseCode;
///
/// assert_eq!(CloseCode::from(1000), CloseCode::NORMAL);
/// assert_eq!(CloseCode::NORMAL.to_string(), "1000 normal closure");
/// assert_eq!(CloseCode::from(4000).to_string(), "4000");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(u16);

impl CloseCode {
    /// The code with this number; as `From<u16>`, for constants.
    pub const fn new(code: u16) -> Self {
        Self(code)
    }

    /// The connection has done what it was for.
    pub const NORMAL: Self = Self(1000);
    /// The server shuts down, or the browser leaves the page.
    pub const GOING_AWAY: Self = Self(1001);
    /// The peer broke a rule of the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// The peer sent a type of message that is not taken here.
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// Never sent: the Close frame that came had no code.
    pub const NO_STATUS: Self = Self(1005);
    /// Never sent: the connection ended without a Close frame.
    pub const ABNORMAL: Self = Self(1006);
    /// A message's content does not fit its type, as text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// The peer broke a rule of the application.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// A message is larger than this end takes.
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// The client misses an extension in the server's answer.
    pub const MANDATORY_EXTENSION: Self = Self(1010);
    /// The server met a condition that it did not expect.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// The server restarts: come back.
    pub const SERVICE_RESTART: Self = Self(1012);
    /// The server is overloaded: come back later.
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    /// A gateway got an invalid answer from the server behind it.
    pub const BAD_GATEWAY: Self = Self(1014);
    /// The user is not, or no longer, authenticated (IANA registry).
    pub const UNAUTHORIZED: Self = Self(3000);

    /// Whether the code may stand in a Close frame: 1000–1003, 1007–1014 and 3000–4999 (RFC 6455 §7.4.2, and the IANA
    /// registry for 1012–1014).
    pub const fn is_sendable(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }

    /// The registered meaning, if the code has one.
    const fn meaning(self) -> Option<&'static str> {
        Some(match self {
            Self::NORMAL => "normal closure",
            Self::GOING_AWAY => "going away",
            Self::PROTOCOL_ERROR => "protocol error",
            Self::UNSUPPORTED_DATA => "unsupported data",
            Self::NO_STATUS => "no status received",
            Self::ABNORMAL => "abnormal closure",
            Self::INVALID_PAYLOAD => "invalid payload",
            Self::POLICY_VIOLATION => "policy violation",
            Self::MESSAGE_TOO_BIG => "message too big",
            Self::MANDATORY_EXTENSION => "mandatory extension",
            Self::INTERNAL_ERROR => "internal error",
            Self::SERVICE_RESTART => "service restart",
            Self::TRY_AGAIN_LATER => "try again later",
            Self::BAD_GATEWAY => "bad gateway",
            Self::UNAUTHORIZED => "unauthorized",
            _ => return None,
        })
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.meaning() {
            Some(meaning) => write!(f, "{} {meaning}", self.0),
            None => write!(f, "{}", self.0),
        }
    }
}

impl fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CloseCode({self})")
    }
}

impl From<u16> for CloseCode {
    fn from(code: u16) -> Self {
        Self(code)
    }
}

/// Compares with the number, so that `end.code() == 1000` reads as it is meant.
impl PartialEq<u16> for CloseCode {
    fn eq(&self, other: &u16) -> bool {
        self.0 == *other
    }
}

impl From<CloseCode> for u16 {
    fn from(code: CloseCode) -> Self {
        code.0
    }
}

/// The body of a Close frame: a code, and a reason for people to read (RFC 6455 §5.5.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CloseFrame {
    code: CloseCode,
    reason: Utf8Bytes,
}

impl CloseFrame {
    /// Makes a frame; a reason of more than 123 bytes is cut before the character that exceeds them.
    ///
    /// ```
    /// use nexios_proto::{CloseCode, CloseFrame};
    ///
    /// let frame = CloseFrame::new(CloseCode::POLICY_VIOLATION, "ü".repeat(100));
    /// assert_eq!(frame.reason().len(), 122);
    /// ```
    pub fn new(code: impl Into<CloseCode>, reason: impl Into<Utf8Bytes>) -> Self {
        let reason = reason.into();
        let end = reason.floor_char_boundary(REASON_MAX);
        Self { code: code.into(), reason: reason.truncated(end) }
    }

    /// The code.
    pub fn code(&self) -> CloseCode {
        self.code
    }

    /// The reason; empty when none was given.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Reads the payload of a Close frame; `None` when it is empty.
    pub(crate) fn parse(payload: &[u8]) -> Result<Option<Self>, ProtocolError> {
        let Some((code, reason)) = payload.split_first_chunk::<2>() else {
            return if payload.is_empty() { Ok(None) } else { Err(ProtocolError::TruncatedCloseCode) };
        };
        let code = CloseCode(u16::from_be_bytes(*code));
        if !code.is_sendable() {
            return Err(ProtocolError::InvalidCloseCode(code.0));
        }
        match Utf8Bytes::copy_from_slice(reason) {
            Some(reason) => Ok(Some(Self { code, reason })),
            None => Err(ProtocolError::InvalidCloseReason),
        }
    }
}
