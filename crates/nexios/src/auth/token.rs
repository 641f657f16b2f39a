//! A token, which nothing prints.

use std::fmt;

use axum::extract::FromRequestParts;
use http::header::{HeaderValue, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderMap, StatusCode};

use super::secret::secret_eq;
use super::source::{TokenSource, bearer};
use crate::WebSocket;

/// Without a token there is nothing else to say (RFC 6750 §3).
pub(super) const CHALLENGE: &str = "Bearer realm=\"websocket\"";

/// A secret that tells who somebody is. Neither `Debug` nor `Display` shows it, so that no log does by accident.
///
/// As an extractor it is the bearer token of the `Authorization` header (RFC 6750 §2.1); without one it answers 401.
#[derive(Clone)]
pub struct Token(Box<str>);

impl Token {
    /// A token from elsewhere: a message, for one.
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into().into())
    }

    /// The token of a request: of the first source that has one which is not empty.
    ///
    /// Subprotocols that carry it are taken off the request: [`WebSocket::subprotocols`] does not show them any more, and
    /// `accept_with` does not send them back. Call it before `accept`: afterwards it unpacks the request for good, as
    /// [`WebSocket::headers`] does.
    pub fn take(websocket: &mut WebSocket, sources: &[TokenSource]) -> Option<Self> {
        sources.iter().find_map(|source| source.take(websocket)).map(Self)
    }

    /// The token itself. Compare it with [`secret_eq`], not with `==`.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// As by [`secret_eq`]: in a time that tells nothing of the token.
impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        secret_eq(&*self.0, &*other.0)
    }
}

impl Eq for Token {}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(a token)")
    }
}

impl<S: Sync> FromRequestParts<S> for Token {
    type Rejection = (StatusCode, HeaderMap);

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        bearer(&parts.headers).map(Self).ok_or_else(|| {
            let challenge = (WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
            (StatusCode::UNAUTHORIZED, HeaderMap::from_iter([challenge]))
        })
    }
}
