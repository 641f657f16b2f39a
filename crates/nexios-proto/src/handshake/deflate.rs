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

/// The extension's name.
pub(super) const NAME: &str = "permessage-deflate";

const SERVER_NO_CONTEXT_TAKEOVER: &str = "server_no_context_takeover";
const CLIENT_NO_CONTEXT_TAKEOVER: &str = "client_no_context_takeover";
const SERVER_MAX_WINDOW_BITS: &str = "server_max_window_bits";
const CLIENT_MAX_WINDOW_BITS: &str = "client_max_window_bits";

/// The window that holds without a parameter (RFC 7692 §7.1.2).
const WINDOW_BITS_MAX: u8 = 15;
/// The smallest window that zlib compresses with.
const WINDOW_BITS_MIN: u8 = 9;

/// What was agreed on (RFC 7692 §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeflateParams {
    /// The server compresses each message by itself.
    pub server_no_context_takeover: bool,
    /// The client compresses each message by itself.
    pub client_no_context_takeover: bool,
    /// The server's window is of at most 2 to the power of this many bytes: 8 to 15.
    pub server_max_window_bits: u8,
    /// As [`server_max_window_bits`](Self::server_max_window_bits), of the client. With 8, a client sends its messages
    /// plain: zlib has no window of 256 bytes.
    pub client_max_window_bits: u8,
}

/// What this end wants. By default, both ends keep their context from message to message, with a window of 15 bits.
///
/// Of the windows, each is 9 to 15 bits; other numbers count as the nearest of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct DeflateOptions(DeflateParams);

/// What a server answers to an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeflateAnswer {
    /// What is agreed on with it.
    pub params: DeflateParams,
    /// The value of `Sec-WebSocket-Extensions`.
    pub header: String,
}

/// Why a server's answer to an offer of permessage-deflate cannot be taken (RFC 7692 §7.1).
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeflateError {
    /// A parameter that RFC 7692 does not know.
    #[error("the parameter {0} is not known")]
    UnknownParameter(String),
    /// A parameter that is there twice.
    #[error("the parameter {0} is repeated")]
    RepeatedParameter(String),
    /// A value where none may be, or none where one must be, or another than 8 to 15.
    #[error("the value of the parameter {0} is not valid")]
    InvalidValue(String),
    /// `server_no_context_takeover` was offered, and is not in the answer (RFC 7692 §7.1.1.1).
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

    /// Whether the server shall compress each message by itself: it then needs no memory between messages.
    pub fn server_no_context_takeover(mut self, wanted: bool) -> Self {
        self.0.server_no_context_takeover = wanted;
        self
    }

    /// Whether the client shall compress each message by itself.
    pub fn client_no_context_takeover(mut self, wanted: bool) -> Self {
        self.0.client_no_context_takeover = wanted;
        self
    }

    /// The largest window that the server shall use, in bits.
    pub fn server_max_window_bits(mut self, bits: u8) -> Self {
        self.0.server_max_window_bits = bits.clamp(WINDOW_BITS_MIN, WINDOW_BITS_MAX);
        self
    }

    /// The largest window that the client shall use, in bits. A server's wish holds only for clients that let it choose.
    pub fn client_max_window_bits(mut self, bits: u8) -> Self {
        self.0.client_max_window_bits = bits.clamp(WINDOW_BITS_MIN, WINDOW_BITS_MAX);
        self
    }

    /// A server's answer to the first offer that it can take, over all lines of `Sec-WebSocket-Extensions` in their
    /// order; `None` when there is none, and nothing is to be answered.
    ///
    /// An offer with a parameter that is unknown, repeated or without its proper value is passed over (RFC 7692 §7.1), as
    /// is a line that cannot be read. So is an offer that wants the server's window to be 8 bits, as zlib cannot compress
    /// with it.
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

    /// A client's check of the answer to [`offer`](Self::offer).
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
        // Without the parameter, the client's window is what the client likes.
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

/// The parameters of an offer or an answer.
#[derive(Default)]
struct Parameters {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_bits: Option<u8>,
    client_bits: Option<u8>,
    /// With a value or without, which only an offer may be.
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

/// A value of `Sec-WebSocket-Extensions` that is being written.
struct Value(String);

impl Value {
    /// The name, and the parameters that have no value.
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
