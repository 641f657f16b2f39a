//! The negotiation of permessage-deflate, the extension that compresses messages (RFC 7692 §7.1).
//!
//! ```
//! use nexios_proto::handshake::deflate::DeflateOptions;
//!
//! let client = DeflateOptions::new();
//! assert_eq!(client.offer(), "permessage-deflate; client_max_window_bits");
//!
//! let server = DeflateOptions::new().server_no_context_takeover(true).client_max_window_bits(12);
//! let answer = server.answer([("Sec-WebSocket-Extensions", client.offer().as_bytes())].into_iter()).expect("it fits");
//! assert_eq!(answer.header, "permessage-deflate; server_no_context_takeover; client_max_window_bits=12");
//! assert!(answer.params.server_no_context_takeover);
//! ```

use alloc::{borrow::ToOwned as _, format, string::String};

use thiserror::Error;

use super::{
    extension::{self, Offer},
    headers::values,
};

/// The name of the extension.
pub(super) const NAME: &str = "permessage-deflate";

const SERVER_NO_CONTEXT_TAKEOVER: &str = "server_no_context_takeover";
const CLIENT_NO_CONTEXT_TAKEOVER: &str = "client_no_context_takeover";
const SERVER_MAX_WINDOW_BITS: &str = "server_max_window_bits";
const CLIENT_MAX_WINDOW_BITS: &str = "client_max_window_bits";

/// The default window, in bits (RFC 7692 §7.1.2).
const WINDOW_BITS_MAX: u8 = 15;
/// The smallest window that zlib supports, in bits.
const WINDOW_BITS_MIN: u8 = 9;

/// The negotiated parameters (RFC 7692 §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeflateParams {
    /// The server compresses each message by itself.
    pub server_no_context_takeover: bool,
    /// The client compresses each message by itself.
    pub client_no_context_takeover: bool,
    /// The server's maximum window: 2 to the power of this many bytes, 8 to 15.
    pub server_max_window_bits: u8,
    /// As [`server_max_window_bits`](Self::server_max_window_bits), for the client. With 8, a client sends its messages
    /// uncompressed: zlib has no window of 256 bytes.
    pub client_max_window_bits: u8,
}

/// The options that this end requests. By default, both ends use context takeover, with a window of 15 bits.
///
/// Each window has 9 to 15 bits; other numbers count as the nearest of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct DeflateOptions(DeflateParams);

/// A server's response to an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeflateAnswer {
    /// The negotiated parameters.
    pub params: DeflateParams,
    /// The value of `Sec-WebSocket-Extensions`.
    pub header: String,
}

/// The reason for which a server's response to an offer of permessage-deflate is invalid (RFC 7692 §7.1).
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeflateError {
    /// A parameter that RFC 7692 does not define.
    #[error("the parameter {0} is not known")]
    UnknownParameter(String),
    /// A repeated parameter.
    #[error("the parameter {0} is repeated")]
    RepeatedParameter(String),
    /// A value where none is allowed, a missing value, or one outside of 8 to 15.
    #[error("the value of the parameter {0} is not valid")]
    InvalidValue(String),
    /// `server_no_context_takeover` was offered, and is not in the response (RFC 7692 §7.1.1.1).
    #[error("the server does not take up server_no_context_takeover")]
    ServerContextTakeover,
    /// The server's window is larger than offered (RFC 7692 §7.1.2.1).
    #[error("the server's window of {0} bits is larger than offered")]
    ServerWindow(u8),
    /// The client's window is larger than offered (RFC 7692 §7.1.2.2).
    #[error("the client's window of {0} bits is larger than offered")]
    ClientWindow(u8),
}

impl DeflateOptions {
    /// The defaults.
    pub const fn new() -> Self {
        Self(DeflateParams {
            server_no_context_takeover: false,
            client_no_context_takeover: false,
            server_max_window_bits: WINDOW_BITS_MAX,
            client_max_window_bits: WINDOW_BITS_MAX,
        })
    }

