//! A token in a cookie (RFC 6265).

use http::HeaderMap;
use http::header::COOKIE;

/// The first cookie of this name that is a token. Cookies are separated as bytes, each is looked at by itself: a page of the
/// same domain may have set another one to what is no ASCII, and browsers send it as it is.
///
/// Over HTTP/2 they may come in several lines (RFC 9113 §8.2.3).
pub(super) fn token<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(COOKIE).iter();
    let mut pairs = lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b';'));
    pairs.find_map(|pair| value(pair, name))
}

fn value<'a>(pair: &'a [u8], name: &str) -> Option<&'a str> {
    let at = pair.iter().position(|&byte| byte == b'=')?;
    let (found, value) = (pair[..at].trim_ascii(), pair[at + 1..].trim_ascii());
    if found != name.as_bytes() {
        return None;
    }
    let value = unquoted(value);
    if value.is_empty() || !value.iter().all(|&byte| is_cookie_octet(byte)) {
        return None;
    }
    std::str::from_utf8(value).ok()
}

/// RFC 6265 §4.1.1: a value may stand in double quotes.
fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value)
}

/// RFC 6265 §4.1.1: ASCII without controls, white space, double quote, comma, semicolon and backslash.
fn is_cookie_octet(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\",;\\".contains(&byte)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn check(lines: &[&[u8]], expected: Option<&str>) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(COOKIE, HeaderValue::from_bytes(line).unwrap());
        }
        let shown: Vec<_> = lines.iter().map(|line| String::from_utf8_lossy(line)).collect();
        assert_eq!(token(&headers, "token"), expected, "{shown:?}");
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        check(&[], None);
        check(&[b"a=1; token=x=y;b"], Some("x=y"));
        check(&[b"a=1", b"b=2; token=z"], Some("z"));
        check(&[b"token=first; token=second"], Some("first"));
        check(&[b"oken=1; Token=2; token2=3; token"], None);
        check(&[b"\ttoken = x "], Some("x"));
    }

    #[test]
    fn a_cookie_that_cannot_be_read_hides_no_other() {
        for other in [&b"other=\xc3\xa4"[..], b"other=\xff\xfe", b"\xff=1", b"=", b"", b"other=\"", b"other=a,b c\\"] {
            check(&[&[other, b"; token=x"].concat()], Some("x"));
            check(&[&[b"token=x; ", other].concat()], Some("x"));
            check(&[other, b"token=x"], Some("x"));
        }
        check(&[b"token=\xc3\xa4; token=; token=x"], Some("x"));
    }

    #[test]
    fn a_value_is_what_stands_in_its_quotes() {
        check(&[b"token=\"x/y==\""], Some("x/y=="));
        check(&[b"token=\"\"; a=b"], None);
        for bad in [&b"token=\""[..], b"token=\"x", b"token=x\"", b"token=x\"y", b"token=\"x\"y\"", b"token=\"\"x\"\""]
        {
            check(&[bad], None);
        }
    }

    #[test]
    fn what_no_cookie_may_hold_is_no_token() {
        for bad in [&b"a b"[..], b"a,b", b"a\\b", b"a\tb", b"\xc3\xa4", b"a\xff"] {
            check(&[&[b"token=", bad].concat()], None);
        }
        check(&[b"token=!#$%&'()*+-./:<=>?@[]^_`{|}~09azAZ"], Some("!#$%&'()*+-./:<=>?@[]^_`{|}~09azAZ"));
    }
}
