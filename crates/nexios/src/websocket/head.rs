//! A request's head, written down in one allocation.

use std::borrow::Cow;
use std::net::{SocketAddr, SocketAddrV6};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Uri, Version};

/// Names that are written as one byte, their place in this list.
static NAMES: [HeaderName; 22] = [
    header::HOST,
    header::CONNECTION,
    header::UPGRADE,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_VERSION,
    header::SEC_WEBSOCKET_EXTENSIONS,
    header::SEC_WEBSOCKET_PROTOCOL,
    header::SEC_WEBSOCKET_ACCEPT,
    header::ORIGIN,
    header::USER_AGENT,
    header::COOKIE,
    header::AUTHORIZATION,
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::ACCEPT_LANGUAGE,
    header::CACHE_CONTROL,
    header::PRAGMA,
    header::REFERER,
    header::FORWARDED,
    header::VIA,
    header::DATE,
    header::SERVER,
];

/// In place of a name's number: the name follows.
const OTHER_NAME: u8 = 0x7f;
/// Beside a name's number: the value is sensitive.
const SENSITIVE: u8 = 0x80;
/// In place of a length of one byte: the length follows.
const LONG: u8 = u8::MAX;

const ORIGINAL_IS_URI: u8 = 1;
const ORIGINAL_FOLLOWS: u8 = 2;
const CONNECT_INFO: u8 = 4;
const EMPTY_PARAMS: u8 = 8;
const PEER_V4: u8 = 16;
const PEER_V6: u8 = 32;

/// What stood in the request's extensions and can be made again.
#[derive(Default)]
pub(super) struct Extras {
    /// The target before prefixes were taken off it.
    pub(super) original: Option<Uri>,
    /// The peer's address was an extension too.
    pub(super) connect_info: bool,
    /// The router found a path without parameters.
    pub(super) empty_params: bool,
}

/// A head as bytes.
pub(super) struct PackedHead {
    bytes: Box<[u8]>,
}

impl PackedHead {
    /// Writes down everything but the extensions. The target and `extras.original` must be such that
    /// [`survives`] them.
    pub(super) fn pack(parts: &Parts, peer: Option<SocketAddr>, extras: &Extras) -> Self {
        let values: usize = parts.headers.values().map(|value| value.len() + 4).sum();
        let mut bytes = Vec::with_capacity(values + 64);
        bytes.push(flags(parts, peer, extras));
        bytes.push(version_number(parts.version));
        put_peer(&mut bytes, peer);
        put(&mut bytes, parts.method.as_str().as_bytes());
        put(&mut bytes, text(&parts.uri).as_bytes());
        if let Some(original) = extras.original.as_ref().filter(|original| **original != parts.uri) {
            put(&mut bytes, text(original).as_bytes());
        }
        for (name, value) in &parts.headers {
            put_header(&mut bytes, name, value);
        }
        Self { bytes: bytes.into() }
    }

    pub(super) fn read(&self) -> Head<'_> {
        let mut reader = Reader(&self.bytes);
        let flags = reader.byte();
        let version = reader.byte();
        let peer = reader.peer(flags);
        let method = reader.counted();
        let uri = reader.counted();
        let original = if flags & ORIGINAL_FOLLOWS == 0 { &[][..] } else { reader.counted() };
        Head { flags, version, peer, method, uri, original, headers: reader }
    }
}

/// A packed head, taken apart.
pub(super) struct Head<'a> {
    flags: u8,
    version: u8,
    pub(super) peer: Option<SocketAddr>,
    method: &'a [u8],
    uri: &'a [u8],
    original: &'a [u8],
    headers: Reader<'a>,
}

impl<'a> Head<'a> {
    // What was valid before it was packed is so now: none of the defaults below is met.

    pub(super) fn method(&self) -> Method {
        Method::from_bytes(self.method).unwrap_or_default()
    }

    pub(super) fn version(&self) -> Version {
        match self.version {
            9 => Version::HTTP_09,
            10 => Version::HTTP_10,
            20 => Version::HTTP_2,
            30 => Version::HTTP_3,
            _ => Version::HTTP_11,
        }
    }

    pub(super) fn uri(&self) -> Uri {
        parse(self.uri)
    }

    pub(super) fn extras(&self) -> Extras {
        let original = match self.flags & (ORIGINAL_IS_URI | ORIGINAL_FOLLOWS) {
            0 => None,
            ORIGINAL_IS_URI => Some(self.uri()),
            _ => Some(parse(self.original)),
        };
        let (connect_info, empty_params) = (self.flags & CONNECT_INFO != 0, self.flags & EMPTY_PARAMS != 0);
        Extras { original, connect_info, empty_params }
    }