    /// Requests that the server compresses each message by itself, and so needs no memory between messages. Default:
    /// false.
    pub fn server_no_context_takeover(mut self, wanted: bool) -> Self {
        self.0.server_no_context_takeover = wanted;
        self
    }

    /// Requests that the client compresses each message by itself. Default: false.
    pub fn client_no_context_takeover(mut self, wanted: bool) -> Self {
        self.0.client_no_context_takeover = wanted;
        self
    }

    /// Maximum window of the server, in bits. Default: 15.
    pub fn server_max_window_bits(mut self, bits: u8) -> Self {
        self.0.server_max_window_bits = bits.clamp(WINDOW_BITS_MIN, WINDOW_BITS_MAX);
        self
    }

    /// Maximum window of the client, in bits. A server can set it only for clients that allow it. Default: 15.
    pub fn client_max_window_bits(mut self, bits: u8) -> Self {
        self.0.client_max_window_bits = bits.clamp(WINDOW_BITS_MIN, WINDOW_BITS_MAX);
        self
    }

    /// A server's response to the first acceptable offer, over all lines of `Sec-WebSocket-Extensions` in their order;
    /// `None` if there is none, and the response has no such header.
    ///
    /// An offer with an unknown, repeated or invalid parameter is declined (RFC 7692 §7.1), as is a malformed line, and
    /// an offer that requires a server's window of 8 bits, which zlib does not support.
    pub fn answer<'a, H>(&self, headers: H) -> Option<DeflateAnswer>
    where
        H: Iterator<Item = (&'a str, &'a [u8])>,
    {
        values(headers, "sec-websocket-extensions")
            .filter_map(|line| extension::parse(line).ok())
            .flatten()
            .find_map(|offer| self.answer_to(&offer))
    }

    fn answer_to(self, offer: &Offer<'_>) -> Option<DeflateAnswer> {
        if offer.name != NAME {
            return None;
        }
        let offer = Parameters::parse(offer, true).ok()?;
        if offer.server_bits.is_some_and(|bits| bits < WINDOW_BITS_MIN) {
            return None;
        }
        let Self(wanted) = self;
        let params = DeflateParams {
            server_no_context_takeover: wanted.server_no_context_takeover || offer.server_no_context_takeover,
            client_no_context_takeover: wanted.client_no_context_takeover || offer.client_no_context_takeover,
            server_max_window_bits: wanted.server_max_window_bits.min(offer.server_bits.unwrap_or(WINDOW_BITS_MAX)),
            // "MUST NOT include" it unless the offer does (RFC 7692 §7.1.2.2).
            client_max_window_bits: if offer.names_client_bits {
                wanted.client_max_window_bits.min(offer.client_bits.unwrap_or(WINDOW_BITS_MAX))
            } else {
                WINDOW_BITS_MAX
            },
        };
        let mut header = Value::new(params);
        if offer.server_bits.is_some() || params.server_max_window_bits < WINDOW_BITS_MAX {
            header.bits(SERVER_MAX_WINDOW_BITS, params.server_max_window_bits);
        }
        if params.client_max_window_bits < WINDOW_BITS_MAX {
            header.bits(CLIENT_MAX_WINDOW_BITS, params.client_max_window_bits);
        }
        Some(DeflateAnswer { params, header: header.0 })
    }

    /// The value of `Sec-WebSocket-Extensions` in a client's request. The server may always choose the client's window.
    pub fn offer(&self) -> String {
        let Self(wanted) = *self;
        let mut header = Value::new(wanted);
        if wanted.server_max_window_bits < WINDOW_BITS_MAX {
            header.bits(SERVER_MAX_WINDOW_BITS, wanted.server_max_window_bits);
        }
        if wanted.client_max_window_bits < WINDOW_BITS_MAX {
            header.bits(CLIENT_MAX_WINDOW_BITS, wanted.client_max_window_bits);
        } else {
            header.flag(CLIENT_MAX_WINDOW_BITS);
        }
        header.0
    }

