//! JSON Web Tokens (RFC 7519), with the feature `jwt`.

mod claims;
mod key;
mod signed;

use std::fmt;
use std::future::ready;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::response::{IntoResponse, Response};
pub use claims::Claims;
use futures_util::future::Either;
use http::StatusCode;
use http::header::WWW_AUTHENTICATE;
pub use key::InvalidKey;
use key::Key;

use super::token::CHALLENGE;
use super::{Token, TokenSource};
use crate::middleware::{Next, WebSocketMiddleware};
use crate::{Result, WebSocket};

/// Verifies JSON Web Tokens, and as a middleware lets those connections pass that bring one.
///
/// A token passes that is signed with the key, by the one algorithm that goes with it (what the token says of its
/// algorithm decides nothing, and `none` is refused), that has not expired (`exp`), is valid already (`nbf`, if there is
/// one), and names a user (`sub`). A token that is meant for somebody (`aud`) passes only where that is the
/// [audience](Self::audience), and one whose header asks for what must be understood (`crit`, RFC 7515 §4.1.11) never does.
///
/// Signatures are verified with implementations of the `RustCrypto` project, called directly: no provider is installed for the process, and
/// whatever a program uses beside it for tokens of its own is not touched.
///
/// As a middleware it [authenticates](WebSocket::authenticate) the connection as the user of `sub` until `exp`, and leaves
/// the [`Claims`] beside the request, where the handler takes them as an extractor. Other connections are answered with 401 and
/// `WWW-Authenticate: Bearer` (RFC 6750 §3).
///
/// ```
/// use nexios::auth::{Claims, Jwt, TokenSource};
/// use nexios::prelude::*;
///
/// async fn chat(mut websocket: WebSocket, claims: Claims) -> nexios::Result {
///     websocket.accept().await?;
///     websocket.send_text(format!("hello {}", claims.subject())).await
/// }
///
/// # let secret = [0; 32];
/// let jwt = Jwt::hs256(secret).issuer("https://login.example").from(TokenSource::bearer()).from(TokenSource::query("token"));
/// let app = App::new().add_ws_middleware(jwt).websocket_route("/chat", chat);
/// # drop(app);
/// ```
///
/// A client that has refreshed its token over the connection goes on with it:
///
/// ```
/// # use nexios::auth::{Jwt, Token};
/// # use nexios::prelude::*;
/// # async fn refresh(websocket: &mut WebSocket, jwt: &Jwt, text: String) -> nexios::Result {
/// let claims = jwt.verify(&Token::new(text)).map_err(Error::other)?;
/// websocket.authenticate(claims.identity())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Jwt {
    key: Arc<Key>,
    rules: Rules,
    sources: Vec<TokenSource>,
}

/// What claims must say.
#[derive(Clone, Default)]
struct Rules {
    issuer: Option<Arc<str>>,
    audience: Option<Arc<str>>,
    leeway: Duration,
}

/// Why a token was not taken. The peer is told no more than which of the two it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwtError {
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// It is no token, not signed with the key, or not meant for this. The text is for the operator.
    #[error("the token is not valid: {0}")]
    Invalid(&'static str),
}

/// RFC 7518 §3.2: as large as the hash.
const SHORTEST_SECRET: usize = 32;
const MOST_LEEWAY: Duration = Duration::from_hours(1);

impl Jwt {
    /// Tokens of HMAC with SHA-256 and a secret that issuer and server share.
    ///
    /// # Panics
    ///
    /// When the secret is shorter than 32 bytes (RFC 7518 §3.2): it could be found out from any token.
    pub fn hs256(secret: impl AsRef<[u8]>) -> Self {
        let secret = secret.as_ref();
        assert!(
            secret.len() >= SHORTEST_SECRET,
            "a secret for HS256 has at least {SHORTEST_SECRET} bytes, not {}",
            secret.len()
        );
        Self::new(Key::hs256(secret))
    }

