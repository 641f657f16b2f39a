//! The framework as its users and its attackers meet it: through `TestClient`, over real sockets, and byte by byte.

mod accept;
mod axum_mount;
mod client;
mod closing;
mod compile_fail;
mod contract;
mod endpoint;
mod errors;
mod extractors;
mod groups;
mod handshake;
mod keepalive;
mod logs;
mod macro_route;
mod middleware;
mod outcome;
mod receive;
mod routing;
mod send;
mod sender;
mod serving;
mod shutdown;
mod wire;
