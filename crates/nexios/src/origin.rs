//! Which pages may connect: the check of the `Origin` header (RFC 6455 §10.2).

use std::fmt;
use std::net::Ipv6Addr;

/// The most bytes of an origin that are logged.
const LOGGED: usize = 256;

/// Which web pages may open connections: [`Config::origins`](crate::Config::origins), for an app or for a route.
///
/// A browser lets any page of any site connect to any server that the browser can reach, and sends that server's cookies
/// along, and its cached credentials and client certificates (cross-site WebSocket hijacking). It tells the page's origin,
/// which a page cannot change. Programs other than browsers send none, or what they like: this is a protection of users, not
/// of the server.
///
/// A handshake that is not allowed is answered with 403, as one with two `Origin` headers always is.
///
/// ```
/// use nexios::{App, Config, Origins};
///
/// let app = App::new().config(Config::new().origins(Origins::only(["https://app.example", "http://localhost:3000"])));
/// # drop(app);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(Rule);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Rule {
    #[default]
    Same,
    Any,
    Only(Allowed),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Allowed {
    origins: Vec<Origin>,
    absent: bool,
    null: bool,
}

impl Origins {
    /// The default: a page may connect to the host that it came from. Host and port of the origin must be those of the
    /// request's `Host`, where a port that is missing is the default one of the origin's scheme; the scheme must be the
    /// request's own where that is known: on a socket with TLS, or from a [trusted
    /// proxy](crate::ServerConfig::trusted_proxies).
    ///
    /// Checked is every request with an `Origin`, with cookies or without: a page of another site also reaches what is open
    /// to the browser's address or machine alone. A request without an `Origin` comes from no browser, and is allowed. The
    /// host is the authority of an absolute-form target, where there is one, else `Host` (RFC 9112 §3.2.2). A proxy in front
    /// has to pass the `Host` on, port included (nginx: `proxy_set_header Host $http_host`).
    ///
    /// A page of another host or port, such as a development server of its own for the front end, is listed with
    /// [`only`](Self::only).
    pub fn same_origin() -> Self {
        Self(Rule::Same)
    }

    /// These origins and no others, with or without cookies: `https://app.example`, `http://localhost:3000`,
    /// `http://[::1]:8080`. Compared are scheme, host and port, in whatever case, with the default ports of `http` (80)
    /// and `https` (443); a subdomain is another host. A request without an `Origin` is refused, see
    /// [`or_absent`](Self::or_absent).
    ///
    /// Origins without a host are listed by their text: `file://` is what Chromium, Electron and Cordova send from pages of
    /// files, where other browsers send `null`. `null` is [`or_null`](Self::or_null).
    ///
    /// # Panics
    ///
    /// When an entry is no origin: no scheme, a path, even if it is only `/`, a wildcard, `http://` without a host, or a host
    /// that is not written in ASCII.
    pub fn only<I>(origins: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let mut allowed = Allowed::default();
        for entry in origins {
            let entry = entry.as_ref();
            if entry == "null" {
                allowed.null = true;
                continue;
            }
            let origin = Origin::parse(entry);
            assert!(origin.is_some(), "{entry:?} is no origin: expected scheme://host or scheme://host:port");
            allowed.origins.extend(origin);
        }
        Self(Rule::Only(allowed))
    }

    /// Any page of any site. For services without cookies that are open to everybody.
    pub fn any() -> Self {
        Self(Rule::Any)
    }

    /// Besides those of [`only`](Self::only), requests without an `Origin`: of programs that are no browsers.
    pub fn or_absent(mut self) -> Self {
        if let Rule::Only(allowed) = &mut self.0 {
            allowed.absent = true;
        }
        self
    }

    /// Besides those of [`only`](Self::only), the origin `null`: of files, sandboxed frames and `data:` pages. Every site can
    /// make a page with this origin.
    pub fn or_null(mut self) -> Self {
        if let Rule::Only(allowed) = &mut self.0 {
            allowed.null = true;
        }
        self
    }

    /// Whether a request is allowed.
    pub(crate) fn allow(&self, request: &Asked<'_>) -> bool {
        let origin = match request.origin {
            Found::Several => return false,
            Found::None => None,
            Found::One(origin) => Some(origin),
        };
        match (&self.0, origin) {
            (Rule::Any, _) | (Rule::Same, None) => true,
            (Rule::Same, Some(origin)) => is_same(origin, request),
            (Rule::Only(allowed), None) => allowed.absent,
            (Rule::Only(allowed), Some(b"null")) => allowed.null,
            (Rule::Only(allowed), Some(origin)) => {
                Origin::parse_bytes(origin).is_some_and(|origin| allowed.origins.contains(&origin))
            }
        }
    }
}

/// What the check looks at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) origin: Found<'a>,
    pub(crate) host: Option<&'a [u8]>,
    /// `http` or `https`, where it is known.
    pub(crate) scheme: Option<&'a str>,
}

/// A header that is there at most once.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Found<'a> {
    None,
    One(&'a [u8]),
    Several,
}

/// For a log: escaped, and no longer than any origin.
impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::One(origin) => write!(f, "{}", origin[..origin.len().min(LOGGED)].escape_ascii()),
            Self::Several => f.write_str("several"),
        }
    }
}

