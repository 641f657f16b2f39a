//! Who is behind a connection.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use http::StatusCode;
use http::request::Parts;

/// A user, and until when it is certain that it is them.
///
/// [`WebSocket::authenticate`](crate::WebSocket::authenticate) says that a connection is theirs. From then on a handler has it from
/// [`WebSocket::identity`](crate::WebSocket::identity) or takes it as an extractor (401 without one; `Option<Identity>`
/// does as well), and a [`GroupPolicy`](crate::GroupPolicy) from [`Asker::get`](crate::Asker::get).
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use nexios::auth::Identity;
///
/// let alice = Identity::new("alice").expires_at(SystemTime::now() + Duration::from_secs(900));
/// assert_eq!(alice.user(), "alice");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    user: Arc<str>,
    expires_at: Option<SystemTime>,
}

impl Identity {
    /// A user, by whatever names them in the application.
    pub fn new(user: impl Into<String>) -> Self {
        Self { user: user.into().into(), expires_at: None }
    }

    /// When the connection is to be closed, or `None` for never. It is the system's clock that counts at the time of
    /// [`WebSocket::authenticate`](crate::WebSocket::authenticate), and a monotonic one from there on: the end is not early, and at
    /// most 50 ms late.
    pub fn expires_at(mut self, time: impl Into<Option<SystemTime>>) -> Self {
        self.expires_at = time.into();
        self
    }

    /// The user.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// When it expires, if it does.
    pub fn expiry(&self) -> Option<SystemTime> {
        self.expires_at
    }

    pub(crate) fn shared_user(&self) -> Arc<str> {
        Arc::clone(&self.user)
    }

    /// How long it is still good for, if not for ever.
    pub(crate) fn remaining(&self) -> Option<Duration> {
        let left = |at: SystemTime| at.duration_since(SystemTime::now()).unwrap_or_default();
        self.expires_at.map(left)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("user", &self.user).field("expires_at", &self.expires_at).finish()
    }
}

impl<S: Sync> FromRequestParts<S> for Identity {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        parts.extensions.get().cloned().ok_or(StatusCode::UNAUTHORIZED)
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for Identity {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get().cloned())
    }
}
