//! Proxies that are believed, and the address of the client behind them.

use std::borrow::Cow;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::ops::ControlFlow;
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts, OptionalFromRequestParts};
use http::StatusCode;
use http::request::Parts;
use ipnet::{IpNet, Ipv4Net};

use super::forwarded::{self, node, parameter};

/// What tells of a proxy in front.
const FORWARDING: [&str; 3] = ["x-forwarded-for", "x-forwarded-proto", "forwarded"];

/// Which header tells whom a trusted proxy has forwarded for: [`ServerConfig::proxy_header`](crate::ServerConfig::proxy_header).
///
/// Only one is read: a proxy that sets one of them often passes the other on as its client has made it up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ProxyHeader {
    /// `X-Forwarded-For`, with `X-Forwarded-Proto` beside it: what most proxies send.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239), with its parameters `for` and `proto`.
    Forwarded,
}

/// The proxies in front of a server whose word is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TrustedProxies {
    networks: Arc<[IpNet]>,
    header: ProxyHeader,
}

impl TrustedProxies {
    /// The error is the entry that is neither an address nor a network.
    pub(super) fn parse<I>(entries: I) -> Result<Vec<IpNet>, String>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let parse = |entry: I::Item| {
            let entry = entry.as_ref().trim();
            let network = IpNet::from_str(entry).or_else(|_| IpAddr::from_str(entry).map(IpNet::from));
            network.map(canonical).map_err(|_| entry.to_owned())
        };
        entries.into_iter().map(parse).collect()
    }

    pub(super) fn new(networks: Vec<IpNet>, header: ProxyHeader) -> Self {
        Self { networks: networks.into(), header }
    }

    pub(super) fn header(&self) -> ProxyHeader {
        self.header
    }

    pub(super) fn networks(&self) -> &[IpNet] {
        &self.networks
    }

    /// Whether it is one of the proxies, whose many clients are not one.
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// The address of the client: the socket's, unless that is a trusted proxy's; then the rightmost one in the
    /// header that is not trusted. Behind an entry that is no address (`unknown`, `_hidden`, garbage) nothing is believed:
    /// then it is the last one before it.
    pub(crate) fn client_ip<'a, I>(&self, peer: IpAddr, headers: impl FnOnce() -> I) -> IpAddr
    where
        I: Iterator<Item = (&'a str, &'a [u8])>,
    {
        let peer = peer.to_canonical();
        if !self.trusts(peer) {
            return peer;
        }
        let lines = headers().filter(|(name, _)| name.eq_ignore_ascii_case(self.header.name()));
        lines.fold(None, |before, (_, line)| self.nearest_client(line, before)).unwrap_or(peer)
    }

    /// What a line comes to, walked from its end, behind what the lines above it came to.
    fn nearest_client(&self, line: &[u8], before: Option<IpAddr>) -> Option<IpAddr> {
        let mut last = None;
        let mut walk = |address: Option<IpAddr>| match address {
            Some(address) if self.trusts(address) => {
                last = Some(address);
                ControlFlow::Continue(())
            }
            address => ControlFlow::Break(address.or(last)),
        };
        let walked = match self.header {
            ProxyHeader::XForwardedFor => {
                line.rsplit(|byte| *byte == b',').try_for_each(|entry| walk(node(entry.trim_ascii())))
            }
            ProxyHeader::Forwarded => forwarded::elements(line)
                .try_for_each(|element| walk(parameter(element, b"for").and_then(|value| node(&value)))),
        };
        match walked {
            ControlFlow::Break(found) => found,
            ControlFlow::Continue(()) => before.or(last),
        }
    }

    /// Whether a peer that is not trusted has sent what only a trusted proxy is asked for.
    pub(crate) fn is_unheeded<'a>(&self, peer: IpAddr, mut names: impl Iterator<Item = &'a str>) -> bool {
        !self.trusts(peer) && names.any(|name| FORWARDING.iter().any(|header| name.eq_ignore_ascii_case(header)))
    }

    /// The scheme of the request as the nearest trusted proxy tells it.
    pub(crate) fn scheme<'a, I>(&self, peer: IpAddr, headers: impl FnOnce() -> I) -> Option<&'static str>
    where
        I: Iterator<Item = (&'a str, &'a [u8])>,
    {
        if !self.trusts(peer) {
            return None;
        }
        let name = match self.header {
            ProxyHeader::XForwardedFor => "x-forwarded-proto",
            ProxyHeader::Forwarded => "forwarded",
        };
        let (_, line) = headers().filter(|(other, _)| other.eq_ignore_ascii_case(name)).last()?;
        let scheme = match self.header {
            ProxyHeader::XForwardedFor => Cow::Borrowed(line.rsplit(|byte| *byte == b',').next()?.trim_ascii()),
            ProxyHeader::Forwarded => parameter(forwarded::elements(line).next()?, b"proto")?,
        };
        [("http", "http"), ("https", "https"), ("ws", "http"), ("wss", "https")]
            .into_iter()
            .find_map(|(word, meant)| scheme.eq_ignore_ascii_case(word.as_bytes()).then_some(meant))
    }
}

