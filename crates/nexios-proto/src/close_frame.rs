use crate::{ProtocolError, Utf8Bytes, close_code::CloseCode};

/// Maximum length of a reason in bytes: the 125 of a control frame less the two of the code (RFC 6455 §5.5).
const REASON_MAX: usize = 123;

/// The body of a Close frame: a code, and a human-readable reason (RFC 6455 §5.5.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CloseFrame {
    code: CloseCode,
    reason: Utf8Bytes,
}

impl CloseFrame {
    /// A frame with a code and a reason. A reason of more than 123 bytes is cut before the character that exceeds them.
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

    /// Parses the payload of a Close frame; `None` when it is empty.
    pub(crate) fn parse(payload: &[u8]) -> Result<Option<Self>, ProtocolError> {
        let Some((code, reason)) = payload.split_first_chunk::<2>() else {
            return if payload.is_empty() { Ok(None) } else { Err(ProtocolError::TruncatedCloseCode) };
        };
        let code = CloseCode::from(u16::from_be_bytes(*code));
        if !code.is_sendable() {
            return Err(ProtocolError::InvalidCloseCode(code.into()));
        }
        match Utf8Bytes::copy_from_slice(reason) {
            Some(reason) => Ok(Some(Self { code, reason })),
            None => Err(ProtocolError::InvalidCloseReason),
        }
    }
}
