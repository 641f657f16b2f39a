#![doc = include_str!("docs/guide.md")]

mod app;
mod asking;
pub mod auth;
pub mod backplane;
pub mod client;
mod close_codes;
mod compression;
mod config;
mod connection;
mod deadline;
mod disconnect;
mod endpoint;
mod error;
pub mod groups;
pub mod handler;
mod host;
mod memory_budget;
pub mod middleware;
mod observe;
mod origin;
mod rate;
pub mod routing;
mod sender;
mod server;
mod slow_consumer;
mod sync;
pub mod testing;
mod websocket;

pub use app::App;
pub use asking::{Refusal, RequestError};
#[doc(no_inline)]
pub use axum::Json;
pub use backplane::{Backplane, BackplaneConfig};
#[doc(no_inline)]
pub use bytes::Bytes;
pub use close_codes::CloseCodes;
pub use compression::{Compression, ParseCompressionError};
pub use config::{Config, Limits};
pub use disconnect::{Cause, EndedBy, WebSocketDisconnect};
pub use endpoint::{FromMessage, WebSocketEndpoint};
pub use error::{BoxError, Error, HandlerPanic, Result};
pub use groups::{
    Asker, Group, GroupAction, GroupConfig, GroupError, GroupPolicy, GroupStats, Groups, GroupsConfig, GroupsStats,
    History, HistoryPage, InvalidPosition, Join, Joined, MemberEvent, NotRecovered, Position, Present, Published,
};
pub use handler::Handler;
pub use middleware::{Next, WebSocketMiddleware};
#[cfg(feature = "macros")]
pub use nexios_macros::websocket_route;
pub use nexios_proto::{CloseCode, CloseFrame, Limit, Message, ProtocolError, Utf8Bytes};
pub use origin::Origins;
pub use rate::{OverRate, Rate};
pub use routing::{WebSocketRoute, WsRouter};
pub use sender::{ConnectionId, Sender, TrySendError};
pub use server::{AppHandle, ClientIp, MinDataRate, ProxyHeader, ServerConfig};
#[cfg(feature = "tls")]
pub use server::{Tls, TlsError};
pub use slow_consumer::SlowConsumer;
pub use websocket::{
    Accept, AcceptError, CloseCodeError, JsonError, MessageType, MessageTypeError, Messages, Params, StateError,
    WebSocket,
};

/// Everything that a program usually needs.
///
/// ```
/// use nexios::prelude::*;
/// ```
pub mod prelude {
    #[doc(no_inline)]
    pub use axum::extract::{Extension, FromRef, FromRequestParts, Path, Query, State};
    #[doc(no_inline)]
    pub use http::{HeaderMap, StatusCode};

    #[cfg(feature = "macros")]
    pub use crate::websocket_route;
    pub use crate::{
        Accept, App, Bytes, Cause, CloseCode, Compression, Config, EndedBy, Error, FromMessage, Group, GroupConfig,
        GroupPolicy, Groups, GroupsConfig, History, Join, Json, Limit, Limits, Message, Next, Position, Sender,
        SlowConsumer, Utf8Bytes, WebSocket, WebSocketDisconnect, WebSocketEndpoint, WebSocketMiddleware,
        WebSocketRoute, WsRouter,
    };

    /// [`nexios::Result`](crate::Result), for signatures without the crate's name.
    pub type Result<T = (), E = Error> = std::result::Result<T, E>;
}

/// What the attribute's code needs.
#[doc(hidden)]
pub mod __private {
    pub use axum::extract::FromRequestParts;
}

/// The programs of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
