//! The client's half: the request, and the check of the response (RFC 6455 §4.1).

use alloc::string::String;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use thiserror::Error;

use super::{
    accept_key,
    deflate::{self, DeflateError, DeflateOptions, DeflateParams},
    extension,
    headers::{Single, lists, single, values},
};

/// The value of `Sec-WebSocket-Key` for 16 bytes, drawn at random for each connection (RFC 6455 §4.1, item 7).
///
/// ```
/// use nexios_proto::handshake::client::key_from;
///
/// assert_eq!(key_from(*b"the sample nonce"), "dGhlIHNhbXBsZSBub25jZQ==");
/// ```
pub fn key_from(random: [u8; 16]) -> String {
    STANDARD.encode(random)
}

/// The headers that make a GET request an opening handshake, but for `Host`. One for subprotocols may be added, and one
/// for [compression](DeflateOptions::offer).
pub fn request_headers(key: &str) -> [(&'static str, &str); 4] {
    [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Key", key), ("Sec-WebSocket-Version", "13")]
}

/// The reason for which a server's response does not open a connection.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientHandshakeError {
    /// The status is not 101: the server refused, or wants something else first (RFC 6455 §4.1, item 1 on the answer).
    #[error("the server answered the handshake with status {0}")]
    Status(u16),
    /// `Upgrade` does not name `websocket` (item 2).
    #[error("the answer's upgrade header does not contain websocket")]
    UpgradeHeader,
    /// `Connection` does not name `upgrade` (item 3).
    #[error("the answer's connection header does not contain upgrade")]
    ConnectionHeader,
    /// There is no `Sec-WebSocket-Accept` (item 4).
    #[error("the answer has no sec-websocket-accept header")]
    MissingAccept,
    /// There is more than one `Sec-WebSocket-Accept` (RFC 6455 §11.3.3).
    #[error("the answer repeats the sec-websocket-accept header")]
    RepeatedAccept,
    /// `Sec-WebSocket-Accept` does not belong to the key that was sent (item 4).
    #[error("the answer's sec-websocket-accept header does not fit the key")]
    WrongAccept,
    /// The answer has an extension that was not offered (item 5).
    #[error("the server selected the extension {0}, which was not offered")]
    UnofferedExtension(String),
    /// `Sec-WebSocket-Extensions` cannot be read (RFC 6455 §9.1).
    #[error("the answer's sec-websocket-extensions header is malformed")]
    MalformedExtensions(#[source] extension::ExtensionError),
    /// The answer selects the same extension twice.
    #[error("the server selected the extension {0} twice")]
    RepeatedExtension(String),
    /// The answer's parameters of permessage-deflate do not fit the offer (RFC 7692 §7.1).
    #[error("the server's answer to permessage-deflate is not valid")]
    Deflate(#[source] DeflateError),
    /// The answer has a subprotocol that was not offered (item 6).
    #[error("the server selected a subprotocol that was not offered")]
    UnofferedSubprotocol,
    /// The answer has more than one `Sec-WebSocket-Protocol` (RFC 6455 §11.3.4).
    #[error("the answer repeats the sec-websocket-protocol header")]
    RepeatedSubprotocol,
}

/// The offered options that a server has selected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Accepted {
    /// The subprotocol that it selected.
    pub subprotocol: Option<String>,
    /// The parameters of the compression, if it was negotiated.
    pub deflate: Option<DeflateParams>,
}

/// Checks a server's response to the handshake with this key, and returns the subprotocol and the compression that it
/// has selected (RFC 6455 §4.1).
///
/// # Errors
///
/// The first requirement that is not met: the client must then close the connection.
pub fn verify<'a, H, S>(
    status: u16,
    headers: H,
    key: &str,
    offered: &[S],
    deflate: Option<&DeflateOptions>,
) -> Result<Accepted, ClientHandshakeError>
where
    H: Iterator<Item = (&'a str, &'a [u8])> + Clone,
    S: AsRef<str>,
{
    if status != 101 {
        return Err(ClientHandshakeError::Status(status));
    }
    if !lists(headers.clone(), "upgrade", "websocket") {
        return Err(ClientHandshakeError::UpgradeHeader);
    }
    if !lists(headers.clone(), "connection", "upgrade") {
        return Err(ClientHandshakeError::ConnectionHeader);
    }
    match single(headers.clone(), "sec-websocket-accept") {
        Single::Missing => return Err(ClientHandshakeError::MissingAccept),
        Single::Once(accept) if accept == accept_key(key).as_bytes() => {}
        Single::Once(_) => return Err(ClientHandshakeError::WrongAccept),
        Single::Repeated => return Err(ClientHandshakeError::RepeatedAccept),
    }
    let deflate = selected_deflate(headers.clone(), deflate)?;
    let subprotocol = selected_subprotocol(headers, offered)?;
    Ok(Accepted { subprotocol, deflate })
}

/// Only permessage-deflate is ever offered, so the response may have no other extension.
fn selected_deflate<'a>(
    headers: impl Iterator<Item = (&'a str, &'a [u8])>,
    offered: Option<&DeflateOptions>,
) -> Result<Option<DeflateParams>, ClientHandshakeError> {
    let mut selected = None;
    for value in values(headers, "sec-websocket-extensions") {
        for extension in extension::parse(value).map_err(ClientHandshakeError::MalformedExtensions)? {
            let Some(offered) = offered.filter(|_| extension.name == deflate::NAME) else {
                return Err(ClientHandshakeError::UnofferedExtension(extension.name.into()));
            };
            if selected.is_some() {
                return Err(ClientHandshakeError::RepeatedExtension(extension.name.into()));
            }
            selected = Some(offered.check(&extension).map_err(ClientHandshakeError::Deflate)?);
        }
    }
    Ok(selected)
}

fn selected_subprotocol<'a, S: AsRef<str>>(
    headers: impl Iterator<Item = (&'a str, &'a [u8])>,
    offered: &[S],
) -> Result<Option<String>, ClientHandshakeError> {
    match single(headers, "sec-websocket-protocol") {
        Single::Missing => Ok(None),
        Single::Repeated => Err(ClientHandshakeError::RepeatedSubprotocol),
        Single::Once(selected) => match offered.iter().find(|offer| offer.as_ref().as_bytes() == selected) {
            Some(offer) => Ok(Some(offer.as_ref().into())),
            None => Err(ClientHandshakeError::UnofferedSubprotocol),
        },
    }
}
