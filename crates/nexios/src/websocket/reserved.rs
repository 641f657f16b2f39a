//! Headers that an application cannot add to a handshake.

use http::header::{self, HeaderName};

/// Those that make the handshake (RFC 6455 §4.1, §4.2.2), and those that frame a message or belong to one hop of HTTP
/// (RFC 9110 §7.6.1, RFC 9113 §8.2.2): a second value beside the framework's own would spoil it.
pub(crate) fn is_reserved(name: &HeaderName) -> bool {
    let of_http = [
        header::CONNECTION,
        header::UPGRADE,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::TE,
        header::TRAILER,
    ];
    of_http.contains(name)
        || ["keep-alive", "proxy-connection"].contains(&name.as_str())
        || name.as_str().starts_with("sec-websocket-")
}