fn is_same(origin: &[u8], request: &Asked<'_>) -> bool {
    let Some(origin) = Origin::parse_bytes(origin) else { return false };
    let host = request.host.and_then(|host| str::from_utf8(host).ok());
    let Some((host, port)) = host.and_then(host_and_port) else { return false };
    let scheme_fits = request.scheme.is_none_or(|scheme| origin.scheme.eq_ignore_ascii_case(scheme));
    scheme_fits && origin.host == host && origin.port == port.or_else(|| default_port(&origin.scheme))
}

/// A web origin (RFC 6454 §4), taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    /// In lower case.
    scheme: Box<str>,
    host: Host,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    /// In lower case.
    Name(Box<str>),
    V6(Ipv6Addr),
    /// Of an opaque origin that is known by its scheme: `file://`.
    None,
}

impl Origin {
    fn parse_bytes(bytes: &[u8]) -> Option<Self> {
        Self::parse(str::from_utf8(bytes).ok()?)
    }

    /// Scheme, host and port and nothing else: whatever a browser would not write is no origin.
    fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        if !is_scheme {
            return None;
        }
        let scheme = scheme.to_ascii_lowercase().into_boxed_str();
        let needs_host = default_port(&scheme).is_some();
        if authority.is_empty() && !needs_host {
            return Some(Self { scheme, host: Host::None, port: None });
        }
        let (host, port) = host_and_port(authority)?;
        let port = port.or_else(|| default_port(&scheme));
        Some(Self { scheme, host, port })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Name(name) => write!(f, "{}://{name}", self.scheme)?,
            Host::V6(address) => write!(f, "{}://[{address}]", self.scheme)?,
            Host::None => write!(f, "{}://", self.scheme)?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

fn host_and_port(authority: &str) -> Option<(Host, Option<u16>)> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (address, behind) = rest.split_once(']')?;
        (Host::V6(address.parse().ok()?), behind)
    } else {
        let (name, behind) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_name) {
            return None;
        }
        (Host::Name(name.to_ascii_lowercase().into()), behind)
    };
    match port.strip_prefix(':') {
        None if port.is_empty() => Some((host, None)),
        // `u16` would take a sign.
        Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some((host, Some(digits.parse().ok()?)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked<'a>(origin: &'a str, host: &'a str, scheme: Option<&'a str>) -> Asked<'a> {
        Asked { origin: Found::One(origin.as_bytes()), host: Some(host.as_bytes()), scheme }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port_and_nothing_else() {
        let check = |text: &str, expected: &str| {
            assert_eq!(Origin::parse(text).map(|origin| origin.to_string()).as_deref(), Some(expected), "{text}");
        };
        check("https://app.example", "https://app.example:443");
        check("HTTP://APP.example:8080", "http://app.example:8080");
        check("http://[::1]", "http://[::1]:80");
        check("http://[0:0:0:0:0:0:0:1]:3000", "http://[::1]:3000");
        check("capacitor://localhost", "capacitor://localhost");
        check("chrome-extension://abcdef", "chrome-extension://abcdef");
        check("file://", "file://");
        check("app://-", "app://-");
        check("vscode-webview://", "vscode-webview://");
        for bad in [
            "",
            "null",
            "*",
            "app.example",
            "https://",
            "https:///",
            "file:///",
            "file://home/",
            "ws://",
            "https://app.example/",
            "https://app.example?",
            "https://app.example#",
            "https://a@app.example",
            "https://app.example:",
            "https://app.example:+443",
            "https://app.example:65536",
            "https://app.example:4 4",
            "https://*.app.example",
            "https://app.example\\x",
            "https://app.example`x",
            "https://äpp.example",
            "1https://app.example",
            "://app.example",
            "https://[::1",
            "https://[::1]x",
            "https://[app.example]",
            "https://app.example,https://b.example",
            " https://app.example",
        ] {
            assert_eq!(Origin::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_same_origin_is_host_port_and_the_scheme_where_it_is_known() {
        let check = |origin, host, scheme, expected| {
            assert_eq!(
                Origins::same_origin().allow(&asked(origin, host, scheme)),
                expected,
                "{origin} to {host} {scheme:?}"
            );
        };
        check("https://app.example", "app.example", None, true);
        check("http://app.example", "app.example", None, true);
        check("https://app.example", "APP.EXAMPLE:443", None, true);
        check("https://app.example:8443", "app.example:8443", Some("https"), true);
        check("http://[::1]:8000", "[0::1]:8000", None, true);
        check("http://app.example", "app.example", Some("https"), false);
        check("http://app.example", "app.example:443", None, false);
        check("https://app.example:444", "app.example", None, false);
        check("https://sub.app.example", "app.example", None, false);
        check("https://app.example.evil", "app.example", None, false);
        check("null", "app.example", None, false);
        check("null", "null", None, false);
        check("https://app.example", "", None, false);
    }

    #[test]
    #[should_panic(expected = "\"https://app.example/\" is no origin")]
    fn a_list_with_what_is_no_origin_is_a_mistake_of_the_program() {
        let _ = Origins::only(["https://app.example/"]);
    }
}
