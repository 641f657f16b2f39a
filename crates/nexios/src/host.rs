//! The host that a request names: its syntax, where it stands, and which hosts a server answers to.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use http::header::{HOST, HeaderValue};
use http::request::Parts;
use http::{Uri, Version};

/// A host and its port, as in `Host` (RFC 9112 §3.2) or the authority of a target (RFC 3986 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Host<'a> {
    name: Name<'a>,
    port: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name<'a> {
    /// Without the dot that may end a full name.
    Name(&'a str),
    Address(IpAddr),
}

impl<'a> Host<'a> {
    /// `None` for what is no host: `uri-host [":" port]`, where a name is neither empty (RFC 9110 §4.2.1) nor has
    /// anything before it (`user@`, §4.2.4).
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let text = str::from_utf8(bytes).ok()?;
        let (name, behind) = if let Some(rest) = text.strip_prefix('[') {
            let (address, behind) = rest.split_once(']')?;
            let address: Ipv6Addr = address.parse().ok()?;
            (Name::Address(IpAddr::V6(address).to_canonical()), behind)
        } else {
            let (name, behind) = text.split_at(text.find(':').unwrap_or(text.len()));
            (Name::parse(name)?, behind)
        };
        let port = match behind.strip_prefix(':') {
            None if behind.is_empty() => None,
            // RFC 3986 §3.2.3: the digits may be missing.
            Some("") => None,
            // `u16` would take a sign.
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()?),
            _ => return None,
        };
        Some(Self { name, port })
    }

    /// Whether it can only mean this machine: `localhost` and names below it (RFC 6761 §6.3), 127.0.0.0/8, `[::1]`.
    pub(crate) fn is_loopback(&self) -> bool {
        match self.name {
            Name::Name(name) => is_at_or_below(name, "localhost"),
            Name::Address(address) => address.is_loopback(),
        }
    }

    /// Whether it is that of an address to bind, in whatever case and with any port.
    pub(crate) fn is_named(&self, bound: &str) -> bool {
        Host::parse(bound.as_bytes()).is_some_and(|bound| self.name.is(&bound.name))
    }
}

impl<'a> Name<'a> {
    /// A `reg-name` or an IPv4 address (RFC 3986 §3.2.2).
    fn parse(text: &'a str) -> Option<Self> {
        if let Ok(address) = text.parse::<std::net::Ipv4Addr>() {
            return Some(Self::Address(address.into()));
        }
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            let is_plain = byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte);
            let mut is_escaped = || {
                let digits = [rest.next(), rest.next()];
                digits.iter().all(|digit| digit.is_some_and(|digit| digit.is_ascii_hexdigit()))
            };
            let is_valid = is_plain || (byte == b'%' && is_escaped());
            if !is_valid {
                return None;
            }
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        (!name.is_empty()).then_some(Self::Name(name))
    }

    fn is(&self, other: &Name<'_>) -> bool {
        match (self, other) {
            (Name::Name(one), Name::Name(other)) => one.eq_ignore_ascii_case(other),
            (Name::Address(one), Name::Address(other)) => one == other,
            _ => false,
        }
    }
}

fn is_at_or_below(name: &str, above: &str) -> bool {
    name.eq_ignore_ascii_case(above) || is_below(name, above)
}

/// `a.b.example` is below `b.example`, and `ab.example` is not.
fn is_below(name: &str, above: &str) -> bool {
    let Some(at) = name.len().checked_sub(above.len() + 1) else { return false };
    at > 0 && name.as_bytes()[at] == b'.' && name.as_bytes()[at + 1..].eq_ignore_ascii_case(above.as_bytes())
}

/// The hosts that an app was told to answer to: [`App::hosts`](crate::App::hosts).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AllowedHosts(Arc<[Pattern]>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Any,
    /// With this port, or with any.
    Exact(Box<str>),
    /// Names below this one, of any depth.
    Below(Box<str>),
}

impl AllowedHosts {
    /// The error is the entry that is no host.
    pub(crate) fn parse<I>(entries: I) -> Result<Self, String>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let parse = |entry: I::Item| Pattern::parse(entry.as_ref()).ok_or_else(|| entry.as_ref().to_owned());
        entries.into_iter().map(parse).collect::<Result<_, _>>().map(Self)
    }

    pub(crate) fn allow(&self, host: &Host<'_>) -> bool {
        self.0.iter().any(|pattern| pattern.fits(host))
    }
}

impl Pattern {
    fn parse(entry: &str) -> Option<Self> {
        if entry == "*" {
            return Some(Self::Any);
        }
        if let Some(above) = entry.strip_prefix("*.") {
            let is_name = matches!(Host::parse(above.as_bytes()), Some(Host { name: Name::Name(_), port: None }));
            return (is_name && !above.contains('*')).then(|| Self::Below(above.trim_end_matches('.').into()));
        }
        // An IPv6 address may stand without its brackets.
        let entry = if entry.parse::<Ipv6Addr>().is_ok() { format!("[{entry}]") } else { entry.to_owned() };
        Host::parse(entry.as_bytes()).filter(|_| !entry.contains('*'))?;
        Some(Self::Exact(entry.into()))
    }

    fn fits(&self, host: &Host<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(entry) => Host::parse(entry.as_bytes()).is_some_and(|entry| {
                entry.name.is(&host.name) && entry.port.is_none_or(|port| host.port == Some(port))
            }),
            Self::Below(above) => matches!(host.name, Name::Name(name) if is_below(name, above)),
        }
    }
}

/// Why a request does not say what host it is for; the answer is 400 (RFC 9112 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InvalidHost {
    /// None, or several.
    NotOne,
    Malformed,
}

