//! From a request to a connection's task: routes, routers, the handshake.

mod handshake;
mod route;
mod router;

pub(crate) use handshake::AppContext;
pub use route::{IntoRoute, WebSocketRoute};
pub use router::WsRouter;
