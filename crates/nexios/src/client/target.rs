//! What a client's URL says: where to connect to, and what to ask for there.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Uri};
use percent_encoding::percent_decode_str;
use url::{Host, Url};

use super::ConnectError;

// The crate `url` is the URL Standard as browsers have it, with IDNA. It brings tables of Unicode (about 20 crates of ICU4X),
// which the backplanes' clients bring as well; a reader of our own would have to be as long, or differ from browsers.

/// A URL that can be connected to.
pub(super) struct Target {
    pub(super) host: Host,
    pub(super) port: u16,
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "without TLS no URL is secure"))]
    pub(super) is_secure: bool,
    /// For `Host`: without the user, and without the scheme's own port (RFC 9110 §7.2, RFC 6455 §4.1).
    pub(super) authority: String,
    /// For the request line (RFC 6455 §3: without a fragment).
    pub(super) path_and_query: String,
    /// The user and the password.
    pub(super) authorization: Option<HeaderValue>,
    /// For logs: without the user, the password and the query, where secrets stand.
    pub(super) shown: String,
    /// What the `WebSocket` shows.
    pub(super) uri: Uri,
}

impl Target {
    pub(super) fn parse(text: &str) -> Result<Self, ConnectError> {
        let invalid = |why: &str| ConnectError::Url(format!("{:?}: {why}", shown(text)));
        let url = Url::parse(text).map_err(|error| invalid(&error.to_string()))?;
        let is_secure = match url.scheme() {
            "ws" | "http" => false,
            "wss" | "https" if cfg!(feature = "tls") => true,
            "wss" | "https" => return Err(invalid("TLS needs nexios with the feature `tls`")),
            _ => return Err(invalid("it does not begin with ws:// or wss://")),
        };
        let host = url.host().ok_or_else(|| invalid("it has no host"))?.to_owned();
        let port = url.port_or_known_default().ok_or_else(|| invalid("it has no port"))?;
        let (authority, path_and_query) = (authority(&url), origin_form(&url));
        let uri =
            format!("{}://{authority}{path_and_query}", url.scheme()).parse().map_err(|_| invalid("it is too long"))?;
        let authorization = authorization(&url).map_err(invalid)?;
        Ok(Self { host, port, is_secure, authority, path_and_query, authorization, shown: cleaned(&url), uri })
    }
}

/// A path with a query as it is asked for.
pub(crate) fn path_and_query(text: &str) -> Result<String, ConnectError> {
    if !text.is_empty() && !text.starts_with(['/', '?', '#']) {
        return Err(ConnectError::Url(format!("{:?} does not begin with a slash", shown(text))));
    }
    Target::parse(&format!("ws://host{text}")).map(|target| target.path_and_query)
}

/// A URL for logs and errors. One that cannot be read is not shown if a password may be anywhere in it.
pub(super) fn shown(text: &str) -> String {
    match Url::parse(text) {
        Ok(url) if url.has_host() => cleaned(&url),
        _ if text.contains('@') => "a URL with a user".to_owned(),
        _ => text.split(['?', '#']).next().unwrap_or_default().to_owned(),
    }
}

fn cleaned(url: &Url) -> String {
    format!("{}://{}{}", url.scheme(), authority(url), url.path())
}

fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

fn origin_form(url: &Url) -> String {
    match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    }
}