impl ProxyHeader {
    fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }
}

/// IPv4 addresses that are written as IPv6 (`::ffff:192.0.2.0/120`, RFC 4291 §2.5.5.2) are IPv4.
fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(mapped) = network else { return network };
    let (address, prefix) = (mapped.addr().to_ipv4_mapped(), mapped.prefix_len().checked_sub(96));
    match (address, prefix) {
        (Some(address), Some(prefix)) => Ipv4Net::new(address, prefix).map_or(network, IpNet::V4),
        _ => network,
    }
}

/// Beside a request that came over TLS, on a socket of the server's own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OverTls;

/// The address of the client behind an HTTP request, for handlers of [`App::http`](crate::App::http): what
/// [`WebSocket::client_ip`](crate::WebSocket::client_ip) is for connections.
///
/// Taken as `Option<ClientIp>` it is `None` where no address is known, in a
/// [`TestClient`](crate::testing::TestClient)'s requests for one.
///
/// ```
/// use nexios::{App, ClientIp};
///
/// async fn whoami(ClientIp(address): ClientIp) -> String {
///     address.to_string()
/// }
/// let app = App::new().http(axum::Router::new().route("/whoami", axum::routing::get(whoami)));
/// # drop(app);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientIp(pub IpAddr);

impl ClientIp {
    fn of(parts: &Parts) -> Option<Self> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>()?.0.ip();
        let proxies = parts.extensions.get::<TrustedProxies>()?;
        let headers = || parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        Some(Self(proxies.client_ip(peer, headers)))
    }
}

