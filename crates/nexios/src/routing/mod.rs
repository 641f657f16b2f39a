//! From a request to a connection's task: routes, routers, the handshake.

mod handshake;
#[cfg(feature = "http2")]
mod http2;
mod route;
mod router;

pub(crate) use handshake::AppContext;
#[cfg(feature = "http2")]
pub(crate) use http2::unify;
pub use route::{IntoRoute, WebSocketRoute};
pub use router::WsRouter;
