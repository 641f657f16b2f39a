//! The server's half: the check of the request, and the response (RFC 6455 §4.2; RFC 8441 §4 and §5 for HTTP/2).

use thiserror::Error;

use super::{
    AcceptKey, HttpVersion, accept_key,
    headers::{Single, elements, lists, single, values},
    key::is_key,
    token::as_token,
};

/// The parts of an HTTP request that make it an opening handshake.
#[derive(Clone, Debug)]
pub struct Request<'a, H> {
    /// As in the request line: methods are case-sensitive.
    pub method: &'a str,
    /// The version of HTTP.
    pub version: HttpVersion,
    /// Names and values of all header lines.
    pub headers: H,
}

/// The parts of an HTTP/2 request that make it an opening handshake, an extended CONNECT (RFC 8441 §4).
#[derive(Clone, Debug)]
pub struct ConnectRequest<'a, H> {
    /// The pseudo-header `:method`.
    pub method: &'a str,
    /// The pseudo-header `:protocol`, which makes a CONNECT an extended one.
    pub protocol: Option<&'a str>,
    /// Names and values of all headers, with `:authority` as `host` (RFC 9113 §8.3.1).
    pub headers: H,
}

/// A valid opening handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Handshake {
    /// The value of `Sec-WebSocket-Accept` in the response.
    pub accept: AcceptKey,
}

impl Handshake {
    /// The headers of the response, whose status is 101. One for the selected subprotocol may be added.
    pub fn response_headers(&self) -> [(&'static str, &str); 3] {
        [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", &self.accept)]
    }
}

/// The reason for which a request is not an opening handshake.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The method is not GET (RFC 6455 §4.2.1, item 1). Only over HTTP/1.1.
    #[error("the method of a websocket handshake must be GET")]
    MethodNotGet,
    /// The version is not HTTP/1.1, the one that has upgrades (RFC 6455 §4.2.1, item 1; RFC 9110 §7.8).
    #[error("a websocket handshake must be HTTP/1.1")]
    HttpVersion,
    /// `Upgrade` does not name `websocket`: this is an ordinary request (RFC 6455 §4.2.1, item 3).
    #[error("the request does not ask for an upgrade to websocket")]
    NotAnUpgrade,
    /// `Connection` does not name `upgrade` (RFC 6455 §4.2.1, item 4).
    #[error("the connection header does not contain upgrade")]
    ConnectionHeader,
    /// There is no `Host` (RFC 6455 §4.2.1, item 2).
    #[error("the host header is missing")]
    MissingHost,
    /// There is more than one `Host` (RFC 9112 §3.2).
    #[error("the host header is repeated")]
    RepeatedHost,
    /// There is no `Sec-WebSocket-Version` (RFC 6455 §4.2.1, item 6).
    #[error("the sec-websocket-version header is missing")]
    MissingVersion,
    /// There is more than one `Sec-WebSocket-Version` (RFC 6455 §11.3.5).
    #[error("the sec-websocket-version header is repeated")]
    RepeatedVersion,
    /// `Sec-WebSocket-Version` is not 13 (RFC 6455 §4.2.2, item 4).
    #[error("the version of the websocket protocol is not 13")]
    UnsupportedVersion,
    /// There is no `Sec-WebSocket-Key` (RFC 6455 §4.2.1, item 5).
    #[error("the sec-websocket-key header is missing")]
    MissingKey,
    /// There is more than one `Sec-WebSocket-Key` (RFC 6455 §11.3.1).
    #[error("the sec-websocket-key header is repeated")]
    RepeatedKey,
    /// `Sec-WebSocket-Key` is not base64 of 16 bytes (RFC 6455 §4.2.1, item 5).
    #[error("the sec-websocket-key header is not base64 of 16 bytes")]
    InvalidKey,
    /// Over HTTP/2: the request is not a CONNECT with a `:protocol` (RFC 8441 §4).
    #[error("a websocket handshake over HTTP/2 must be an extended CONNECT")]
    NotAnExtendedConnect,
    /// Over HTTP/2: `:protocol` is not `websocket` (RFC 8441 §5).
    #[error("the protocol of the extended CONNECT is not websocket")]
    UnknownProtocol,
    /// The request has a body, whose bytes a proxy and this end might interpret differently.
    #[error("a websocket handshake must not have a body")]
    HasBody,
}

impl HandshakeError {
    /// The status of the response.
    pub const fn status(&self) -> u16 {
        match self {
            Self::MethodNotGet => 405,
            Self::NotAnUpgrade | Self::UnsupportedVersion => 426,
            // As RFC 9220 §3 defines for HTTP/3; RFC 8441 does not define it.
            Self::UnknownProtocol => 501,
            Self::HttpVersion
            | Self::ConnectionHeader
            | Self::MissingHost
            | Self::RepeatedHost
            | Self::MissingVersion
            | Self::RepeatedVersion
            | Self::MissingKey
            | Self::RepeatedKey
            | Self::InvalidKey
            | Self::NotAnExtendedConnect
            | Self::HasBody => 400,
        }
    }