    /// The map again: the values share one allocation.
    pub(super) fn headers(&self) -> HeaderMap {
        let shared = Bytes::copy_from_slice(self.headers.0);
        let pairs = Pairs(Reader(&shared));
        let mut headers = HeaderMap::with_capacity(Pairs(Reader(&shared)).count());
        for (name, value, is_sensitive) in pairs {
            if let (Ok(name), Ok(mut value)) = (name.get(), HeaderValue::from_maybe_shared(shared.slice_ref(value))) {
                value.set_sensitive(is_sensitive);
                headers.append(name, value);
            }
        }
        headers
    }

    /// The headers, read where they lie.
    pub(super) fn header_pairs(self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        Pairs(self.headers).map(|(name, value, _)| (name.as_str(), value))
    }
}

/// Whether a target is the same again after it was text. One that names no host always is.
pub(super) fn survives(uri: &Uri) -> bool {
    is_origin_form(uri) || uri.to_string().parse().is_ok_and(|again: Uri| again == *uri)
}

fn is_origin_form(uri: &Uri) -> bool {
    uri.scheme().is_none() && uri.authority().is_none() && uri.path().starts_with('/')
}

fn text(uri: &Uri) -> Cow<'_, str> {
    match uri.path_and_query() {
        Some(target) if is_origin_form(uri) => target.as_str().into(),
        _ => uri.to_string().into(),
    }
}

fn parse(uri: &[u8]) -> Uri {
    Uri::from_maybe_shared(Bytes::copy_from_slice(uri)).unwrap_or_default()
}

fn flags(parts: &Parts, peer: Option<SocketAddr>, extras: &Extras) -> u8 {
    let original = match &extras.original {
        None => 0,
        Some(original) if *original == parts.uri => ORIGINAL_IS_URI,
        Some(_) => ORIGINAL_FOLLOWS,
    };
    let peer = match peer {
        None => 0,
        Some(SocketAddr::V4(_)) => PEER_V4,
        Some(SocketAddr::V6(_)) => PEER_V6,
    };
    let connect_info = if extras.connect_info { CONNECT_INFO } else { 0 };
    let empty_params = if extras.empty_params { EMPTY_PARAMS } else { 0 };
    original | peer | connect_info | empty_params
}

fn version_number(version: Version) -> u8 {
    match version {
        Version::HTTP_09 => 9,
        Version::HTTP_10 => 10,
        Version::HTTP_2 => 20,
        Version::HTTP_3 => 30,
        _ => 11,
    }
}

fn put_peer(bytes: &mut Vec<u8>, peer: Option<SocketAddr>) {
    match peer {
        None => return,
        Some(SocketAddr::V4(peer)) => bytes.extend(peer.ip().octets()),
        Some(SocketAddr::V6(peer)) => {
            bytes.extend(peer.ip().octets());
            bytes.extend(peer.flowinfo().to_le_bytes());
            bytes.extend(peer.scope_id().to_le_bytes());
        }
    }
    bytes.extend(peer.map_or(0, |peer| peer.port()).to_le_bytes());
}

fn put_header(bytes: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    let number = NAMES.iter().position(|known| known == name).and_then(|at| u8::try_from(at).ok());
    let sensitive = if value.is_sensitive() { SENSITIVE } else { 0 };
    bytes.push(number.unwrap_or(OTHER_NAME) | sensitive);
    if number.is_none() {
        put(bytes, name.as_str().as_bytes());
    }
    put(bytes, value.as_bytes());
}

/// A length, and what is so long.
fn put(bytes: &mut Vec<u8>, content: &[u8]) {
    match u8::try_from(content.len()) {
        Ok(length) if length != LONG => bytes.push(length),
        _ => {
            bytes.push(LONG);
            bytes.extend(content.len().to_le_bytes());
        }
    }
    bytes.extend_from_slice(content);
}

/// Reads what was put. Behind the end there are zeros.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        self.take(N).try_into().unwrap_or([0; N])
    }

    fn byte(&mut self) -> u8 {
        let [byte] = self.array();
        byte
    }

    fn counted(&mut self) -> &'a [u8] {
        let length = match self.byte() {
            LONG => usize::from_le_bytes(self.array()),
            length => length.into(),
        };
        self.take(length)
    }

    fn peer(&mut self, flags: u8) -> Option<SocketAddr> {
        match flags & (PEER_V4 | PEER_V6) {
            0 => None,
            PEER_V4 => {
                let ip: [u8; 4] = self.array();
                Some((ip, u16::from_le_bytes(self.array())).into())
            }
            _ => {
                let ip: [u8; 16] = self.array();
                let (flowinfo, scope_id) = (u32::from_le_bytes(self.array()), u32::from_le_bytes(self.array()));
                let port = u16::from_le_bytes(self.array());
                Some(SocketAddrV6::new(ip.into(), port, flowinfo, scope_id).into())
            }
        }
    }
}