    /// Tokens of RSA with SHA-256 (`RSASSA-PKCS1-v1_5`), verified with the public key in PEM, of 2,048 (RFC 7518 §3.3) to
    /// 4,096 bits.
    pub fn rs256_pem(public_key: impl AsRef<[u8]>) -> Result<Self, InvalidKey> {
        Key::rs256(public_key.as_ref()).map(Self::new)
    }

    /// Tokens of ECDSA on P-256 with SHA-256, verified with the public key in PEM.
    pub fn es256_pem(public_key: impl AsRef<[u8]>) -> Result<Self, InvalidKey> {
        Key::es256(public_key.as_ref()).map(Self::new)
    }

    fn new(key: Key) -> Self {
        Self { key: Arc::new(key), rules: Rules::default(), sources: Vec::new() }
    }

    /// Takes tokens of this issuer only (`iss`).
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.rules.issuer = Some(issuer.into().into());
        self
    }

    /// Takes tokens only that are meant for this audience (`aud`). Without this setting those are refused that are meant
    /// for any (RFC 7519 §4.1.3).
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.rules.audience = Some(audience.into().into());
        self
    }

    /// By how many seconds the issuer's clock may differ, at most an hour; 0 at first. Connections live on by as much.
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.rules.leeway = Duration::from_secs(leeway.min(MOST_LEEWAY).as_secs());
        self
    }

    /// Where the middleware looks for a token: the first of its sources that has one decides. Without any it is
    /// [`TokenSource::bearer`].
    pub fn from(mut self, source: TokenSource) -> Self {
        self.sources.push(source);
        self
    }

    /// Verifies a token.
    ///
    /// # Errors
    ///
    /// [`JwtError`], without anything of the token in it.
    pub fn verify(&self, token: &Token) -> Result<Claims, JwtError> {
        let claims = signed::open(token.expose(), &self.key).map_err(JwtError::Invalid)?;
        self.rules.check(&claims, SystemTime::now())?;
        Claims::new(claims, self.rules.leeway)
    }

    /// Authenticates a connection by its token, or says what it is refused with.
    #[expect(clippy::result_large_err, reason = "it is built once and answered at once")]
    fn admit(&self, websocket: &mut WebSocket) -> Result<(), Response> {
        let bearer = [TokenSource::bearer()];
        let sources = if self.sources.is_empty() { &bearer[..] } else { &self.sources };
        let Some(token) = Token::take(websocket, sources) else {
            return Err(challenge(CHALLENGE, "a token is needed\n"));
        };
        let claims = self.verify(&token).map_err(|error| {
            tracing::debug!(id = %websocket.id(), %error, "token refused");
            match error {
                JwtError::Expired => challenge(
                    "Bearer error=\"invalid_token\", error_description=\"expired\"",
                    "the token has expired\n",
                ),
                JwtError::Invalid(_) => challenge("Bearer error=\"invalid_token\"", "the token is not valid\n"),
            }
        })?;
        if websocket.authenticate(claims.identity()).is_err() {
            // It has ended.
            return Err(StatusCode::UNAUTHORIZED.into_response());
        }
        websocket.extensions_mut().insert(claims);
        Ok(())
    }
}

impl WebSocketMiddleware for Jwt {
    fn handle(&self, mut websocket: WebSocket, next: Next) -> impl Future<Output = Result> + Send {
        // Not an `async` block: it would make room for what is done here for as long as the connection lives.
        match self.admit(&mut websocket) {
            Ok(()) => Either::Right(next.run(websocket)),
            Err(response) => Either::Left(ready(websocket.refuse(response))),
        }
    }
}

fn challenge(header: &'static str, text: &'static str) -> Response {
    (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, header)], text).into_response()
}

impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwt")
            .field("algorithm", &self.key.algorithm())
            .field("sources", &self.sources)
            .finish_non_exhaustive()
    }
}
