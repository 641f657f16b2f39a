//! What a token says.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::FromRequestParts;
use http::StatusCode;
use http::request::Parts;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{JwtError, Rules};
use crate::auth::Identity;
use crate::{Error, Result};

/// The claims of a token that was verified (RFC 7519 §4).
///
/// As an extractor they are those that the middleware [`Jwt`](super::Jwt) has left; without them it answers 401. They are
/// kept beside the request for as long as the connection lives. Cloning them is cheap.
#[derive(Clone)]
pub struct Claims(Arc<Verified>);

struct Verified {
    claims: Map<String, Value>,
    identity: Identity,
}

impl Claims {
    pub(super) fn new(claims: Map<String, Value>, leeway: Duration) -> Result<Self, JwtError> {
        let subject = claims.get("sub").and_then(Value::as_str).filter(|subject| !subject.is_empty());
        let subject = subject.ok_or(JwtError::Invalid("it names no user"))?;
        let expiry = claims.get("exp").and_then(seconds).ok_or(JwtError::Invalid("it is not well-formed"))?;
        // A time that the system cannot express is as good as never.
        let expiry = SystemTime::UNIX_EPOCH.checked_add(expiry.saturating_add(leeway));
        let identity = Identity::new(subject).expires_at(expiry);
        Ok(Self(Arc::new(Verified { claims, identity })))
    }

    /// The user: the claim `sub`.
    pub fn subject(&self) -> &str {
        self.0.identity.user()
    }

    /// The user, until the token expires.
    pub fn identity(&self) -> Identity {
        self.0.identity.clone()
    }

    /// A claim by its name; `None` when it is not there, or is something else than a `T`.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        T::deserialize(self.0.claims.get(name)?).ok()
    }

    /// All claims, as a type of yours.
    ///
    /// # Errors
    ///
    /// When they are something else.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        T::deserialize(&self.0.claims).map_err(Error::other)
    }
}

impl Rules {
    /// RFC 7519 §4.1. A claim that is `null` is as good as none.
    pub(super) fn check(&self, claims: &Map<String, Value>, now: SystemTime) -> Result<(), JwtError> {
        let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let claim = |name| claims.get(name).filter(|value| !value.is_null());
        let expiry = claim("exp").ok_or(JwtError::Invalid("a claim is missing"))?;
        let expiry = seconds(expiry).ok_or(JwtError::Invalid("it is not well-formed"))?;
        if expiry.saturating_add(self.leeway) <= since_epoch {
            return Err(JwtError::Expired);
        }
        if let Some(not_before) = claim("nbf") {
            let not_before = seconds(not_before).ok_or(JwtError::Invalid("it is not well-formed"))?;
            if not_before > since_epoch.saturating_add(self.leeway) {
                return Err(JwtError::Invalid("it is not valid yet"));
            }
        }
        match (&self.issuer, claim("iss")) {
            (Some(_), None) => return Err(JwtError::Invalid("a claim is missing")),
            (Some(issuer), Some(found)) if !names(found, issuer) => {
                return Err(JwtError::Invalid("its issuer is another one"));
            }
            _ => {}
        }
        match (&self.audience, claim("aud")) {
            (Some(_), None) => Err(JwtError::Invalid("a claim is missing")),
            (Some(audience), Some(found)) if names(found, audience) => Ok(()),
            (None, None) => Ok(()),
            _ => Err(JwtError::Invalid("it is meant for another audience")),
        }
    }
}

/// A claim that is a text, or several of them.
fn names(claim: &Value, wanted: &str) -> bool {
    match claim {
        Value::String(text) => text == wanted,
        Value::Array(texts) => texts.iter().any(|text| text == wanted),
        _ => false,
    }
}

/// RFC 7519 §2: a number of seconds, which may have a fraction.
fn seconds(value: &Value) -> Option<Duration> {
    let whole = value.as_u64().map(Duration::from_secs);
    whole.or_else(|| Duration::try_from_secs_f64(value.as_f64()?).ok())
}

impl<S: Sync> FromRequestParts<S> for Claims {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        parts.extensions.get().cloned().ok_or(StatusCode::UNAUTHORIZED)
    }
}

// The names only: what is claimed is the user's own business.
impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.claims.keys()).finish()
    }
}
