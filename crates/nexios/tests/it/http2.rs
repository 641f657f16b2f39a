//! HTTP/2 (RFC 8441): many sockets on one connection.

#[path = "http2/bounds.rs"]
mod bounds;
#[path = "http2/client.rs"]
mod client;
#[path = "http2/flow.rs"]
mod flow;
#[path = "http2/handshake.rs"]
mod handshake;
#[path = "http2/mounted.rs"]
mod mounted;
#[path = "http2/streams.rs"]
mod streams;
