//! The opening handshake (RFC 6455 §4), as pure functions on headers.
//!
//! Headers are an iterator of names and values, so that the map of any HTTP library can be passed:
//! `map.iter().map(|(name, value)| (name.as_str(), value.as_bytes()))`. Names are compared without regard to case, and
//! a header may have several lines.
//!
//! ```
//! use nexios_proto::handshake::{HttpVersion, client, server};
//!
//! let key = client::key_from(*b"the sample nonce");
//! let request = [("Host", &b"example.com"[..])]
//!     .into_iter()
//!     .chain(client::request_headers(&key).map(|(name, value)| (name, value.as_bytes())));
//! let request = server::Request { method: "GET", version: HttpVersion::Http11, headers: request };
//! let handshake = server::validate(&request)?;
//! assert_eq!(handshake.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
//!
//! let answer = handshake.response_headers();
//! let answer = answer.iter().map(|(name, value)| (*name, value.as_bytes()));
//! let accepted = client::verify(101, answer, &key, &["chat"], None)?;
//! assert_eq!(accepted.subprotocol, None);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod client;
pub mod deflate;
pub mod extension;
mod headers;
mod key;
pub mod server;
mod token;

pub use key::{AcceptKey, accept_key};
pub use token::is_token;

/// The HTTP version of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HttpVersion {
    /// HTTP/0.9 or HTTP/1.0, which have no upgrade (RFC 9110 §7.8).
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2, where a WebSocket begins with an extended CONNECT (RFC 8441).
    Http2,
}
