//! Tokens that are no good any more although they have not expired: those that a user had before being signed out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use nexios::auth::Claims;
use nexios::prelude::*;

/// Most users that are remembered: about 10 MB of names. No one is forgotten while this runs; with restarts, or several
/// nodes, this list belongs into a database.
const MOST: usize = 100_000;

/// When each user was signed out last, in seconds since 1970.
#[derive(Clone, Default)]
pub(crate) struct SignedOut(Arc<Mutex<HashMap<String, u64>>>);

impl SignedOut {
    /// From now on the user's tokens are dead. False when there is no room for another user.
    pub(crate) fn add(&self, user: &str) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = users.len() < MOST || users.contains_key(user);
        if has_room {
            users.insert(user.to_owned(), now);
        }
        has_room
    }

    /// Whether a token was issued before its user was signed out. One that does not say when it was issued may have been.
    fn revokes(&self, claims: &Claims) -> bool {
        let users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(at) = users.get(claims.subject()) else { return false };
        claims.get::<f64>("iat").is_none_or(|issued| issued.floor() <= *at as f64)
    }
}

/// Stands behind the middleware that has verified the token and said whose connection it is: whoever is signed out in between
/// is among those that are closed.
pub(crate) async fn not_signed_out(
    mut websocket: WebSocket,
    State(signed_out): State<SignedOut>,
    claims: Claims,
    next: Next,
) -> nexios::Result {
    if signed_out.revokes(&claims) {
        return websocket.reject((StatusCode::UNAUTHORIZED, "signed out\n")).await;
    }
    next.run(websocket).await
}
