use core::fmt;

/// The reason of a connection's end as a number (RFC 6455 §7.4).
///
/// Any `u16` is a value of the type, as an application may receive codes that it would never send;
/// [`is_sendable`](Self::is_sendable) returns true for those that may be sent.
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

    /// The connection has fulfilled its purpose.
    pub const NORMAL: Self = Self(1000);
    /// The server shuts down, or the browser leaves the page.
    pub const GOING_AWAY: Self = Self(1001);
    /// The peer violated the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// The peer sent a type of message that this end does not accept.
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// Never sent: the received Close frame had no code.
    pub const NO_STATUS: Self = Self(1005);
    /// Never sent: the connection ended without a Close frame.
    pub const ABNORMAL: Self = Self(1006);
    /// A message's content does not fit its type, as text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// The peer violated a policy of the application.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// A message is larger than this end accepts.
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// The client requires an extension that the server has not negotiated.
    pub const MANDATORY_EXTENSION: Self = Self(1010);
    /// The server met an unexpected condition.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// The server restarts: come back.
    pub const SERVICE_RESTART: Self = Self(1012);
    /// The server is overloaded: come back later.
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    /// A gateway got an invalid answer from the server behind it.
    pub const BAD_GATEWAY: Self = Self(1014);
    /// The user is not, or no longer, authenticated (IANA registry).
    pub const UNAUTHORIZED: Self = Self(3000);

    /// Returns true if a Close frame may carry the code: 1000–1003, 1007–1014 and 3000–4999 (RFC 6455 §7.4.2, and the
    /// IANA registry for 1012–1014).
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

/// Compares with the number, as in `end.code() == 1000`.
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