impl InvalidHost {
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::NotOne => "one host header is needed\n",
            Self::Malformed => "the host is malformed\n",
        }
    }
}

/// Checks that a request names one host, and makes its `Host` header the one that counts: the authority of an
/// absolute-form target stands in for whatever the header says (RFC 9112 §3.2.2). Over HTTP/2 the request is
/// [unified](crate::routing::unify) before.
pub(crate) fn settle(parts: &mut Parts) -> Result<(), InvalidHost> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if Host::parse(host.as_bytes()).is_none() => return Err(InvalidHost::Malformed),
        (Some(_), None) => {}
        // HTTP/1.0 did not have it.
        (None, _) if parts.version == Version::HTTP_10 => {}
        _ => return Err(InvalidHost::NotOne),
    }
    let Some(authority) = parts.uri.authority() else { return Ok(()) };
    let authority = authority.as_str().as_bytes();
    if Host::parse(authority).is_none() {
        return Err(InvalidHost::Malformed);
    }
    if parts.headers.get(HOST).is_none_or(|host| host.as_bytes() != authority)
        && let Ok(host) = HeaderValue::from_bytes(authority)
    {
        parts.headers.insert(HOST, host);
    }
    Ok(())
}

/// Whether the target says itself for which host it is. A browser asks a server of its own like this never, but a proxy
/// only: no page can make it.
pub(crate) fn is_absolute(uri: &Uri) -> bool {
    uri.authority().is_some()
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_with_or_without_a_port() {
        for good in [
            "localhost",
            "LOCALHOST:8000",
            "app.example.",
            "a-b_c~d",
            "127.0.0.1:80",
            "[::1]",
            "[::1]:443",
            "x:",
            "a%2Fb",
            "a,b",
            "xn--pp-nia.example",
        ] {
            assert!(Host::parse(good.as_bytes()).is_some(), "{good}");
        }
        for bad in [
            "",
            ".",
            ":80",
            "a b",
            "a/b",
            "a\\b",
            "a@b",
            "a?b",
            "a#b",
            "a:b",
            "a:80:80",
            "a:+80",
            "a:65536",
            "a:-1",
            "[::1",
            "::1",
            "[::1]x",
            "[app.example]",
            "[127.0.0.1]",
            "a%2",
            "a%zz",
            "ä.example",
            "a\"b",
            "<a>",
            "a|b",
            "[fe80::1%25eth0]",
        ] {
            assert_eq!(Host::parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(Host::parse(b"\xff"), None);
    }

    #[test]
    fn loopback_is_localhost_what_is_below_it_and_its_addresses() {
        for good in [
            "localhost",
            "LocalHost:8000",
            "localhost.",
            "a.localhost",
            "a.b.localhost:1",
            "127.0.0.1",
            "127.255.0.9:80",
            "[::1]",
            "[::ffff:127.0.0.1]:80",
        ] {
            assert!(Host::parse(good.as_bytes()).unwrap().is_loopback(), "{good}");
        }
        for bad in [
            "evil.example",
            "localhost.evil.example",
            "evillocalhost",
            ".localhost",
            "127.0.0.1.evil.example",
            "0.0.0.0",
            "[::]",
            "128.0.0.1",
            "127.1",
            "2130706433",
            "[::2]",
            "localhost..",
            "[::ffff:128.0.0.1]",
            "192.168.0.1",
        ] {
            assert!(Host::parse(bad.as_bytes()).is_none_or(|host| !host.is_loopback()), "{bad}");
        }
    }

    #[test]
    fn a_list_has_names_names_below_others_and_addresses() {
        let allowed =
            AllowedHosts::parse(["app.example", "*.below.example", "10.0.0.1", "::1", "port.example:8443"]).unwrap();
        let check = |host: &str, expected| {
            assert_eq!(allowed.allow(&Host::parse(host.as_bytes()).unwrap()), expected, "{host}");
        };
        check("app.example", true);
        check("APP.example.:99", true);
        check("sub.app.example", false);
        check("a.b.below.example", true);
        check("below.example", false);
        check("xbelow.example", false);
        check("10.0.0.1:1", true);
        check("[::ffff:10.0.0.1]", true);
        check("[0::1]:80", true);
        check("port.example:8443", true);
        check("port.example", false);
        check("localhost", false);
        assert!(AllowedHosts::parse(["*"]).unwrap().allow(&Host::parse(b"any.example").unwrap()));
        for bad in ["", "https://app.example", "app.example/", "*app.example", "*.", "*.*.example", "a b", "*.10.0.0.1"]
        {
            assert_eq!(AllowedHosts::parse([bad]), Err(bad.to_owned()));
        }
    }

    #[test]
    fn the_targets_authority_counts_and_the_header_does_not() {
        let check = |target: &str, hosts: &[&str], expected: Result<&str, InvalidHost>| {
            let mut request = Request::get(target);
            for host in hosts {
                request = request.header("host", *host);
            }
            let mut parts = request.body(()).unwrap().into_parts().0;
            let settled = settle(&mut parts).map(|()| parts.headers[HOST].to_str().unwrap());
            assert_eq!(settled, expected, "{target} {hosts:?}");
        };
        check("/", &["a.example"], Ok("a.example"));
        check("http://b.example:81/", &["a.example"], Ok("b.example:81"));
        check("http://b.example/", &["a.example", "a.example"], Err(InvalidHost::NotOne));
        check("http://b.example/", &[], Err(InvalidHost::NotOne));
        check("http://b.example/", &["a b"], Err(InvalidHost::Malformed));
        check("http://user@b.example/", &["b.example"], Err(InvalidHost::Malformed));
        check("/", &[""], Err(InvalidHost::Malformed));
    }
}