    /// Checks a server's response to [`offer`](Self::offer).
    pub(super) fn check(self, answer: &Offer<'_>) -> Result<DeflateParams, DeflateError> {
        let answer = Parameters::parse(answer, false)?;
        let Self(offered) = self;
        if offered.server_no_context_takeover && !answer.server_no_context_takeover {
            return Err(DeflateError::ServerContextTakeover);
        }
        let server_bits = answer.server_bits.unwrap_or(WINDOW_BITS_MAX);
        if server_bits > offered.server_max_window_bits {
            return Err(DeflateError::ServerWindow(server_bits));
        }
        // Without the parameter, the client chooses its window.
        let client_bits = answer.client_bits.unwrap_or(offered.client_max_window_bits);
        if client_bits > offered.client_max_window_bits {
            return Err(DeflateError::ClientWindow(client_bits));
        }
        Ok(DeflateParams {
            server_no_context_takeover: answer.server_no_context_takeover,
            client_no_context_takeover: answer.client_no_context_takeover || offered.client_no_context_takeover,
            server_max_window_bits: server_bits,
            client_max_window_bits: client_bits,
        })
    }
}

impl Default for DeflateOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// The parameters of an offer or a response.
#[derive(Default)]
struct Parameters {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_bits: Option<u8>,
    client_bits: Option<u8>,
    /// True if `client_max_window_bits` is present; only an offer may have it without a value.
    names_client_bits: bool,
}

impl Parameters {
    fn parse(offer: &Offer<'_>, is_offer: bool) -> Result<Self, DeflateError> {
        let mut parameters = Self::default();
        for (index, (name, value)) in offer.params.iter().enumerate() {
            if offer.params[..index].iter().any(|(earlier, _)| earlier == name) {
                return Err(DeflateError::RepeatedParameter((*name).to_owned()));
            }
            let invalid = || DeflateError::InvalidValue((*name).to_owned());
            match (*name, value) {
                (SERVER_NO_CONTEXT_TAKEOVER, None) => parameters.server_no_context_takeover = true,
                (CLIENT_NO_CONTEXT_TAKEOVER, None) => parameters.client_no_context_takeover = true,
                (SERVER_MAX_WINDOW_BITS, Some(bits)) => {
                    parameters.server_bits = Some(window_bits(bits).ok_or_else(invalid)?);
                }
                (CLIENT_MAX_WINDOW_BITS, Some(bits)) => {
                    parameters.names_client_bits = true;
                    parameters.client_bits = Some(window_bits(bits).ok_or_else(invalid)?);
                }
                (CLIENT_MAX_WINDOW_BITS, None) if is_offer => parameters.names_client_bits = true,
                (
                    SERVER_NO_CONTEXT_TAKEOVER
                    | CLIENT_NO_CONTEXT_TAKEOVER
                    | SERVER_MAX_WINDOW_BITS
                    | CLIENT_MAX_WINDOW_BITS,
                    _,
                ) => return Err(invalid()),
                _ => return Err(DeflateError::UnknownParameter((*name).to_owned())),
            }
        }
        Ok(parameters)
    }
}

/// "A decimal integer value without leading zeroes between 8 to 15, inclusive" (RFC 7692 §7.1.2.1).
fn window_bits(value: &str) -> Option<u8> {
    match value.as_bytes() {
        [digit @ b'8'..=b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

/// A writer of a `Sec-WebSocket-Extensions` value.
struct Value(String);

impl Value {
    /// Appends the name, or a parameter without a value.
    fn new(params: DeflateParams) -> Self {
        let mut value = Self(NAME.to_owned());
        if params.server_no_context_takeover {
            value.flag(SERVER_NO_CONTEXT_TAKEOVER);
        }
        if params.client_no_context_takeover {
            value.flag(CLIENT_NO_CONTEXT_TAKEOVER);
        }
        value
    }

    fn flag(&mut self, name: &str) {
        self.0.push_str("; ");
        self.0.push_str(name);
    }

    fn bits(&mut self, name: &str, bits: u8) {
        self.flag(&format!("{name}={bits}"));
    }
}