/// RFC 7617 §2: base64 of `user:password`, without control characters, and without a colon in the user's name.
fn authorization(url: &Url) -> Result<Option<HeaderValue>, &'static str> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(None);
    }
    let mut credentials: Vec<u8> = percent_decode_str(url.username()).collect();
    if credentials.contains(&b':') {
        return Err("the user has a colon in its name (RFC 7617 §2)");
    }
    credentials.push(b':');
    credentials.extend(percent_decode_str(url.password().unwrap_or_default()));
    if credentials.iter().any(u8::is_ascii_control) {
        return Err("the user or the password has a control character in it (RFC 7617 §2)");
    }
    let value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(credentials)));
    let mut value = value.map_err(|_| "the user and the password are too long")?;
    value.set_sensitive(true);
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Target {
        Target::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    #[test]
    fn what_is_asked_for_is_what_a_browser_asks_for() {
        let check = |behind_host: &str, expected: &str| {
            let target = target(&format!("ws://host{behind_host}"));
            assert_eq!(target.path_and_query, expected, "{behind_host:?}");
            assert_eq!(target.uri.path_and_query().unwrap(), expected);
            assert_eq!(path_and_query(behind_host).unwrap(), expected);
        };
        check("", "/");
        check("?q=1", "/?q=1");
        check("/?", "/?");
        check("#fragment", "/");
        check("/a?q=1#fragment", "/a?q=1");
        check("/a%23b?%23", "/a%23b?%23");
        check("/größe", "/gr%C3%B6%C3%9Fe");
        check("/?q=ä b", "/?q=%C3%A4%20b");
        check("/a b\"<>`{}", "/a%20b%22%3C%3E%60%7B%7D");
        check("/a%20b?q=%zz", "/a%20b?q=%zz");
        check("/a/./b/../c", "/a/c");
        check("/?q=1?2&a/b", "/?q=1?2&a/b");
        check("/a\r\nx: y", "/ax:%20y");
    }

    #[test]
    fn host_and_port_are_those_of_the_url() {
        let check = |url: &str, authority: &str, port: u16| {
            let target = target(url);
            assert_eq!((target.authority.as_str(), target.port), (authority, port), "{url}");
        };
        check("ws://host/", "host", 80);
        check("WS://HOST:80", "host", 80);
        check("http://host:8080", "host:8080", 8080);
        check("ws://host:443/", "host:443", 443);
        check("ws://127.0.0.1:9", "127.0.0.1:9", 9);
        check("ws://[::1]/", "[::1]", 80);
        check("ws://[2001:DB8::1]:9/", "[2001:db8::1]:9", 9);
        check("ws://größe.example/", "xn--gre-6ka8i.example", 80);
        check("ws://user:pass@host:9/", "host:9", 9);
        assert_eq!(target("ws://[::1]:9/").host, Host::<String>::Ipv6(std::net::Ipv6Addr::LOCALHOST));
        #[cfg(feature = "tls")]
        {
            check("wss://host", "host", 443);
            check("https://host:443/", "host", 443);
            check("wss://host:80/", "host:80", 80);
        }
    }

    #[test]
    fn a_user_in_the_url_is_basic_authorization() {
        let check = |user: &str, credentials: Option<&str>| {
            let target = target(&format!("ws://{user}host/"));
            let expected = credentials.map(|text| format!("Basic {}", STANDARD.encode(text)));
            assert_eq!(
                target.authorization.as_ref().map(HeaderValue::as_bytes),
                expected.as_deref().map(str::as_bytes)
            );
            assert!(target.authorization.is_none_or(|value| value.is_sensitive()));
            assert_eq!((target.uri.to_string().as_str(), target.shown.as_str()), ("ws://host/", "ws://host/"));
        };
        check("", None);
        check("@", None);
        check("user@", Some("user:"));
        check(":pass@", Some(":pass"));
        check("Aladdin:open%20sesame@", Some("Aladdin:open sesame"));
        check("us%40er:p%3Aa:s@s@", Some("us@er:p:a:s@s"));
        check("jürgen:pässword@", Some("jürgen:pässword"));
        for bad in ["ws://us%3Aer:pass@host", "ws://user:pa%0Ass@host", "ws://us%00er@host"] {
            assert!(matches!(Target::parse(bad), Err(ConnectError::Url(_))), "{bad}");
        }
    }

    #[test]
    fn no_error_shows_a_password_or_a_query() {
        let urls = [
            "ws://user:secret@host:99999/?q=secret",
            "ws://user:sec@ret@host:x",
            "ws://user:se/cret@host",
            "ws://user:se?secret@host:0x",
            "ftp://user:secret@host/",
            "mailto:secret@host",
            "secret@",
            "ws://us%3Aer:secret@host/?secret",
            "nowhere?secret",
            "ws://?secret",
        ];
        for url in urls {
            let error = Target::parse(url).err().unwrap_or_else(|| panic!("{url}")).to_string();
            assert!(!error.contains("secret") && !error.contains("cret@"), "{error}");
            assert!(!shown(url).contains("secret"), "{}", shown(url));
        }
        assert_eq!(shown("ws://user:secret@host:9/path?secret#secret"), "ws://host:9/path");
    }
}