    /// The headers that the status requires in an HTTP/1.1 response (RFC 9110 §10.2.1, §15.5.22; RFC 6455 §4.4). Over
    /// HTTP/2 there is neither `Upgrade` nor `Connection` (RFC 9113 §8.2.2).
    pub const fn response_headers(&self) -> &'static [(&'static str, &'static str)] {
        match self.status() {
            405 => &[("Allow", "GET")],
            426 => &[("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "13")],
            _ => &[],
        }
    }
}

/// Checks an opening handshake (RFC 6455 §4.2.1).
///
/// # Errors
///
/// The first requirement that is not met. An ordinary GET is [`HandshakeError::NotAnUpgrade`].
pub fn validate<'a, H>(request: &Request<'a, H>) -> Result<Handshake, HandshakeError>
where
    H: Iterator<Item = (&'a str, &'a [u8])> + Clone,
{
    if request.method != "GET" {
        return Err(HandshakeError::MethodNotGet);
    }
    if request.version != HttpVersion::Http11 {
        return Err(HandshakeError::HttpVersion);
    }
    if !lists(request.headers.clone(), "upgrade", "websocket") {
        return Err(HandshakeError::NotAnUpgrade);
    }
    if !lists(request.headers.clone(), "connection", "upgrade") {
        return Err(HandshakeError::ConnectionHeader);
    }
    check_host(request.headers.clone())?;
    check_version(request.headers.clone())?;
    let key = check_key(request.headers.clone())?;
    if has_body(request.headers.clone()) {
        return Err(HandshakeError::HasBody);
    }
    Ok(Handshake { accept: accept_key(key) })
}

/// Checks an opening handshake over HTTP/2 (RFC 8441 §5). The response to a valid one has the status 200:
/// `Sec-WebSocket-Key`, `Sec-WebSocket-Accept`, `Upgrade` and `Connection` are not used there.
///
/// ```
/// use nexios_proto::handshake::server::{ConnectRequest, HandshakeError, validate_connect};
///
/// let headers = [("host", &b"example.com"[..]), ("sec-websocket-version", b"13")].into_iter();
/// let request = ConnectRequest { method: "CONNECT", protocol: Some("websocket"), headers };
/// assert_eq!(validate_connect(&request), Ok(()));
///
/// let plain = ConnectRequest { protocol: None, ..request };
/// assert_eq!(validate_connect(&plain), Err(HandshakeError::NotAnExtendedConnect));
/// ```
///
/// # Errors
///
/// The first requirement that is not met.
pub fn validate_connect<'a, H>(request: &ConnectRequest<'a, H>) -> Result<(), HandshakeError>
where
    H: Iterator<Item = (&'a str, &'a [u8])> + Clone,
{
    match request.protocol {
        Some(protocol) if request.method == "CONNECT" => {
            // Protocol names are those of `Upgrade`, which are case-insensitive (RFC 9110 §7.8).
            if !protocol.eq_ignore_ascii_case("websocket") {
                return Err(HandshakeError::UnknownProtocol);
            }
        }
        _ => return Err(HandshakeError::NotAnExtendedConnect),
    }
    check_host(request.headers.clone())?;
    check_version(request.headers.clone())?;
    if has_body(request.headers.clone()) {
        return Err(HandshakeError::HasBody);
    }
    Ok(())
}

/// The subprotocols that the client offers, in its order of preference, over all header lines (RFC 6455 §4.1, item 10).
///
/// Names that are not [tokens](super::is_token) are left out: none could be selected.
///
/// ```
/// use nexios_proto::handshake::server::subprotocols;
///
/// let headers = [("Sec-WebSocket-Protocol", &b"v2, v1"[..]), ("sec-websocket-protocol", b"v0")];
/// assert!(subprotocols(headers.into_iter()).eq(["v2", "v1", "v0"]));
/// ```
pub fn subprotocols<'a, H>(headers: H) -> impl Iterator<Item = &'a str>
where
    H: Iterator<Item = (&'a str, &'a [u8])>,
{
    elements(headers, "sec-websocket-protocol").filter_map(as_token)
}

fn check_host<'a>(headers: impl Iterator<Item = (&'a str, &'a [u8])>) -> Result<(), HandshakeError> {
    match single(headers, "host") {
        Single::Missing => Err(HandshakeError::MissingHost),
        Single::Once(_) => Ok(()),
        Single::Repeated => Err(HandshakeError::RepeatedHost),
    }
}

fn check_version<'a>(headers: impl Iterator<Item = (&'a str, &'a [u8])>) -> Result<(), HandshakeError> {
    match single(headers, "sec-websocket-version") {
        Single::Missing => Err(HandshakeError::MissingVersion),
        Single::Once(b"13") => Ok(()),
        Single::Once(_) => Err(HandshakeError::UnsupportedVersion),
        Single::Repeated => Err(HandshakeError::RepeatedVersion),
    }
}

fn check_key<'a>(headers: impl Iterator<Item = (&'a str, &'a [u8])>) -> Result<&'a [u8], HandshakeError> {
    match single(headers, "sec-websocket-key") {
        Single::Missing => Err(HandshakeError::MissingKey),
        Single::Once(key) if is_key(key) => Ok(key),
        Single::Once(_) => Err(HandshakeError::InvalidKey),
        Single::Repeated => Err(HandshakeError::RepeatedKey),
    }
}

/// Returns true for a request with a body. Any `Content-Length` but plain zeros counts as one.
fn has_body<'a>(headers: impl Iterator<Item = (&'a str, &'a [u8])> + Clone) -> bool {
    values(headers.clone(), "transfer-encoding").next().is_some()
        || values(headers, "content-length")
            .any(|length| length.is_empty() || length.iter().any(|&digit| digit != b'0'))
}
