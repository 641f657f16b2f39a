//! Where in a request a token may stand.

use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE, HeaderValue, SEC_WEBSOCKET_PROTOCOL};

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
    /// `Authorization: Bearer <token>` (RFC 6750 §2.1).
    pub fn bearer() -> Self {
        Self(Place::Bearer)
    }

    /// The first query parameter of this name, decoded.
    pub fn query(name: impl Into<String>) -> Self {
        Self(Place::Query(name.into().into()))
    }

    /// The first cookie of this name (RFC 6265 §5.4), as it stands there.
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
            Place::Query(name) => websocket.query_params().get(name)?.into(),
            Place::Cookie(name) => cookie(websocket.headers(), name)?.into(),
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

/// RFC 9110 §11.1: the scheme in whatever case. Two of such headers are none.
pub(super) fn bearer(headers: &HeaderMap) -> Option<Box<str>> {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return None };
    let (scheme, token) = line.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.into())
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(';')).find_map(|pair| {
        let (found, value) = pair.split_once('=')?;
        (found.trim() == name).then(|| value.trim())
    })
}

/// Takes an offered subprotocol off the request.
fn take_offered(websocket: &mut WebSocket, at: impl Fn(&[&str]) -> Option<usize>) -> Option<Box<str>> {
    let offered: Vec<&str> = websocket.subprotocols().collect();
    let at = at(&offered).filter(|at| *at < offered.len())?;
    let taken = offered[at].into();
    let others: Vec<&str> = offered.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, offer)| *offer).collect();
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

    fn headers(pairs: &[(http::HeaderName, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name.clone(), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_bearer_token_is_what_follows_its_scheme() {
        let check = |value, expected| assert_eq!(bearer(&headers(&[(AUTHORIZATION, value)])).as_deref(), expected);
        check("Bearer abc", Some("abc"));
        check("bEARER  abc ", Some("abc"));
        check("Bearer", None);
        check("Bearer ", None);
        check("Basic abc", None);
        check("Bearerabc", None);
        assert_eq!(bearer(&headers(&[(AUTHORIZATION, "Bearer a"), (AUTHORIZATION, "Bearer b")])), None);
        assert_eq!(bearer(&HeaderMap::new()), None);
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let headers = headers(&[(COOKIE, "a=1; token=x=y;b"), (COOKIE, "token=z; last=2")]);
        assert_eq!(cookie(&headers, "token"), Some("x=y"));
        assert_eq!(cookie(&headers, "last"), Some("2"));
        assert_eq!(cookie(&headers, "oken"), None);
        assert_eq!(cookie(&headers, "b"), None);
    }
}