impl<S: Sync> FromRequestParts<S> for ClientIp {
    type Rejection = (StatusCode, &'static str);

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Self::of(parts).ok_or((StatusCode::INTERNAL_SERVER_ERROR, "the client's address is not known"))
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for ClientIp {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(Self::of(parts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands in the header's lines, and the address that it comes to, from the proxy 10.0.0.1.
    fn check(header: ProxyHeader, lines: &[&str], expected: &str) {
        let networks = TrustedProxies::parse(["10.0.0.0/8", "2001:db8:1::/48", "::1"]).unwrap();
        let proxies = TrustedProxies::new(networks, header);
        let headers = || lines.iter().map(|line| (header.name(), line.as_bytes()));
        let peer = "10.0.0.1".parse().unwrap();
        assert_eq!(proxies.client_ip(peer, headers).to_string(), expected, "{lines:?}");
        // A peer that is not trusted says what it likes.
        let peer = "192.0.2.9".parse().unwrap();
        assert_eq!(proxies.client_ip(peer, headers), peer);
        assert_eq!(TrustedProxies::default().client_ip(peer, headers), peer);
    }

    #[test]
    fn the_client_is_the_rightmost_address_that_is_not_trusted() {
        let check = |lines, expected| check(ProxyHeader::XForwardedFor, lines, expected);
        check(&[], "10.0.0.1");
        check(&["203.0.113.7"], "203.0.113.7");
        check(&["1.1.1.1, 203.0.113.7"], "203.0.113.7");
        check(&["1.1.1.1, 203.0.113.7 ,10.2.3.4"], "203.0.113.7");
        check(&["1.1.1.1", "203.0.113.7", "10.2.3.4,2001:db8:1::5"], "203.0.113.7");
        check(&["203.0.113.7:5555"], "203.0.113.7");
        check(&["[2001:db8:2::1]:443"], "2001:db8:2::1");
        check(&["2001:db8:2::1"], "2001:db8:2::1");
        check(&["::ffff:203.0.113.7"], "203.0.113.7");
        check(&["10.9.9.9, 10.2.3.4"], "10.9.9.9");
    }

    #[test]
    fn what_is_no_address_hides_all_behind_it() {
        let check = |lines, expected| check(ProxyHeader::XForwardedFor, lines, expected);
        check(&["unknown"], "10.0.0.1");
        check(&["1.1.1.1, unknown"], "10.0.0.1");
        check(&["1.1.1.1, nonsense, 10.2.3.4"], "10.2.3.4");
        check(&["1.1.1.1,, 10.2.3.4, 10.2.3.5"], "10.2.3.4");
        check(&["", ",", "\"", "\u{fffd}"], "10.0.0.1");
        check(&["\"1.1.1.1, 203.0.113.7"], "203.0.113.7");
        check(&["999.1.1.1", "1.1.1.1.1", "[::1", "[]:1", "1.1.1.1:99999"], "10.0.0.1");
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_writes_it() {
        let check = |lines, expected| check(ProxyHeader::Forwarded, lines, expected);
        check(&["for=203.0.113.7"], "203.0.113.7");
        check(&["For=\"[2001:db8:cafe::17]:4711\""], "2001:db8:cafe::17");
        check(&["for=192.0.2.60;proto=http;by=203.0.113.43"], "192.0.2.60");
        check(&["for=192.0.2.43, for=198.51.100.17;by=\"a,b;c=d\""], "198.51.100.17");
        check(&["for=192.0.2.43", "proto=https ; FOR = \"198.51.100.17:80\" , for=10.4.4.4"], "198.51.100.17");
        check(&["for=192.0.2.43, for=unknown"], "10.0.0.1");
        check(&["for=192.0.2.43, for=\"_hidden\", for=10.4.4.4"], "10.4.4.4");
        check(&["for=192.0.2.43, proto=https"], "10.0.0.1");
        check(&["for=\"192.0.2.43"], "10.0.0.1");
        check(&["for=192.0.2.43;by=\"\\\"\", for=198.51.100.17"], "198.51.100.17");
        // A quotation that the client began and that swallows what the proxy adds.
        check(&["for=192.0.2.43;by=\"unclosed, for=198.51.100.17"], "198.51.100.17");
        check(&["for=192.0.2.43;by=\"x\\, for=\"[2001:db8:2::1]:80\""], "2001:db8:2::1");
        // The same, and a comma in what the proxy has quoted.
        check(&["x=\", for=198.51.100.17;host=\"a,b\""], "198.51.100.17");
        check(&["x=\"", "for=198.51.100.17;host=\"a,b\""], "198.51.100.17");
        check(&["x=\", for=\"198.51.100.17:80\";host=\"a\\\",for=1.1.1.1\";proto=https"], "198.51.100.17");
        check(&["for=192.0.2.43", "for=10.4.4.4", "for=10.5.5.5, ,"], "192.0.2.43");
        check(&["for=192.0.2.43, for=198.51.100.17;for=192.0.2.44"], "10.0.0.1");
        check(&["for=\"[2001:db8:2::1]:_obfuscated\", for=10.4.4.4"], "2001:db8:2::1");
    }

    #[test]
    fn the_scheme_is_the_nearest_proxys_word() {
        let check = |header, name: &'static str, line: &'static str, expected| {
            let proxies = TrustedProxies::new(TrustedProxies::parse(["10.0.0.0/8"]).unwrap(), header);
            let headers = || [(name, line.as_bytes())].into_iter();
            assert_eq!(proxies.scheme("10.0.0.1".parse().unwrap(), headers), expected, "{line}");
            assert_eq!(proxies.scheme("192.0.2.1".parse().unwrap(), headers), None);
        };
        let (x, forwarded) = (ProxyHeader::XForwardedFor, ProxyHeader::Forwarded);
        check(x, "x-forwarded-proto", "https", Some("https"));
        check(x, "x-forwarded-proto", "https, HTTP", Some("http"));
        check(x, "x-forwarded-proto", "wss", Some("https"));
        check(x, "x-forwarded-proto", "gopher", None);
        check(x, "forwarded", "proto=https", None);
        check(forwarded, "forwarded", "for=_x;proto=http, for=_y;proto=\"https\"", Some("https"));
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_address_however_it_is_written() {
        for entry in ["192.0.2.0/24", "::ffff:192.0.2.0/120", "::ffff:c000:200/120", "::ffff:192.0.2.7", "192.0.2.7"] {
            let proxies = TrustedProxies::new(TrustedProxies::parse([entry]).unwrap(), ProxyHeader::default());
            for peer in ["192.0.2.7", "::ffff:192.0.2.7"] {
                assert!(proxies.trusts(peer.parse().unwrap()), "{entry} {peer}");
            }
            assert!(!proxies.trusts("::192.0.2.7".parse().unwrap()), "{entry}");
            assert!(!proxies.trusts("198.51.100.7".parse().unwrap()), "{entry}");
        }
        let all = TrustedProxies::new(TrustedProxies::parse(["::ffff:0:0/96"]).unwrap(), ProxyHeader::default());
        assert!(all.trusts("198.51.100.7".parse().unwrap()));
        assert!(!all.trusts("2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn an_entry_that_is_no_network_is_named() {
        assert_eq!(TrustedProxies::parse(["::1", "10.0.0.0/33"]), Err("10.0.0.0/33".to_owned()));
        assert_eq!(TrustedProxies::parse(["localhost"]), Err("localhost".to_owned()));
    }
}
