//! Authentication: tokens of a request, who is behind a connection, and until when.
//!
//! ```
//! use nexios::auth::{Identity, Token, TokenSource, secret_eq};
//! use nexios::prelude::*;
//!
//! async fn authenticate(mut websocket: WebSocket, next: Next) -> nexios::Result {
//!     let token = Token::take(&mut websocket, &[TokenSource::bearer(), TokenSource::query("token")]);
//!     match token {
//!         Some(token) if secret_eq(token.expose(), "the secret that they share") => {
//!             websocket.authenticate(Identity::new("alice"))?;
//!             next.run(websocket).await
//!         }
//!         _ => websocket.reject(StatusCode::UNAUTHORIZED).await,
//!     }
//! }
//!
//! let app = App::new().add_ws_middleware(authenticate);
//! # drop(app);
//! ```
//!
//! With the feature `jwt` there is a middleware for JSON Web Tokens, `Jwt`.
//!
//! Who is behind a connection is an [`Identity`]: [`WebSocket::authenticate`] sets it, before or after `accept`, and once more
//! for a token that was refreshed. When it expires, the connection is closed with 3000 and the cause
//! [`Expired`](crate::Cause::Expired); [`AppHandle::close_user`] closes all connections of a user with the cause
//! [`Revoked`](crate::Cause::Revoked). Connections of which nobody says who is behind them in time are closed under
//! [`Config::authentication_timeout`](crate::Config::authentication_timeout).
//!
//! [`WebSocket::authenticate`]: crate::WebSocket::authenticate
//! [`AppHandle::close_user`]: crate::AppHandle::close_user

mod identity;
#[cfg(feature = "jwt")]
mod jwt;
mod secret;
mod source;
mod token;
mod users;

pub use identity::Identity;
#[cfg(feature = "jwt")]
pub use jwt::{Claims, InvalidKey, Jwt, JwtError};
pub use secret::secret_eq;
pub use source::TokenSource;
pub use token::Token;
pub(crate) use users::{Listed, Users};
