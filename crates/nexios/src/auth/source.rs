//! Where in a request a token may stand.
//!
//! Each source reads what its standard says and no more. What it cannot read is no token, and does not hide another one.

mod cookie;
mod query;

use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderValue, SEC_WEBSOCKET_PROTOCOL};

use crate::WebSocket;

/// Where a token is looked for.
///
/// A browser's `WebSocket` cannot set headers: its page has the query, the subprotocols and cookies. A query is written
/// down by proxies and servers on the way, so a token in it should live for a minute. A cookie is sent whatever page
/// connects: see [`Origins`](crate::Origins).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSource(Place);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Bearer,
    Query(Box<str>),
    Cookie(Box<str>),
    SubprotocolAfter(Box<str>),
    SubprotocolPrefix(Box<str>),
}

impl TokenSource {
    /// `Authorization: Bearer <token>` (RFC 6750 §2.1): the scheme in whatever case, one space or more, and a token of
    /// letters, digits and `-._~+/`, at its end any number of `=`. Two `Authorization` headers have none.
    pub fn bearer() -> Self {
        Self(Place::Bearer)
    }

    /// The first query parameter of this name that can be read, decoded: `+` is a space, `%2B` a plus (URL Standard
    /// §5.1). One that is empty, has a `%` without two hexadecimal digits (RFC 3986 §2.1), or is no UTF-8 when decoded is
    /// no token.
    pub fn query(name: impl Into<String>) -> Self {
        Self(Place::Query(name.into().into()))
    }

    /// The first cookie of this name that can be read (RFC 6265 §4.2.1). Each cookie is looked at by itself: what another
    /// one is made of does not matter. Double quotes around a value are not part of the token; spaces, commas, backslashes,
    /// quotes elsewhere and what is not ASCII are not allowed in it. It is not decoded any further.
    pub fn cookie(name: impl Into<String>) -> Self {
        Self(Place::Cookie(name.into().into()))
    }

    /// The subprotocol that is offered right behind this one: `new WebSocket(url, ["bearer", token, "v1"])`.
    ///
    /// What the handler may answer is then `bearer` or `v1`, and never the token. A browser that offers subprotocols fails
    /// when none is answered: accept with [`Accept::subprotocol`](crate::Accept::subprotocol).
    pub fn subprotocol_after(name: impl Into<String>) -> Self {
        Self(Place::SubprotocolAfter(name.into().into()))
    }

    /// What is behind this prefix in an offered subprotocol: `new WebSocket(url, ["v1", "token." + token])`.
    ///
    /// What the handler may answer is then `v1`, and never the token.
    pub fn subprotocol_prefix(prefix: impl Into<String>) -> Self {
        Self(Place::SubprotocolPrefix(prefix.into().into()))
    }

    pub(super) fn take(&self, websocket: &mut WebSocket) -> Option<Box<str>> {
        let found = match &self.0 {
            Place::Bearer => bearer(websocket.headers())?,
            Place::Query(name) => query::token(websocket.uri().query()?, name)?,
            Place::Cookie(name) => cookie::token(websocket.headers(), name)?.into(),
            Place::SubprotocolAfter(name) => {
                take_offered(websocket, |offered| Some(offered.iter().position(|offer| **offer == **name)? + 1))?
            }
            Place::SubprotocolPrefix(prefix) => {
                let at = |offered: &[&str]| offered.iter().position(|offer| offer.starts_with(&**prefix));
                take_offered(websocket, at)?.strip_prefix(&**prefix)?.into()
            }
        };
        Some(found).filter(|token| !token.is_empty())
    }
}

/// RFC 6750 §2.1. Two of such headers are none: which of them counts is not for one side alone to choose.
pub(super) fn bearer(headers: &HeaderMap) -> Option<Box<str>> {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return None };
    let (scheme, token) = line.as_bytes().split_at_checked("Bearer".len())?;
    let spaces = token.iter().take_while(|&&byte| byte == b' ').count();
    // White space at the end belongs to the line (RFC 9110 §5.5).
    let token = token[spaces..].trim_ascii_end();
    // RFC 9110 §11.1: a scheme is compared without regard to case.
    if !scheme.eq_ignore_ascii_case(b"Bearer") || spaces == 0 || !is_b64token(token) {
        return None;
    }
    Some(std::str::from_utf8(token).ok()?.into())
}

/// RFC 6750 §2.1: `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`.
fn is_b64token(token: &[u8]) -> bool {
    let padding = token.iter().rev().take_while(|&&byte| byte == b'=').count();
    let text = &token[..token.len() - padding];
    !text.is_empty() && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte))
}

/// Takes an offered subprotocol off the request, wherever it stands: offered twice, it would else be answered.
fn take_offered(websocket: &mut WebSocket, at: impl Fn(&[&str]) -> Option<usize>) -> Option<Box<str>> {
    let offered: Vec<&str> = websocket.subprotocols().collect();
    let at = at(&offered).filter(|at| *at < offered.len())?;
    let taken = offered[at].into();
    let others: Vec<&str> = offered.iter().copied().filter(|offer| *offer != offered[at]).collect();
    let rest = HeaderValue::try_from(others.join(", "));
    let is_last = others.is_empty();
    let headers = websocket.headers_mut();
    match rest {
        Ok(rest) if !is_last => {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, rest);
        }
        _ => {
            headers.remove(SEC_WEBSOCKET_PROTOCOL);
        }
    }
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authorization(lines: &[&[u8]]) -> HeaderMap {
        let value = |line: &&[u8]| (AUTHORIZATION, HeaderValue::from_bytes(line).unwrap());
        let mut headers = HeaderMap::new();
        for (name, value) in lines.iter().map(value) {
            headers.append(name, value);
        }
        headers
    }

    #[test]
    fn a_bearer_token_is_what_follows_its_scheme() {
        let check = |value: &str, expected| {
            assert_eq!(bearer(&authorization(&[value.as_bytes()])).as_deref(), expected, "{value:?}");
        };
        check("Bearer abc", Some("abc"));
        check("bEARER  abc ", Some("abc"));
        check("Bearer aZ09-._~+/==", Some("aZ09-._~+/=="));
        check("Bearer", None);
        check("Bearer ", None);
        check("Bear", None);
        check("Basic abc", None);
        check("Bearerabc", None);
        check("Bearer\tabc", None);
        check("Bearer \tabc", None);
        for not_allowed in ["a b", "a,b", "a=b", "=", "a\"", "\"a\"", "a;b", "a%20", "ä", "a\tb"] {
            check(&format!("Bearer {not_allowed}"), None);
        }
        assert_eq!(bearer(&authorization(&[b"Bearer a", b"Bearer b"])), None);
        assert_eq!(bearer(&authorization(&[b"Bearer a", b"Basic b"])), None);
        assert_eq!(bearer(&authorization(&[b"Bearer a\xff"])), None);
        assert_eq!(bearer(&HeaderMap::new()), None);
    }
}
