//! The close codes of endings that the framework itself brings about.

use nexios_proto::CloseCode;

use crate::disconnect::Cause;

/// Close codes of the endings for which RFC 6455 has none of its own ([`Config::close_codes`](crate::Config::close_codes)), so
/// that a client can tell them apart and knows whether to come back.
///
/// | cause | code | reason text | the client |
/// |---|---|---|---|
/// | [`NotAuthenticated`](Cause::NotAuthenticated) | 4401 | `authentication timeout` | comes back with credentials |
/// | [`MessageTimeout`](Cause::MessageTimeout) | 4408 | `message timeout` | comes back |
/// | [`RateExceeded`](Cause::RateExceeded) | 4429 | `rate exceeded` | comes back later, and sends less |
/// | [`SlowConsumer`](Cause::SlowConsumer) | 4430 | `slow consumer` | comes back, and asks for what it missed |
/// | [`Expired`](Cause::Expired) | 3000 | `credentials expired` | comes back with new credentials |
/// | [`KeepaliveTimeout`](Cause::KeepaliveTimeout) | 1011 | `keepalive timeout` | comes back |
/// | [`Forbidden`](Cause::Forbidden) | 1008 | | does not come back with the same wish |
///
/// The reason texts do not change. 3000 is registered with IANA; 4000 to 4999 are private use (RFC 6455 §7.4.2), of which 4000
/// to 4499 here say that coming back makes sense, as in the Centrifuge client protocol.
/// What [`Cause`] lists besides has a code of RFC 6455: `docs/close-codes.md` has all of them.
///
/// ```
/// use nexios::{App, CloseCodes, Config};
///
/// let codes = CloseCodes::new().slow_consumer(4008).rate_exceeded(1008);
/// let app = App::new().config(Config::new().close_codes(codes));
/// # drop(app);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseCodes {
    not_authenticated: CloseCode,
    message_timeout: CloseCode,
    rate_exceeded: CloseCode,
    slow_consumer: CloseCode,
    expired: CloseCode,
    keepalive_timeout: CloseCode,
    forbidden: CloseCode,
}

impl CloseCodes {
    /// The defaults of the table above.
    pub const fn new() -> Self {
        Self {
            not_authenticated: CloseCode::new(4401),
            message_timeout: CloseCode::new(4408),
            rate_exceeded: CloseCode::new(4429),
            slow_consumer: CloseCode::new(4430),
            expired: CloseCode::UNAUTHORIZED,
            keepalive_timeout: CloseCode::INTERNAL_ERROR,
            forbidden: CloseCode::POLICY_VIOLATION,
        }
    }

    /// Code for a client that did not authenticate in time.
    ///
    /// # Panics
    ///
    /// This setter and the others panic for a code that cannot stand in a Close frame (RFC 6455 §7.4).
    pub fn not_authenticated(mut self, code: impl Into<CloseCode>) -> Self {
        self.not_authenticated = sendable(code.into());
        self
    }

    /// Code for a message that was begun and not completed in time.
    pub fn message_timeout(mut self, code: impl Into<CloseCode>) -> Self {
        self.message_timeout = sendable(code.into());
        self
    }

    /// Code for a peer that sends more than a rate allows.
    pub fn rate_exceeded(mut self, code: impl Into<CloseCode>) -> Self {
        self.rate_exceeded = sendable(code.into());
        self
    }

    /// Code for a peer that does not read what it is sent.
    pub fn slow_consumer(mut self, code: impl Into<CloseCode>) -> Self {
        self.slow_consumer = sendable(code.into());
        self
    }

    /// Code for credentials that have expired.
    pub fn expired(mut self, code: impl Into<CloseCode>) -> Self {
        self.expired = sendable(code.into());
        self
    }

    /// Code for a peer that does not answer pings.
    pub fn keepalive_timeout(mut self, code: impl Into<CloseCode>) -> Self {
        self.keepalive_timeout = sendable(code.into());
        self
    }

    /// Code for what the app's policy does not allow.
    pub fn forbidden(mut self, code: impl Into<CloseCode>) -> Self {
        self.forbidden = sendable(code.into());
        self
    }

    /// The code of a cause that is set here.
    pub(crate) fn of(&self, cause: Cause) -> Option<CloseCode> {
        Some(match cause {
            Cause::NotAuthenticated => self.not_authenticated,
            Cause::MessageTimeout => self.message_timeout,
            Cause::RateExceeded => self.rate_exceeded,
            Cause::SlowConsumer => self.slow_consumer,
            Cause::Expired => self.expired,
            Cause::KeepaliveTimeout => self.keepalive_timeout,
            Cause::Forbidden => self.forbidden,
            _ => return None,
        })
    }
}

impl Default for CloseCodes {
    fn default() -> Self {
        Self::new()
    }
}

/// A code that was set, if it can be sent.
pub(crate) fn sendable(code: CloseCode) -> CloseCode {
    assert!(
        code.is_sendable(),
        "the close code {} cannot be sent: 1000 to 1003, 1007 to 1014 and 3000 to 4999 can (RFC 6455 §7.4)",
        u16::from(code)
    );
    code
}
