/// Returns true if `bytes` are a token, as names of subprotocols and extensions must be (RFC 9110 §5.6.2).
///
/// ```
/// use nexios_proto::handshake::is_token;
///
/// assert!(is_token(b"graphql-transport-ws"));
/// assert!(!is_token(b"two words"));
/// assert!(!is_token(b""));
/// ```
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().copied().all(is_token_byte)
}

pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The bytes as text; `None` if they are not a token.
pub(super) fn as_token(bytes: &[u8]) -> Option<&str> {
    if is_token(bytes) { core::str::from_utf8(bytes).ok() } else { None }
}