/// Headers in their order: name, value, and whether it is sensitive.
struct Pairs<'a>(Reader<'a>);

impl<'a> Iterator for Pairs<'a> {
    type Item = (Name<'a>, &'a [u8], bool);

    fn next(&mut self) -> Option<Self::Item> {
        let reader = &mut self.0;
        if reader.0.is_empty() {
            return None;
        }
        let first = reader.byte();
        let name = match NAMES.get(usize::from(first & !SENSITIVE)) {
            Some(known) => Name::Known(known),
            None => Name::Other(reader.counted()),
        };
        Some((name, reader.counted(), first & SENSITIVE != 0))
    }
}

enum Name<'a> {
    Known(&'static HeaderName),
    Other(&'a [u8]),
}

impl<'a> Name<'a> {
    fn get(&self) -> Result<HeaderName, header::InvalidHeaderName> {
        match self {
            Self::Known(name) => Ok((*name).clone()),
            Self::Other(name) => HeaderName::from_bytes(name),
        }
    }

    fn as_str(&self) -> &'a str {
        match self {
            Self::Known(name) => name.as_str(),
            Self::Other(name) => str::from_utf8(name).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(request: http::request::Builder) -> Parts {
        request.body(()).unwrap().into_parts().0
    }

    /// Packs and compares all that can be read, and returns the size.
    fn check(parts: &Parts, peer: Option<&str>, extras: &Extras) -> usize {
        let peer = peer.map(|peer| peer.parse().unwrap());
        let packed = PackedHead::pack(parts, peer, extras);
        let head = packed.read();
        assert!(survives(&parts.uri));
        assert_eq!(
            (head.method(), head.version(), head.uri()),
            (parts.method.clone(), parts.version, parts.uri.clone())
        );
        assert_eq!(head.peer, peer);
        assert_eq!(head.extras().original, extras.original);
        assert_eq!(head.extras().connect_info, extras.connect_info);
        assert_eq!(head.extras().empty_params, extras.empty_params);
        let headers = head.headers();
        assert!(headers.iter().eq(parts.headers.iter()), "{headers:?} {:?}", parts.headers);
        let sensitive = |headers: &HeaderMap| headers.values().map(HeaderValue::is_sensitive).collect::<Vec<_>>();
        assert_eq!(sensitive(&headers), sensitive(&parts.headers));
        assert!(head.header_pairs().eq(headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()))));
        packed.bytes.len()
    }

    #[test]
    fn what_was_packed_is_read_again() {
        let mut secret = HeaderValue::from_static("Bearer x");
        secret.set_sensitive(true);
        let (long, longer) = ("v".repeat(255), "w".repeat(70_000));
        let request = http::Request::get("/chat/a%20b?x=1&x=2")
            .header("x-first", "1")
            .header("host", "example.org")
            .header("cookie", "a=b")
            .header("x-empty", "")
            .header("authorization", secret)
            .header("cookie", &b"c=\xff\xfe"[..])
            .header("x-first", long)
            .header("n".repeat(300), longer);
        let parts = parts(request);
        let same = Extras { original: Some(parts.uri.clone()), connect_info: true, empty_params: true };
        let other = Extras { original: Some("/app/chat?y".parse().unwrap()), ..Extras::default() };
        for extras in [Extras::default(), same, other] {
            for peer in [None, Some("1.2.3.4:56789"), Some("[2001:db8::1%7]:443"), Some("[::1]:0")] {
                check(&parts, peer, &extras);
            }
        }
    }

    #[test]
    fn targets_of_every_form_survive() {
        for target in
            ["/", "/?", "/a/b?", "//a", "/a?b?c", "*", "example.org:443", "ws://example.org:80/a?b", "ws://test"]
        {
            check(&parts(http::Request::options(target)), None, &Extras::default());
        }
        for version in [Version::HTTP_09, Version::HTTP_10, Version::HTTP_11, Version::HTTP_2, Version::HTTP_3] {
            check(&parts(http::Request::connect("/").version(version)), None, &Extras::default());
        }
    }

    #[test]
    fn a_small_request_takes_less_than_100_bytes() {
        let request = http::Request::get("/echo")
            .header("host", "127.0.0.1:8000")
            .header("upgrade", "websocket")
            .header("connection", "Upgrade")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("sec-websocket-version", "13");
        assert!(check(&parts(request), Some("127.0.0.1:50000"), &Extras::default()) < 100);
    }
}
