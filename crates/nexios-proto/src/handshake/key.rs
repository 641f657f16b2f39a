use core::{fmt, ops::Deref};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha1::{Digest as _, Sha1};

/// The GUID that the protocol appends to a key (RFC 6455 §1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The value of `Sec-WebSocket-Accept`: text of 28 bytes, without an allocation.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AcceptKey(
    /// Base64, hence ASCII.
    [u8; 28],
);

/// The `Sec-WebSocket-Accept` value for a client's key (RFC 6455 §4.2.2, item 5.4).
///
/// ```
/// use nexios_proto::handshake::accept_key;
///
/// assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
/// ```
pub fn accept_key(key: impl AsRef<[u8]>) -> AcceptKey {
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    let mut accept = [0; 28];
    let written = STANDARD.encode_slice(digest, &mut accept);
    debug_assert_eq!(written, Ok(28), "20 bytes are 28 characters of base64");
    AcceptKey(accept)
}

/// Returns true if a client's key is base64 of 16 bytes: 22 characters and the padding (RFC 6455 §4.1, item 7).
///
/// The last character's unused bits may be set: the server need not decode the key (§4.2.2).
pub(super) fn is_key(key: &[u8]) -> bool {
    key.len() == 24
        && key.strip_suffix(b"==").is_some_and(|digits| {
            digits.iter().all(|digit| digit.is_ascii_alphanumeric() || matches!(digit, b'+' | b'/'))
        })
}

impl AcceptKey {
    /// The text.
    pub fn as_str(&self) -> &str {
        // Always valid; the empty string avoids a panic.
        core::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Deref for AcceptKey {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for AcceptKey {
    fn as_ref(&self) -> &str {
        self
    }
}

impl AsRef<[u8]> for AcceptKey {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq<str> for AcceptKey {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for AcceptKey {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl fmt::Display for AcceptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

impl fmt::Debug for AcceptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}
